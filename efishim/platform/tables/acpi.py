"""Builds the ACPI tables of a platform and places them in memory.

Source: ACPI 6.5 chapter 5. Linux reads them in drivers/acpi/tables.c and arch/x86/kernel/acpi/boot.c; what it complains
about is checked in drivers/acpi/acpica/tbfadt.c (32 and 64-bit addresses that differ, lengths, the revision).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from efishim.platform.devices import acpi_hw
from efishim.platform.devices.interrupts import TIMER_GSI
from efishim.platform.devices.ioapic import IOAPIC_BASE
from efishim.platform.devices.lapic import APIC_PHYSICAL_BASE
from efishim.platform.devices.pci import RESET_PORT, RESET_VALUE
from efishim.platform.devices.rtc import CENTURY
from efishim.platform.tables import dsdt
from efishim.wire import acpi as wire
from efishim.wire.acpi import BootArch, FadtFlag
from efishim.wire.layout import Layout


@dataclass(frozen=True, slots=True)
class Identity:
    """Who made the tables, as every header says."""

    oem_id: bytes = b"EFSHIM"
    oem_table_id: bytes = b"EFISHIM "
    oem_revision: int = 1
    creator_id: bytes = b"EFSH"
    creator_revision: int = 1


EFISHIM = Identity()
IOAPIC_ID = 1
"""Not the processor's APIC ID, which is 0: on the serial bus of old both shared one number space."""

_ALIGN = 16
_NO_C2, _NO_C3 = 0x0FFF, 0x0FFF
"""Latencies above 100 and 1000 microseconds say that the state does not exist (table 5.9)."""


@dataclass(frozen=True)
class AcpiConfig:
    """What the tables are about. `hw_reduced` replaces the fixed hardware by the sleep registers."""

    devices: dsdt.DsdtContents
    revision: int = 6
    hw_reduced: bool = False
    reset_register: bool = True
    pic: bool = True
    no_vga: bool = True
    no_rtc: bool = False


def checksum(data: bytes | bytearray | memoryview) -> int:
    """The byte that makes the sum of all bytes zero."""
    return -sum(data) & 0xFF


def finish(table: bytes, signature: bytes, revision: int, identity: Identity = EFISHIM) -> bytes:
    """Fill in the header of a table whose first 36 bytes are room for it."""
    header = wire.SdtHeader()
    header.signature = signature
    header.length = len(table)
    header.revision = revision
    header.oem_id = identity.oem_id
    header.oem_table_id = identity.oem_table_id
    header.oem_revision = identity.oem_revision
    header.creator_id = identity.creator_id
    header.creator_revision = identity.creator_revision
    body = table[header.SIZE :]
    header.checksum = checksum(header.build() + body)
    return header.build() + body


def _register(space: int, address: int, size: int) -> wire.GenericAddress:
    """A whole register of `size` bytes; all zero when there is none (address 0)."""
    register = wire.GenericAddress()
    if address:
        register.space_id = space
        register.bit_width = 8 * size
        # Access size 0 is "undefined": right for the block of two PM1 registers, which is read in halves.
        register.access_size = {1: 1, 2: 2, 4: 3}[size]
        register.address = address
    return register


def build_fadt(config: AcpiConfig, facs: int, dsdt_address: int) -> bytes:
    """FADT (5.2.9). Addresses below 4 GiB stand in both forms and agree, as ACPICA wants it."""
    fadt = wire.Fadt()
    fadt.dsdt = fadt.x_dsdt = dsdt_address
    fadt.preferred_pm_profile = 1  # desktop
    fadt.p_lvl2_lat, fadt.p_lvl3_lat = _NO_C2, _NO_C3
    fadt.minor_version = 0
    boot_arch = BootArch.PCIE_ASPM_CONTROLS
    flags = FadtFlag.WBINVD | FadtFlag.PROC_C1 | FadtFlag.PWR_BUTTON | FadtFlag.SLP_BUTTON | FadtFlag.FIX_RTC
    if config.no_vga:
        boot_arch |= BootArch.VGA_NOT_PRESENT
    if config.no_rtc:
        boot_arch |= BootArch.CMOS_RTC_NOT_PRESENT
    else:
        fadt.century = CENTURY
    if config.pic:
        boot_arch |= BootArch.LEGACY_DEVICES
    if config.reset_register:
        flags |= FadtFlag.RESET_REG_SUP
        fadt.reset_reg = _register(wire.GAS_IO, RESET_PORT, 1)
        fadt.reset_value = RESET_VALUE
    if config.hw_reduced:
        flags |= FadtFlag.HW_REDUCED_ACPI
        fadt.sleep_control_reg = _register(wire.GAS_IO, acpi_hw.PM_BASE, 1)
        fadt.sleep_status_reg = _register(wire.GAS_IO, acpi_hw.PM_BASE + 1, 1)
    else:
        flags |= FadtFlag.TMR_VAL_EXT
        # x_firmware_ctrl stays zero: only one of the two may be set for a FACS below 4 GiB.
        fadt.firmware_ctrl = facs
        fadt.sci_int = acpi_hw.SCI_IRQ
        fadt.pm1a_evt_blk, fadt.pm1_evt_len = acpi_hw.PM1A_EVENT, acpi_hw.PM1A_EVENT_LENGTH
        fadt.pm1a_cnt_blk, fadt.pm1_cnt_len = acpi_hw.PM1A_CONTROL, acpi_hw.PM1A_CONTROL_LENGTH
        fadt.pm_tmr_blk, fadt.pm_tmr_len = acpi_hw.PM_TIMER, acpi_hw.PM_TIMER_LENGTH
        event = _register(wire.GAS_IO, acpi_hw.PM1A_EVENT, acpi_hw.PM1A_EVENT_LENGTH)
        event.access_size = 2
        fadt.x_pm1a_evt_blk = event
        fadt.x_pm1a_cnt_blk = _register(wire.GAS_IO, acpi_hw.PM1A_CONTROL, acpi_hw.PM1A_CONTROL_LENGTH)
        fadt.x_pm_tmr_blk = _register(wire.GAS_IO, acpi_hw.PM_TIMER, acpi_hw.PM_TIMER_LENGTH)
    fadt.iapc_boot_arch = boot_arch
    fadt.flags = flags
    return finish(fadt.build(), b"FACP", config.revision)


def build_facs() -> bytes:
    """FACS (5.2.10): nothing but its presence and the global lock word."""
    facs = wire.Facs()
    facs.signature = b"FACS"
    facs.length = facs.SIZE
    facs.version = 2
    return facs.build()


def build_madt(config: AcpiConfig) -> bytes:
    """MADT (5.2.12): one processor, one I/O APIC, the timer on its input 2, the SCI level triggered."""
    madt = wire.Madt()
    madt.local_interrupt_controller_address = APIC_PHYSICAL_BASE
    madt.flags = 1 if config.pic else 0  # PCAT_COMPAT
    lapic = wire.MadtLocalApic()
    lapic.flags = 1  # enabled
    ioapic = wire.MadtIoApic()
    ioapic.io_apic_id = IOAPIC_ID
    ioapic.io_apic_address = IOAPIC_BASE
    nmi = wire.MadtLocalApicNmi()
    nmi.acpi_processor_uid = 0xFF  # all processors
    nmi.local_apic_lint = 1
    entries: list[tuple[int, Layout]] = [(0, lapic), (1, ioapic)]
    if config.pic:
        entries.append((2, override(0, TIMER_GSI, 0)))
    if not config.hw_reduced:
        entries.append((2, override(acpi_hw.SCI_IRQ, acpi_hw.SCI_IRQ, 0b1101)))  # active high, level
    entries.append((4, nmi))
    return finish(madt.build() + b"".join(madt_entry(*entry) for entry in entries), b"APIC", 5)


def override(source: int, gsi: int, flags: int) -> wire.MadtOverride:
    """Where an ISA interrupt leads, when not to the input of its number (5.2.12.5)."""
    entry = wire.MadtOverride()
    entry.source = source
    entry.global_system_interrupt = gsi
    entry.flags = flags
    return entry


def madt_entry(number: int, entry: Layout) -> bytes:
    """An entry of the MADT with its type and length."""
    return wire.MadtEntry(type=number, length=entry.SIZE).build() + entry.build()[wire.MadtEntry.SIZE :]


def root(signature: bytes, entries: Sequence[int], width: int, identity: Identity) -> bytes:
    """RSDT (5.2.7) or XSDT (5.2.8), with addresses of 4 or 8 bytes."""
    body = b"".join(address.to_bytes(width, "little") for address in entries)
    return finish(bytes(wire.SdtHeader.SIZE) + body, signature, 1, identity)


def build_rsdp(rsdt: int, xsdt: int, identity: Identity = EFISHIM) -> bytes:
    """RSDP (5.2.5.3), revision 2."""
    rsdp = wire.Rsdp()
    rsdp.signature = wire.RSDP_SIGNATURE
    rsdp.oem_id = identity.oem_id
    rsdp.revision = 2
    rsdp.rsdt_address = rsdt
    rsdp.length = rsdp.SIZE
    rsdp.xsdt_address = xsdt
    rsdp.checksum = checksum(rsdp.build()[:20])
    rsdp.extended_checksum = checksum(rsdp.build())
    return rsdp.build()


def build_tables(config: AcpiConfig, base: int, facs: int, extra: Sequence[bytes] = ()) -> bytes:
    """All tables as they lie from `base` on, the RSDP first. `facs` is where the caller puts `build_facs()`.

    `extra` are whole tables (with headers) that the root tables list behind the FADT and the MADT.
    """
    code = finish(bytes(wire.SdtHeader.SIZE) + dsdt.definition_block(config.devices), b"DSDT", 2)
    tables = [build_madt(config), *extra]
    return assemble(base, code, lambda address: build_fadt(config, facs, address), tables)


def assemble(
    base: int, code: bytes, fadt: Callable[[int], bytes], tables: Sequence[bytes], identity: Identity = EFISHIM
) -> bytes:
    """RSDP, DSDT, FADT (made for the DSDT's address), the other tables and both roots, as they lie from `base` on."""
    image = bytearray(wire.Rsdp.SIZE)

    def place(table: bytes) -> int:
        image.extend(bytes(-len(image) % _ALIGN))
        image.extend(table)
        return base + len(image) - len(table)

    dsdt_address = place(code)
    placed = [place(fadt(dsdt_address)), *map(place, tables)]
    rsdt = place(root(b"RSDT", placed, 4, identity))
    xsdt = place(root(b"XSDT", placed, 8, identity))
    image[: wire.Rsdp.SIZE] = build_rsdp(rsdt, xsdt, identity)
    return bytes(image)
