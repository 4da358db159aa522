"""Extracts the use of the firmware from a record, and a profile that gives the same answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from efishim.firmware.catalogue import FUNCTIONS
from efishim.firmware.profile import (
    ABSENT,
    FIELDS,
    LOOKUPS,
    PRESENT,
    Item,
    Kind,
    Profile,
    ProfileError,
    checked_answer,
    item,
)
from efishim.lab.plan.plan import Plan
from efishim.lab.record import Consumption, FirmwareCall, Record
from efishim.plugins import Registry
from efishim.surface.offered import offered
from efishim.wire.guids import EFI_DEVICE_PATH_PROTOCOL_GUID, guid_name
from efishim.wire.uefi import BootServicesTable, ConfigurationTable, RuntimeServicesTable, SystemTable

TABLES = {
    SystemTable.NAME: "SystemTable",
    BootServicesTable.NAME: "BootServices",
    RuntimeServicesTable.NAME: "RuntimeServices",
}
ANSWERED = frozenset({"EFI_SUCCESS", "EFI_BUFFER_TOO_SMALL"})
"""What a lookup says when the thing is there."""


@dataclass
class Touched:
    """What a run did with one item."""

    times: int = 0
    statuses: list[str] = field(default_factory=list)
    found: bool = False

    def note(self, times: int, status: str = "", *, found: bool) -> None:
        """Once more, or `times` more."""
        self.times += times
        self.found |= found
        if status and status not in self.statuses:
            self.statuses.append(status)


def touched(record: Record, tables: Sequence[Item]) -> dict[Item, Touched]:
    """What was asked of the firmware. `tables` are its configuration tables in their order. Reads of fields and tables are
    only known to records that were made with observers."""
    seen: dict[Item, Touched] = {}
    for call in record.firmware_calls:
        for one, found in _asked(call):
            seen.setdefault(one, Touched()).note(call.repeats, call.status, found=found)
    for structure in record.consumed.structures if record.consumed is not None else ():
        for one, times in _read(structure, tables):
            known = seen.setdefault(one, Touched())
            if one.kind is not Kind.SERVICE or not known.times:
                known.note(times, found=True)
    return seen


def _asked(call: FirmwareCall) -> Iterator[tuple[Item, bool]]:
    """Items that a call touches, and whether they were there."""
    args = {one.name: one.value for one in call.args} | {one.name: one.value for one in call.results}
    there = call.status in ANSWERED
    yield from _named(Kind.SERVICE, call.service, True)
    if call.service in LOOKUPS and args.get("Protocol", "NULL") != "NULL":
        yield from _named(Kind.PROTOCOL, args["Protocol"], there)
    if call.service == "BootServices.LocateDevicePath":  # it walks over the paths of all handles (7.3.8)
        yield Item(Kind.PROTOCOL, guid_name(EFI_DEVICE_PATH_PROTOCOL_GUID)), there
    variable = call.service == "RuntimeServices.GetVariable"
    if variable or (call.service == "RuntimeServices.GetNextVariableName" and call.status == "EFI_SUCCESS"):
        name = args.get("VariableName", "").strip("'")
        yield from _named(Kind.VARIABLE, f"{args.get('VendorGuid', '')}:{name}", there)


def _named(kind: Kind, name: str, there: bool) -> Iterator[tuple[Item, bool]]:
    """Guests may ask for names that no profile can hold; they are not in the firmware either. Nor are calls of a BIOS."""
    try:
        yield item(kind, name), there
    except ProfileError:
        return


def _read(structure: Consumption, tables: Sequence[Item]) -> Iterator[tuple[Item, int]]:
    table = TABLES.get(structure.structure)
    if table is not None:
        for use in structure.fields:
            name = f"{table}.{use.name}"
            if use.reads and (name in FIELDS or name in FUNCTIONS):
                yield Item(Kind.FIELD if name in FIELDS else Kind.SERVICE, name), use.reads
        whole = sum(use.times for use in structure.whole if not use.write)
        if whole:  # who reads all of a table does it for its checksum
            yield Item(Kind.FIELD, f"{table}.CRC32"), whole
    for number, one in enumerate(tables):
        if structure.structure == f"{ConfigurationTable.NAME}[{number}]":
            reads = sum(use.reads for use in structure.fields if use.name == "VendorTable")
            if reads:
                yield one, reads


def observed_profile(plan: Plan, record: Record, registry: Registry) -> Profile:
    """The firmware as one run saw it: what was not asked for is absent, what always failed alike fails so at once.

    Raises what `offered` raises, and ProfileError for a record without observers.
    """
    if record.consumed is None:
        raise ProfileError("without observers, reads are not recorded", hint="drop --no-observers")
    there = offered(plan, registry)
    seen = touched(record, [one for one in there if one.kind is Kind.TABLE])
    answers = {one: _answer(one, known) for one, known in seen.items() if one.kind is not Kind.SERVICE or known.times}
    image = record.image.version or record.image.path
    return Profile(
        name="observed",
        summary=f"what {image} asked for on {plan.route}, up to {record.outcome.reached}"[:1024],
        vendor=plan.option("shim.vendor") or None,
        defaults=tuple(sorted((kind, ABSENT) for kind in Kind)),
        answers=tuple(sorted(answers.items())),
    )


def _answer(one: Item, known: Touched) -> str:
    if one.kind in (Kind.PROTOCOL, Kind.VARIABLE):
        return PRESENT if known.found else ABSENT
    if one.kind is Kind.SERVICE and one.name not in LOOKUPS and one.name != "RuntimeServices.GetVariable":
        failed = known.statuses[0] if len(known.statuses) == 1 else ""
        if failed and failed not in ANSWERED:
            try:
                return checked_answer(one, failed)
            except ProfileError:
                return PRESENT
    return PRESENT
