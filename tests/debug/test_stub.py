"""The stub, asked in bare packets: what gdb relies on, and what nobody should send."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from efishim.debug.link import BUFFER, LONGEST_PACKET
from efishim.debug.packets import framed
from efishim.debug.registers import REGISTERS
from efishim.machine.machine import Machine
from tests.debug.client import Client, debugged
from tests.debug.program import BEHIND, CODE, LOOP, NARROW, STORE, TOTAL, WIDE, switching
from tests.machine.guest import ORIGIN, TABLES, protected
from tests.machine.test_debugging import run

NUMBER = {name: number for number, (name, _) in enumerate(REGISTERS)}


def value(client: Client, name: str) -> int:
    return int.from_bytes(bytes.fromhex(client.ask(f"p{NUMBER[name]:x}")), "little")


def endless() -> Machine:
    return protected(b"\x40\xeb\xfd")


def test_a_whole_session(tmp_path: Path) -> None:
    with debugged(tmp_path) as (guest, connect):
        client = connect()
        features = client.ask("qSupported:multiprocess+;swbreak+;hwbreak+")
        assert f"PacketSize={LONGEST_PACKET:x}" in features
        assert client.ask("?").startswith("T05thread:1;")
        assert [client.ask(text) for text in ("qC", "qfThreadInfo", "qsThreadInfo", "qAttached")] == ["QC1", "m1", "l", "1"]
        assert [client.ask(text) for text in ("Hg0", "T1", "qSymbol::")] == ["OK"] * 3
        assert client.ask(f"m{ORIGIN:x},{len(CODE):x}") == CODE.hex()
        assert (value(client, "rip"), value(client, "cs"), value(client, "cr0")) == (0, ORIGIN >> 4, 0x10)
        assert client.ask(f"Z0,{NARROW:x},1") == "OK"
        assert client.ask(f"Z1,{BEHIND:x},1") == "OK"
        assert client.ask("vCont;c") == "T05thread:1;swbreak:;"
        assert (value(client, "rip"), value(client, "cs"), value(client, "efer")) == (NARROW, 8, 0)
        assert client.ask("c") == "T05thread:1;hwbreak:;"
        assert (value(client, "rip"), value(client, "cr3"), value(client, "efer") & 0x500) == (BEHIND, TABLES, 0x500)
        assert client.ask("s") == "T05thread:1;"
        assert value(client, "rip") == BEHIND + 1
        assert client.ask(f"z1,{BEHIND:x},1") == "OK"
        client.send(framed(b"c"))
        assert client.answer() == "W00"
        assert guest.over().reason == "halted"
        assert guest.machine.insns == run()[0].insns


def test_registers_and_memory_are_written(tmp_path: Path) -> None:
    with debugged(tmp_path) as (guest, connect):
        client = connect()
        client.ask(f"Z0,{STORE:x},1")
        client.ask("c")
        assert client.ask(f"P{NUMBER['rcx']:x}=" + (2).to_bytes(8, "little").hex()) == "OK"
        assert client.ask(f"P{NUMBER['xmm3']:x}=" + bytes(range(16)).hex()) == "OK"
        assert value(client, "xmm3") == int.from_bytes(bytes(range(16)), "little")
        assert client.ask(f"P{NUMBER['k_gs_base']:x}=" + (0x1234).to_bytes(8, "little").hex()) == "OK"
        assert value(client, "k_gs_base") == 0x1234
        assert client.ask(f"M{TOTAL:x},2:abcd") == "OK"
        assert client.ask(f"X{TOTAL + 2:x},2:\x01}}\x03") == "OK"
        assert client.ask(f"m{TOTAL:x},4") == "abcd0123"
        everything = client.ask("g")
        assert client.ask("G" + everything) == "OK"
        assert client.ask(f"M{LOOP:x},3:4831c0") == "OK", "xor rax, rax"
        client.ask(f"z0,{STORE:x},1")
        client.send(framed(b"c"))
        assert client.answer() == "W00"
        guest.over()
        assert (guest.machine.cpu.get("rax"), guest.machine.cpu.get("rcx")) == (0, 0)


def test_physical_memory_as_of_qemu(tmp_path: Path) -> None:
    with debugged(tmp_path) as (_, connect):
        client = connect()
        client.ask(f"Z0,{WIDE:x},1")
        client.ask("c")
        assert client.ask("m40000000,4") == "E0e", "one GiB is mapped"
        assert client.ask("Qqemu.PhyMemMode:1") == "OK"
        assert client.ask("qqemu.PhyMemMode") == "1"
        assert client.ask(f"m{ORIGIN:x},4") == CODE[:4].hex()
        assert client.ask("mffffff,4") == client.ask("mffffff,1"), "memory ends behind the first of these bytes"


@pytest.mark.parametrize(("packet", "reply"), [("Z2", "watch"), ("Z4", "awatch")])
def test_watchpoints(tmp_path: Path, packet: str, reply: str) -> None:
    with debugged(tmp_path) as (guest, connect):
        client = connect()
        assert client.ask(f"{packet},{TOTAL:x},8") == "OK"
        assert client.ask("c") == f"T05thread:1;{reply}:{TOTAL:x};"
        assert value(client, "rip") == BEHIND
        assert client.ask(f"z{packet[1:]},{TOTAL:x},8") == "OK"
        client.send(framed(b"c"))
        assert client.answer() == "W00"
        assert guest.over().reason == "halted"


def test_an_interrupt_stops_a_running_guest_and_a_detached_one_runs_on(tmp_path: Path) -> None:
    with debugged(tmp_path, build=endless, wait=False) as (guest, connect):
        client = connect()
        client.send(framed(b"?"))
        assert client.answer().startswith("T05"), "who connects stops the guest"
        client.send(framed(b"c"))
        client.send(b"\x03")
        assert client.answer().startswith("T02")
        before = guest.machine.insns
        assert client.ask("D") == "OK"
        assert client.item() is None
        again = connect()
        assert again.ask("?").startswith("T05")
        assert guest.machine.insns > before
        again.send(framed(b"k"))
        assert guest.over().reason == "interrupted"


def test_target_description_in_pieces(tmp_path: Path) -> None:
    with debugged(tmp_path) as (_, connect):
        client, text, more = connect(), "", "m"
        while more == "m":
            piece = client.ask(f"qXfer:features:read:target.xml:{len(text):x},400")
            more, text = piece[0], text + piece[1:]
        assert text.startswith("<?xml")
        assert text.endswith("</target>\n")
        assert client.ask("qXfer:features:read:other.xml:0,400") == "E00"
        assert client.ask("qXfer:features:read:target.xml:fffffff,400") == "l"


def test_monitor(tmp_path: Path) -> None:
    def monitor(client: Client, words: str) -> str:
        return bytes.fromhex(client.ask("qRcmd," + words.encode().hex())).decode()

    with debugged(tmp_path) as (_, connect):
        client = connect()
        assert f"16-bit code at {ORIGIN:#x}" in monitor(client, "where")
        assert "lgdt" in monitor(client, "where")
        assert monitor(client, "symbol here") == "0x1234\n"
        assert "no address is known" in monitor(client, "symbol there")
        assert "where" in monitor(client, "help")
        client.ask(f"Z0,{WIDE:x},1")
        client.ask("c")
        assert f"64-bit code at {WIDE:#x}" in monitor(client, "where")


def test_no_acknowledgements(tmp_path: Path) -> None:
    with debugged(tmp_path) as (_, connect):
        client = connect()
        assert client.ask("QStartNoAckMode") == "OK"
        client.send(framed(b"qC"))
        first = client.item()
        assert first != b"+"
        assert client.ask("qC") == "QC1"


def test_a_wrong_checksum_is_refused_and_an_answer_repeated(tmp_path: Path) -> None:
    with debugged(tmp_path) as (_, connect):
        client = connect()
        client.send(b"$qC#00")
        assert client.item() == b"-"
        assert client.ask("qC") == "QC1"
        client.send(b"-")
        assert client.answer() == "QC1"


WRONG = [
    "p",
    "pzz",
    f"p{len(REGISTERS):x}",
    "P0",
    "P0=zz",
    "P0=00",
    f"P{NUMBER['cr2']:x}=0100000000000000",
    f"P{NUMBER['cs']:x}=f0ff0000",
    "G00",
    "m",
    "mzz,1",
    "m0,10000000000000000",
    "M0,4:00",
    "M0,4:zz",
    "Z0",
    "Z0,zz,1",
    "Z2,0,0",
    "Z2,0,100000",
    "vCont;x",
    "cz",
    "qXfer:features:read:target.xml:zz",
    "qRcmd,zz",
]


@pytest.mark.parametrize("text", WRONG)
def test_nonsense_is_an_error_and_nothing_more(tmp_path: Path, text: str) -> None:
    with debugged(tmp_path, build=switching) as (_, connect):
        client = connect()
        client.ask(f"Z0,{WIDE:x},1")
        client.ask("c")
        assert client.ask(text).startswith("E")
        assert value(client, "rip") == WIDE


@pytest.mark.parametrize("text", ["", "vMustReplyUnknown", "Z9,0,1", "qNobodyKnows", "!", "R00", "bs"])
def test_what_is_unknown_has_an_empty_answer(tmp_path: Path, text: str) -> None:
    with debugged(tmp_path) as (_, connect):
        assert connect().ask(text) == ""


def test_there_is_an_end_of_breakpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efishim.debug.stub.BREAKPOINTS", 16)
    with debugged(tmp_path) as (_, connect):
        client = connect()
        client.ask("QStartNoAckMode")
        client.send(b"".join(framed(b"Z0,%x,1" % number) for number in range(20)))
        answers = [client.answer() for _ in range(20)]
        assert answers == 16 * ["OK"] + 4 * ["E16"]


def flood(client: Client) -> None:
    client.send(b"$" + 3 * BUFFER * b"a")


def noise(client: Client) -> None:
    client.send(random.Random(14).randbytes(1 << 18))


def deaf(client: Client) -> None:
    """Asks and asks, and reads nothing."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    client.socket.settimeout(1.0)
    packets = framed(b"g") * 1000
    try:
        while True:
            client.send(packets)
    except TimeoutError:
        pass


def half(client: Client) -> None:
    client.send(b"$m0,1")


@pytest.mark.parametrize("attack", [flood, noise, deaf, half])
def test_a_hostile_client_does_no_harm_and_the_next_one_is_served(
    tmp_path: Path, attack: Callable[[Client], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("efishim.debug.link.SEND_SECONDS", 0.5)
    with debugged(tmp_path, build=endless) as (guest, connect):
        client = connect()
        with suppress(ConnectionError):  # it may be sent away
            attack(client)
        client.close()
        while True:  # the stub may still be busy with the one before, and sends away a second one
            again = connect()
            with suppress(ConnectionError):
                again.send(framed(b"?"))
                if again.item() is not None:
                    break
        assert again.answer().startswith("T0")
        assert again.ask("qC") == "QC1"
        again.send(framed(b"k"))
        assert guest.over().reason == "interrupted"


def test_a_second_client_is_sent_away(tmp_path: Path) -> None:
    with debugged(tmp_path) as (_, connect):
        first = connect()
        assert first.ask("qC") == "QC1"
        assert connect().item() is None
        assert first.ask("qC") == "QC1"


def test_a_client_that_vanishes_leaves_nothing_behind(tmp_path: Path) -> None:
    with debugged(tmp_path) as (guest, connect):
        client = connect()
        client.ask(f"Z0,{STORE:x},1")
        client.ask(f"Z2,{TOTAL:x},8")
        assert client.ask("c").startswith("T05")
        client.close()
        assert guest.over().reason == "halted"
        assert guest.machine.insns == run()[0].insns


def test_the_user_ends_a_stopped_run(tmp_path: Path) -> None:
    with debugged(tmp_path) as (guest, connect):
        client = connect()
        client.ask(f"Z0,{STORE:x},1")
        client.ask("c")
        guest.ended.set()
        assert guest.over().reason == "interrupted"
        assert guest.stub.paused > 0
