"""Instruction boundaries within blocks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import capstone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.machine.blocks import BlockIndex
from efishim.machine.disassembly import starts
from efishim.machine.machine import Machine
from tests.machine.guest import ORIGIN, long_mode, protected

CODE = b"\x90\xb8\x01\x00\x00\x00\x01\xc0\x8b\x1d\x00\x90\x00\x00\xeb\x00\xf4"
BEGINS = [0, 1, 6, 8, 14]
"""NOP; MOV EAX, 1; ADD EAX, EAX; MOV EBX, [0x9000]; JMP +0 are one block."""


def index() -> tuple[BlockIndex, int, Machine]:
    """The index of a machine that ran CODE, the native table's entry of its block, and the machine, which has the table."""
    machine = protected(CODE)
    places: list[int] = []
    machine.watches.add(ORIGIN + 16, lambda: places.append(machine.engine.state.last_entry))
    assert machine.run().reason == "halted"
    assert (ORIGIN, 16, 5) in machine.engine.native.blocks()
    return BlockIndex(machine.engine.processor), places[0], machine


def test_what_did_not_run() -> None:
    blocks, entry, _machine = index()
    for number, offset in enumerate(BEGINS):
        assert blocks.not_executed(ORIGIN, entry, ORIGIN + offset, faulted=True) == 5 - number
        assert blocks.not_executed(ORIGIN, entry, ORIGIN + offset, faulted=False) == (5 - number if offset else 0)
    for outside in (ORIGIN - 1, ORIGIN + 16, ORIGIN + 17, 0):
        assert blocks.not_executed(ORIGIN, entry, outside, faulted=True) == 0
    assert blocks.not_executed(ORIGIN, 0, ORIGIN + 1, faulted=True) == 0, "no block ran yet"


def test_starts_by_number_and_by_address() -> None:
    blocks, entry, _machine = index()
    assert [blocks.start(ORIGIN, 16, number) - ORIGIN for number in range(5)] == BEGINS
    assert blocks.next_start(ORIGIN, 16, ORIGIN + 1) == ORIGIN + 6
    assert blocks.next_start(ORIGIN, 16, ORIGIN + 14) == ORIGIN + 16
    assert blocks.count(ORIGIN, 16) == 5
    assert blocks.size(entry) == 16
    assert blocks.size(0) == 0


@given(
    st.binary(max_size=60), st.sampled_from([(16, capstone.CS_MODE_16), (32, capstone.CS_MODE_32), (64, capstone.CS_MODE_64)])
)
def test_starts_cover_everything(code: bytes, mode: tuple[int, int]) -> None:
    found = starts(code, 0x1000, mode[0])
    assert found == sorted(set(found))
    assert (found[0] == 0x1000) if code else found == []
    assert all(later - earlier <= 15 for earlier, later in pairwise(found))


ALU = [
    b"\x01\xd8",
    b"\x48\x01\xd8",
    b"\x0f\xaf\xc3",
    b"\xc1\xe0\x03",
    b"\xb8\x78\x56\x34\x12",
    b"\x66\xb8\x34\x12",
    b"\x8d\x44\x98\x10",
]


@given(st.lists(st.sampled_from(ALU), min_size=1, max_size=50))
def test_starts_of_known_instructions(pieces: list[bytes]) -> None:
    expected, where = [], 0
    for piece in pieces:
        expected.append(where)
        where += len(piece)
    assert starts(b"".join(pieces), 0, 64) == expected


@pytest.mark.parametrize("mode", [protected, long_mode])
def test_a_called_block_has_its_return_address(mode: Callable[[bytes], Machine]) -> None:
    """Through a jump, too: mov eax, there; call jump; back: hlt; jump: jmp eax; nop; there: ret."""
    start, back, jump, there = (ORIGIN + offset for offset in (0, 10, 11, 14))
    machine = mode(bytes.fromhex("b8 0e800000 e8 01000000 f4 ffe0 90 c3"))
    assert machine.run().reason == "halted"
    blocks, (before, stack) = machine.engine.native.blocks(), machine.engine.native.origins()
    rows = {pc: row for row, (pc, _, _) in enumerate(blocks)}
    assert [before[rows[pc]] - 1 for pc in (jump, there, back)] == [rows[start], rows[jump], rows[there]]
    assert [stack[rows[pc]] & 0xFFFF_FFFF for pc in (jump, there)] == [back, back]
