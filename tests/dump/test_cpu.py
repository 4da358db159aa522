"""The processor of a dump: registers by name, memory by linear address, and nothing that can be changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from efishim.dump.opened import open_dump
from efishim.errors import MachineError
from efishim.machine.cpu import GuestFault
from tests.support.cores import Core, stopped


def test_it_reads_through_the_page_tables_of_the_dump(tmp_path: Path) -> None:
    one = stopped("kexec", "linux64")
    cpu = open_dump(Core(one, machine=62).write(tmp_path / "core")).cpu
    rip = one.registers["rip"]
    assert cpu.translate(rip) == rip
    at = rip // 0x10000 * 0x10000
    assert cpu.read(rip, 16) == one.memory[at][rip - at : rip - at + 16]
    assert (cpu.get("fs_base"), cpu.get("fcw"), cpu.get("cs.limit")) == (0, 0x37F, 0xFFFF_FFFF)
    with pytest.raises(GuestFault):
        cpu.read(1 << 46, 1)
    with pytest.raises(KeyError):
        cpu.get("r16")
    with pytest.raises(MachineError):
        cpu.set("rax", 0)
    with pytest.raises(MachineError):
        cpu.write(0, b"x")
