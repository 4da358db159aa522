"""Reads `--fail SERVICE[:N[+]]=STATUS`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from efishim.closest import alternatives
from efishim.errors import UsageError
from efishim.firmware.calling.status import Status
from efishim.firmware.catalogue import FUNCTIONS, WITHOUT_STATUS
from efishim.injection import DEVICE, MEMORY, Fault
from efishim.wire import kvm
from efishim.wire.xen import Call, Errno

FAULT_LIMIT = 64
"""Most faults of one run."""
SHOWN = 80

_FORM = re.compile(r"^(?P<service>[^=]+?)(?::(?P<number>[0-9]{1,9})(?P<onwards>\+)?)?=(?P<status>[^=]+)$", re.ASCII)
_BIOS = re.compile(r"^int (?P<vector>13|15|1A)h/[0-9A-F]{2}(?:[0-9A-F]{2})?$", re.ASCII)
_HYPERCALL = re.compile(r"^(?P<name>[a-z0-9_]+)(?:\.(?P<operation>[0-9]{1,9}))?$", re.ASCII)
_STATUSES = {f"EFI_{one.name}": int(one) for one in Status}
_ERRORS = {one.name: -int(one) for one in Errno}
_KVM_ERRORS = {one.name: -int(one) for one in kvm.Errno}
_KVM_CALLS = frozenset(call.name.lower() for call in kvm.Call)
_HYPERCALLS = frozenset(call.name.lower() for call in Call)
NO_ANSWER = "NO_ANSWER"
"""What comes of a device: reads give all ones, and writes are lost."""


def parse_faults(texts: Iterable[str], more: Collection[str] = ()) -> tuple[Fault, ...]:
    """Faults in the order in which they were given; `more` are functions that plugins bring. Raises UsageError."""
    faults = tuple(dict.fromkeys(parse_fault(text, more) for text in texts))
    if len(faults) > FAULT_LIMIT:
        raise UsageError(f"{len(faults)} faults are more than the {FAULT_LIMIT} that one run takes")
    return faults


def parse_fault(text: str, more: Collection[str] = ()) -> Fault:
    """`BootServices.AllocatePages:3=EFI_OUT_OF_RESOURCES`, `memory:5+=EFI_OUT_OF_RESOURCES`, `int 15h/E820=86` (AH, with carry
    set), `memory_op.9:2=EINVAL`, `send_ipi=ENOSYS` for KVM, `device CMOS:4+=NO_ANSWER`. The table of a service and the EFI_
    of a status may be left out. Raises UsageError.
    """
    match = _FORM.match(text)
    if match is None:
        raise UsageError(
            f"{text[:SHOWN]!r} is not a fault", hint="write it like --fail BootServices.GetMemoryMap:2=EFI_INVALID_PARAMETER"
        )
    number = int(match["number"] or 1)
    if number == 0:
        raise UsageError(f"calls are counted from 1, and {text[:SHOWN]!r} names number 0")
    service, status, code = _answer(match["service"], match["status"], more)
    return Fault(service, number, bool(match["onwards"]), status, code)


def is_efi(service: str) -> bool:
    """Is it a service of EFI firmware, and none of a BIOS or a hypervisor?"""
    return service == MEMORY or ("." in service and not _is_hypercall(service) and not service.startswith(DEVICE))


def is_bios(service: str) -> bool:
    """Is it a call of a BIOS?"""
    return _BIOS.match(service) is not None


def _is_hypercall(service: str) -> bool:
    match = _HYPERCALL.match(service)
    return match is not None and match["name"] in _HYPERCALLS


def _answer(service: str, status: str, more: Collection[str]) -> tuple[str, str, int]:
    """The full names of service and status, and the status as a number."""
    if _BIOS.match(service):
        if re.fullmatch(r"[0-9A-Fa-f]{2}", status, re.ASCII) is None:
            raise UsageError(
                f"{service} fails with two hexadecimal digits in AH, and {status[:SHOWN]!r} is none", hint="86 is usual"
            )
        return service, status.upper(), int(status, 16)
    if service.startswith(DEVICE):
        if status != NO_ANSWER:
            raise UsageError(f"a device fails with {NO_ANSWER}, and {status[:SHOWN]!r} is something else")
        return service, status, 0
    if service in _KVM_CALLS:
        return service, status.removeprefix("-"), _known(status.removeprefix("-"), _KVM_ERRORS, "an error of KVM's")
    if _is_hypercall(service):
        name = status.removeprefix("-")
        return service, name, _known(name, _ERRORS, "an error of Xen's")
    full = service if service == MEMORY else _full_name(service, (*FUNCTIONS, *more))
    if full in WITHOUT_STATUS:
        raise UsageError(f"{full} returns no status, so it cannot fail")
    name = status if status.startswith("EFI_") else f"EFI_{status}"
    return full, name, _known(name, _STATUSES, "a status")


def _known(name: str, known: dict[str, int], what: str) -> int:
    if name not in known:
        raise UsageError(f"{name[:SHOWN]!r} is not {what}", hint=_did_you_mean(name, known) or f"such as {next(iter(known))}")
    return known[name]


def _full_name(service: str, known: Collection[str]) -> str:
    if service in known:
        return service
    same = [name for name in known if name.partition(".")[2] == service]
    if len(same) == 1:
        return same[0]
    if same:
        raise UsageError(f"{service} is a function of several tables", hint=f"write {' or '.join(sorted(same))}")
    others = [*known, *(name.partition(".")[2] for name in known), *_HYPERCALLS, *_KVM_CALLS, MEMORY]
    hint = _did_you_mean(service, others) or "write it like BootServices.GetMemoryMap, int 15h/E820 or memory_op.9"
    raise UsageError(f"there is no service {service[:SHOWN]!r}", hint=hint)


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = alternatives(word, known, most=3, likeness=0.8)
    return f"did you mean {' or '.join(near)}?" if near else ""
