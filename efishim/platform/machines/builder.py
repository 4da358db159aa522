"""Builds a PC: each function adds one component to the board and describes it in the platform facts.

Platform definitions call these functions and pass a `MachineBuilder` between them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from efishim import __version__
from efishim.errors import UsageError
from efishim.machine.cpu import Board
from efishim.machine.memory import PAGE
from efishim.memory_range import MemoryKind, MemoryRange
from efishim.platform.definition import GIB, MIB, PlatformFacts, PlatformOptions
from efishim.platform.devices.acpi_hw import PM_BASE, PM_SIZE, SCI_IRQ, AcpiPm, SleepRegisters
from efishim.platform.devices.cpuid import SIGNATURE, CpuidModel, brand_string
from efishim.platform.devices.interrupts import PcInterrupts
from efishim.platform.devices.ioapic import IOAPIC_BASE
from efishim.platform.devices.lapic import APIC_PHYSICAL_BASE
from efishim.platform.devices.msr import MsrFile, pc_msrs
from efishim.platform.devices.pci import RESET_PORT, PciConfig, Port92, ResetControl, host_bridge
from efishim.platform.devices.pit import Pit, Port61
from efishim.platform.devices.rtc import Rtc
from efishim.platform.devices.uart import Uart
from efishim.platform.resources import resources
from efishim.platform.tables import acpi, smbios
from efishim.platform.tables.dsdt import COM1_IRQ, COM1_PORT, RTC_IRQ, RTC_PORT, DsdtContents

LEGACY_HOLE, FIRST_MEGABYTE = 0xA_0000, 0x10_0000
SYSTEM_ROM, BIOS_AREA = 0xE_0000, 0xF_0000
PCI_HOLE, PCI_HOLE_END = 0xC000_0000, 0xFEBF_FFFF
"""Where 32-bit PCI memory may be: from 3 GiB to below the I/O APIC."""
SMALLEST_RAM, LARGEST_RAM = 16 * MIB, 512 * GIB


@dataclass
class MachineBuilder:
    """A machine under construction."""

    board: Board
    options: PlatformOptions
    features: Mapping[str, int]
    interrupts: PcInterrupts
    cpuid: CpuidModel
    low_ram: int = 0
    high_ram: int = 0
    memory_map: list[MemoryRange] = field(default_factory=list)
    present: set[str] = field(default_factory=set)
    console: Uart | None = None
    rtc: Rtc | None = None
    pit: Pit | None = None
    msrs: MsrFile | None = None
    rsdp: int | None = None
    smbios: int | None = None

    def has(self, feature: str) -> bool:
        """Is a feature switched on?"""
        return bool(self.features[feature])

    def reset(self) -> None:
        """The reset line was asserted."""
        self.board.stop("reset")

    def power_off(self) -> None:
        """The machine went to S5."""
        self.board.stop("shutdown")

    def add_page_range(self, start: int, size: int, kind: MemoryKind, content: str) -> None:
        """Memory of its own at a fixed address, in whole pages."""
        size = -(-size // PAGE) * PAGE
        self.board.memory.add(start, size, name=content)
        self.memory_map.append(MemoryRange(start, size, kind, content))

    def take_top(self, size: int, kind: MemoryKind, content: str) -> int:
        """Cut whole pages off the end of the RAM below 4 GiB, and give their address."""
        size = -(-size // PAGE) * PAGE
        index = max(i for i, piece in enumerate(self.memory_map) if piece.kind is MemoryKind.RAM and piece.end <= 4 * GIB)
        ram = self.memory_map[index]
        start = ram.end - size
        self.memory_map[index] = MemoryRange(ram.start, ram.size - size, MemoryKind.RAM)
        self.memory_map.insert(index + 1, MemoryRange(start, size, kind, content))
        return start

    @property
    def sorted_map(self) -> tuple[MemoryRange, ...]:
        """The memory map so far, ascending."""
        return tuple(sorted(self.memory_map, key=lambda piece: piece.start))

    def facts(self, profile: str, held: tuple[MemoryRange, ...] = ()) -> PlatformFacts:
        """The finished machine. `held` is RAM that its EFI firmware keeps until boot services end."""
        return PlatformFacts(
            profile=profile,
            features=dict(self.features),
            memory_map=self.sorted_map,
            rsdp=self.rsdp,
            smbios=self.smbios,
            console=self.console,
            rtc=self.rtc,
            interrupts=self.interrupts,
            cpuid=self.cpuid,
            resources=resources(self.present),
            held=held,
        )


def begin(
    board: Board,
    options: PlatformOptions,
    features: Mapping[str, int],
    cpuid: CpuidModel,
    interrupts: PcInterrupts | None = None,
) -> MachineBuilder:
    """Processor and interrupt controllers: those of a PC, unless the profile brings its own.

    The local APIC's timer runs at the TSC's frequency, as leaf 0x15 says.
    """
    if interrupts is None:
        interrupts = PcInterrupts(board, board.tsc_hz, with_pic=bool(features["pic"]))
    board.interrupts = interrupts
    board.cpuid = cpuid
    board.mmio.attach(APIC_PHYSICAL_BASE, PAGE, interrupts.lapic, "APIC")
    builder = MachineBuilder(board, options, features, interrupts, cpuid)
    builder.present |= {"APIC", "TSC", "MCE", "microcode", "delay"}
    if features.get("ioapic", 1):
        board.mmio.attach(IOAPIC_BASE, PAGE, interrupts.ioapic, "IOAPIC")
        builder.present.add("IOAPIC")
    if interrupts.pic is not None:
        board.ports.attach(0x20, 2, interrupts.pic.master, "PIC")
        board.ports.attach(0xA0, 2, interrupts.pic.slave, "PIC")
        board.ports.attach(0x4D0, 2, interrupts.pic.elcr, "PIC")
        builder.present.add("PIC")
    return builder


def add_memory(builder: MachineBuilder, *, legacy_hole: bool = True) -> None:
    """RAM below the PCI hole and the rest from 4 GiB on; with a legacy hole, 0xa0000 to 0xdffff stays empty.

    Raises UsageError for a size that this machine cannot have.
    """
    size = builder.options.ram_bytes
    if not SMALLEST_RAM <= size <= LARGEST_RAM or size % MIB:
        raise UsageError(f"this platform takes whole MiB of memory from {SMALLEST_RAM >> 20} MiB to 512 GiB, not {size} bytes")
    low = min(size, builder.features["low_ram_mib"] * MIB)
    if not SMALLEST_RAM <= low <= PCI_HOLE:
        raise UsageError(f"platform.low_ram_mib takes 16 to {PCI_HOLE // MIB}")
    builder.low_ram, builder.high_ram = low, size - low
    memory = builder.board.memory
    pieces = [(0, LEGACY_HOLE, "conventional"), (FIRST_MEGABYTE, low, "extended")] if legacy_hole else [(0, low, "low")]
    for start, end, name in pieces:
        memory.add(start, end - start, name=name)
        builder.memory_map.append(MemoryRange(start, end - start, MemoryKind.RAM))
    if builder.high_ram:
        memory.add(4 * GIB, builder.high_ram, name="high")
        builder.memory_map.append(MemoryRange(4 * GIB, builder.high_ram, MemoryKind.RAM))


def add_msrs(builder: MachineBuilder) -> None:
    """The processor's model-specific registers."""
    hole = (PCI_HOLE, 4 * GIB - PCI_HOLE) if builder.has("mtrr") else None
    builder.msrs = pc_msrs(builder.interrupts.lapic, pci_hole=hole)
    builder.board.msrs = builder.msrs
    if hole is not None:
        builder.present.add("MTRR")


def add_isa_devices(builder: MachineBuilder, line: Callable[[int], Callable[[bool], None]] | None = None) -> None:
    """Timer, clock, serial port, A20 gate: what sits at fixed ports. `line` makes the interrupt lines of timer and clock when
    something else may take them.
    """
    board, irq = builder.board, line or builder.interrupts.line
    add_serial(builder)
    if builder.has("pit"):
        builder.pit = Pit(board.clock, board.now, irq(0))
        board.ports.attach(0x40, 4, builder.pit, "PIT")
        board.ports.attach(0x61, 1, Port61(builder.pit, board.now), "PIT")
        board.ports.attach(0x92, 1, Port92(builder.reset), "A20")
        builder.present |= {"PIT", "A20"}
    if builder.has("rtc"):
        ram = (builder.low_ram, builder.high_ram)
        builder.rtc = Rtc(board.clock, board.now, irq(RTC_IRQ), builder.options.epoch, ram)
        board.ports.attach(RTC_PORT, 2, builder.rtc, "CMOS")
        builder.present.add("CMOS")


def add_serial(builder: MachineBuilder) -> None:
    """The console."""
    if builder.has("serial"):
        builder.console = Uart(builder.options.console, builder.interrupts.line(COM1_IRQ))
        builder.board.ports.attach(COM1_PORT, 8, builder.console, "serial")
        builder.present.add("serial")


def add_pci(builder: MachineBuilder) -> None:
    """Configuration space with a host bridge, and the reset control in its middle."""
    reset = ResetControl(builder.reset)
    if builder.has("pci"):
        builder.board.ports.attach(0xCF8, 8, PciConfig({0: host_bridge()}, reset), "PCI")
        builder.present.add("PCI")
    else:
        builder.board.ports.attach(RESET_PORT, 1, reset, "reset")
    builder.present.add("reset")


def add_acpi(builder: MachineBuilder) -> None:
    """The fixed hardware (or the sleep registers that replace it) and the tables."""
    board = builder.board
    hw_reduced = builder.has("fadt_hw_reduced")
    if hw_reduced:
        board.ports.attach(PM_BASE, 2, SleepRegisters(builder.power_off), "ACPI")
    else:
        sci = builder.interrupts.line(SCI_IRQ)
        board.ports.attach(PM_BASE, PM_SIZE, AcpiPm(board.clock, board.now, sci, builder.power_off), "ACPI")
    builder.present.add("ACPI")
    if not builder.has("acpi"):
        return
    no_vga = builder.has("fadt_no_vga")
    config = acpi.AcpiConfig(
        devices=DsdtContents(
            serial=builder.has("serial"),
            rtc=builder.has("rtc") and not builder.has("fadt_no_rtc"),
            pci_window=(PCI_HOLE, PCI_HOLE_END) if builder.has("pci") else None,
            vga_window=not no_vga,
        ),
        hw_reduced=hw_reduced,
        pic=builder.has("pic"),
        no_vga=no_vga,
        no_rtc=builder.has("fadt_no_rtc"),
    )
    facs = builder.take_top(PAGE, MemoryKind.ACPI_NVS, "FACS")
    board.memory.write(facs, acpi.build_facs())
    size = len(acpi.build_tables(config, 0, facs))
    tables = builder.take_top(size, MemoryKind.ACPI_RECLAIMABLE, "ACPI tables")
    board.memory.write(tables, acpi.build_tables(config, tables, facs))
    builder.rsdp = tables


def add_smbios(builder: MachineBuilder, product: str) -> None:
    """Entry point and structures in a page of their own."""
    if not builder.has("smbios"):
        return
    hz = builder.board.tsc_hz
    _, _, _, edx = builder.cpuid(1, 0)
    config = smbios.SmbiosConfig(
        low_ram=builder.low_ram,
        high_ram=builder.high_ram,
        cpu_mhz=min(hz // 1_000_000, 0xFFFF),
        cpu_brand=brand_string(hz),
        cpu_signature=edx << 32 | SIGNATURE,
        product=product,
        firmware_version=__version__,
    )
    structures = smbios.build_structures(config)
    gap = 32  # the entry point, up to the next paragraph
    start = builder.take_top(gap + len(structures), MemoryKind.RESERVED, "SMBIOS")
    builder.board.memory.write(start, smbios.build_entry_point(start + gap, len(structures)))
    builder.board.memory.write(start + gap, structures)
    builder.smbios = start


def add_system_rom(builder: MachineBuilder) -> None:
    """0xe0000 to 0xfffff as read-only memory that holds nothing, so it reads all ones as the empty bus would.

    Every kernel searches here for MP, DMI or ACPI anchors, byte by byte; memory spares it a device access for each. With
    `bios_area` the last 64 KiB hold copies of the ACPI and SMBIOS anchors, where systems without EFI search (ACPI 6.5
    section 5.2.5.1, SMBIOS 3.0 section 5.2). Nothing can be executed there.
    """
    memory = builder.board.memory
    memory.add(SYSTEM_ROM, FIRST_MEGABYTE - SYSTEM_ROM, name="system rom", writable=False)
    memory.fill(SYSTEM_ROM, FIRST_MEGABYTE - SYSTEM_ROM, 0xFF)
    if not builder.has("bios_area"):
        return
    builder.memory_map.append(MemoryRange(BIOS_AREA, FIRST_MEGABYTE - BIOS_AREA, MemoryKind.RESERVED, "BIOS"))
    builder.present.add("ROM")
    if builder.rsdp is not None:
        memory.write(BIOS_AREA, memory.read(builder.rsdp, 36))
    if builder.smbios is not None:
        memory.write(BIOS_AREA + 0x40, memory.read(builder.smbios, 24))
