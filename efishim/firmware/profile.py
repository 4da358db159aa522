"""Profiles: a firmware described by the answers it gives, so that limited firmware can be imitated.

A profile gives each *item* that a firmware may offer an *answer*: `present` (as this firmware does it), `absent` (a NULL
pointer, a protocol or variable that is not found, a table that is not installed, a field that is zero), or the name of a
status (`EFI_UNSUPPORTED`) that is returned at once and nothing else done. Items that it does not name have its default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from efishim.errors import UsageError
from efishim.firmware.calling.call_log import shorten
from efishim.firmware.calling.overrides import Overrides
from efishim.firmware.calling.status import Status
from efishim.firmware.catalogue import FUNCTIONS, WITHOUT_STATUS
from efishim.wire.guids import BY_NAME, guid_name
from efishim.wire.uefi import SystemTable, TableHeader

PRESENT, ABSENT = "present", "absent"

_HEADER = tuple(name for name in TableHeader.names() if name != "Reserved")
FIELDS = frozenset(
    {
        *(f"SystemTable.{name}" for name in SystemTable.names() if name != "Reserved"),
        *(f"{table}.{name}" for table in ("BootServices", "RuntimeServices") for name in _HEADER),
    }
)
"""Fields of the three tables that are not services."""

LOOKUPS = frozenset(
    f"BootServices.{name}"
    for name in (
        *("HandleProtocol", "OpenProtocol", "LocateProtocol", "LocateHandle", "LocateHandleBuffer", "LocateDevicePath"),
        *("CloseProtocol", "OpenProtocolInformation", "RegisterProtocolNotify"),
    )
)
"""Services that name a protocol and give what was asked for, or not."""

NAME_LIMIT = 256
_GUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TABLES = frozenset(function.table for function in FUNCTIONS.values()) | {"SystemTable"}
_STATUSES = {f"EFI_{one.name}": one for one in Status}


class ProfileError(UsageError):
    """A profile that makes no sense, or an item or answer that does not exist."""


class Kind(StrEnum):
    """What an item is."""

    SERVICE = "service"
    """A function of a table or protocol: `BootServices.AllocatePages`, `RNG.GetRNG`."""
    FIELD = "field"
    """A field of the system table, or of the header of one of its tables: `SystemTable.ConOut`."""
    PROTOCOL = "protocol"
    TABLE = "table"
    """A configuration table."""
    VARIABLE = "variable"
    """`VENDOR:NAME`."""


class Item(msgspec.Struct, frozen=True, order=True):
    """Something that a firmware may offer, under its specification's name. Make one with `item`."""

    kind: Kind
    name: str

    @property
    def text(self) -> str:
        """What `parse_item` reads: services and fields by name, the others with their kind before it."""
        return self.name if self.kind in (Kind.SERVICE, Kind.FIELD) else f"{self.kind.value}:{self.name}"


def item(kind: Kind, name: str) -> Item:
    """An item with its name checked. Raises ProfileError."""
    if not name or len(name) > NAME_LIMIT or not name.isprintable():
        raise ProfileError(f"a {kind.value} has a name of 1 to {NAME_LIMIT} printable characters")
    match kind:
        case Kind.SERVICE if not (name in FUNCTIONS or may_be_of_a_plugin(name)):
            raise ProfileError(f"there is no service {name!r}", hint="write it like BootServices.GetMemoryMap")
        case Kind.FIELD if name not in FIELDS:
            raise ProfileError(f"there is no field {name!r}", hint="write it like SystemTable.ConOut")
        case Kind.PROTOCOL | Kind.TABLE:
            name = _guid(name)
        case Kind.VARIABLE:
            vendor, colon, rest = name.partition(":")
            if not colon or not rest:
                raise ProfileError(f"{name!r} is not a variable", hint="write it like EFI_GLOBAL_VARIABLE:SecureBoot")
            name = f"{_guid(vendor)}:{rest}"
    return Item(kind, name)


def may_be_of_a_plugin(name: str) -> bool:
    """Is it a function's full name, of a protocol that the shim has not of its own?"""
    table, dot, function = name.partition(".")
    return bool(dot) and table.isidentifier() and function.isidentifier() and table not in _TABLES


def _guid(text: str) -> str:
    if text in BY_NAME:
        return text
    if _GUID.fullmatch(text.lower()):
        return guid_name(text.lower())
    raise ProfileError(f"{text!r} is not a GUID", hint="write a name of the specification, or the GUID's registry text")


def parse_item(text: str) -> Item:
    """`BootServices.FreePool`, `SystemTable.ConOut`, `protocol:EFI_RNG_PROTOCOL_GUID`, `table:SMBIOS3_TABLE_GUID`,
    `variable:EFI_GLOBAL_VARIABLE:SecureBoot`. Raises ProfileError."""
    kind, colon, name = text.partition(":")
    if not colon:
        return item(Kind.FIELD if text in FIELDS else Kind.SERVICE, text)
    kinds = {one.value: one for one in Kind}
    if kind not in kinds:
        raise ProfileError(f"{text[:NAME_LIMIT]!r} is not an item", hint=f"the kinds are: {', '.join(kinds)}")
    return item(kinds[kind], name)


def checked_answer(what: Item | Kind, answer: object) -> str:
    """The answer, if such an item can give it. Raises ProfileError."""
    kind, name = (what.kind, what.name) if isinstance(what, Item) else (what, f"a {what.value}")
    if not isinstance(answer, str) or (answer not in (PRESENT, ABSENT) and answer not in _STATUSES):
        raise ProfileError(
            f"{str(answer)[:NAME_LIMIT]!r} is not an answer",
            hint="there are present, absent, and statuses like EFI_UNSUPPORTED",
        )
    if answer in _STATUSES:
        if kind in (Kind.FIELD, Kind.TABLE):
            raise ProfileError(f"{name} is a {kind.value}, which is present or absent and returns no status")
        if isinstance(what, Item) and kind is Kind.SERVICE and name in WITHOUT_STATUS:
            raise ProfileError(f"{name} returns no status, it is present or absent")
    return answer


@dataclass(frozen=True, slots=True)
class Profile:
    """A firmware by its answers. `defaults` and `answers` are sorted and name each kind and item once."""

    name: str = ""
    summary: str = ""
    sources: tuple[str, ...] = ()
    vendor: str | None = None
    """The system table's FirmwareVendor."""
    defaults: tuple[tuple[Kind, str], ...] = ()
    answers: tuple[tuple[Item, str], ...] = ()

    def restrict(self, changes: Mapping[Item, str]) -> Profile:
        """This firmware with other answers for some items. Raises ProfileError."""
        merged = dict(self.answers) | {one: checked_answer(one, answer) for one, answer in changes.items()}
        return Profile(self.name, self.summary, self.sources, self.vendor, self.defaults, tuple(sorted(merged.items())))


@dataclass
class ProfileOverrides(Overrides):
    """A profile at work. `offered` collects, in the order of the asking, everything that the shim would have."""

    profile: Profile
    offered: dict[Item, None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._given = dict(self.profile.answers)
        self._defaults = dict(self.profile.defaults)
        self._statuses = any(answer in _STATUSES for answer in (*self._given.values(), *self._defaults.values()))

    def of(self, one: Item) -> str:
        """The answer that an item gives. Functions that return no status do not take one as default."""
        given = self._given.get(one)
        if given is not None:
            return given
        default = self._defaults.get(one.kind, PRESENT)
        silent = one.kind is Kind.SERVICE and one.name in WITHOUT_STATUS
        return PRESENT if silent and default in _STATUSES else default

    def answer(self, call: str, args: Mapping[str, str]) -> int | None:
        """The fixed status of a service, of the protocol that it looks for, or of the variable that it reads."""
        status = _STATUSES.get(self.of(Item(Kind.SERVICE, call)))
        if status is None and call in LOOKUPS and args.get("Protocol", "NULL") != "NULL":
            status = _STATUSES.get(self.of(Item(Kind.PROTOCOL, args["Protocol"])))
        if status is None and call == "RuntimeServices.GetVariable":
            status = self._variable(args)
        return None if status is None else int(status)

    def _variable(self, args: Mapping[str, str]) -> Status | None:
        """Of a variable's name the log shows the beginning, in quotes."""
        for one, answer in self._given.items():
            vendor, _, name = one.name.partition(":")
            shown = args.get("VendorGuid") == vendor and args.get("VariableName") == repr(shorten(name))
            if one.kind is Kind.VARIABLE and shown:
                return _STATUSES.get(answer)
        return _STATUSES.get(self._defaults.get(Kind.VARIABLE, PRESENT))

    def _offers(self, kind: Kind, name: str) -> bool:
        one = Item(kind, name)
        self.offered.setdefault(one)
        return self.of(one) != ABSENT

    def unknown(self) -> list[Item]:
        """Functions that the profile names and this firmware has not, when it is complete."""
        named = (one for one in self._given if one.kind is Kind.SERVICE)
        return [one for one in named if one.name not in FUNCTIONS and one not in self.offered]

    def has_service(self, call: str) -> bool:
        """A service with a fixed status is there."""
        return self._offers(Kind.SERVICE, call)

    def announces(self, call: str) -> bool:
        """EFI_UNSUPPORTED is what a runtime service answers that is not announced (4.6.2)."""
        return self.of(Item(Kind.SERVICE, call)) not in (ABSENT, "EFI_UNSUPPORTED")

    def has_protocol(self, guid: str) -> bool:
        """By the GUID's registry text, as the shim knows it."""
        return self._offers(Kind.PROTOCOL, guid_name(guid))

    def has_table(self, guid: str) -> bool:
        """By the GUID's registry text."""
        return self._offers(Kind.TABLE, guid_name(guid))

    def has_variable(self, guid: str, name: str) -> bool:
        """By the vendor's registry text."""
        return self._offers(Kind.VARIABLE, f"{guid_name(guid)}:{name}")

    def has_field(self, name: str) -> bool:
        """`SystemTable.ConOut`."""
        return self._offers(Kind.FIELD, name)

    @property
    def watches_calls(self) -> bool:
        """Only statuses have to do with calls."""
        return self._statuses


def weakenings(texts: Iterable[str]) -> dict[Item, str]:
    """`ITEM` or `ITEM=ANSWER` texts; without an answer the item is absent. Raises ProfileError."""
    found: dict[Item, str] = {}
    for text in texts:
        name, equals, answer = text.rpartition("=")
        one = parse_item(name if equals else text)
        given = checked_answer(one, answer if equals else ABSENT)
        if found.get(one, given) != given:
            raise ProfileError(f"{one.text} is given twice, with different answers")
        found[one] = given
    return found
