"""Maps reads and writes to fields of the boot structures, and to memory ranges with a meaning on PCs.

The accesses come from `machine.access_observer.Observer`; what firmware does on the host's side is not among them. "Never
read" holds for the time in which the structure was watched, which stands next to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from efishim.lab.observe.address_names import AddressNames
from efishim.lab.record import CODE_LIMIT, CodeRef, Consumption, FieldUse, Hex, WholeUse, hexadecimal
from efishim.lab.snapshot.structures import Target
from efishim.machine.access_observer import Access
from efishim.machine.memory import PAGE
from efishim.wire.layout import Leaf

MEMBER_LEAVES = 4
"""Fewest leaves of a member that can be used as a whole; a pair of numbers is just read."""


@dataclass
class _Use:
    reads: int = 0
    writes: int = 0
    first: Access | None = None
    functions: dict[str, None] = field(default_factory=dict)

    def note(self, access: Access, function: str) -> None:
        if access.write:
            self.writes += access.count
        else:
            self.reads += access.count
        if self.first is None or access.first < self.first.first:
            self.first = access
        if len(self.functions) < CODE_LIMIT:
            self.functions.setdefault(function)


_Piece = tuple[int, int, Access]
"""First byte and last byte + 1, from the start of the structure, and what touched them."""


class AccessNames:
    """Functions of code addresses, each looked up once."""

    def __init__(self, names: AddressNames) -> None:
        self._names = names
        self._known: dict[tuple[int, bool], str] = {}

    def function(self, access: Access) -> str:
        """The symbol of the code that did it; the address itself for code that has none."""
        insns = access.first - 1  # the access counts the block that it was in
        key = (access.code, insns < self._names.kernel_runs_from)
        name = self._known.get(key)
        if name is None:
            found = self._names.function(access.code, insns)
            name = hexadecimal(access.code) if found is None else found[0]
            if name == "image":
                name = f"image+{found[1]:#x}" if found else name
            self._known[key] = name
        return name

    def ref(self, access: Access) -> CodeRef:
        """The instruction of an access."""
        return self._names.ref(access.code, access.first - 1)


def consumption(targets: Sequence[Target], accesses: Sequence[Access], names: AddressNames) -> list[Consumption]:
    """What was done to each structure, in the order given. `accesses` are those of the observer, in their order."""
    accessors = AccessNames(names)
    by_page: dict[int, list[int]] = {}
    for number, one in enumerate(targets):
        for page in range(one.address // PAGE, (one.address + max(one.size, 1) - 1) // PAGE + 1):
            by_page.setdefault(page, []).append(number)
    theirs: list[list[Access]] = [[] for _ in targets]
    for access in accesses:
        for number in by_page.get(access.address // PAGE, ()):
            one = targets[number]
            if access.address < one.address + one.size and one.address < access.address + access.size:
                theirs[number].append(access)
    return [_fold(one, mine, accessors) for one, mine in zip(targets, theirs, strict=True)]


def _fold(target: Target, accesses: list[Access], names: AccessNames) -> Consumption:
    leaves = target.leaves
    pieces = [(*_span(target, access), access) for access in accesses]
    whole = _whole_users("", 0, target.size, leaves, pieces, names)
    copied = {(one.function, one.write) for one in whole}
    rest = [(s, e, a) for s, e, a in pieces if (names.function(a), a.write) not in copied]
    known: set[Leaf] = set()
    taken: dict[tuple[str, bool], list[tuple[int, int]]] = {}
    for name, start, end, below in _members(leaves):
        inside = [(s, e, a) for s, e, a in rest if s < end and start < e]
        users = _whole_users(name, start, end, below, inside, names)
        for one in users:
            taken.setdefault((one.function, one.write), []).append((start, end))
            known.update(below if not one.write else ())
        whole += users
    uses = _uses(leaves, target.size, rest, taken, names)
    known.update(leaf for leaf, use in uses.items() if use.reads)
    return Consumption(
        structure=target.name,
        address=Hex(target.address),
        size=target.size,
        since_insns=target.since,
        until_insns=target.until,
        reads=sum(access.count for access in accesses if not access.write),
        writes=sum(access.count for access in accesses if access.write),
        bytes_read=_covered([(s, e) for s, e, a in pieces if not a.write], target.size),
        whole=sorted(whole, key=lambda one: one.first_insns),
        fields=[_field_use(leaf.name, uses[leaf], names) for leaf in leaves if leaf in uses],
        never_read=drawn_together(
            [leaf.name for leaf in leaves if leaf not in known and not _padding(leaf)], [leaf.name for leaf in leaves]
        ),
    )


def _uses(
    leaves: tuple[Leaf, ...],
    length: int,
    pieces: list[_Piece],
    taken: dict[tuple[str, bool], list[tuple[int, int]]],
    names: AccessNames,
) -> dict[Leaf, _Use]:
    """The code that touched each leaf, except members that were copied as a whole."""
    owner: list[Leaf | None] = [None] * length
    for leaf in leaves:
        owner[leaf.offset : leaf.offset + leaf.size] = [leaf] * leaf.size
    uses: dict[Leaf, _Use] = {}
    for start, end, access in pieces:
        function = names.function(access)
        if any(low <= start and end <= high for low, high in taken.get((function, access.write), ())):
            continue
        for touched in dict.fromkeys(owner[start:end]):
            if touched is not None:
                uses.setdefault(touched, _Use()).note(access, function)
    return uses


def _covered(spans: list[tuple[int, int]], length: int) -> int:
    marked = bytearray(length)
    for start, end in spans:
        marked[start:end] = b"\1" * (end - start)
    return sum(marked)


def _members(leaves: tuple[Leaf, ...]) -> list[tuple[str, int, int, tuple[Leaf, ...]]]:
    """Name, first byte, last byte + 1 and leaves of the members with enough of them to speak of a whole."""
    below: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        below.setdefault(re.split(r"[.\[]", leaf.name, maxsplit=1)[0], []).append(leaf)
    return [
        (name, theirs[0].offset, theirs[-1].offset + theirs[-1].size, tuple(theirs))
        for name, theirs in below.items()
        if MEMBER_LEAVES <= len(theirs) < len(leaves)
    ]


def _field_use(name: str, use: _Use, names: AccessNames) -> FieldUse:
    assert use.first is not None
    return FieldUse(
        name=name,
        reads=use.reads,
        writes=use.writes,
        first_insns=use.first.first,
        first=names.ref(use.first),
        functions=list(use.functions),
    )


def _span(target: Target, access: Access) -> tuple[int, int]:
    """First and last byte + 1 of an access, from the start of the structure and within it."""
    start = access.address - target.address
    return max(start, 0), min(start + access.size, target.size)


def _padding(leaf: Leaf) -> bool:
    return leaf.name.rpartition(".")[2].startswith("_")


def _whole_users(
    part: str, low: int, high: int, leaves: tuple[Leaf, ...], pieces: list[_Piece], names: AccessNames
) -> list[WholeUse]:
    """Functions that read (or wrote) all bytes from `low` to `high` with one instruction, or most of them in other pieces
    than the leaves."""
    if len(leaves) < 2:
        return []
    users: dict[tuple[str, bool], list[_Piece]] = {}
    for start, end, access in pieces:
        users.setdefault((names.function(access), access.write), []).append((start, end, access))
    shapes = {(leaf.offset, leaf.offset + leaf.size) for leaf in leaves}
    out = []
    for (function, write), theirs in users.items():
        times = [0] * (high - low)
        by_code: dict[int, list[tuple[int, int]]] = {}
        for start, end, access in theirs:
            by_code.setdefault(access.code, []).append((start - low, end - low))
            for byte in range(max(start - low, 0), min(end, high) - low):
                times[byte] += access.count
        if not all(times):
            continue
        exact = len({(start, end) for start, end, _ in theirs} & shapes)
        if 2 * exact < len(leaves) or any(
            _covered([(max(start, 0), min(end, high - low)) for start, end in spans], high - low) == high - low
            for spans in by_code.values()
        ):
            first = min((access for _, _, access in theirs), key=lambda access: access.first)
            out.append(
                WholeUse(
                    part=part,
                    function=function,
                    write=write,
                    times=min(times),
                    first_insns=first.first,
                    first=names.ref(first),
                )
            )
    return out


_ELEMENT = re.compile(r"(.*?)\[(\d+)\]")


def drawn_together(some: Sequence[str], everything: Sequence[str]) -> list[str]:
    """AccessNames of leaves with runs of whole array elements as one: `e820_table[7..127]` for all that lies below these."""
    members: dict[tuple[str, int], int] = {}
    for name in everything:
        found = _ELEMENT.match(name)
        if found:
            members[found[1], int(found[2])] = members.get((found[1], int(found[2])), 0) + 1
    present: dict[tuple[str, int], int] = {}
    for name in some:
        found = _ELEMENT.match(name)
        if found:
            present[found[1], int(found[2])] = present.get((found[1], int(found[2])), 0) + 1
    out: list[str] = []
    run: tuple[str, int, int] | None = None
    for name in some:
        found = _ELEMENT.match(name)
        key = (found[1], int(found[2])) if found else None
        if key is None or present[key] < members[key]:
            out, run = _close(out, run), None
            out.append(name)
        elif run is not None and run[0] == key[0] and key[1] in (run[2], run[2] + 1):
            run = (run[0], run[1], key[1])
        else:
            out, run = _close(out, run), (key[0], key[1], key[1])
    return _close(out, run)


def _close(out: list[str], run: tuple[str, int, int] | None) -> list[str]:
    if run is not None:
        out.append(f"{run[0]}[{run[1]}]" if run[1] == run[2] else f"{run[0]}[{run[1]}..{run[2]}]")
    return out
