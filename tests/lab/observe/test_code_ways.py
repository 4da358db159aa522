"""What led to a block: a branch, a call and not the end of what was called, a trampoline's caller, an interrupt."""

from __future__ import annotations

from efishim.lab.observe.code_ways import UNKNOWN, Notes, Rows, event, leads, vector_of
from efishim.machine.native import EVENT

F, G = 0x1000, 0x2000
"""Where two functions begin."""


def found(where: list[tuple[int, int, str]], origins: list[int], **other: dict[int, int]) -> list[int]:
    """Of blocks (address, bytes, function), by the machine's notes: 0 is nothing, n the row before."""
    rows = Rows([(pc, size, 1) for pc, size, _ in where], names=sorted({name for *_, name in where}))
    starts = {name: min(pc for pc, _, one in where if one == name) for *_, name in where}
    for row, (pc, _, name) in enumerate(where):
        rows.function.append(rows.names.index(name))
        rows.offset.append(pc - starts[name])
        if rows.first.setdefault(pc, row) != row:
            rows.again[row] = rows.first[pc]
    stack = [other.get("stack", {}).get(row, 0) for row in range(len(where))]
    return leads(rows, Notes(origins, stack, other.get("resumed", {})))


def test_branches_and_calls_follow_from_the_block_before() -> None:
    assert found([(F, 8, "f"), (F + 0x20, 8, "f"), (G, 8, "g")], [0, 1, 2]) == [UNKNOWN, 0, 1]


def test_behind_a_return_it_is_the_call() -> None:
    """Not the end of what was called, which everybody may call."""
    rows = [(F, 8, "f"), (G, 8, "g"), (G + 8, 8, "g"), (F + 8, 8, "f")]
    assert found(rows, [0, 1, 2, 3]) == [UNKNOWN, 0, 1, 0]


def test_a_branch_to_where_another_block_ends_is_that_branch() -> None:
    rows = [(F, 8, "f"), (F + 0x20, 8, "f"), (F + 8, 8, "f")]
    assert found(rows, [0, 1, 2]) == [UNKNOWN, 0, 1]


def test_a_function_called_through_a_trampoline_follows_from_the_caller() -> None:
    thunk = "__x86_indirect_thunk_rax"
    rows = [(F, 8, "f"), (0x3000, 2, thunk), (F + 8, 8, "f"), (G, 8, "g")]
    assert found(rows, [0, 1, 2, 2], stack={3: F + 0x10}) == [UNKNOWN, 0, 0, 2]
    assert found(rows, [0, 1, 2, 2]) == [UNKNOWN, 0, 0, 1], "without the return address it is the trampoline"
    rows[1] = (0x3000, 2, "h")
    assert found(rows, [0, 1, 2, 2], stack={3: F + 0x10}) == [UNKNOWN, 0, 0, 1], "any other function decides where it jumps to"


def test_unlikely_blocks_lie_elsewhere() -> None:
    rows = [(F, 8, "f"), (F + 8, 8, "f"), (0x9000, 8, "f.cold"), (F + 16, 8, "f")]
    assert found(rows, [0, 1, 1, 3]) == [UNKNOWN, 0, 0, 2]


def test_a_test_of_a_processor_feature_lies_elsewhere() -> None:
    """It goes back to the function that it came from, whose branch it is."""
    rows = [(F, 8, "f"), (0x9000, 8, "_einittext"), (0x9008, 8, "_einittext"), (F + 0x40, 8, "f"), (F + 0x80, 8, "f")]
    assert found(rows, [0, 1, 2, 3, 2]) == [UNKNOWN, 0, 1, 0, 0]


def test_interrupts_begin_a_tree() -> None:
    (handler,) = found([(F, 8, "f"), (G, 8, "g")], [0, EVENT | 0xEC])[1:]
    assert handler == event(0xEC)
    assert [vector_of(one) for one in (handler, UNKNOWN, 0, event(0))] == [0xEC, None, None, 0]


def test_where_the_guest_goes_on_after_an_interrupt_follows_from_what_was_interrupted() -> None:
    rows = [(F, 8, "f"), (G, 8, "g"), (F + 0x40, 8, "f")]
    origins = [0, EVENT | 0xEC, 2]
    assert found(rows, origins, resumed={F + 0x40: 1}) == [UNKNOWN, event(0xEC), 0]
    assert found([*rows, (F + 0x42, 6, "f")], [*origins, 2], resumed={F + 0x40: 1})[3] == 2, "inside a block that ran"


def test_a_block_that_was_translated_twice_is_the_first_one() -> None:
    rows = [(F, 8, "f"), (F + 8, 8, "f"), (F, 8, "f"), (F + 16, 8, "f")]
    assert found(rows, [0, 1, 2, 3])[3] == 0


def test_without_notes_nothing_is_known() -> None:
    assert found([(F, 8, "f"), (F + 8, 8, "f")], []) == [UNKNOWN, UNKNOWN]
