"""Blocks that count themselves count the same, stop the same, and are left alone where a block begins in another way."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from efishim.machine import native, selfcounting
from efishim.machine.engine import Engine
from efishim.machine.machine import Machine
from efishim.machine.memory import PhysicalMemory
from efishim.machine.native import NativeHooks
from tests.machine import guest

HLT = b"\xf4"
LOOP = bytes.fromhex("b9e8030000 ff042500002000 ffc9 75f5 f4".replace(" ", ""))
"""mov ecx, 1000; again: inc dword [0x200000]; dec ecx; jnz again; hlt."""
AGAIN, AFTER = guest.ORIGIN + 5, guest.ORIGIN + 16


def why_not(machine: Machine) -> str:
    (reason,) = [one.why_not for one in machine.engine.shortcuts if one.name == "own counts"]
    return reason


@contextmanager
def with_calls() -> Iterator[None]:
    """No block is rewritten."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(selfcounting, "_LOW", 0)
        yield


Ending = tuple[str, int, int, dict[tuple[int, int], int], list[tuple[int, int, int]]]


def ending(machine: Machine, **limits: int) -> Ending:
    stop = machine.run(**(limits or {"max_insns": 1_000_000}))  # type: ignore[arg-type]
    hooks = machine.engine.native
    return stop.reason, machine.insns, machine.clock.now, hooks.times_entered(), hooks.blocks()


def both_ways(build: Callable[[], Machine], **limits: int) -> Ending:
    """How a run ends: the same whether blocks count themselves or not, and they do."""
    machine = build()
    assert not why_not(machine)
    ours = ending(machine, **limits)
    state = machine.engine.state
    assert state.rewritten
    assert not state.refused
    with with_calls():
        machine = build()
    assert why_not(machine)
    assert ours == ending(machine, **limits)
    assert not machine.engine.state.rewritten
    return ours


@pytest.mark.parametrize("mode", [guest.long_mode, guest.protected])
def test_a_loop(mode: Callable[[bytes], Machine]) -> None:
    reason, insns, _, entered, _ = both_ways(lambda: mode(LOOP))
    assert (reason, insns) == ("halted", 1 + 1000 * 3 + 1)
    assert entered[AGAIN, 11] == 999, "the first time is part of the block before"


def test_addresses_of_every_length() -> None:
    """The translation loads the address in another way below 2 GiB, in the last 2 GiB, and between."""
    places = (0x40000000, 0xFFFF_FFFF_8000_0000, 0xFFFF_8000_0000_0000, 0x7000_0000_0000)
    code = b"".join(b"\x48\xb8" + (place + guest.DATA).to_bytes(8, "little") + b"\xff\xd0" for place in places)

    def build() -> Machine:
        machine = guest.long_mode(code * 2 + HLT)
        machine.memory.write(guest.DATA, b"\x90\xc3")
        for place in places:
            machine.memory.put_u64(guest.TABLES + 8 * (place >> 39 & 511), guest.TABLES + 0x3003)
        for entry in range(512):
            machine.memory.put_u64(guest.TABLES + 0x3000 + 8 * entry, guest.TABLES + 0x2003)
        machine.memory.put_u64(guest.TABLES, guest.TABLES + 0x1003)
        machine.memory.put_u64(guest.TABLES + 0x1008, guest.TABLES + 0x2003)
        return machine

    reason, insns, _, entered, _ = both_ways(build)
    assert (reason, insns) == ("halted", 8 * 4 + 1)
    assert [entered[(place + guest.DATA) & native.NEVER, 2] for place in places] == [2] * 4


@pytest.mark.parametrize("max_insns", [1, 2, 5, 6, 1499, 1500, 1501, 3001])
def test_the_end_is_exact(max_insns: int) -> None:
    reason, insns, *_ = both_ways(lambda: guest.long_mode(LOOP), max_insns=max_insns)
    assert (reason, insns) == ("insn limit", max_insns)


def test_a_watch_on_a_block_that_ran() -> None:
    """Set by another watch, when the block has counted itself three times: it stops the fourth."""
    # mov ecx, 3; again: jmp on; on: dec ecx; jnz again; mov ecx, 2; jmp again
    code = bytes.fromhex("b903000000eb00ffc975fab902000000ebf3")
    seen: list[int] = []

    def watched() -> Machine:
        seen.clear()
        machine = guest.long_mode(code)

        def then() -> None:
            machine.watches.add(guest.ORIGIN + 7, lambda: seen.append(machine.insns))

        machine.watches.add(guest.ORIGIN + 11, then)
        return machine

    both_ways(watched, max_insns=40)
    assert seen == [1 + 3 * 3 + 2 + 1]


def test_a_block_whose_count_is_corrected() -> None:
    machine = guest.long_mode(LOOP)

    def correct() -> None:
        machine.engine.native.count_as(AGAIN, 11, 1)

    machine.engine.state.limit = 0
    assert machine.run(max_insns=301).reason == "insn limit"
    assert machine.engine.state.rewritten
    correct()
    assert machine.run(max_insns=1_000_000).reason == "halted"
    assert machine.insns == 301 + 900 + 1


def test_interrupts_come_where_they_came() -> None:
    """A timer that fires while blocks count themselves; the handler counts how far the program was."""

    def build() -> Machine:
        machine = guest.long_mode(LOOP)
        for number in range(1, 6):
            machine.clock.at(number * 50, lambda: None)
        return machine

    both_ways(build)


def test_code_that_changes() -> None:
    """The function at 0x200000 gets shorter and longer: a size is known again with another number of instructions."""
    versions = ["9090c3", "6690c3", "89c9c3", "9090c3"]
    code = b""
    for text in versions:
        word = int.from_bytes(bytes.fromhex(text), "little")
        code += b"\xc7\x04\x25\x00\x00\x20\x00" + word.to_bytes(4, "little") + b"\xb8\x00\x00\x20\x00" + b"\xff\xd0" * 3
    _, insns, *_ = both_ways(lambda: guest.long_mode(code + HLT))
    assert insns == 4 * (2 + 3) + 3 * (3 + 2 + 2 + 3) + 1


def test_stores_to_rom_count_what_follows_once() -> None:
    """Unicorn leaves such a store out and asks for a stop, which the block behind it notices: it has been called already, and
    runs later. After sixteen stores to RAM the two blocks are chained, so that nobody else notices first."""

    def build() -> Machine:
        def prepare(machine: Machine) -> None:
            machine.memory.add(guest.RAM, 0x10000, writable=False)

        # mov ecx, 32; mov edi, 0xff0000; again: mov [rdi], al; add edi, 0x1000; dec ecx; jnz again; hlt
        return guest.long_mode(bytes.fromhex("b920000000bf0000ff00880781c700100000ffc975f4f4"), prepare=prepare)

    reason, insns, _, entered, _ = both_ways(build)
    assert (reason, insns) == ("halted", 2 + 32 * 4 + 1)
    assert sum(entered.values()) == 32 + 1


def test_many_machines_at_once() -> None:
    machines = [guest.long_mode(LOOP) for _ in range(12)]
    for machine in machines:
        assert machine.run(max_insns=1501).reason == "insn limit"
    for machine in reversed(machines):
        assert not why_not(machine)
        assert ending(machine)[:2] == ("halted", 3002)
        assert machine.memory.u32(guest.DATA) == 1000
        assert (machine.engine.state.rewritten > 0, machine.engine.state.refused) == (True, 0)


@pytest.mark.slow
def test_machines_come_and_go() -> None:
    for _ in range(20):
        assert ending(guest.long_mode(LOOP))[:2] == ("halted", 3002)
        gc.collect()


# Where it is not possible


def no_low_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = native.private

    def private(size: int, *, executable: bool = False, low: bool = False) -> object:
        if low:
            raise OSError(12, "Cannot allocate memory")
        return usual(size, executable=executable)

    monkeypatch.setattr(native, "private", private)


def no_symbol(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        pass

    monkeypatch.setattr(selfcounting, "uclib", Library())


def another_check(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        helper_check_exit_request_x86_64 = ctypes.CFUNCTYPE(None)(lambda: None)

    monkeypatch.setattr(selfcounting, "uclib", Library())


def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcounting, "_writable", lambda _address: False)


def miscounted(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = NativeHooks.learn

    def learn(hooks: NativeHooks, handle: int, pc: int, size: int, icount: int) -> None:
        usual(hooks, handle, pc, size, icount + 1)

    monkeypatch.setattr(NativeHooks, "learn", learn)


def unmarked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NativeHooks, "mark", lambda *_: None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (no_low_memory, "no memory left below 2 GiB"),
        (no_symbol, "has no name"),
        (another_check, "begin in another way"),
        (read_only, "cannot be written"),
        (miscounted, "does not count itself"),
        (unmarked, "does not stop"),
    ],
)
def test_the_hook_is_called_as_ever(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None], reason: str
) -> None:
    usual = ending(guest.long_mode(LOOP))
    with monkeypatch.context() as patch:
        change(patch)
        memory = PhysicalMemory()
        memory.add(0, 1 << 20)
        machine = guest.long_mode(LOOP)
    assert reason in why_not(machine)
    assert ending(machine) == usual
    assert machine.engine.state.rewritten == 0


def test_a_page_that_may_not_be_written_is_recognised() -> None:
    page = native.private(0x1000)
    address = native.address_of(page)
    page[:2] = b"\x5a\xa5"
    assert selfcounting._writable(address)
    assert page[:2] == b"\x5a\xa5"
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address), ctypes.c_size_t(0x1000), 1) == 0
    assert not selfcounting._writable(address)


def test_nothing_of_the_proof_stays() -> None:
    machine = guest.long_mode(HLT)
    engine: Engine = machine.engine
    assert (engine.state.insns, engine.native.blocks(), engine.native.times_entered()) == (0, [], {})
    assert machine.memory.read(0, 0x1000) == bytes(0x1000)
