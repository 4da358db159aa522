"""One firmware call, EFI or BIOS, as listed in the `firmware_calls` of a record."""

from __future__ import annotations

from dataclasses import dataclass

LOG_LIMIT = 100_000
"""Most calls that are kept; the rest is counted."""

SHOWN_STRING = 256
"""Longest string in the log, characters."""

LOOKUPS = frozenset(
    f"BootServices.{name}"
    for name in ("LocateProtocol", "HandleProtocol", "OpenProtocol", "LocateHandle", "LocateHandleBuffer", "LocateDevicePath")
)
"""Services that find a protocol, or a handle that has one (UEFI 2.10, section 7.3)."""

Shown = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class LoggedCall:
    """One call. `args` and `results` are (name, value) in the order of the parameters, `insns` the guest's
    instruction count at the call, `caller` the return address, `depth` the number of calls it is nested in.
    """

    service: str
    args: Shown
    status: str
    insns: int
    caller: int
    results: Shown = ()
    depth: int = 0
    overridden: bool = False
    """The answer came from a profile and not from the firmware itself."""
    injected: bool = False
    """The call failed because the run was asked to make it fail."""
    repeats: int = 1
    """How many such calls were made in a row: polling that gets the same answer is kept as one entry."""
