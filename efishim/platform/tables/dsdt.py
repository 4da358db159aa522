"""The DSDT: the machine's devices for ACPI. It has data only, no methods.

Names and IDs: ACPI 6.5 section 5.6.7 and the PNP ID list it refers to. The PCI root is PNP0A03 and not PNP0A08: it has
no extended configuration space. It has no _PRT either, since its only function, the host bridge, has no interrupt.
"""

from __future__ import annotations

from dataclasses import dataclass

from efishim.platform.devices.acpi_hw import SLEEP_TYPE_S5
from efishim.platform.tables import aml

COM1_PORT, COM1_IRQ = 0x3F8, 4
RTC_PORT, RTC_IRQ = 0x70, 8
VGA_WINDOW = (0xA_0000, 0xB_FFFF)


@dataclass(frozen=True)
class DsdtContents:
    """Which devices there are. `pci_window` is the first and last address that PCI memory may use, None without PCI.

    `serial_irq` says that the serial port's interrupt leads somewhere, `s5` that there are registers to power off with.
    """

    serial: bool
    rtc: bool
    pci_window: tuple[int, int] | None
    vga_window: bool
    serial_irq: bool = True
    s5: bool = True


def _pci_root(window: tuple[int, int], vga_window: bool) -> bytes:
    windows = [
        aml.bus_window(0x00, 0xFF),
        aml.io_ports(0xCF8, 8),
        aml.io_window(0x0000, 0x0CF7),
        aml.io_window(0x0D00, 0xFFFF),
    ]
    if vga_window:
        windows.append(aml.memory_window(*VGA_WINDOW, cacheable=True))
    windows.append(aml.memory_window(*window))
    return aml.device(
        "PCI0",
        aml.named("_HID", aml.eisa_id("PNP0A03")),
        aml.named("_UID", aml.integer(0)),
        aml.named("_BBN", aml.integer(0)),
        aml.named("_CRS", aml.resources(*windows)),
    )


def definition_block(contents: DsdtContents) -> bytes:
    """The AML behind the table's header."""
    devices = [
        aml.device("CPU0", aml.named("_HID", aml.string("ACPI0007")), aml.named("_UID", aml.integer(0))),
    ]
    if contents.pci_window is not None:
        devices.append(_pci_root(contents.pci_window, contents.vga_window))
    if contents.serial:
        line = (aml.irq(COM1_IRQ),) if contents.serial_irq else ()
        devices.append(
            aml.device(
                "COM1",
                aml.named("_HID", aml.eisa_id("PNP0501")),
                aml.named("_UID", aml.integer(1)),
                aml.named("_CRS", aml.resources(aml.io_ports(COM1_PORT, 8), *line)),
            )
        )
    if contents.rtc:
        devices.append(
            aml.device(
                "RTC0",
                aml.named("_HID", aml.eisa_id("PNP0B00")),
                aml.named("_CRS", aml.resources(aml.io_ports(RTC_PORT, 2), aml.irq(RTC_IRQ))),
            )
        )
    code = aml.scope("_SB", *devices)
    if contents.s5:
        sleep = aml.integer(SLEEP_TYPE_S5)
        code += aml.named("_S5", aml.package(sleep, sleep, aml.integer(0), aml.integer(0)))
    return code
