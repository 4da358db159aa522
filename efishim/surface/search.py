"""Finds answers that can be weakened together, by delta debugging (A. Zeller, R. Hildebrandt: Simplifying and Isolating
Failure-Inducing Input, 2002) over what a firmware offers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from efishim.firmware.catalogue import WITHOUT_STATUS
from efishim.firmware.profile import ABSENT, PRESENT, Item, Kind

REFUSALS = ("EFI_UNSUPPORTED", "EFI_NOT_FOUND")
"""What a stub may answer that does nothing."""

Tests = Callable[[Sequence["dict[Item, str]"]], "list[bool]"]
"""Sets of changed answers to: does a kernel boot so? All at the same time, in their order."""


def ladder(one: Item) -> tuple[str, ...]:
    """Answers weaker than `present`, the weakest first."""
    refuses = one.kind is Kind.SERVICE and one.name not in WITHOUT_STATUS
    return (ABSENT, *REFUSALS) if refuses else (ABSENT,)


def weaker(one: Item, answer: str) -> tuple[str, ...]:
    """Answers weaker than this one. Refusals are equally weak."""
    if answer == ABSENT:
        return ()
    return ladder(one) if answer == PRESENT else (ABSENT,)


def combine(changes: dict[Item, str], boots: Tests) -> dict[Item, str]:
    """A largest part of `changes`, as far as single steps tell, with which the kernel still boots. None at all must boot.

    ddmin over what is left out, so few runs are needed where little of it disturbs.
    """
    order = list(changes)

    def all_but(kept: Sequence[Item]) -> dict[Item, str]:
        out = set(kept)
        return {one: changes[one] for one in order if one not in out}

    if not order or boots([changes])[0]:
        return dict(changes)
    kept, pieces = order, 2
    while len(kept) > 1:
        pieces = min(pieces, len(kept))
        edges = [len(kept) * n // pieces for n in range(pieces + 1)]
        chunks = [kept[a:b] for a, b in pairwise(edges)]
        found = _first(chunks, [all_but(chunk) for chunk in chunks], boots)
        if found is not None:
            kept, pieces = found, 2
            continue
        rest = [[one for one in kept if one not in set(chunk)] for chunk in chunks] if pieces > 2 else []
        found = _first(rest, [all_but(one) for one in rest], boots)
        if found is not None:
            kept, pieces = found, max(pieces - 1, 2)
        elif pieces == len(kept):
            break
        else:
            pieces *= 2
    return all_but(kept)


def _first(parts: Sequence[list[Item]], tests: Sequence[dict[Item, str]], boots: Tests) -> list[Item] | None:
    """The first part whose test boots."""
    results = boots(tests) if tests else []
    return next((part for part, good in zip(parts, results, strict=True) if good), None)


def weaken_further(items: Sequence[Item], changes: dict[Item, str], boots: Tests) -> tuple[dict[Item, str], int]:
    """Take further steps down as long as there are any. The second value is how many single steps, from where it ended, were
    all tried and led nowhere: what remains is 1-minimal.
    """
    changes = dict(changes)
    while True:
        steps = [(one, answer) for one in items for answer in weaker(one, changes.get(one, PRESENT))]
        results = boots([{**changes, one: answer} for one, answer in steps])
        good = [step for step, boot in zip(steps, results, strict=True) if boot]
        if not good:
            return changes, len(steps)
        found = dict(reversed(good))  # of an item the first, which is the weakest
        together = combine(found, lambda many, base=dict(changes): boots([{**base, **one} for one in many]))  # type: ignore[misc]
        changes |= together or dict(good[:1])
