"""ACPI tables of a PVH guest, as built by Xen's toolstack: tools/libacpi/build.c and static_tables.c,
tools/libs/light/libxl_x86_acpi.c, release 4.17.

The FADT names PM1a and GPE0 registers at QEMU's old ports although nothing answers there, and has no hardware-reduced flag;
an option sets it. There is no _S5: such a guest powers off by a hypercall, or by halting with interrupts off.
"""

from __future__ import annotations

from dataclasses import dataclass

from efishim.platform.devices.ioapic import IOAPIC_BASE
from efishim.platform.devices.lapic import APIC_PHYSICAL_BASE
from efishim.platform.tables import acpi, dsdt
from efishim.wire import acpi as wire
from efishim.wire.acpi import BootArch, FadtFlag

XEN = acpi.Identity(b"Xen", b"HVM", 0, b"HVML", 0)
ACPI_INFO = 0xFC00_0000
"""The toolstack's page of numbers for the DSDT; tables and RSDP follow in pages of their own."""
FADT_REVISION, FADT_SIZE = 5, 268
PM1A_EVENT, PM1A_CONTROL, GPE0, GPE0_LENGTH = 0xB000, 0xB004, 0xAFE0, 4
SCI = 9
USE_PLATFORM_CLOCK = 1 << 15
PCAT_COMPAT = 1


@dataclass(frozen=True)
class XenTables:
    """What the tables say; the flags are those of the FADT."""

    serial: bool
    ioapic: bool
    no_vga: bool = True
    no_8042: bool = True
    no_rtc: bool = True
    hw_reduced: bool = False


def _register(address: int, size: int) -> wire.GenericAddress:
    register = wire.GenericAddress()
    register.space_id = wire.GAS_IO
    register.bit_width = 8 * size
    register.address = address
    return register


def build_fadt(config: XenTables, facs: int, dsdt_address: int) -> bytes:
    """The FADT, revision 5."""
    fadt = wire.Fadt()
    fadt.dsdt = fadt.x_dsdt = dsdt_address
    fadt.sci_int = SCI
    fadt.p_lvl2_lat, fadt.p_lvl3_lat = 0x0FFF, 0x0FFF
    flags = FadtFlag.WBINVD | FadtFlag.PROC_C1 | FadtFlag.PWR_BUTTON | FadtFlag.SLP_BUTTON
    flags |= FadtFlag.FIX_RTC | FadtFlag.TMR_VAL_EXT | USE_PLATFORM_CLOCK
    fadt.reset_reg = _register(0xCF9, 1)  # without the flag that says it works
    fadt.reset_value = 6
    if config.hw_reduced:
        flags |= FadtFlag.HW_REDUCED_ACPI
    else:
        fadt.firmware_ctrl = fadt.x_firmware_ctrl = facs
        fadt.pm1a_evt_blk, fadt.pm1_evt_len = PM1A_EVENT, 4
        fadt.pm1a_cnt_blk, fadt.pm1_cnt_len = PM1A_CONTROL, 2
        fadt.gpe0_blk, fadt.gpe0_blk_len = GPE0, GPE0_LENGTH
        fadt.x_pm1a_evt_blk = _register(PM1A_EVENT, 4)
        fadt.x_pm1a_cnt_blk = _register(PM1A_CONTROL, 2)
    fadt.flags = flags
    boot_arch = 0
    if config.no_vga:
        boot_arch |= BootArch.VGA_NOT_PRESENT
    if not config.no_8042:
        boot_arch |= BootArch.I8042
    if config.no_rtc:
        boot_arch |= BootArch.CMOS_RTC_NOT_PRESENT
    fadt.iapc_boot_arch = boot_arch
    return acpi.finish(fadt.build()[:FADT_SIZE], b"FACP", FADT_REVISION, XEN)


def build_madt(config: XenTables) -> bytes:
    """One processor. libacpi says PCAT_COMPAT although there is no PIC; the MADT of the hardware domain, which is who has
    an I/O APIC, does not (arch/x86/hvm/dom0_build.c), and Linux would look for a timer behind both.
    """
    madt = wire.Madt()
    madt.local_interrupt_controller_address = APIC_PHYSICAL_BASE
    madt.flags = 0 if config.ioapic else PCAT_COMPAT
    body = b""
    if config.ioapic:
        ioapic = wire.MadtIoApic()
        ioapic.type, ioapic.length = 1, ioapic.SIZE
        ioapic.io_apic_id = acpi.IOAPIC_ID
        ioapic.io_apic_address = IOAPIC_BASE
        body = ioapic.build()
    lapic = wire.MadtLocalApic()
    lapic.type, lapic.length = 0, lapic.SIZE
    lapic.flags = 1  # enabled
    return acpi.finish(madt.build() + body + lapic.build(), b"APIC", 2, XEN)


def build_tables(config: XenTables, base: int, facs: int) -> bytes:
    """RSDP and tables as they lie from `base` on."""
    contents = dsdt.DsdtContents(
        serial=config.serial, rtc=False, pci_window=None, vga_window=False, serial_irq=config.ioapic, s5=False
    )
    code = acpi.finish(bytes(wire.SdtHeader.SIZE) + dsdt.definition_block(contents), b"DSDT", 5, XEN)
    return acpi.assemble(base, code, lambda address: build_fadt(config, facs, address), [build_madt(config)], XEN)
