"""Prints where the guest is: at breakpoints given on the command line, and instruction by instruction."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from efishim.debug.location import instructions, located, register_lines
from efishim.errors import UsageError
from efishim.image.symbols import Symbols
from efishim.lab.observe.address_names import AddressNames
from efishim.machine.debugging import Halt, Then, Why
from efishim.machine.machine import Machine

HITS = 20
"""Of each breakpoint that are printed; then it is taken away."""
TRACED = 100_000
"""Instructions of a trace at most."""
RANGE_TRACED = 10_000
"""The same from one place to another, which may never come."""
ADDRESS_BITS = (1 << 64) - 1
_NUMBER = re.compile(r"0x[0-9a-fA-F]{1,16}|[0-9]{1,20}")

Say = Callable[[str], object]


def _value(text: str) -> int:
    """Of what _NUMBER matches; a leading zero means nothing."""
    return int(text, 16 if text.startswith("0x") else 10)


@dataclass(frozen=True)
class Place:
    """An address in the guest, or a symbol of the kernel and what is added to it."""

    text: str
    address: int | None = None
    symbol: str = ""
    offset: int = 0

    @classmethod
    def parse(cls, text: str) -> Place:
        """`0x100000`, `start_kernel` or `start_kernel+0x10`. Raises UsageError."""
        text = text.strip()
        if _NUMBER.fullmatch(text):
            address = _value(text)
            if address <= ADDRESS_BITS:
                return cls(text, address)
        symbol, plus, offset = text.partition("+")
        if not symbol or symbol[0].isdigit() or (plus and not _NUMBER.fullmatch(offset)):
            raise UsageError(f"{text!r} is neither a symbol nor an address", hint="for example start_kernel or 0x1000000")
        return cls(text, None, symbol, _value(offset) if plus else 0)


@dataclass(frozen=True)
class Trace:
    """So many instructions, or those from one place to another."""

    count: int
    begin: Place | None = None
    end: Place | None = None

    @classmethod
    def parse(cls, text: str) -> Trace:
        """`N` or `FROM..TO`. Raises UsageError."""
        begin, dots, end = text.partition("..")
        if dots:
            return cls(RANGE_TRACED, Place.parse(begin), Place.parse(end))
        if not text.isascii() or not text.isdigit() or len(text) > 6 or not 0 < int(text) <= TRACED:
            raise UsageError(
                f"{text!r} is neither a number of instructions up to {TRACED} nor FROM..TO",
                hint="--trace 500, or --trace start_kernel..setup_arch",
            )
        return cls(int(text))


class Places:
    """Where symbols lie while the guest runs: each at its virtual address, and where the kernel runs identity-mapped."""

    def __init__(self, names: AddressNames, symbols: Callable[[], Symbols | None]) -> None:
        self._names = names
        self._symbols = symbols
        self._known: Symbols | None = None

    def require(self, place: Place) -> None:
        """Raises UsageError when there is no such symbol."""
        if place.symbol and self._linked(place.symbol) is None:
            raise UsageError(
                f"the image has no symbol {place.symbol!r}",
                hint="--system-map takes symbols from a file; an address works without",
            )

    def of(self, place: Place) -> list[int]:
        """Its addresses, as far as they are known by now."""
        if place.address is not None:
            return [place.address]
        linked, names = self._linked(place.symbol), self._names
        if linked is None:
            return []
        linked += place.offset
        found: list[int] = []
        physical = names.facts.physical_of(linked) if names.facts is not None else None
        if physical is not None and names.physical_slide is not None:
            found.append(physical + names.physical_slide)
        if names.virtual_slide is not None:
            found.append((linked + names.virtual_slide) & ADDRESS_BITS)
        return found

    def _linked(self, name: str) -> int | None:
        names = self._names
        known = names.facts.symbols.get(name) if names.facts is not None else None
        if known is not None:
            return known
        return self._all().address_of(name)

    def name(self, address: int) -> str:
        """Symbol and offset of an address, empty if it has none."""
        linked = self._names.linked(address)
        found = self._all().name_at(linked) if linked is not None else None
        if found is not None:
            return f"{found[0]}+{found[1]:#x}"
        return self._names.ref(address).symbol or ""

    def _all(self) -> Symbols:
        """All symbols. The run itself may do with fewer until its end, and its record must not depend on who looks."""
        if self._known is None:
            self._known = self._names.symbols or self._symbols() or Symbols.build([], [], 0, 0)
        return self._known


class Printer:
    """A debugger that only prints. `say` takes the lines of breakpoints, `write` those of the trace."""

    def __init__(
        self, machine: Machine, places: Places, breaks: Iterable[Place], trace: Trace | None, say: Say, write: Say
    ) -> None:
        self._machine = machine
        self._places = places
        self._breaks = tuple(breaks)
        self._trace = trace
        self._say = say
        self._write = write
        self._known: dict[int, Place] = {}
        self._hits: Counter[int] = Counter()
        self._left = 0
        self._begun = trace is None
        begin, end = (None, None) if trace is None else (trace.begin, trace.end)
        self._watched = (*self._breaks, *((begin,) if begin is not None else ()))
        for place in (*self._watched, *((end,) if end is not None else ())):
            places.require(place)

    def attention(self) -> bool:
        """Nothing but its places stops the guest."""
        return False

    def over(self) -> bool:
        """The run's end is not for it to see."""
        return False

    def resolve(self) -> None:
        """More may be known now of where the kernel lies."""
        debugging = self._machine.debugging
        assert debugging is not None
        for place in self._watched:
            for address in self._places.of(place):
                if address not in self._known:
                    self._known[address] = place
                    debugging.insert(address)

    def stopped(self, halt: Halt) -> Then:
        """Print what is to be printed here."""
        if halt.why is Why.AGAIN:
            return Then.STEP if self._left else Then.CONTINUE
        if halt.why is Why.START:
            self.resolve()
        place = self._known.get(halt.at)
        if place is not None and place in self._breaks:
            self._hit(place, halt)
        if not self._begun and self._begins(halt, place):
            self._begun, self._left = True, self._trace.count if self._trace is not None else 0
        if self._left:
            self._step(halt)
        return Then.STEP if self._left else Then.CONTINUE

    def _begins(self, halt: Halt, place: Place | None) -> bool:
        assert self._trace is not None
        if self._trace.begin is not None:
            return halt.at in self._places.of(self._trace.begin)
        return place is not None if self._breaks else halt.why is Why.START

    def _hit(self, place: Place, halt: Halt) -> None:
        if self._hits[halt.at] >= HITS:
            return
        self._hits[halt.at] += 1
        where = f" ({name})" if (name := self._places.name(halt.at)) and name.partition("+")[0] != place.symbol else ""
        self._say(f"break: {place.text}{where}, hit {self._hits[halt.at]}, after {halt.insns:,} instructions")
        for line in (*located(self._machine, self._places.name), *register_lines(self._machine)):
            self._say(line)
        if self._hits[halt.at] == HITS:
            self._say(f"break: {place.text} was hit {HITS} times and is not printed any more")
            if self._trace is None or self._begun:
                debugging = self._machine.debugging
                assert debugging is not None
                debugging.remove(halt.at)

    def _step(self, halt: Halt) -> None:
        trace = self._trace
        assert trace is not None
        for at, text in instructions(self._machine, halt.at, 1):
            self._write(f"{halt.insns:>14,}  {at:#018x}  {self._places.name(at) or '-':<32} {text}")
        self._left -= 1
        if trace.end is not None:
            if halt.at in self._places.of(trace.end):
                self._left = 0
            elif not self._left:
                self._say(f"trace: {trace.end.text} did not come within {trace.count:,} instructions")
