"""The platform `pc-qemu`: QEMU's machine `pc` without KVM, as `efishim oracle` starts it, with SeaBIOS or OVMF.

Source: QEMU 7.2 (hw/i386/pc.c, pc_piix.c, acpi-build.c; target/i386/cpu.c), SeaBIOS 1.16 (src/fw/, src/post.c), OVMF
2022.11 (OvmfPkg/PlatformPei/MemDetect.c, OvmfPkg/OvmfPkgX64.fdf). What is told to the kernel is what QEMU tells, but
nothing is promised that is not there: docs/oracle.md lists what is left out. Addresses near the end of RAM are those of
512 MiB, moved with it.
"""

from __future__ import annotations

from collections.abc import Mapping

from efishim.errors import UsageError
from efishim.machine.cpu import Board
from efishim.machine.memory import PAGE
from efishim.memory_range import MemoryKind, MemoryRange
from efishim.platform.definition import EBDA, GIB, MIB, Feature, PlatformDefinition, PlatformFacts, PlatformOptions
from efishim.platform.devices.acpi_hw import (
    PM_BASE,
    PM_SIZE,
    SCI_IRQ,
    SMI_COMMAND,
    AcpiPm,
    GeneralPurposeEvents,
    SmiCommand,
)
from efishim.platform.devices.hpet import HPET_BASE, HPET_SIZE, Hpet, LegacyLines
from efishim.platform.devices.interrupts import PcInterrupts
from efishim.platform.devices.ioapic import WITH_EOI
from efishim.platform.devices.pci import RESET_PORT, PciConfig, ResetControl
from efishim.platform.devices.piix import functions
from efishim.platform.machines import builder as parts
from efishim.platform.machines.builder import MachineBuilder
from efishim.platform.machines.qemu_cpu import SIGNATURE, Hole, qemu_cpuid, qemu_msrs
from efishim.platform.tables import acpi, qemu_acpi, smbios

SPLIT, BELOW_4G = 3584 * MIB, 3072 * MIB
"""With SPLIT bytes of RAM or more, BELOW_4G of them lie below 4 GiB (hw/i386/pc_piix.c, pc_init1())."""
EBDA_START, CONVENTIONAL_END, ROM_START = 0x9_FC00, 0xA_0000, 0xF_0000
TABLES_SIZE = 128 << 10
"""What SeaBIOS keeps of the end of RAM for itself and the tables (src/malloc.c, malloc_preinit())."""
SEABIOS_FLASH, OVMF_FLASH = 0xFFFC_0000, 0xFFC0_0000
HYPERTRANSPORT, HYPERTRANSPORT_END = 0xFD_0000_0000, 0x100_0000_0000
"""Nothing can be there on AMD's processors with 40 address bits (hw/i386/pc.c, pc_memory_init())."""
RSDP_PLACE, SMBIOS_PLACE, STRUCTURES_PLACE = 0xF_59D0, 0xF_59F0, 0xF_5A10

OVMF_LEAST = 128 * MIB
OVMF_LOW_NVS = ((0x80_6000, 0x80_8000), (0x81_0000, 0x90_0000))
"""Work area of the reset vector and lock box; stack, heap and volume of the first phases, kept for waking up."""
OVMF_VOLUME = (0x90_0000, 0x150_0000)
"""The unpacked volume with the drivers, boot services data."""
OVMF_PM_BASE = 0xB000
GPE_BASE, GPE_LENGTH = 0xAFE0, 4
"""OvmfPkg/OvmfPkg.dec, PcdAcpiPmBaseAddress."""
OVMF_VARIABLES, OVMF_WAKE_UP = 0x10_C000, 0x8_8000
"""Before the end of RAM: store for variables (up to the next), memory of the first phases for waking up (to the end)."""
OVMF_START = 0xB1_4000
"""Before the end of RAM: from here to the variables lie the bins for memory that stays, and above them the drivers."""

SEABIOS = smbios.Maker("SeaBIOS", "04/01/2014", "QEMU")
OVMF = smbios.Maker("EFI Development Kit II / OVMF", "02/06/2015", "QEMU")
SEABIOS_VERSION, OVMF_VERSION = "1.16.2-debian-1.16.2-1", "0.0.0"
PRODUCT, PRODUCT_VERSION = "Standard PC (i440FX + PIIX, 1996)", "pc-i440fx-7.2"

PC_QEMU_FEATURES: tuple[Feature, ...] = (
    Feature("uefi", "memory, tables and MTRRs as OVMF leaves them, not SeaBIOS; a route on EFI firmware switches it on", 0),
    Feature("serial", "a 16550A serial port at COM1"),
    Feature("pic", "the 8259A interrupt controllers"),
    Feature("pit", "the 8254 timer, port 0x61 and the A20 gate"),
    Feature("rtc", "the MC146818 clock and its CMOS RAM"),
    Feature("hpet", "the high precision event timer"),
    Feature("pci", "82441FX, PIIX3 and the PIIX4's power management; no disk controller, no SMBus, no VGA"),
    Feature("acpi", "QEMU's ACPI tables, without GPEs, hot-plug, S3, S4 and the keyboard controller"),
    Feature("smbios", "SMBIOS 2.8 structures"),
    Feature("mtrr", "memory type range registers"),
    Feature("rdrand", "the RDRAND instruction, which QEMU's qemu64 does not have", 0),
    Feature("hypervisor", "CPUID's hypervisor bit and TCG's leaf"),
    Feature("bios_area", "SeaBIOS's ACPI and SMBIOS anchors in read-only memory; with 0 they lie at the end of RAM"),
    Feature("hypertransport", "the hole below 1 TiB of AMD's processors is reserved in SeaBIOS's memory map"),
)


def _add_memory(builder: MachineBuilder) -> None:
    """RAM, and what the firmware says about it. Raises UsageError for a size that this machine cannot have."""
    size = builder.options.ram_bytes
    least = OVMF_LEAST if builder.has("uefi") else parts.SMALLEST_RAM
    if not least <= size <= parts.LARGEST_RAM or size % MIB:
        raise UsageError(f"this platform takes whole MiB of memory from {least >> 20} MiB to 512 GiB, not {size} bytes")
    low = BELOW_4G if size >= SPLIT else size
    builder.low_ram, builder.high_ram = low, size - low
    memory = builder.board.memory
    memory.add(0, CONVENTIONAL_END, name="conventional")
    memory.add(MIB, low - MIB, name="extended")
    if builder.high_ram:
        memory.add(4 * GIB, builder.high_ram, name="high")
    pieces = _ovmf_map(low) if builder.has("uefi") else _seabios_map(builder, low)
    if builder.high_ram:
        pieces.append((4 * GIB, 4 * GIB + builder.high_ram, MemoryKind.RAM, ""))
    builder.memory_map += [MemoryRange(start, end - start, kind, content) for start, end, kind, content in pieces]


Piece = tuple[int, int, MemoryKind, str]


def _seabios_map(builder: MachineBuilder, low: int) -> list[Piece]:
    ram, reserved = MemoryKind.RAM, MemoryKind.RESERVED
    pieces = [
        (0, EBDA_START, ram, ""),
        (EBDA_START, CONVENTIONAL_END, reserved, EBDA),
        (ROM_START, MIB, reserved, "BIOS"),
        (MIB, low - TABLES_SIZE, ram, ""),
        (low - TABLES_SIZE, low, reserved, "SeaBIOS and ACPI tables"),
        (SEABIOS_FLASH, 4 * GIB, reserved, "flash"),
    ]
    if builder.has("hypertransport"):
        pieces.append((HYPERTRANSPORT, HYPERTRANSPORT_END, reserved, "HyperTransport"))
    return pieces


def _ovmf_map(low: int) -> list[Piece]:
    ram = MemoryKind.RAM
    pieces: list[Piece] = [(0, CONVENTIONAL_END, ram, "")]
    at = MIB
    for start, end in OVMF_LOW_NVS:
        pieces += [(at, start, ram, ""), (start, end, MemoryKind.ACPI_NVS, "first phases of OVMF")]
        at = end
    variables, wake_up = low - OVMF_VARIABLES, low - OVMF_WAKE_UP
    return [
        *pieces,
        (at, variables, ram, ""),
        (variables, wake_up, MemoryKind.RESERVED, "variables of OVMF and SMBIOS"),
        (wake_up, low, MemoryKind.ACPI_NVS, "first phases of OVMF and ACPI tables"),
        (OVMF_FLASH, 4 * GIB, MemoryKind.RESERVED, "flash"),
    ]


def _held(builder: MachineBuilder) -> tuple[MemoryRange, ...]:
    """What OVMF keeps until boot services end."""
    if not builder.has("uefi"):
        return ()
    low = builder.low_ram
    spans = (OVMF_VOLUME, (low - OVMF_START, low - OVMF_VARIABLES))
    return tuple(MemoryRange(start, end - start, MemoryKind.RAM, "OVMF") for start, end in spans)


def _add_processor(builder: MachineBuilder) -> None:
    ram = builder.low_ram
    # Where PCI memory begins: SeaBIOS, src/fw/pciinit.c, i440fx_mem_addr_setup(); OVMF takes the same.
    start = 0x8000_0000 if ram <= 0x8000_0000 else 0xC000_0000 if ram <= 0xC000_0000 else 0xE000_0000
    hole = Hole(start, 4 * GIB - start) if builder.has("mtrr") else None
    builder.msrs = qemu_msrs(builder.interrupts.lapic, hole=hole, rom_protected=not builder.has("uefi"))
    builder.board.msrs = builder.msrs
    if hole is not None:
        builder.present.add("MTRR")


def _pm_base(builder: MachineBuilder) -> int:
    return OVMF_PM_BASE if builder.has("uefi") else PM_BASE


def _add_chipset(builder: MachineBuilder) -> None:
    """PCI, the reset control register, and the PIIX4's power management ports with the port that hands them over."""
    board = builder.board
    reset = ResetControl(builder.reset)
    if builder.has("pci"):
        board.ports.attach(0xCF8, 8, PciConfig(functions(_pm_base(builder)), reset), "PCI")
        builder.present.add("PCI")
    else:
        board.ports.attach(RESET_PORT, 1, reset, "reset")
    sci = builder.interrupts.line(SCI_IRQ)
    pm = AcpiPm(board.clock, board.now, sci, builder.power_off, timer_bits=24, handed_over=False, s5=0)
    board.ports.attach(_pm_base(builder), PM_SIZE, pm, "ACPI")
    board.ports.attach(SMI_COMMAND, 2, SmiCommand(pm), "ACPI")
    # Not in the tables here, but in those of a QEMU whose memory is booted (hw/acpi/piix4.c, GPE_BASE).
    board.ports.attach(GPE_BASE, GPE_LENGTH, GeneralPurposeEvents(GPE_LENGTH), "ACPI")
    builder.present |= {"reset", "ACPI"}


def _add_rom(builder: MachineBuilder) -> None:
    """As on every platform, here with the firmware's own contents at SeaBIOS's places."""
    memory = builder.board.memory
    memory.add(parts.SYSTEM_ROM, MIB - parts.SYSTEM_ROM, name="system rom", writable=False)
    memory.fill(parts.SYSTEM_ROM, MIB - parts.SYSTEM_ROM, 0xFF)
    if not builder.has("uefi") and builder.has("bios_area"):
        builder.present.add("ROM")


def _add_tables(builder: MachineBuilder) -> None:
    """ACPI and SMBIOS: in RAM that the memory map does not call free, the anchors of SeaBIOS in the BIOS's area."""
    memory, low = builder.board.memory, builder.low_ram
    uefi, in_rom = builder.has("uefi"), builder.has("bios_area") and not builder.has("uefi")
    facs = low - (OVMF_WAKE_UP if uefi else TABLES_SIZE)
    if builder.has("acpi"):
        config = qemu_acpi.QemuTables(
            ram_end=low,
            pm_base=_pm_base(builder),
            high_start=-(-(4 * GIB + builder.high_ram) // GIB) * GIB,
            serial=builder.has("serial"),
            rtc=builder.has("rtc"),
            pci=builder.has("pci"),
            pic=builder.has("pic"),
            hpet=builder.has("hpet"),
        )
        memory.write(facs, qemu_acpi.build_facs())
        tables, rsdt, xsdt = qemu_acpi.build_tables(config, facs + 64, facs, xsdt=uefi)
        memory.write(facs + 64, tables)
        builder.rsdp = RSDP_PLACE if in_rom else low - PAGE
        rsdp = acpi.build_rsdp(rsdt, xsdt, qemu_acpi.BOCHS) if uefi else qemu_acpi.build_rsdp(rsdt)
        memory.write(builder.rsdp, rsdp)
    if builder.has("smbios"):
        structures = _structures(builder)
        start = SMBIOS_PLACE if in_rom else low - (OVMF_VARIABLES if uefi else 2 * PAGE)
        table = start + STRUCTURES_PLACE - SMBIOS_PLACE
        memory.write(start, smbios.build_entry_point_2(table, structures))
        memory.write(table, structures)
        builder.smbios = start


def _structures(builder: MachineBuilder) -> bytes:
    uefi = builder.has("uefi")
    _, _, _, edx = builder.cpuid(1, 0)
    config = smbios.SmbiosConfig(
        low_ram=builder.low_ram,
        high_ram=builder.high_ram,
        cpu_mhz=2000,
        cpu_brand=PRODUCT_VERSION,
        cpu_signature=edx << 32 | SIGNATURE,
        product=PRODUCT,
        firmware_version=OVMF_VERSION if uefi else SEABIOS_VERSION,
        uefi=uefi,
        machine_version=PRODUCT_VERSION,
        maker=OVMF if uefi else SEABIOS,
    )
    return smbios.build_structures(config)


def build_pc_qemu(board: Board, options: PlatformOptions, features: Mapping[str, int]) -> PlatformFacts:
    """Every part in its place."""
    rdrand, mtrr, hypervisor = (bool(features[name]) for name in ("rdrand", "mtrr", "hypervisor"))
    cpuid = qemu_cpuid(rdrand=rdrand, mtrr=mtrr, hypervisor=hypervisor)
    interrupts = PcInterrupts(board, board.tsc_hz, with_pic=bool(features["pic"]), ioapic_version=WITH_EOI)
    builder = parts.begin(board, options, features, cpuid, interrupts)
    _add_memory(builder)
    _add_processor(builder)
    legacy = LegacyLines(interrupts.line)
    parts.add_isa_devices(builder, legacy.device)
    if builder.has("hpet"):
        hpet = Hpet(board, legacy, interrupts.ioapic.set_line)
        board.mmio.attach(HPET_BASE, HPET_SIZE, hpet, "HPET")
        builder.present.add("HPET")
    _add_chipset(builder)
    _add_rom(builder)
    _add_tables(builder)
    return builder.facts("pc-qemu", held=_held(builder))


PC_QEMU = PlatformDefinition(
    "pc-qemu",
    "QEMU's machine `pc` without KVM, as `efishim oracle` starts it; no display, keyboard or disks",
    PC_QEMU_FEATURES,
    build_pc_qemu,
)
