"""State in Python objects: found whatever holds it, and taken over with everything that it refers to."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest

from efishim.why.objects import Graph, Mirror, Untransferable


@dataclass
class Board:
    name: str


@dataclass
class Device:
    board: Board
    level: int = 0
    queue: list[int] = field(default_factory=list)
    raise_line: Callable[[], int] = int
    seen: Counter[str] = field(default_factory=Counter)


def counter(board: Board, start: int) -> Callable[[], int]:
    """Remembers in a closure."""
    state = {"value": start}

    def line() -> int:
        state["value"] += 1
        return state["value"] * 10 + len(board.name)

    return line


def device(name: str, **state: object) -> tuple[Board, Device]:
    board = Board(name)
    found = Device(board)
    for key, value in state.items():
        setattr(found, key, value)
    return board, found


def graph(board: Board, *devices: Device) -> Graph:
    found = Graph({"board": board})
    for one in devices:
        found.add("device", one)
    return found


def differing(one: Graph, other: Graph) -> list[str]:
    paths = {*one.by_path, *other.by_path}
    both = {path for path in paths if path in one.by_path and path in other.by_path}
    return sorted(".".join(path) for path in paths if path not in both or one.state(path) != other.state(path))


def test_machines_of_one_kind_do_not_differ() -> None:
    assert differing(graph(*device("a")), graph(*device("b"))) == []


@pytest.mark.parametrize(
    "change", [{"level": 3}, {"queue": [1]}, {"seen": Counter("x")}, {"raise_line": counter(Board("x"), 5)}]
)
def test_whatever_holds_it_is_seen(change: dict[str, object]) -> None:
    assert differing(graph(*device("a")), graph(*device("b", **change)))


def test_a_closure_s_state_is_seen_and_taken_over() -> None:
    one, other = device("a"), device("longer")
    one[1].raise_line, other[1].raise_line = counter(one[0], 1), counter(other[0], 7)
    mine, theirs = graph(*one), graph(*other)
    assert differing(mine, theirs) == ["device.raise_line.state"]
    path = ("device", "raise_line", "state")
    Mirror(theirs, mine).put(mine.by_path[path], theirs.by_path[path], "[value]")
    assert one[1].raise_line() == 81, "the other's count, and its own board"


def test_two_devices_of_one_name_are_two() -> None:
    board, first = device("a")
    second = Device(board)
    mine = graph(board, first, second)
    second.level = 1
    assert {path for path in mine.by_path if len(path) == 1} == {("device",), ("device #2",)}
    assert mine.state(("device #2",))["level"] == 1


def test_what_is_on_one_side_only_is_made_anew() -> None:
    one, other = device("a"), device("longer")
    other[1].raise_line = partial(counter(other[0], 7))
    mirror = Mirror(graph(*other), graph(*one))
    made = mirror.of(Device(other[0], level=4, raise_line=other[1].raise_line, seen=Counter("xx")))
    assert made.board is one[0]
    assert (made.level, made.seen, made.raise_line()) == (4, Counter("xx"), 81)
    assert other[1].raise_line() == 86, "nothing of the other machine was changed"


def test_what_cannot_be_made_is_refused() -> None:
    one, other = device("a"), device("b")
    with pytest.raises(Untransferable, match="a Board is a Device on the other side"):
        Mirror(graph(*other), graph(*one)).put(one[1], other[0], "name")


def test_what_two_share_is_shared_by_what_is_made() -> None:
    one, other = device("a"), device("b")
    shared = Counter("x")
    loop: list[object] = [(shared, other[0])]
    loop.append(loop)
    mirror = Mirror(graph(*other), graph(*one))
    made = mirror.of([shared, loop, loop, deque([loop], maxlen=3)])
    counts, first, second, last = made
    assert first is second is first[1] is last[0]
    assert first[0] == (shared, one[0])
    assert first[0][0] is counts is not shared
    assert last.maxlen == 3
