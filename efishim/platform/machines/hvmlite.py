"""The platform `hvmlite`: a Xen 4.17 PVH guest (HVMlite, PVHv2) that is not the hardware domain.

No PIC, PIT, VGA, i8042, RTC, PCI or SMBIOS; a local APIC, hypercalls, event channels, and the memory map and ACPI tables of
libxl. Which devices: emulation_flags in tools/libs/light/libxl_x86.c; the memory map: domain_construct_memmap() there;
special pages: tools/libs/guest/xg_dom_x86.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from efishim.machine.cpu import Board
from efishim.machine.memory import PAGE
from efishim.memory_range import MemoryKind
from efishim.platform.definition import Feature, PlatformDefinition, PlatformFacts, PlatformOptions
from efishim.platform.devices.cpuid import INVARIANT_TSC, ZERO, CpuidModel, pc_cpuid
from efishim.platform.machines import builder as parts
from efishim.platform.machines.builder import MachineBuilder
from efishim.platform.tables import acpi
from efishim.platform.xen.acpi import ACPI_INFO, XenTables, build_tables
from efishim.platform.xen.console import ConsoleRing
from efishim.platform.xen.hypervisor import HYPERCALL_MSR, Hypervisor, Parts, cpuid_leaves
from efishim.platform.xen.interrupts import XenInterrupts
from efishim.platform.xen.store import StoreRing
from efishim.wire import xen as abi

SPECIAL_PAGES, SPECIAL_COUNT, STORE_PAGE, CONSOLE_PAGE = 0xFEFF_8000, 8, 4, 7

HVMLITE_FEATURES: tuple[Feature, ...] = (
    Feature("serial", "a 16550A serial port at COM1, which Xen does not provide; polled unless there is an I/O APIC"),
    Feature("xen_console", "the paravirtual console, hvc0 in Linux"),
    Feature("xenstore", "xenstore, with nothing in it but the guest's own home"),
    Feature("upcall_vector", "CPUID leaf 0x40000004 offers an upcall vector for each processor"),
    Feature("ioapic", "an I/O APIC, which on Xen only the hardware domain has", 0),
    Feature("acpi", "ACPI tables"),
    Feature("mtrr", "memory type range registers"),
    Feature("fadt_no_vga", "FADT flag VGA Not Present"),
    Feature("fadt_no_8042", "FADT reports no 8042 keyboard controller"),
    Feature("fadt_no_rtc", "FADT flag CMOS RTC Not Present"),
    Feature("fadt_hw_reduced", "FADT flag Hardware-Reduced ACPI, which Xen does not set for its guests", 0),
    Feature("invariant_tsc", "CPUID reports an invariant TSC; Xen hides it from guests that may migrate", 0),
    Feature("tsc_leaf", "CPUID leaves 0x15 and 0x16 report the frequencies; Xen hides them", 0),
    Feature("rdrand", "the RDRAND instruction"),
    Feature("bios_area", "no RAM between 0xa0000 and 0xfffff, and the ACPI anchor at 0xf0000, as a BIOS leaves them", 0),
    Feature("low_ram_mib", "maximum RAM below 4 GiB, in MiB", 3072, 3072),
)


def xen_cpuid(tsc_hz: int, features: Mapping[str, int]) -> CpuidModel:
    """The processor of `pc` with Xen's leaves, and without what Xen hides from its guests."""
    model = pc_cpuid(
        tsc_hz,
        tsc_leaf=bool(features["tsc_leaf"]),
        rdrand=bool(features["rdrand"]),
        hypervisor=True,
        mtrr=bool(features["mtrr"]),
    )
    leaves, subleaves = cpuid_leaves(tsc_hz, upcall_vector=bool(features["upcall_vector"]))
    hidden = {0x06: ZERO, 0x8000_0007: (0, 0, 0, INVARIANT_TSC if features["invariant_tsc"] else 0)}
    return CpuidModel({**model.leaves, **hidden, **leaves}, {**model.subleaves, **subleaves})


def add_hypervisor(builder: MachineBuilder, interrupts: XenInterrupts) -> Hypervisor:
    """Hypercalls and the MSR of their page. Halting with interrupts off powers the domain off (hvm_vcpu_down())."""
    board, options = builder.board, builder.options
    xen = Hypervisor(Parts(board, interrupts, options.epoch, lambda: builder.sorted_map, options.console))
    board.hypercall = xen.hypercall
    board.dead_halt = "shutdown"
    assert builder.msrs is not None
    builder.msrs.handle(HYPERCALL_MSR, xen.read_msr, xen.write_msr)
    builder.present.add("Xen")
    return xen


def add_special_pages(builder: MachineBuilder, xen: Hypervisor) -> None:
    """The pages that the toolstack shares with its guest. What is left out has zero for its parameters."""
    builder.add_page_range(SPECIAL_PAGES, SPECIAL_COUNT * PAGE, MemoryKind.RESERVED, "special pages")
    memory, params = builder.board.memory, xen.hvm.params
    if builder.has("xenstore"):
        address = SPECIAL_PAGES + STORE_PAGE * PAGE
        store = StoreRing(memory, address)
        params[abi.PARAM_STORE_PFN], port = address // PAGE, xen.events.open_backend(store.serve)
        params[abi.PARAM_STORE_EVTCHN] = port
        store.notify = partial(xen.events.notify, port)
    if builder.has("xen_console"):
        address = SPECIAL_PAGES + CONSOLE_PAGE * PAGE
        console = ConsoleRing(memory, address, builder.options.console)
        params[abi.PARAM_CONSOLE_PFN], port = address // PAGE, xen.events.open_backend(console.drain)
        params[abi.PARAM_CONSOLE_EVTCHN] = port
        console.notify = partial(xen.events.notify, port)


def add_acpi(builder: MachineBuilder) -> None:
    """The info page, the tables behind it with the FACS, and the RSDP at their start."""
    if not builder.has("acpi"):
        return
    config = XenTables(
        serial=builder.has("serial"),
        ioapic=builder.has("ioapic"),
        no_vga=builder.has("fadt_no_vga"),
        no_8042=builder.has("fadt_no_8042"),
        no_rtc=builder.has("fadt_no_rtc"),
        hw_reduced=builder.has("fadt_hw_reduced"),
    )
    facs, tables = ACPI_INFO + PAGE, ACPI_INFO + PAGE + 64
    image = build_tables(config, tables, facs)
    builder.add_page_range(ACPI_INFO, 2 * PAGE + len(image), MemoryKind.ACPI_RECLAIMABLE, "ACPI tables")
    builder.board.memory.write(facs, acpi.build_facs())
    builder.board.memory.write(tables, image)
    builder.rsdp = tables


def build_hvmlite(board: Board, options: PlatformOptions, features: Mapping[str, int]) -> PlatformFacts:
    """Every part in its place."""
    interrupts = XenInterrupts(board, board.tsc_hz)
    builder = parts.begin(board, options, features, xen_cpuid(board.tsc_hz, features), interrupts)
    parts.add_memory(builder, legacy_hole=builder.has("bios_area"))
    parts.add_msrs(builder)
    parts.add_serial(builder)
    xen = add_hypervisor(builder, interrupts)
    add_acpi(builder)
    add_special_pages(builder, xen)
    if builder.has("bios_area"):
        parts.add_system_rom(builder)
    return builder.facts("hvmlite")


HVMLITE = PlatformDefinition(
    "hvmlite",
    "a Xen 4.17 PVH guest: hypercalls, event channels, local APIC, ACPI as libxl makes it; no legacy devices, no PCI",
    HVMLITE_FEATURES,
    build_hvmlite,
)
