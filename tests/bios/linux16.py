"""A Linux image in front of its real-mode entry, placed as QEMU's `-kernel` does: what the BIOS's tests need of a loader."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from efishim_firmware_stubs import reporting_initrd

from efishim.bios.bios import Bios
from efishim.bios.config import BiosConfig, Display
from efishim.machine.machine import Machine, Stop
from efishim.memory_range import MemoryKind
from efishim.platform.definition import MIB, PlatformOptions
from efishim.platform.machines.pc import PC

SETUP, CMDLINE, KERNEL = 0x10000, 0x20000, 0x100000
CAN_USE_HEAP = 0x80
EPOCH = 1_460_000_000


@dataclass
class Boot:
    """A machine in front of the setup code's first instruction."""

    machine: Machine
    bios: Bios
    serial: bytearray
    text: list[str]

    def run(self, *, max_insns: int) -> Stop:
        return self.machine.run(max_insns=max_insns)


def load(image: bytes, cmdline: str, *, ram: int = 512 * MIB, display: Display = Display.NONE, keys: str = "") -> Boot:
    """boot.rst, "Details of Header Fields" and "Running the Kernel"."""
    machine, serial, text = Machine(), bytearray(), list[str]()
    facts = PC.build(machine, PlatformOptions(ram, EPOCH, {}, serial.extend))
    bios = Bios(machine, BiosConfig.of(facts, display=display, keys=keys), text.append, insns=lambda: machine.insns)
    size = ((image[0x1F1] or 4) + 1) * 512
    setup, initrd = bytearray(image[:size]), reporting_initrd()
    top = max(piece.end for piece in bios.memory_map() if piece.kind is MemoryKind.RAM and piece.end < 1 << 31)
    initrd_at = (top - len(initrd)) & ~0xFFF
    setup[0x210], setup[0x211] = 0xB0, setup[0x211] | CAN_USE_HEAP
    struct.pack_into("<II", setup, 0x218, initrd_at, len(initrd))
    struct.pack_into("<H", setup, 0x224, 0xFE00)
    struct.pack_into("<I", setup, 0x228, CMDLINE)
    for address, data in ((SETUP, setup), (CMDLINE, cmdline.encode() + b"\0"), (KERNEL, image[size:]), (initrd_at, initrd)):
        machine.memory.write(address, data)
    machine.power_on()
    processor = machine.engine.processor
    for name in ("ds", "es", "fs", "gs", "ss"):
        processor.load_segment(name, SETUP >> 4, base=SETUP, limit=0xFFFF, flags=0x9300)
    processor.load_segment("cs", (SETUP >> 4) + 0x20, base=SETUP + 0x200, limit=0xFFFF, flags=0x9B00)
    for register, value in {"cr4": 0, "efer": 0, "cr0": 0x10, "rip": 0, "rsp": 0xFFF0, "eflags": 2}.items():
        processor.set(register, value)
    processor.set("idtr.base", 0)
    processor.set("idtr.limit", 0x3FF)
    processor.sync(0)
    return Boot(machine, bios, serial, text)
