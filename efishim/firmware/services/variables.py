"""The variable store (UEFI 2.10, 8.2). It is not backed by flash and lasts for one run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from efishim.firmware.calling.status import EfiError, Status, demand
from efishim.wire.guids import EFI_GLOBAL_VARIABLE
from efishim.wire.uefi import LOAD_OPTION_ACTIVE, LoadOption

NON_VOLATILE, BOOTSERVICE_ACCESS, RUNTIME_ACCESS = 1, 2, 4
HARDWARE_ERROR_RECORD, AUTHENTICATED_WRITE_ACCESS = 8, 0x10
TIME_BASED_AUTHENTICATED_WRITE_ACCESS, APPEND_WRITE, ENHANCED_AUTHENTICATED_ACCESS = 0x20, 0x40, 0x80
KNOWN_ATTRIBUTES = 0xFF

MAXIMUM_SIZE = 0x8400
"""Largest variable, name and data together (EDK II's default for OVMF)."""

HEADER_SIZE = 60
"""What EDK II's store takes for each variable besides name and data."""

STORAGE = {True: 0xE000, False: 0x10000}
"""Bytes of the non-volatile and of the volatile store."""


@dataclass(frozen=True, slots=True)
class Variable:
    """A stored variable. `read_only` ones are the firmware's own (SecureBoot and its like)."""

    guid: str
    name: str
    attributes: int
    data: bytes
    read_only: bool = False

    @property
    def non_volatile(self) -> bool:
        """Which store it lies in."""
        return bool(self.attributes & NON_VOLATILE)

    @property
    def size(self) -> int:
        """Bytes of its store that it takes."""
        return HEADER_SIZE + 2 * (len(self.name) + 1) + len(self.data)


class VariableStore:
    """All variables, in the order of their creation, which GetNextVariableName follows."""

    def __init__(self) -> None:
        self._variables: dict[tuple[str, str], Variable] = {}

    def __iter__(self) -> Iterator[Variable]:
        return iter(tuple(self._variables.values()))

    def preset(self, variable: Variable) -> None:
        """What the firmware itself put there."""
        self._variables[variable.guid, variable.name] = variable

    def get(self, guid: str, name: str, *, at_runtime: bool) -> Variable:
        """A variable that is visible now. Raises EfiError(NOT_FOUND)."""
        variable = self._variables.get((guid, name))
        if variable is None or (at_runtime and not variable.attributes & RUNTIME_ACCESS):
            raise EfiError(Status.NOT_FOUND)
        return variable

    def after(self, guid: str, name: str, *, at_runtime: bool) -> Variable:
        """The variable that follows; the first one for an empty name. Raises EfiError: NOT_FOUND at the end,
        INVALID_PARAMETER when the given one does not exist (8.2.2).
        """
        visible = [v for v in self._variables.values() if not at_runtime or v.attributes & RUNTIME_ACCESS]
        if not name:
            index = 0
        else:
            keys = [(v.guid, v.name) for v in visible]
            demand((guid, name) in keys)
            index = keys.index((guid, name)) + 1
        demand(index < len(visible), Status.NOT_FOUND)
        return visible[index]

    def set(self, guid: str, name: str, attributes: int, data: bytes, *, at_runtime: bool) -> None:
        """SetVariable (8.2.3). Raises EfiError with the specified status."""
        demand(name and attributes & ~KNOWN_ATTRIBUTES == 0)
        access = attributes & (BOOTSERVICE_ACCESS | RUNTIME_ACCESS)
        demand(access != RUNTIME_ACCESS)
        if attributes & (AUTHENTICATED_WRITE_ACCESS | ENHANCED_AUTHENTICATED_ACCESS):
            raise EfiError(Status.UNSUPPORTED)  # the one is deprecated since 2.8, the other is optional
        if attributes & TIME_BASED_AUTHENTICATED_WRITE_ACCESS:
            raise EfiError(Status.SECURITY_VIOLATION)  # no key is enrolled that any data could be verified with
        demand(not attributes & HARDWARE_ERROR_RECORD)  # no store is kept for these, as in OVMF
        append = bool(attributes & APPEND_WRITE)
        attributes &= ~APPEND_WRITE
        old = self._variables.get((guid, name))
        if old is not None:
            hidden = at_runtime and not old.attributes & RUNTIME_ACCESS
            demand(not hidden and not old.read_only, Status.WRITE_PROTECTED)
            demand(not access or attributes == old.attributes)
        if not access or (not data and not append):
            self._delete(old, at_runtime=at_runtime)
            return
        if at_runtime:
            # Only what survives a reset and is visible now can be changed now (8.2.3).
            demand(old is None or old.non_volatile, Status.WRITE_PROTECTED)
            demand(attributes & RUNTIME_ACCESS and attributes & NON_VOLATILE)
        if append and not data:
            return
        before = old.data if old is not None and append else b""
        new = Variable(guid, name, attributes, before + data)
        demand(new.size - HEADER_SIZE <= MAXIMUM_SIZE)
        room = self.remaining(non_volatile=new.non_volatile) + (old.size if old else 0)
        demand(new.size <= room, Status.OUT_OF_RESOURCES)
        self._variables[guid, name] = new

    def _delete(self, old: Variable | None, *, at_runtime: bool) -> None:
        if old is None:
            raise EfiError(Status.NOT_FOUND)
        demand(old.non_volatile or not at_runtime, Status.WRITE_PROTECTED)
        del self._variables[old.guid, old.name]

    def remaining(self, *, non_volatile: bool) -> int:
        """Bytes left in a store."""
        used = sum(v.size for v in self._variables.values() if v.non_volatile == non_volatile)
        return max(0, STORAGE[non_volatile] - used)

    def space(self, attributes: int, *, at_runtime: bool) -> tuple[int, int, int]:
        """QueryVariableInfo (8.2.4): (storage, remaining, largest variable). Raises EfiError."""
        demand(attributes and attributes & ~KNOWN_ATTRIBUTES == 0)
        demand(attributes & BOOTSERVICE_ACCESS or not attributes & RUNTIME_ACCESS)
        demand(attributes & (BOOTSERVICE_ACCESS | RUNTIME_ACCESS))
        demand(not attributes & (AUTHENTICATED_WRITE_ACCESS | HARDWARE_ERROR_RECORD), Status.UNSUPPORTED)
        if at_runtime:
            demand(attributes & RUNTIME_ACCESS)
        non_volatile = bool(attributes & NON_VOLATILE)
        remaining = self.remaining(non_volatile=non_volatile)
        return STORAGE[non_volatile], remaining, max(0, min(MAXIMUM_SIZE, remaining) - HEADER_SIZE)


def firmware_variables(console: bytes, image: bytes) -> list[Variable]:
    """What a firmware comes with (3.3), as OVMF without Secure Boot keys does: in setup mode, one boot option.

    `console` and `image` are device paths. Variables for hot keys, drivers, recovery and signature types are left out:
    there are no such things here.
    """
    both = BOOTSERVICE_ACCESS | RUNTIME_ACCESS
    kept = both | NON_VOLATILE
    description = "efishim".encode("utf-16-le") + b"\0\0"
    option = LoadOption(Attributes=LOAD_OPTION_ACTIVE, FilePathListLength=len(image)).build() + description + image
    return [
        Variable(EFI_GLOBAL_VARIABLE, name, attributes, data, read_only)
        for name, attributes, data, read_only in (
            ("Boot0000", kept, option, False),
            ("BootOrder", kept, bytes(2), False),
            ("Timeout", kept, bytes(2), False),
            ("PlatformLang", kept, b"en\0", False),
            ("ConIn", kept, console, False),
            ("ConOut", kept, console, False),
            ("ErrOut", kept, console, False),
            ("ConInDev", both, console, False),
            ("ConOutDev", both, console, False),
            ("ErrOutDev", both, console, False),
            ("PlatformLangCodes", both, b"en\0", True),
            ("BootCurrent", both, bytes(2), True),
            ("BootOptionSupport", both, bytes(4), True),
            ("OsIndicationsSupported", both, bytes(8), True),
            ("SetupMode", both, b"\x01", True),
            ("SecureBoot", both, b"\x00", True),
        )
    ]
