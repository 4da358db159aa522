"""The chipset of QEMU's machine `pc` as PCI functions: 82441FX host bridge, PIIX3 ISA bridge, PIIX4 power management.

Source: Intel 290549 (82441FX), 290550 (PIIX3), 290562 (PIIX4); QEMU's hw/pci-host/i440fx.c, hw/isa/piix3.c and
hw/acpi/piix4.c; what SeaBIOS leaves in them: src/fw/pciinit.c, src/fw/shadow.c. Only what is behind a register here can
be written: shadowing (PAM), SMRAM and the base of the power management ports are as the firmware left them, and
interrupt routing leads nowhere, as no device has a PCI interrupt. The PIIX3's disk controller (function 1) and the
PIIX4's SMBus are not there.
"""

from __future__ import annotations

from efishim.platform.devices.acpi_hw import SCI_IRQ
from efishim.platform.devices.pci import PciFunction
from efishim.wire.pci import ConfigurationHeader

INTEL, RED_HAT, QEMU_SUBSYSTEM = 0x8086, 0x1AF4, 0x1100
HOST_BRIDGE, ISA_BRIDGE, POWER_MANAGEMENT = 0x1237, 0x7000, 0x7113
PAM, SMRAM = 0x59, 0x72
READ_ONLY_ROM = 0x10
"""A PAM register's upper half: reads go to RAM, writes nowhere."""
PIRQ_ROUTES, PIRQ_IRQS = 0x60, (10, 10, 11, 11)
DETERMINISTIC_LATENCY = 0x82
"""Bit 1 is passive release, which Linux switches on (drivers/pci/quirks.c, quirk_passive_release())."""
PM_PORTS, PM_ENABLE = 0x40, 0x80
IO_SPACE = 1


def _header(device: int, revision: int, kind: int, *, command: int, status: int, header_type: int = 0) -> bytes:
    """Type 0 without base addresses. `kind` is class, subclass and interface."""
    return ConfigurationHeader(
        vendor_id=INTEL,
        device_id=device,
        command=command,
        status=status,
        revision_id=revision,
        interface=kind & 0xFF,
        sub_class=kind >> 8 & 0xFF,
        base_class=kind >> 16,
        header_type=header_type,
        subsystem_vendor_id=RED_HAT,
        subsystem_id=QEMU_SUBSYSTEM,
    ).build()


def host_bridge() -> PciFunction:
    """82441FX, shadowing 0xf0000 to 0xfffff."""
    function = PciFunction(_header(HOST_BRIDGE, 2, 0x06_0000, command=0x06, status=0x0280))
    function.config[PAM] = READ_ONLY_ROM
    function.config[SMRAM] = 0x02
    return function


def isa_bridge() -> PciFunction:
    """PIIX3."""
    writable = {PIRQ_ROUTES + n: 0x8F for n in range(len(PIRQ_IRQS))} | {DETERMINISTIC_LATENCY: 0x0F}
    header = _header(ISA_BRIDGE, 0, 0x06_0100, command=0x07, status=0x0200, header_type=0x80)
    function = PciFunction(header, writable)
    function.config[PIRQ_ROUTES : PIRQ_ROUTES + len(PIRQ_IRQS)] = bytes(PIRQ_IRQS)
    return function


def power_management(base: int) -> PciFunction:
    """PIIX4, function 3, with its ports from `base` on switched on."""
    header = _header(POWER_MANAGEMENT, 3, 0x06_8000, command=0x03, status=0x0280)
    function = PciFunction(header, {0x3C: 0xFF})
    function.config[0x3C:0x3E] = bytes((SCI_IRQ, 1))
    function.config[PM_PORTS : PM_PORTS + 4] = (base | IO_SPACE).to_bytes(4, "little")
    function.config[PM_ENABLE] = 1
    return function


def functions(pm_base: int) -> dict[int, PciFunction]:
    """By bus << 8 | device << 3 | function."""
    return {0x00: host_bridge(), 0x08: isa_bridge(), 0x0B: power_management(pm_base)}
