"""What code of one side rests on: from the branch that it lies behind back to something that the kernel was told.

A branch tests variables, arguments and results of functions (branches.py). A variable differs because code that ran on one side
wrote it, an argument because such code called the function, a result because such code ran in it; a function is called
through a pointer because such code handed the pointer on. That code lies behind a branch of its own, and so on, until a branch
tests a field of boot_params of which the two sides were told different things, or until the entry is reached. The image says
what tests and writes what, the records what ran.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Set

from efishim.compare.branches import Argument, Cell, Result, Source, Target, leads_to, sources
from efishim.compare.derived import derived_of
from efishim.compare.evidence import Block, Ground, Way
from efishim.compare.facts import BOOT_PARAMS, EFI, Fact, Stage, given, members
from efishim.compare.roots import UNTOLD, Ran, Walk
from efishim.image.kernel_code import KernelCode
from efishim.lab.observe.code_parts import DECOMPRESSOR, KERNEL, SETUP, STUB
from efishim.lab.observe.code_ways import ASIDE
from efishim.wire.bootparams import BootParams
from efishim.wire.guids import guid_name, guid_text

DEPTH = 5
"""Pointers that are followed backwards from a function to the code that handed it on: file, its attribute, a list, a group."""
SEARCHED = 400
"""Most roots that are looked at for one."""
LOOKED_THROUGH = 1 << 15
"""Blocks of one side that are searched for what they write: a boot with EFI against one without has 6,000."""
ENTRY = "the entry"
GUID_SIZE = 16


class Grounds:
    """Of the roots of one pair of runs of one image.

    `told` are inputs that differ for a reason. `goals` are roots that have a reason of their own, with what they are called.
    `chosen` says that the entry was chosen differently.
    """

    def __init__(
        self, code: KernelCode, runs: tuple[Ran, Ran], told: Set[Fact], goals: Mapping[Way, str], *, chosen: bool
    ) -> None:
        self._code, self._told, self._goals, self._chosen = code, told, goals, chosen
        self._runs = runs
        self._walks = Walk(runs[0], runs[1], by_block=True), Walk(runs[1], runs[0], by_block=True)
        self._places: dict[tuple[int, str], dict[int, Block]] = {}
        self._alone: list[tuple[int, Block]] = []
        """Blocks of the kernel that ran on one side only."""
        self._inside: dict[str, list[tuple[int, Block]]] = {}
        for number in (0, 1):
            self._learn(number)
        self._calls: dict[int, list[tuple[int, Block]]] = {}
        self._referred: list[tuple[int, int, bool, int, Block]] = sorted(self._references())
        self._edges: dict[Way, tuple[list[tuple[Fact, str]], list[tuple[Way, str]]]] = {}

    def _learn(self, number: int) -> None:
        """What ran on this side only."""
        run, other, walk = self._runs[number], self._runs[1 - number], self._walks[number]
        for place, function in enumerate(run.functions):
            there = other.places.get((function.part, function.name))
            same = there is not None and other.functions[there].offsets == function.offsets
            if function.part == KERNEL and not same:
                alone = [(place, at) for at in range(len(run.offsets(place)))]
                found = [(number, block) for block in alone if not walk.shared(block)]
                self._alone += found
                self._inside.setdefault(function.name, []).extend(found)

    def _references(self) -> Iterator[tuple[int, int, bool, int, Block]]:
        """(address, size, written, side, block) of each place that code of one side writes, or hands the address of on."""
        for number, block in self._alone[:LOOKED_THROUGH]:
            address = self._address(number, block)
            if address is not None:
                for target in self._code.goes_to(address):
                    self._calls.setdefault(target, []).append((number, block))
                yield from ((*one, number, block) for one in self._code.refers_to(address))

    def of(self, way: Way) -> Ground | None:
        """The shortest way from a root to what was told; to a variable that was filled from that, where there is no other."""
        return self._search(way, filled=False) or self._search(way, filled=True)

    def _search(self, way: Way, *, filled: bool) -> Ground | None:
        queue: deque[tuple[Way, tuple[str, ...]]] = deque([(way, ())])
        seen = {way}
        looked = 0
        while queue and looked < SEARCHED:
            at, steps = queue.popleft()
            looked += 1
            if self._chosen and self._is_entry(at):
                return Ground((), (*steps, ENTRY))
            if at in self._goals:
                return Ground((), (*steps, self._goals[at]))
            facts, onward = self._edges_of(at)
            if not facts and filled:
                facts = [one for source in dict.fromkeys(self._sources(at)) for one in self._filled_by(source)]
            if facts:
                fact, step = facts[0]
                return Ground((fact,), (*steps, step))
            for following, step in onward:
                if following not in seen:
                    seen.add(following)
                    queue.append((following, (*steps, step)))
        return None

    def _is_entry(self, way: Way) -> bool:
        number, branch, (function, place) = way
        if branch != UNTOLD:
            return False
        one = self._runs[number].functions[function]
        return one.part in (SETUP, DECOMPRESSOR, STUB) or (one.part == KERNEL and one.name == "pvh_start_xen" and place == 0)

    def _address(self, number: int, block: Block) -> int | None:
        function, place = block
        one = self._runs[number].functions[function]
        start = self._code.address(one.name) if one.part == KERNEL else None
        at = _number(self._runs[number].offsets(function)[place])
        return None if start is None or at is None else start + at

    def _edges_of(self, way: Way) -> tuple[list[tuple[Fact, str]], list[tuple[Way, str]]]:
        if way not in self._edges:
            facts: list[tuple[Fact, str]] = []
            onward: list[tuple[Way, str]] = []
            for source in dict.fromkeys(self._sources(way)):
                facts += self._told_by(source)
                for number, block, step in self._causes(source):
                    (branch, first), _ = self._walks[number].up(block)
                    onward.append(((number, branch, first), step))
            if not facts and not onward:
                onward += self._aside(way)
            self._edges[way] = facts, onward
        return self._edges[way]

    def _aside(self, way: Way) -> Iterator[tuple[Way, str]]:
        """Tests of processor features lie aside, and what led there is not always what led back (code_ways.py)."""
        number, _, first = way
        behind = self._address(number, first)
        if behind is None:
            return
        found = [block for side, block in self._calls.get(behind, []) if side == number]
        for place in range(len(self._runs[number].offsets(first[0]))):
            block = first[0], place
            at = self._address(number, block)
            if at is not None and not self._walks[number].shared(block) and behind in self._back_from_aside(at):
                found.append(block)
        for block in found:
            (branch, start), _ = self._walks[number].up(block)
            yield (number, branch, start), f"{self._named(number, block)}, which goes there"

    def _back_from_aside(self, at: int) -> tuple[int | None, ...]:
        """Where a jump at the end of a block comes back, if it goes aside: by the test, or by the jump that follows it."""
        last = self._code.block(at)[-1:]
        target = last[0].target if last and last[0].kind == "jmp" else None
        name = None if target is None else self._code.name(target)
        test = self._code.block(target)[-1:] if target is not None and name is not None and name[0] == ASIDE else ()
        if not test:
            return ()
        return (test[0].target, *(one.target for one in self._code.block(test[0].end)[-1:]))

    def _sources(self, way: Way) -> Iterator[Source]:
        number, branch, first = way
        behind = self._address(number, first)
        if behind is None or branch == UNTOLD:
            return
        at = None if isinstance(branch, str) else self._address(number, branch)
        if at is None:
            yield Target(behind)
            return
        branches = [at]
        if not leads_to(self._code.block(at), behind):
            branches += self._leading_to(number, first, behind, at)
        for one in branches:
            yield from sources(self._code, one, behind, lambda address: self._way_back(number, address))

    def _leading_to(self, number: int, first: Block, behind: int, known: int) -> Iterator[int]:
        """Other blocks of the function that both sides ran and that end in a branch to there."""
        function, _ = first
        for place in range(len(self._runs[number].offsets(function))):
            block = function, place
            at = self._address(number, block)
            if at is not None and at != known and self._walks[number].shared(block) and leads_to(self._code.block(at), behind):
                yield at

    def _way_back(self, number: int, address: int) -> int | None:
        """The block that led to one, in the same function."""
        name = self._code.name(address)
        block = None if name is None else self._blocks_of(number, name[0]).get(address)
        if block is None:
            return None
        lead = self._runs[number].lead(block)
        if isinstance(lead, str) or lead[0] != block[0]:
            return None
        return self._address(number, lead)

    def _blocks_of(self, number: int, name: str) -> dict[int, Block]:
        """The blocks of a function by their addresses."""
        if (number, name) not in self._places:
            found: dict[int, Block] = {}
            function = self._runs[number].places.get((KERNEL, name))
            if function is not None:
                for place in range(len(self._runs[number].offsets(function))):
                    address = self._address(number, (function, place))
                    if address is not None:
                        found[address] = function, place
            self._places[number, name] = found
        return self._places[number, name]

    def _told_by(self, source: Source) -> Iterator[tuple[Fact, str]]:
        """Fields of boot_params that are tested and differ."""
        if not isinstance(source, Cell):
            return
        start = self._code.boot_params
        if start is None or not start <= source.address < start + BootParams.SIZE:
            yield from self._table_behind(source)
            return
        for fact, name in self._fields(source.address - start, source.address - start + source.size):
            yield fact, f"boot_params.{name}"

    def _fields(self, low: int, high: int) -> Iterator[tuple[Fact, str]]:
        """Those with these bytes that differ for a reason."""
        for offset in range(low, high):
            leaf = BootParams.leaf_at(offset)
            if leaf is None:
                continue
            for stage in (Stage.STARTUP_64, Stage.START_KERNEL):
                fact = given(stage, BOOT_PARAMS, *members(leaf.name))
                if fact in self._told:
                    yield fact, leaf.name

    def _filled_by(self, source: Source) -> Iterator[tuple[Fact, str]]:
        """Fields of boot_params that differ, and that both sides fill what is tested from."""
        derived = derived_of(self._code, self._runs[0])
        if isinstance(source, Argument):
            copies, shown = derived.passed_to(source.function), f"what {self._shown(source.function)} gets a pointer to"
        elif isinstance(source, Cell):
            copies, shown = derived.of(source.address, source.size), self._shown(source.address)
        else:
            return
        for one in copies:
            fields = list(self._fields(one.start, one.end))
            if fields:
                fact, name = fields[0]
                structures = {other.rpartition(".")[0] for _, other in fields}
                named = name if len(set(fields)) == 1 or len(structures) > 1 else structures.pop() or name
                yield fact, f"{shown}, filled in {one.function} from boot_params.{named}"

    def _table_behind(self, cell: Cell) -> Iterator[tuple[Fact, str]]:
        """The configuration table of EFI whose address is kept there: the kernel has a row of GUID and place for each
        (efi_config_table_type_t, include/linux/efi.h).
        """
        for row in self._code.pointers_to(cell.address):
            raw = self._code.read(row - GUID_SIZE, GUID_SIZE)
            name = guid_name(guid_text(raw)) if len(raw) == GUID_SIZE else ""
            for stage in (Stage.STARTUP_64, Stage.START_KERNEL) if name else ():
                fact = given(stage, EFI, "configuration_table", name)
                if fact in self._told:
                    yield fact, f"the configuration table {name}"

    def _causes(self, source: Source) -> Iterator[tuple[int, Block, str]]:
        """Blocks of one side that made a source differ."""
        if isinstance(source, Cell):
            for number, block in self._writers(source):
                yield number, block, f"{self._shown(source.address)}, set in {self._named(number, block)}"
        elif isinstance(source, Result):
            name = self._code.name(source.function)
            if name is not None and not name[1]:
                yield from ((number, block, f"what {name[0]} returns") for number, block in self._inside.get(name[0], []))
        elif isinstance(source, Argument):
            for number, block in self._calls.get(source.function, []):
                yield number, block, f"how {self._shown(source.function)} is called in {self._named(number, block)}"
        else:
            for number, block in self._handed_on(source.function):
                yield number, block, f"a pointer to {self._shown(source.function)}, handed on in {self._named(number, block)}"

    def _at(self, low: int, high: int) -> Iterator[tuple[int, int, bool, int, Block]]:
        """References to [low, high)."""
        for at in range(bisect_left(self._referred, (low,)), bisect_left(self._referred, (high,))):
            yield self._referred[at]

    def _writers(self, cell: Cell) -> Iterator[tuple[int, Block]]:
        name = self._code.name(cell.address)
        start = cell.address if name is None else cell.address - name[1]
        for address, size, written, number, block in self._at(start, cell.address + cell.size):
            if address + size > cell.address if written else address in (start, cell.address):
                yield number, block

    def _handed_on(self, function: int) -> Iterator[tuple[int, Block]]:
        """Code of one side that has the address of a function, or of a structure with a pointer to it."""
        places, seen = [function], {function}
        for _ in range(DEPTH):
            found: list[int] = []
            for place in places:
                yield from ((number, block) for _, _, _, number, block in self._at(place, place + 1))
                found += self._code.pointers_to(place)
            places = []
            for pointer in found:
                name = self._code.name(pointer)
                for one in (pointer,) if name is None else (pointer - name[1], pointer):
                    if one not in seen:
                        seen.add(one)
                        places.append(one)

    def _shown(self, address: int) -> str:
        name = self._code.name(address)
        return hex(address) if name is None else f"{name[0]}+{name[1]:#x}" if name[1] else name[0]

    def _named(self, number: int, block: Block) -> str:
        function, place = block
        return f"{self._runs[number].functions[function].name}+0x{self._runs[number].offsets(function)[place]}"


def _number(offset: str) -> int | None:
    """Of a block, as a record has it; anybody may have written that."""
    try:
        return int(offset, 16)
    except ValueError:
        return None
