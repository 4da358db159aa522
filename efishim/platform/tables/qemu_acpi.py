"""The ACPI tables of the platform `pc-qemu`: those of QEMU 7.2's machine `pc`, limited to emulated hardware.

Source: hw/i386/acpi-build.c, hw/i386/acpi-common.c and hw/acpi/aml-build.c of QEMU. Left out, because nothing here would
answer: the GPE block with its methods for hot-plug, the sleep states S3 and S4, interrupt links and slots of the PCI bus, and
the devices KBD and MOU.
"""

from __future__ import annotations

from dataclasses import dataclass

from efishim.platform.devices import acpi_hw
from efishim.platform.devices.hpet import HPET_BASE, HPET_SIZE, ID
from efishim.platform.devices.interrupts import TIMER_GSI
from efishim.platform.devices.ioapic import IOAPIC_BASE
from efishim.platform.devices.lapic import APIC_PHYSICAL_BASE
from efishim.platform.devices.rtc import CENTURY
from efishim.platform.tables import acpi, aml
from efishim.platform.tables.acpi import Identity
from efishim.platform.tables.dsdt import COM1_IRQ, COM1_PORT, RTC_IRQ, RTC_PORT, VGA_WINDOW
from efishim.wire import acpi as wire
from efishim.wire.acpi import FadtFlag

BOCHS = Identity(b"BOCHS ", b"BXPC    ", 1, b"BXPC", 1)
FADT1_SIZE = 116
"""That of revision 1 (ACPI 1.0b, section 5.2.5)."""
PCI_IRQS = (5, 9, 10, 11)
"""Level triggered inputs: where the PIIX3 may lead PCI interrupts, and the SCI."""
ACTIVE_HIGH_LEVEL = 0b1101
PM_TIMER_GOOD = 1 << 1
"""WAET: one read of the timer is enough (Windows ACPI Emulated Devices Table, 2009)."""
WINDOWS_LIMIT = 0xFEBF_FFFF


@dataclass(frozen=True)
class QemuTables:
    """What the tables are about. `ram_end` and `high_start` are where RAM ends below 4 GiB and where 64-bit PCI memory begins,
    `pm_base` is the first port of the power management registers.
    """

    ram_end: int
    high_start: int
    pm_base: int = acpi_hw.PM_BASE
    serial: bool = True
    rtc: bool = True
    pci: bool = True
    pic: bool = True
    hpet: bool = True


def definition_block(config: QemuTables) -> bytes:
    """The AML behind the header of the DSDT. Data only."""
    devices: list[bytes] = []
    if config.pci:
        windows = (
            aml.bus_window(0x00, 0xFF),
            aml.io_ports(0xCF8, 8),
            aml.io_window(0x0000, 0x0CF7),
            aml.io_window(0x0D00, 0xFFFF),
            aml.memory_window(*VGA_WINDOW, cacheable=True),
            aml.memory_window(config.ram_end, WINDOWS_LIMIT),
            aml.memory_window(config.high_start, config.high_start + (2 << 30) - 1, cacheable=True),
        )
        devices.append(
            aml.device(
                "PCI0",
                aml.named("_HID", aml.eisa_id("PNP0A03")),
                aml.named("_UID", aml.integer(0)),
                aml.named("_CRS", aml.resources(*windows)),
            )
        )
    if config.hpet:
        memory = aml.resources(aml.fixed_memory(HPET_BASE, HPET_SIZE))
        hid = aml.named("_HID", aml.eisa_id("PNP0103"))
        devices.append(aml.device("HPET", hid, aml.named("_UID", aml.integer(0)), aml.named("_CRS", memory)))
    if config.serial:
        devices.append(_isa_device("COM1", "PNP0501", COM1_PORT, 8, COM1_IRQ, aml.named("_UID", aml.integer(1))))
    if config.rtc:
        devices.append(_isa_device("RTC", "PNP0B00", RTC_PORT, 2, RTC_IRQ))
    devices.append(aml.device("C000", aml.named("_HID", aml.string("ACPI0007")), aml.named("_UID", aml.integer(0))))
    sleep = aml.package(*(aml.integer(0) for _ in range(4)))
    return aml.scope("_SB", *devices) + aml.named("_S5", sleep)


def _isa_device(name: str, pnp: str, port: int, ports: int, irq: int, *more: bytes) -> bytes:
    resources = aml.named("_CRS", aml.resources(aml.io_ports(port, ports), aml.irq(irq)))
    return aml.device(name, aml.named("_HID", aml.eisa_id(pnp)), *more, resources)


def build_fadt(facs: int, dsdt: int, pm_base: int = acpi_hw.PM_BASE, *, hpet: bool = True) -> bytes:
    """Revision 1. It promises neither buttons nor a wake-up by the clock."""
    fadt = wire.Fadt()
    fadt.firmware_ctrl, fadt.dsdt = facs, dsdt
    fadt.sci_int = acpi_hw.SCI_IRQ
    fadt.smi_cmd = acpi_hw.SMI_COMMAND
    fadt.acpi_enable, fadt.acpi_disable = acpi_hw.ACPI_ENABLE, acpi_hw.ACPI_DISABLE
    moved = pm_base - acpi_hw.PM_BASE
    fadt.pm1a_evt_blk, fadt.pm1_evt_len = acpi_hw.PM1A_EVENT + moved, acpi_hw.PM1A_EVENT_LENGTH
    fadt.pm1a_cnt_blk, fadt.pm1_cnt_len = acpi_hw.PM1A_CONTROL + moved, acpi_hw.PM1A_CONTROL_LENGTH
    fadt.pm_tmr_blk, fadt.pm_tmr_len = acpi_hw.PM_TIMER + moved, acpi_hw.PM_TIMER_LENGTH
    fadt.p_lvl2_lat = fadt.p_lvl3_lat = 0x0FFF
    fadt.century = CENTURY
    fadt.flags = FadtFlag.WBINVD | FadtFlag.PROC_C1 | FadtFlag.PWR_BUTTON | FadtFlag.SLP_BUTTON | FadtFlag.FIX_RTC
    if hpet:
        fadt.flags |= FadtFlag.USE_PLATFORM_CLOCK
    # Before revision 2 the byte at 44 told the interrupt model: 1, there is an I/O APIC and a PIC.
    table = bytearray(fadt.build()[:FADT1_SIZE])
    table[44] = 1
    return acpi.finish(bytes(table), b"FACP", 1, BOCHS)


def build_madt(config: QemuTables) -> bytes:
    """One processor, one I/O APIC with the identification 0, the timer on its input 2."""
    madt = wire.Madt()
    madt.local_interrupt_controller_address = APIC_PHYSICAL_BASE
    madt.flags = 1 if config.pic else 0
    lapic = wire.MadtLocalApic()
    lapic.flags = 1
    ioapic = wire.MadtIoApic()
    ioapic.io_apic_address = IOAPIC_BASE
    nmi = wire.MadtLocalApicNmi()
    nmi.acpi_processor_uid, nmi.local_apic_lint = 0xFF, 1
    body = acpi.madt_entry(0, lapic) + acpi.madt_entry(1, ioapic)
    body += acpi.madt_entry(2, acpi.override(0, TIMER_GSI, 0))
    body += b"".join(acpi.madt_entry(2, acpi.override(irq, irq, ACTIVE_HIGH_LEVEL)) for irq in PCI_IRQS)
    return acpi.finish(madt.build() + body + acpi.madt_entry(4, nmi), b"APIC", 1, BOCHS)


def build_hpet() -> bytes:
    """IA-PC HPET specification 1.0a, section 3.2.4."""
    block = wire.GenericAddress(address=HPET_BASE)
    return acpi.finish(wire.Hpet(event_timer_block_id=ID & 0xFFFF_FFFF, base_address=block).build(), b"HPET", 1, BOCHS)


def build_waet() -> bytes:
    """What about the devices is better than in the real ones."""
    return acpi.finish(wire.Waet(emulated_device_flags=PM_TIMER_GOOD).build(), b"WAET", 1, BOCHS)


def build_facs() -> bytes:
    """FACS of version 0."""
    facs = wire.Facs()
    facs.signature = b"FACS"
    facs.length = facs.SIZE
    return facs.build()


def build_rsdp(rsdt: int) -> bytes:
    """Revision 0: 20 bytes, and no XSDT."""
    rsdp = bytearray(acpi.build_rsdp(rsdt, 0, BOCHS)[:20])
    rsdp[15] = rsdp[8] = 0
    rsdp[8] = acpi.checksum(rsdp)
    return bytes(rsdp)


def build_tables(config: QemuTables, base: int, facs: int, *, xsdt: bool) -> tuple[bytes, int, int]:
    """The tables as they lie from `base` on, close together as SeaBIOS puts them, and the addresses of RSDT and
    XSDT (0 without one).
    """
    image = bytearray()

    def place(table: bytes) -> int:
        image.extend(table)
        return base + len(image) - len(table)

    dsdt = place(acpi.finish(bytes(wire.SdtHeader.SIZE) + definition_block(config), b"DSDT", 1, BOCHS))
    placed = [place(build_fadt(facs, dsdt, config.pm_base, hpet=config.hpet)), place(build_madt(config))]
    placed += [place(build_hpet())] if config.hpet else []
    placed.append(place(build_waet()))
    roots = [place(acpi.root(b"RSDT", placed, 4, BOCHS))]
    roots.append(place(acpi.root(b"XSDT", placed, 8, BOCHS)) if xsdt else 0)
    return bytes(image), roots[0], roots[1]
