"""Finds out by experiment which items make which difference: groups, single items, sets that only act together."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from efishim.why.behind import Behind
from efishim.why.laboratory import Laboratory, Names

Found = TypeVar("Found")
Search = Generator[list[Names], None, Found]
"""A search that yields the experiments that have to be made before it can go on."""
AHEAD = 2
"""How many ways to leave something out are tried at once, for a second processor. The answer does not depend on `jobs`."""
LIKELY = ("boot_params.", "command line", "ramdisk", "e820", "efi_info", "setup_data", "ACPI", "kernel variable", "device")
"""What a kernel is likely to look at. The others are tried together first: it costs one run if they do nothing. Of these so
many do something that groups would cost more runs than single items.
"""


def is_switched(found: Behind, base: Behind, other: Behind, fact: str) -> bool:
    """Is the difference as on the other side? What is gone, or less, shows something only in a run that came as far as one of
    the two: a kernel that crashes early lacks everything behind.
    """
    if found.facts.get(fact, "") != other.facts.get(fact, ""):
        return False
    return not base.facts.get(fact) or any(_as_far(found, one) for one in (base, other))


def _as_far(found: Behind, one: Behind) -> bool:
    return found.outcome == one.outcome and _milestones(found) >= _milestones(one)


def _milestones(one: Behind) -> set[str]:
    return {name for name in one.facts if name.startswith("milestone.")}


@dataclass
class Way:
    """Experiments in one direction: items are taken over into `into`, 0 for the first side and 1 for the second."""

    laboratory: Laboratory
    into: int
    base: Behind
    other: Behind
    idle: set[str] = field(default_factory=set)
    exact: set[str] = field(default_factory=set)
    active: list[str] = field(default_factory=list)

    def key(self, taken: Collection[str]) -> Names:
        """The experiment in which these items come from the other side; the items of an experiment, just as well."""
        return frozenset(taken) if self.into == 0 else self.laboratory.all - frozenset(taken)

    def result(self, taken: Collection[str]) -> Behind:
        """Of that experiment."""
        return self.laboratory.result(self.key(taken))

    def tried(self) -> list[Names]:
        """The sets of items for which the experiment was made."""
        return [taken for taken in map(self.key, self.laboratory.known) if taken]

    def switched(self, taken: Collection[str], fact: str) -> bool:
        """Is the difference as on the other side then?"""
        return is_switched(self.result(taken), self.base, self.other, fact)

    def changes(self, taken: Collection[str]) -> bool:
        """Is any fact another one than without them?"""
        return self.result(taken).facts != self.base.facts

    def screen(self, groups: Iterable[Sequence[str]]) -> Search[None]:
        """Split groups that change something until each item is known to do nothing, or stands alone."""
        level = [group for group in groups if group]
        while level:
            yield [self.key(group) for group in level]
            below: list[Sequence[str]] = []
            for group in level:
                if not self.changes(group):
                    self.idle.update(group)
                    if self.result(group).digest == self.base.digest:
                        self.exact.update(group)
                elif len(group) == 1:
                    self.active += group
                else:
                    half = len(group) // 2
                    below += [group[:half], group[half:]]
            level = below

    def narrow(self, fact: str, others: Collection[str]) -> Search[list[str]]:
        """A small set of items that switches the difference: what does something in this direction, that and what does
        something in the other one, or the smallest set of which it is known. All items together always do.
        """
        guesses = [guess for guess in (sorted(self.active), sorted({*self.active, *others})) if guess]
        yield [self.key(guess) for guess in guesses]
        enough = (sorted(taken) for taken in self.tried() if self.switched(taken, fact))
        return min(enough, key=lambda taken: (len(taken), taken))

    def smallest(self, fact: str, among: Sequence[str]) -> Search[tuple[str, ...]]:
        """Of these items, which switch the difference, a set that does and of which none can be left out."""
        kept = list(among)
        step = max(1, len(kept) // 2)
        while step:
            at = 0
            while at < len(kept):
                ahead = [kept[:one] + kept[one + step :] for one in range(at, len(kept), step)][:AHEAD]
                ahead = [fewer for fewer in ahead if fewer]
                yield [self.key(fewer) for fewer in ahead]
                if ahead and self.switched(ahead[0], fact):
                    kept = ahead[0]
                else:
                    at += step
            step //= 2
        return tuple(kept)


def groups_of(laboratory: Laboratory, unread: Collection[str] = ()) -> list[list[str]]:
    """What is tried at first: all that is unlikely to do anything together, as what no function reads, and each other item
    alone.
    """
    likely = [name for name in sorted(laboratory.items) if name.startswith(LIKELY) and name not in unread]
    return [[name for name in sorted(laboratory.items) if name not in likely], *([name] for name in likely)]


def differing(one: Behind, other: Behind) -> list[str]:
    """Facts that are not the same behind both ways."""
    names = {**one.facts, **other.facts}
    return sorted(name for name in names if one.facts.get(name, "") != other.facts.get(name, ""))


def causes(
    ways: Sequence[Way], facts: Sequence[str], unread: Collection[str] = ()
) -> dict[str, list[tuple[int, tuple[str, ...]]]]:
    """For each difference the smallest sets of items that switch it, with the side that they were taken over into. `unread`
    are items that no function of the kernel reads.
    """
    laboratory = ways[0].laboratory
    side_by_side(laboratory, [way.screen(groups_of(laboratory, unread)) for way in ways])
    found: dict[str, list[tuple[int, tuple[str, ...]]]] = {fact: [] for fact in facts}
    for way in ways:
        for name in sorted(way.active):
            for fact in facts:
                if way.switched((name,), fact):
                    found[fact].append((way.into, (name,)))
    acting = sorted({name for way in ways for name in way.active})
    side_by_side(laboratory, [_together(way, found, acting) for way in ways])
    return found


def side_by_side(laboratory: Laboratory, searches: Sequence[Search[None]]) -> None:
    """Carry the searches out, each a step at a time; the experiments of a step are made together."""
    going = list(searches)
    while going:
        wanted: list[Names] = []
        still = []
        for search in going:
            try:
                wanted += next(search)
            except StopIteration:
                continue
            still.append(search)
        laboratory.run(wanted)
        going = still


def _together(way: Way, found: dict[str, list[tuple[int, tuple[str, ...]]]], acting: Collection[str]) -> Search[None]:
    """What no single item switches in this direction. `acting` do something alone, in this direction or the other one."""
    left = [fact for fact, known in found.items() if all(into != way.into for into, _ in known)]
    while left:
        among = yield from way.narrow(left[0], acting)
        group = yield from way.smallest(left[0], among)
        # What the same set switches has the same cause, unless a smaller part of it does that; parts were tried on the way.
        same = [one for one in left if way.switched(group, one)]
        parts = [taken for taken in way.tried() if taken <= frozenset(group)]
        for one in same:
            known = [tuple(sorted(part)) for part in parts if way.switched(part, one)]
            found[one].append((way.into, min(known, key=lambda part: (len(part), part), default=group)))
        left = [one for one in left if one not in same]
