"""The processor at the entry, against what OVMF gave a stock kernel (QEMU 7.2, pc; issue: the calling state of 2.3.4)."""

from __future__ import annotations

import struct

import pytest

from tests.firmware.lab import RAM, Lab
from tests.firmware.programs import IMAGE

OVMF = {
    "cr0": 0x80010033,
    "cr4": 0x668,
    "efer": 0xD00,
    "cs": 0x38,
    "ds": 0x30,
    "es": 0x30,
    "fs": 0x30,
    "gs": 0x30,
    "ss": 0x30,
    "gdtr.limit": 0x47,
    "idtr.limit": 0xFFF,
}
OVMF_GDT = (
    *(0, 0x00CF92000000FFFF, 0x00CF9F000000FFFF, 0x00CF93000000FFFF, 0x00CF9A000000FFFF),
    *(0x008F9A000000FFFF, 0x00CF93000000FFFF, 0x00AF9A000000FFFF, 0),
)
OVMF_RSP_MODULO_16 = 8


@pytest.fixture
def entered(lab: Lab) -> Lab:
    """At the first instruction of an image."""
    lab.shim.boot(IMAGE)
    return lab


@pytest.mark.parametrize(("register", "value"), OVMF.items())
def test_registers(entered: Lab, register: str, value: int) -> None:
    assert entered.cpu.get(register) == value


def test_the_rest_of_the_state(entered: Lab) -> None:
    cpu = entered.cpu
    gdt = struct.unpack("<9Q", entered.memory.read(cpu.get("gdtr.base"), 72))
    assert gdt == OVMF_GDT
    assert cpu.get("rsp") % 16 == OVMF_RSP_MODULO_16
    assert cpu.get("eflags") & 0x200, "interrupts are enabled"
    assert not cpu.get("eflags") & 0x400, "the direction flag is clear"
    stack = entered.shim.memory_map.find(cpu.get("rsp"))
    assert stack is not None
    assert stack.type == 4
    assert cpu.get("rsp") - stack.start >= 120 << 10, "128 KiB of stack"


def test_memory_types_of_the_firmware(entered: Lab) -> None:
    cpu = entered.cpu
    for address, kind in (
        (cpu.get("cr3"), 4),
        (cpu.get("gdtr.base"), 4),
        (cpu.get("idtr.base"), 4),
        (entered.shim.tables.boot, 4),
        (entered.value(cpu.get("rsp")), 5),
    ):
        found = entered.shim.memory_map.find(address)
        assert found is not None
        assert found.type == kind
    assert entered.shim.pages.top >= max(4 << 30, RAM)


def gate(lab: Lab, vector: int) -> int:
    """The handler behind a gate, after the gate was checked (Intel SDM volume 3, 6.14.1)."""
    low, selector, ist, kind, middle, high, _ = map(
        int, struct.unpack("<HHBBHII", lab.memory.read(lab.cpu.get("idtr.base") + 16 * vector, 16))
    )
    assert (selector, ist, kind) == (0x38, 0, 0x8E)
    return low | middle << 16 | high << 32


def take(lab: Lab, vector: int, error: int | None, rip: int = 0xABCDEF) -> None:
    """What the processor does at an exception, and the handler's pushes and jump, which the fake board does not know."""
    cpu = lab.cpu
    frame = [rip, 0x38, 0x202, cpu.get("rsp"), 0x30]
    words = frame if error is None else [error, *frame]
    rsp = (cpu.get("rsp") & ~0xF) - 8 * len(words)
    lab.memory.write(rsp, struct.pack(f"<{len(words)}Q", *words))
    at = gate(lab, vector)
    code = lab.memory.read(at, 16)
    if code[:2] == b"\x6a\x00":
        rsp -= 8
        lab.memory.put_u64(rsp, 0)
        at, code = at + 2, code[2:]
    assert code[0] == 0x68
    rsp -= 8
    lab.memory.put_u64(rsp, int.from_bytes(code[1:5], "little"))
    assert code[5] == 0xE9
    cpu.set("rsp", rsp)
    target = at + 10 + int.from_bytes(code[6:10], "little", signed=True)
    assert lab.memory.read(target, 2) == b"\xe6\xe4"
    cpu.set("rip", target + 2)
    lab.board._traps[0xE4](0)


@pytest.mark.parametrize(
    ("vector", "error", "name"),
    [
        (0, None, "#DE"),
        (6, None, "#UD"),
        (8, 0, "#DF"),
        (13, 0x18, "#GP"),
        (14, 0x11, "#PF"),
        (17, 0, "#AC"),
        (31, None, "0x1f"),
    ],
)
def test_exceptions_are_reported(entered: Lab, vector: int, error: int | None, name: str) -> None:
    entered.cpu.set("cr2", 0x777)
    take(entered, vector, error)
    fault = entered.shim.environment.fault
    assert fault is not None
    assert (fault.vector, fault.error, fault.rip) == (vector, error or 0, 0xABCDEF)
    assert entered.board.stopped is not None
    assert name in entered.board.stopped
    assert "0xabcdef" in entered.board.stopped
    assert ("0x777" in entered.board.stopped) == (vector == 14)


def test_interrupts_of_devices_are_acknowledged(entered: Lab) -> None:
    written: list[tuple[int, int]] = []

    class Port:
        def __init__(self, port: int) -> None:
            self.port = port

        def read(self, offset: int, size: int) -> int:
            return 0

        def write(self, offset: int, size: int, value: int) -> None:
            written.append((self.port + offset, value))

    entered.board.ports.attach(0x20, 2, Port(0x20), "pic")
    entered.board.ports.attach(0xA0, 2, Port(0xA0), "pic2")
    for vector in (0x20, 0x68, 0xFF):
        take(entered, vector, None)
    assert entered.board.stopped is None
    assert written == [(0x20, 0x20), (0xA0, 0x20)] * 3


def test_every_gate_leads_to_its_vector(entered: Lab) -> None:
    handlers = [gate(entered, vector) for vector in range(256)]
    assert len(set(handlers)) == 256
    for vector, handler in enumerate(handlers):
        code = entered.memory.read(handler, 16)
        push = 2 if code[:2] == b"\x6a\x00" else 0
        assert code[push] == 0x68
        assert int.from_bytes(code[push + 1 : push + 5], "little") == vector


def test_entering_somewhere_else(lab: Lab) -> None:
    """The handover entry: registers as its caller wants them, and a way back that ends the run."""
    lab.shim.enter(0x200000, {"rdi": 1, "rsi": 2, "rdx": 3})
    assert [lab.cpu.get(r) for r in ("rip", "rdi", "rsi", "rdx")] == [0x200000, 1, 2, 3]
    assert lab.cpu.get("rsp") % 16 == OVMF_RSP_MODULO_16
    lab.cpu.set("rip", lab.value(lab.cpu.get("rsp")))
    lab.board.run()
    assert lab.board.stopped is not None
    assert "returned" in lab.board.stopped
