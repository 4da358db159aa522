"""The platform `pc-qemu` against the machine that it imitates: what a QEMU says about itself, asked over its debug stub."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator

import pytest

from efishim.debug.registers import REGISTERS
from efishim.oracle.qemu import Boot, Qemu, started
from efishim.oracle.tools import MissingTool
from efishim.platform.definition import MIB, PlatformFacts, PlatformOptions
from efishim.platform.devices.lapic import LocalApic
from efishim.platform.machines.pc_qemu import PC_QEMU
from efishim.platform.machines.qemu_cpu import Hole, qemu_cpuid, qemu_msrs
from efishim.platform.tables import qemu_acpi
from tests.conftest import OFFLINE
from tests.platform.fakes import FakeBoard

pytestmark = pytest.mark.qemu

CODE = 0x1000
CPUID, RDMSR = b"\x0f\xa2", b"\x0f\x32"
SVM, SVM_LEAF = 1 << 2, 0x8000_000A
LEAVES = (*range(0x0E), 0x4000_0000, 0x4000_0001, *(0x8000_0000 + n for n in range(0x0B)), 0x8000_0019, 0x8000_001D)
SUBLEAVES = {0x04: 4, 0x07: 2, 0x0B: 3, 0x0D: 2}
KNOWN_MSRS = (0x1B, 0x8B, 0xFE, 0x179, 0x17A, 0x17B, 0x198, 0x1A0, 0x277, 0x400, 0x401, 0x424)
FORGOTTEN_MSRS = (0x17, 0x2A, 0x3A, 0x186, 0x1D9, 0xC001_0015, 0xC001_0055, 0xC001_001F, 0x0DEA_DBEE)
ANCHORS = range(0xF_0000, 0x10_0000, 16)


@pytest.fixture(scope="module")
def qemu() -> Iterator[Qemu]:
    """A machine that has not run yet. A missing tool fails the test, or skips it under EFISHIM_OFFLINE=1."""
    try:
        with started(Boot(vga="std"), timeout=120.0, epoch=0) as machine:
            yield machine
    except MissingTool as error:
        if os.environ.get(OFFLINE) == "1":
            pytest.skip(str(error))
        pytest.fail(str(error))


def execute(machine: Qemu, code: bytes, **registers: int) -> dict[str, int]:
    """One instruction in real mode, and the registers behind it."""
    gdb = machine.gdb
    assert gdb.command(f"M{CODE:x},{len(code):x}:{code.hex()}") == "OK"
    values = gdb.registers() | {"cs": 0, "rip": CODE} | registers
    packed = b"".join(values[name].to_bytes(size, "little") for name, size in REGISTERS)
    assert gdb.command(f"G{packed.hex()}") == "OK"
    gdb.step()
    after = gdb.registers()
    assert after["rip"] == CODE + len(code)
    return after


def test_every_leaf_of_cpuid(qemu: Qemu) -> None:
    """But for SVM, which the engine does not have."""
    model = qemu_cpuid()
    for leaf in LEAVES:
        for subleaf in range(SUBLEAVES.get(leaf, 1)):
            after = execute(qemu, CPUID, rax=leaf, rcx=subleaf)
            real = [after[name] for name in ("rax", "rbx", "rcx", "rdx")]
            if leaf == 0x8000_0001:
                assert real[2] & SVM
                real[2] &= ~SVM
            expected = [0, 0, 0, 0] if leaf == SVM_LEAF else real
            assert list(model(leaf, subleaf)) == expected, f"{leaf:#x}.{subleaf}"


def test_model_specific_registers(qemu: Qemu) -> None:
    board = FakeBoard()
    lapic = LocalApic(board.clock, board.now, 1_000_000_000, lambda: None, lambda _vector: None)
    model = qemu_msrs(lapic, hole=Hole(0x8000_0000, 0x8000_0000), rom_protected=True)
    for msr in (*KNOWN_MSRS, *FORGOTTEN_MSRS):
        after = execute(qemu, RDMSR, rcx=msr, rax=0x1111, rdx=0x2222)
        assert model.read(msr) == after["rdx"] << 32 | after["rax"], f"{msr:#x}"
    assert all(msr not in model.numbers for msr in FORGOTTEN_MSRS)


@pytest.fixture(scope="module")
def after_seabios() -> Iterator[Qemu]:
    """A machine in which SeaBIOS has put its tables into memory, and finds nothing to boot."""
    with started(Boot(vga="std"), timeout=120.0, epoch=0) as machine:
        machine.gdb.resume()
        end = time.monotonic() + 60
        while not linked(machine) and time.monotonic() < end:
            machine.gdb.wait_stop(0.1)
        machine.gdb.interrupt()
        yield machine


def linked(machine: Qemu) -> bool:
    """Is the RSDP whole? It is what SeaBIOS links last, behind SMBIOS and all other tables (src/fw/paravirt.c)."""
    rsdp = anchor(machine, b"RSD PTR ")
    return rsdp is not None and sum(machine.ram.read(rsdp, 20)) % 256 == 0


def anchor(machine: Qemu, text: bytes) -> int | None:
    """Where the BIOS area has an anchor."""
    return next((at for at in ANCHORS if machine.ram.read(at, len(text)) == text), None)


def acpi_tables(read: FakeBoard | Qemu, rsdp: int) -> dict[bytes, bytes]:
    """All that the RSDT lists, and the DSDT, by signature."""
    memory = read.memory if isinstance(read, FakeBoard) else read.ram

    def table(address: int) -> bytes:
        return memory.read(address, int.from_bytes(memory.read(address + 4, 4), "little"))

    rsdt = table(int.from_bytes(memory.read(rsdp + 16, 4), "little"))
    found = [rsdt, *(table(entry) for (entry,) in struct.iter_unpack("<I", rsdt[36:]))]
    (fadt,) = [one for one in found if one[:4] == b"FACP"]
    return {one[:4]: one for one in (*found, table(struct.unpack_from("<I", fadt, 40)[0]))}


def imitation() -> tuple[FakeBoard, PlatformFacts]:
    board = FakeBoard()
    return board, PC_QEMU.build(board, PlatformOptions(512 * MIB, 0))


def test_acpi_tables(after_seabios: Qemu) -> None:
    board, facts = imitation()
    rsdp = anchor(after_seabios, b"RSD PTR ")
    assert rsdp == facts.rsdp
    assert rsdp is not None
    real, ours = acpi_tables(after_seabios, rsdp), acpi_tables(board, rsdp)
    assert set(real) == set(ours)
    assert [name for name in (b"APIC", b"HPET", b"WAET") if ours[name] != real[name]] == []
    assert [len(ours[b"FACP"]), *ours[b"FACP"][8:9]] == [len(real[b"FACP"]), *real[b"FACP"][8:9]]
    differing = {at for at in range(36, 116) if ours[b"FACP"][at] != real[b"FACP"][at]}
    pointers, gpe, flags = set(range(36, 44)), {80, 81, 92}, {112}
    assert differing <= pointers | gpe | flags
    assert qemu_acpi.build_facs() == after_seabios.ram.read(struct.unpack_from("<I", real[b"FACP"], 36)[0], 64)


def test_smbios(after_seabios: Qemu) -> None:
    """The same structures with the same strings."""
    board, facts = imitation()
    place = anchor(after_seabios, b"_SM_")
    assert place == facts.smbios
    assert place is not None

    def structures(read: bytes) -> list[tuple[int, bytes]]:
        found, at = [], 0
        while at < len(read):
            strings = at + read[at + 1]
            end = read.index(b"\0\0", strings) + 2
            found.append((read[at], read[strings:end]))
            at = end
        return found

    both = []
    for memory in (after_seabios.ram, board.memory):
        length, address = struct.unpack("<HI", memory.read(place + 22, 6))
        both.append(structures(memory.read(address, length)))
    assert both[0] == both[1]
    assert after_seabios.ram.read(place, 4) == board.memory.read(place, 4)
    assert after_seabios.ram.read(place + 6, 2) == board.memory.read(place + 6, 2) == b"\x02\x08"
