"""The debug stub's client against a stub that checks what it hears."""

from __future__ import annotations

import pytest

from efishim.debug.registers import REGISTERS
from efishim.machine.cpu import GuestFault
from efishim.oracle.channels import OracleError
from tests.oracle.fake import stub


def test_registers_are_where_qemu_puts_them() -> None:
    """gdb-xml/i386-64bit.xml of QEMU 7.2: 66 registers, 24 of 8 and 2 of 4 bytes before cr0 and so on: 608 bytes."""
    raw = bytearray(608)
    raw[0:8] = (0x1122334455667788).to_bytes(8, "little")  # rax
    raw[128:136] = (0xFFFFFFFF81000000).to_bytes(8, "little")  # rip, behind 16 general registers
    raw[136:140] = (0x46).to_bytes(4, "little")  # eflags
    raw[140:144] = (0x10).to_bytes(4, "little")  # cs
    raw[188:196] = (0x80050033).to_bytes(8, "little")  # cr0, behind fs_base, gs_base and k_gs_base
    raw[604:608] = (0x1F80).to_bytes(4, "little")
    with stub(lambda text: raw.hex() if text == "g" else "") as (gdb, thread):
        values = gdb.registers()
    assert len(REGISTERS) == 66
    assert (values["rax"], values["rip"]) == (0x1122334455667788, 0xFFFFFFFF81000000)
    assert (values["eflags"], values["cs"], values["cr0"], values["mxcsr"]) == (0x46, 0x10, 0x80050033, 0x1F80)
    assert thread.heard == ["g"]


def test_a_stub_of_another_machine_is_refused() -> None:
    with stub(lambda _: "00" * 100) as (gdb, _), pytest.raises(OracleError, match="608 are expected"):
        gdb.registers()


def test_memory_comes_in_pieces() -> None:
    memory = bytes(range(256)) * 12

    def answer(text: str) -> str:
        start, size = (int(part, 16) for part in text.removeprefix("m").split(","))
        return memory[start : start + size].hex()

    with stub(answer) as (gdb, thread):
        assert gdb.read(3, 2500) == memory[3:2503]
    assert thread.heard == ["m3,400", "m403,400", "m803,1c4"]


def test_what_is_not_mapped_is_a_fault_with_its_address() -> None:
    with stub(lambda text: "E14" if text.startswith("m400,") else "00" * 0x400) as (gdb, _):
        with pytest.raises(GuestFault) as fault:
            gdb.read(0, 0x800)
        assert fault.value.address == 0x400


def test_breakpoints_are_set_and_taken_once() -> None:
    with stub(lambda _: "OK") as (gdb, thread):
        gdb.insert(0x1000)
        gdb.insert(0x1000)
        gdb.remove(0x1000)
        gdb.remove(0x1000)
        assert gdb.breakpoints == set()
    assert thread.heard == ["Z1,1000,1", "z1,1000,1"]


def test_a_breakpoint_that_is_refused_is_an_error() -> None:
    with stub(lambda _: "E22") as (gdb, _), pytest.raises(OracleError, match="E22"):
        gdb.insert(0x1000)


def test_a_running_guest_is_waited_for_and_can_be_stopped() -> None:
    with stub(lambda text: None if text == "c" else "OK") as (gdb, thread):
        gdb.resume()
        assert not gdb.wait_stop(0.05)
        gdb.interrupt()
        assert thread.interrupted.is_set()
        assert gdb.command("qC") == "OK"


def test_every_packet_is_acknowledged() -> None:
    with stub(lambda _: "OK") as (gdb, thread):
        for _ in range(3):
            gdb.command("?")
        gdb.command("?")
        assert thread.acknowledged >= 3
