"""Breakpoints and traces that are printed."""

from __future__ import annotations

import pytest

from efishim.errors import UsageError
from efishim.image.symbols import Symbols
from efishim.lab.observe.address_names import KERNEL_HALF, AddressNames
from efishim.lab.stops import HITS, Place, Places, Printer, Trace
from efishim.machine.machine import Machine
from tests.debug.program import LOOP, LOOPS, STORE, switching
from tests.machine.test_debugging import run

BASE = KERNEL_HALF + 0x100_0000


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("0x1000", Place("0x1000", 0x1000)),
        ("4096", Place("4096", 4096)),
        ("start_kernel", Place("start_kernel", None, "start_kernel")),
        ("start_kernel+0x10", Place("start_kernel+0x10", None, "start_kernel", 16)),
        (" a.b+8", Place("a.b+8", None, "a.b", 8)),
        ("a+010", Place("a+010", None, "a", 10)),
    ],
)
def test_places(text: str, place: Place) -> None:
    assert Place.parse(text) == place


@pytest.mark.parametrize("text", ["", "+5", "start+", "start+x", "0xg", "12ab", "99999999999999999999"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(UsageError, match="neither a symbol nor an address"):
        Place.parse(text)


def test_traces() -> None:
    assert Trace.parse("500") == Trace(500)
    between = Trace.parse("a..0x10")
    assert (between.begin, between.end) == (Place("a", None, "a"), Place("0x10", 16))
    for text in ("0", "-1", "100001", "9" * 5000, "a..", "..b", "\u0663"):
        with pytest.raises(UsageError):
            Trace.parse(text)


def looked(breaks: tuple[str, ...] = (), trace: str | None = None) -> tuple[list[str], list[str], Machine]:
    """What a run with these prints; the run itself is as without."""
    said: list[str] = []
    written: list[str] = []
    machine = switching()
    places = Places(AddressNames(), lambda: None)
    wanted = tuple(map(Place.parse, breaks))
    machine.debug(Printer(machine, places, wanted, None if trace is None else Trace.parse(trace), said.append, written.append))
    machine.run()
    plain = run()[0]
    assert machine.engine.native.blocks() == plain.engine.native.blocks()
    assert (machine.insns, machine.now()) == (plain.insns, plain.now())
    return said, written, machine


def test_hits_are_printed_up_to_a_limit() -> None:
    said, written, _ = looked((hex(STORE),))
    assert written == []
    hits = [line for line in said if ", hit " in line]
    assert len(hits) == HITS < LOOPS
    assert hits[0].startswith(f"break: {STORE:#x}, hit 1, after ")
    assert "not printed any more" in said[-1]
    assert any("64-bit code" in line for line in said)
    assert any(line.strip().startswith("rax") for line in said)


def test_a_trace_from_the_start_follows_the_modes() -> None:
    _, written, _ = looked(trace="12")
    assert len(written) == 12
    assert "lgdt" in written[0]
    assert [line.split()[0] for line in written] == [str(number) for number in range(12)]
    assert "mov ds" in written[6]


def test_a_trace_behind_a_breakpoint() -> None:
    said, written, _ = looked((hex(STORE),), trace="3")
    assert ", hit 1," in said[0]
    assert [int(line.split()[1], 16) for line in written] == [STORE, STORE + 8, STORE + 9]


def test_a_trace_from_place_to_place() -> None:
    _, written, _ = looked(trace=f"{LOOP:#x}..{STORE:#x}")
    assert [int(line.split()[1], 16) for line in written] == [LOOP, STORE]


def test_a_trace_to_a_place_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efishim.lab.stops.RANGE_TRACED", 30)
    said, written, _ = looked(trace=f"{LOOP:#x}..0x1")
    assert len(written) == 30
    assert said == ["trace: 0x1 did not come within 30 instructions"]


def test_symbols_are_found_where_the_kernel_lies_by_now() -> None:
    names = AddressNames()
    symbols = Symbols.build(["Tone", "Ttwo"], [BASE, BASE + 0x100], BASE, BASE + 0x200)
    places = Places(names, lambda: symbols)
    two = Place.parse("two+4")
    places.require(two)
    assert places.of(two) == []
    names.virtual_slide = 0x20_0000
    assert places.of(two) == [BASE + 0x20_0104]
    assert places.name(BASE + 0x20_0104) == "two+0x4"
    assert names.symbols is None, "what the run itself knows is left as it is"
    with pytest.raises(UsageError, match="no symbol 'three'"):
        places.require(Place.parse("three"))
