"""The platform `pc`: bare metal without display, keyboard or disks."""

from __future__ import annotations

from collections.abc import Mapping

from efishim.machine.cpu import Board
from efishim.platform.definition import Feature, PlatformDefinition, PlatformFacts, PlatformOptions
from efishim.platform.devices.cpuid import pc_cpuid
from efishim.platform.machines import builder as parts
from efishim.platform.machines.builder import MachineBuilder

PC_FEATURES: tuple[Feature, ...] = (
    Feature("serial", "a 16550A serial port at COM1"),
    Feature("pic", "the 8259A interrupt controllers"),
    Feature("pit", "the 8254 timer, port 0x61 and the A20 gate"),
    Feature("rtc", "the MC146818 clock and its CMOS RAM"),
    Feature("pci", "PCI configuration space with a host bridge"),
    Feature("acpi", "ACPI tables"),
    Feature("smbios", "SMBIOS structures"),
    Feature("mtrr", "memory type range registers"),
    Feature("fadt_no_vga", "FADT flag VGA Not Present; with 0, the PCI root also claims the VGA memory window"),
    Feature("fadt_no_rtc", "FADT flag CMOS RTC Not Present, and no RTC in the DSDT", 0),
    Feature("fadt_hw_reduced", "hardware-reduced ACPI: sleep registers instead of PM1a, SCI and PM timer", 0),
    Feature("tsc_leaf", "CPUID leaves 0x15 and 0x16 report the frequencies; with 0, the guest has to calibrate"),
    Feature("rdrand", "the RDRAND instruction"),
    Feature("hypervisor", "CPUID's hypervisor bit, without a hypervisor", 0),
    Feature("bios_area", "ACPI and SMBIOS anchors in read-only memory at 0xf0000, as a BIOS leaves them", 0),
    Feature("low_ram_mib", "maximum RAM below 4 GiB, in MiB", 3072, 3072),
)


def build_pc(board: Board, options: PlatformOptions, features: Mapping[str, int]) -> PlatformFacts:
    """Every part in its place."""
    cpuid = pc_cpuid(
        board.tsc_hz,
        tsc_leaf=bool(features["tsc_leaf"]),
        rdrand=bool(features["rdrand"]),
        hypervisor=bool(features["hypervisor"]),
        mtrr=bool(features["mtrr"]),
    )
    builder = parts.begin(board, options, features, cpuid)
    add_machine(builder, "pc")
    return builder.facts("pc")


def add_machine(builder: MachineBuilder, product: str) -> None:
    """Everything around the processor, for platforms that differ from `pc` in their processor alone."""
    parts.add_memory(builder)
    parts.add_msrs(builder)
    parts.add_isa_devices(builder)
    parts.add_pci(builder)
    parts.add_acpi(builder)
    parts.add_smbios(builder, product)
    parts.add_system_rom(builder)


PC = PlatformDefinition(
    "pc", "bare metal: EFI firmware, serial console, ACPI; no display, keyboard or disks", PC_FEATURES, build_pc
)
