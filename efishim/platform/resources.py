"""Names for ports, memory ranges and MSRs, by which the ledger groups accesses whether or not a device is present.

Ports: the fixed assignments of the ISA bus as PIIX3 (290550) and its predecessors decode them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass, replace

from efishim.wire import kvm, xen

Span = tuple[int, int]
"""First and last, both included."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A device, or the place where a PC may have one."""

    name: str
    summary: str
    ports: tuple[Span, ...] = ()
    mmio: tuple[Span, ...] = ()
    msrs: tuple[Span, ...] = ()
    hypercalls: tuple[tuple[int, str], ...] = ()
    """Numbers and names of the calls that a hypervisor has."""
    present: bool = False


class Owners:
    """Whose a port, an address or an MSR is; the first in the list where two devices have it. Only spans of one kind are
    looked at: a kernel that searches empty memory reads thousands of addresses.
    """

    def __init__(self, resources: Collection[Resource]) -> None:
        self._ports = _Spans([(first, last, resource) for resource in resources for first, last in resource.ports])
        self._mmio = _Spans([(first, last, resource) for resource in resources for first, last in resource.mmio])
        self._msrs = _Spans([(first, last, resource) for resource in resources for first, last in resource.msrs])
        self.hypervisor = next((resource for resource in resources if resource.present and resource.hypercalls), None)
        """Who answers hypercalls."""

    def port(self, port: int) -> Resource | None:
        """The device of a port."""
        return self._ports.owner(port)

    def mmio(self, address: int) -> Resource | None:
        """The device of a physical address."""
        return self._mmio.owner(address)

    def msr(self, msr: int) -> Resource | None:
        """The device of an MSR."""
        return self._msrs.owner(msr)


class _Spans:
    """Spans cut where another begins or ends, so that one search finds whose a number is."""

    def __init__(self, spans: list[tuple[int, int, Resource]]) -> None:
        self._starts = sorted({start for first, last, _ in spans for start in (first, last + 1)})
        self._owners = [
            next((resource for first, last, resource in spans if first <= start <= last), None) for start in self._starts
        ]

    def owner(self, number: int) -> Resource | None:
        """The first of the list that has it."""
        at = bisect_right(self._starts, number)
        return self._owners[at - 1] if at else None


PC_RESOURCES: tuple[Resource, ...] = (
    Resource("PIC", "8259A interrupt controllers", ports=((0x20, 0x21), (0xA0, 0xA1), (0x4D0, 0x4D1))),
    Resource("PIT", "8254 timer and port 0x61", ports=((0x40, 0x43), (0x61, 0x61))),
    Resource("i8042", "keyboard controller", ports=((0x60, 0x60), (0x64, 0x64))),
    Resource("CMOS", "MC146818 clock and CMOS RAM", ports=((0x70, 0x71),)),
    Resource("DMA", "8237 controllers and page registers", ports=((0x00, 0x0F), (0x81, 0x8F), (0xC0, 0xDF))),
    Resource("delay", "POST code port 0x80 and 0xed, written to pass time", ports=((0x80, 0x80), (0xED, 0xED))),
    Resource("A20", "port 0x92: A20 gate and fast reset", ports=((0x92, 0x92),)),
    Resource("FPU", "coprocessor error latch", ports=((0xF0, 0xF1),)),
    Resource("serial", "16550A at COM1", ports=((0x3F8, 0x3FF),)),
    Resource("serial2", "COM2 to COM4", ports=((0x2F8, 0x2FF), (0x3E8, 0x3EF), (0x2E8, 0x2EF))),
    Resource("parallel", "printer ports", ports=((0x378, 0x37F), (0x278, 0x27F), (0x3BC, 0x3BF))),
    Resource("IDE", "disk controllers", ports=((0x1F0, 0x1F7), (0x3F6, 0x3F6), (0x170, 0x177), (0x376, 0x376))),
    Resource("floppy", "floppy controller", ports=((0x3F0, 0x3F5), (0x3F7, 0x3F7))),
    Resource("VGA", "display registers and memory", ports=((0x3B0, 0x3BB), (0x3C0, 0x3DF)), mmio=((0xA0000, 0xBFFFF),)),
    Resource("ROM", "option ROMs and BIOS", mmio=((0xC0000, 0xFFFFF),)),
    Resource("PCI", "configuration mechanism #1", ports=((0xCF8, 0xCF8), (0xCFA, 0xCFF))),
    Resource("reset", "reset control", ports=((0xCF9, 0xCF9),)),
    Resource("ACPI", "PM1a registers and PM timer", ports=((0x600, 0x60B), (0xB000, 0xB00B), (0xB2, 0xB3))),
    Resource("IOAPIC", "I/O APIC", mmio=((0xFEC0_0000, 0xFEC0_0FFF),)),
    Resource("HPET", "high precision event timer", mmio=((0xFED0_0000, 0xFED0_03FF),)),
    Resource("APIC", "local APIC", mmio=((0xFEE0_0000, 0xFEE0_0FFF),), msrs=((0x1B, 0x1B), (0x800, 0x8FF))),
    Resource(
        "MTRR",
        "memory type range registers and PAT",
        msrs=((0xFE, 0xFE), (0x200, 0x21F), (0x250, 0x250), (0x258, 0x259), (0x268, 0x26F), (0x277, 0x277), (0x2FF, 0x2FF)),
    ),
    Resource("MCE", "machine check", msrs=((0x179, 0x17B), (0x400, 0x47F))),
    Resource("TSC", "time stamp counter", msrs=((0x10, 0x10), (0x3B, 0x3B), (0x6E0, 0x6E0), (0xC000_0103, 0xC000_0103))),
    Resource(
        "Xen",
        "the hypercall page's register, and hypercalls",
        msrs=((0x4000_0000, 0x4000_00FF),),
        hypercalls=tuple((call.value, call.name.lower()) for call in xen.Call),
    ),
    Resource(
        "KVM",
        "registers of clock and wall clock, and hypercalls",
        msrs=((0x11, 0x12), (0x4B56_4D00, 0x4B56_4DFF)),
        hypercalls=tuple((call.value, call.name.lower()) for call in kvm.Call),
    ),
    Resource("microcode", "update and signature", msrs=((0x17, 0x17), (0x79, 0x79), (0x8B, 0x8B))),
)


def hypercall_name(known: Collection[Resource], number: int, operation: int) -> str:
    """A hypercall as the machine's hypervisor calls it, with its operation's number: `memory_op.9`; `0x63` if it is unknown."""
    for resource in known:
        if resource.present and number in dict(resource.hypercalls):
            return f"{dict(resource.hypercalls)[number]}.{operation}"
    return f"{number:#x}"


def resources(present: Collection[str]) -> tuple[Resource, ...]:
    """The list with the named ones marked as present. Raises KeyError for a name that is not in it."""
    unknown = set(present) - {resource.name for resource in PC_RESOURCES}
    if unknown:
        raise KeyError(", ".join(sorted(unknown)))
    return tuple(replace(resource, present=resource.name in present) for resource in PC_RESOURCES)
