"""Where the code of two runs parts: the branches behind which functions ran on one side only.

Each block that ran has one that led to it (`FunctionCoverage.after`), so the blocks form trees. A function of one side is
followed up to the first block that both ran: that block is the branch that both came to and left differently. What lies below
it ran because of it and is no difference of its own. Where blocks have no such note (records from before it, a block whose
lead is not known), each function is a root whose branch is not told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from efishim.compare.evidence import Block, Difference, Way
from efishim.compare.facts import Fact, Kind, did
from efishim.lab.observe.code_parts import ELSEWHERE, LOADER, SHIM, USER
from efishim.lab.record import FunctionCoverage, Record

UNTOLD = "?"
"""The branch of a root that nothing is known of."""
TO = " -> "
NAMED = 12
"""Functions below a root that its value names."""
UNPLACED = frozenset({ELSEWHERE, USER})
"""Parts whose blocks are known by address, which is another one on each run."""


@dataclass(frozen=True, slots=True)
class Root:
    """A branch, and what ran below it on one side only."""

    branch: str
    """`symbol+0x12` of the last block that both ran, `interrupt 0xec`, or UNTOLD."""
    function: str
    """The branch without an offset."""
    below: tuple[str, ...]
    """Functions, those nearest to the branch first."""
    insns: int
    """That ran in these functions."""
    first: tuple[Block | str, Block] = (UNTOLD, (-1, -1))
    """The branch and the block behind it."""

    @property
    def fact(self) -> Fact:
        """From which function to which."""
        return did(Kind.CODE, f"{self.function}{TO}{self.below[0]}")

    @property
    def value(self) -> str:
        """A sentence."""
        more = len(self.below) - NAMED
        names = ", ".join(self.below[:NAMED]) + (f" and {more:,} more" if more > 0 else "")
        functions = "function" if len(self.below) == 1 else "functions"
        return f"ran from {self.branch}: {len(self.below):,} {functions}, {self.insns:,} instructions: {names}"


def rooted(
    left: Record, right: Record, differences: Sequence[Difference], sides: tuple[Ran, Ran] | None = None
) -> list[Difference]:
    """The differences, with one for each root in the place of those of single functions, which it has in `also`. `sides` is
    for who has them already.
    """
    code = [one for one in differences if one.fact.kind is Kind.CODE]
    if not code:
        return list(differences)
    sides = sides or (Ran(left.coverage.functions), Ran(right.coverage.functions))
    by_block = left.image.sha256 == right.image.sha256
    found = []
    for number, (mine, theirs) in enumerate((sides, reversed(sides))):
        names = {one.fact.subject for one in code if (one.left, one.right)[number]}
        for root in Walk(mine, theirs, by_block).roots(names):
            values = (root.value, "") if number == 0 else ("", root.value)
            below = tuple(did(Kind.CODE, name) for name in root.below)
            way: Way = (number, *root.first)
            found.append(Difference(root.fact, *values, below, way))
    rest = [one for one in differences if one.fact.kind is not Kind.CODE]
    return sorted([*rest, *found], key=lambda one: one.path)


class Ran:
    """The blocks of one run. Everything in it may be a hostile guest's, or anybody's who wrote the file."""

    def __init__(self, functions: Sequence[FunctionCoverage]) -> None:
        self.functions = functions
        self.places = {(one.part, one.name): place for place, one in enumerate(functions)}
        self.named: dict[str, list[int]] = {}
        for place, one in enumerate(functions):
            if one.part not in (SHIM, LOADER):
                self.named.setdefault(one.name, []).append(place)
        self._offsets: dict[int, list[str]] = {}
        self._sets: dict[int, frozenset[str]] = {}
        self._after: dict[int, list[str]] = {}

    def offsets(self, function: int) -> list[str]:
        """Of its blocks."""
        if function not in self._offsets:
            self._offsets[function] = self.functions[function].offsets.split()
        return self._offsets[function]

    def ran(self, part: str, name: str, offset: str | None) -> bool:
        """Did the block run, or any of the function?"""
        place = self.places.get((part, name))
        if place is None or offset is None:
            return place is not None
        if place not in self._sets:
            self._sets[place] = frozenset(self.offsets(place))
        return offset in self._sets[place]

    def lead(self, block: Block) -> Block | str:
        """The block that led there, or what is written instead."""
        function, place = block
        if function not in self._after:
            text = self.functions[function].after
            self._after[function] = text.split() if isinstance(text, str) else []
        words = self._after[function]
        word = words[place] if place < len(words) else UNTOLD
        try:
            if "." in word:
                other, _, number = word.partition(".")
                found = int(other), int(number)
            else:
                found = function, place - int(word)
        except ValueError:
            return word
        inside = 0 <= found[0] < len(self.functions) and 0 <= found[1] < len(self.offsets(found[0]))
        return found if inside else UNTOLD


@dataclass
class _Group:
    names: list[tuple[int, str]] = field(default_factory=list)
    """Blocks up to the branch, and the function."""
    insns: int = 0


class Walk:
    """Follows blocks of one side up to the first that the other side ran, too. Without `by_block`, the images are not the same
    one: a block ran there if any of its function did.
    """

    def __init__(self, mine: Ran, theirs: Ran, by_block: bool) -> None:
        self._mine, self._theirs, self._by_block = mine, theirs, by_block
        self._known: dict[Block, tuple[tuple[Block | str, Block], int]] = {}

    def roots(self, names: set[str]) -> Iterator[Root]:
        """The roots of these functions."""
        groups: dict[tuple[Block | str, Block], _Group] = {}
        for name in sorted(names):
            functions = self._mine.named.get(name, [])
            reached = [self.up(block) for function in functions for block in self._entered(function)]
            way, depth = min(reached, key=lambda one: one[1], default=((UNTOLD, (-1, len(groups))), 1))
            group = groups.setdefault(way, _Group())
            group.names.append((depth, name))
            group.insns += sum(self._mine.functions[function].insns for function in functions)
        for (branch, first), group in groups.items():
            yield Root(*self._said(branch), tuple(name for _, name in sorted(group.names)), group.insns, (branch, first))

    def _entered(self, function: int) -> Iterator[Block]:
        """Where it was entered: at its first block, or else at those that another function led to."""
        entries: list[Block] = []
        for place, offset in enumerate(self._mine.offsets(function)):
            lead = self._mine.lead((function, place))
            if isinstance(lead, str) or lead[0] != function:
                if offset == "0":
                    yield function, place
                    return
                entries.append((function, place))
        if entries or self._mine.offsets(function):
            yield entries[0] if entries else (function, 0)

    def up(self, block: Block) -> tuple[tuple[Block | str, Block], int]:
        """The branch with the block behind it, and the number of blocks on the way."""
        way: list[Block] = []
        on_way: set[Block] = set()
        at = block
        while at not in self._known:
            way.append(at)
            on_way.add(at)
            lead = self._mine.lead(at)
            if isinstance(lead, str) or lead in on_way or self.shared(lead):
                self._known[at] = ((UNTOLD if lead in on_way else lead, at), 1)
                way.pop()
                break
            at = lead
        root, depth = self._known[at]
        for one in reversed(way):
            depth += 1
            self._known[one] = root, depth
        return root, depth

    def shared(self, block: Block) -> bool:
        function, place = block
        one = self._mine.functions[function]
        whole = not self._by_block or one.part in UNPLACED
        return self._theirs.ran(one.part, one.name, None if whole else self._mine.offsets(function)[place])

    def _said(self, branch: Block | str) -> tuple[str, str]:
        """A branch with its offset and without."""
        if isinstance(branch, str):
            word = f"interrupt 0x{branch[1:]}" if branch.startswith("!") else UNTOLD
            return word, word
        name = self._mine.functions[branch[0]].name
        return f"{name}+0x{self._mine.offsets(branch[0])[branch[1]]}", name
