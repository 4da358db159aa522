"""Real-mode guests that call the BIOS: a list of calls becomes a program, and each call's outcome is read off its stack."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from efishim.bios.bios import Bios
from efishim.bios.config import BiosConfig, Display
from efishim.machine.machine import Machine, Stop
from efishim.platform.definition import MIB, PlatformFacts, PlatformOptions
from efishim.platform.machines.pc import PC

EPOCH = 1_460_000_000
"""2016-04-07 03:33:20 UTC."""
CODE, STACK, BUFFER = 0x8000, 0x7F00, 0x6000
"""Physical; all segments but CS are 0 unless a call says otherwise. The stack grows down to the buffer's page."""
HLT, STI, CLC, STC = b"\xf4", b"\xfb", b"\xf8", b"\xf9"
GENERAL = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
SAVED = struct.Struct("<8IHH")
"""pushad, then ES and FLAGS that were pushed before it."""


@dataclass(frozen=True)
class After:
    """Registers behind the INT."""

    registers: dict[str, int]

    def __getitem__(self, name: str) -> int:
        if name in self.registers:
            return self.registers[name]
        whole = self.registers[f"e{name[0]}x" if name[1] in "lh" else f"e{name}"]
        return whole >> (8 if name[1] == "h" else 0) & (0xFF if name[1] in "lh" else 0xFFFF)

    @property
    def carry(self) -> bool:
        return bool(self["flags"] & 1)

    @property
    def zero(self) -> bool:
        return bool(self["flags"] & 0x40)


def load(register: str, value: int) -> bytes:
    """mov reg32, value; for es and ds by way of EAX."""
    if register in ("es", "ds"):
        return load("eax", value) + {"es": b"\x8e\xc0", "ds": b"\x8e\xd8"}[register]
    return bytes((0x66, 0xB8 + GENERAL.index(register))) + struct.pack("<I", value)


def call(vector: int, *, stc: bool = True, **registers: int) -> bytes:
    """Load registers (`es=`, `eax=` and so on; the others are 0), INT, push what came back.

    Carry is set before, so that a service which should clear it has to.
    """
    values = {"es": 0} | dict.fromkeys(GENERAL, 0) | registers
    values.pop("esp")
    code = b"".join(load(name, values[name]) for name in ("es", *(n for n in GENERAL if n != "esp")))
    return code + (STC if stc else CLC) + bytes((0xCD, vector)) + b"\x9c\x06\x66\x60"


@dataclass
class Guest:
    """A PC with a BIOS, in real mode in front of a program."""

    machine: Machine
    facts: PlatformFacts
    bios: Bios
    text: list[str]
    serial: bytearray
    stop: Stop | None = None

    def run(self, code: bytes, *, max_insns: int = 1_000_000) -> Stop:
        """Run a program at 0800:0000."""
        self.machine.memory.write(CODE, code)
        self.stop = self.machine.run(max_insns=max_insns)
        return self.stop

    def ask(self, *calls: bytes) -> list[After]:
        """Make calls in one program that halts behind them, and tell what each left."""
        stop = self.run(b"".join(calls) + HLT)
        assert stop.reason == "halted", stop
        found = []
        for number in range(len(calls)):
            raw = self.machine.memory.read(STACK - SAVED.size * (number + 1), SAVED.size)
            *general, es, flags = SAVED.unpack(raw)
            names = dict(zip(reversed(GENERAL), general, strict=True))
            found.append(After(names | {"es": es, "flags": flags}))
        assert self.machine.cpu.get("rsp") == STACK - SAVED.size * len(calls), "a service left the stack elsewhere"
        return found

    def one(self, vector: int, *, stc: bool = True, **registers: int) -> After:
        """One call."""
        return self.ask(call(vector, stc=stc, **registers))[0]

    def buffer(self, size: int, at: int = BUFFER) -> bytes:
        """What lies in memory."""
        return self.machine.memory.read(at, size)


def start(
    *,
    ram: int = 32 * MIB,
    display: Display = Display.NONE,
    keys: str = "",
    epoch: int = EPOCH,
    features: dict[str, str] | None = None,
    cs: int = CODE >> 4,
) -> Guest:
    """The platform `pc` with a BIOS, stopped before the first instruction."""
    machine, serial, text = Machine(), bytearray(), list[str]()
    facts = PC.build(machine, PlatformOptions(ram, epoch, features or {}, serial.extend))
    config = BiosConfig.of(facts, display=display, keys=keys)
    bios = Bios(machine, config, text.append, insns=lambda: machine.insns)
    machine.power_on()
    processor = machine.engine.processor
    for name in ("ds", "es", "fs", "gs", "ss"):
        processor.load_segment(name, 0, base=0, limit=0xFFFF, flags=0x9300)
    processor.load_segment("cs", cs, base=cs << 4, limit=0xFFFF, flags=0x9B00)
    for register, value in {"cr4": 0, "efer": 0, "cr0": 0x10, "rip": 0, "rsp": STACK, "eflags": 2}.items():
        processor.set(register, value)
    processor.set("idtr.base", 0)
    processor.set("idtr.limit", 0x3FF)
    processor.sync(0)
    return Guest(machine, facts, bios, text, serial)
