"""Two reports of one guest program, side by side: differences that a list explains, and those that it does not.

The list is a TOML file of `[[exception]]` with `fields` (patterns of names; the first exception that fits decides), `kind` and
`reason`. Kinds: `address` (both have it, and neither is zero: it says where something lies), `value` (both have it), `efishim`
(only efishim has it), `real` (only the real machine has it), `any`. `efishim` and `real` as keys pin what the two say.
`routes` limits an exception to some comparisons.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

KINDS = ("address", "value", "efishim", "real", "any")
KEYS = {"fields", "kind", "reason", "efishim", "real", "routes"}
SHORTEST_REASON = 5
"""Words."""


@dataclass(frozen=True)
class Exceptional:
    """One exception."""

    fields: tuple[str, ...]
    kind: str
    reason: str
    routes: tuple[str, ...] = ()
    efishim: str | None = None
    real: str | None = None

    def fits(self, route: str, one: str | None, two: str | None) -> bool:
        """Is this difference of its kind?"""
        if self.routes and route not in self.routes:
            return False
        if (self.efishim is not None and one != self.efishim) or (self.real is not None and two != self.real):
            return False
        match self.kind:
            case "address":
                return one is not None and two is not None and int(one, 16) != 0 and int(two, 16) != 0
            case "value":
                return one is not None and two is not None
            case "efishim":
                return one is not None and two is None
            case "real":
                return one is None and two is not None
            case _:
                return True


def read(path: Path) -> tuple[Exceptional, ...]:
    """The list. Raises ValueError for one without a reason, a kind or fields."""
    found = []
    for item in tomllib.loads(path.read_text())["exception"]:
        if (
            set(item) - KEYS
            or item["kind"] not in KINDS
            or len(item["reason"].split()) <= SHORTEST_REASON
            or not item["fields"]
        ):
            raise ValueError(f"not an exception: {item}")
        found.append(
            Exceptional(
                fields=tuple(item["fields"]),
                kind=item["kind"],
                reason=item["reason"],
                routes=tuple(item.get("routes", ())),
                efishim=item.get("efishim"),
                real=item.get("real"),
            )
        )
    return tuple(found)


@dataclass
class Comparison:
    """What is left unexplained, and which patterns explained something."""

    unexplained: list[str]
    used: set[tuple[str, str]]
    """(pattern, reason)."""
    equal: int


def compare(route: str, one: Mapping[str, str], two: Mapping[str, str], exceptions: tuple[Exceptional, ...]) -> Comparison:
    """efishim's fields against those of the real machine."""
    result = Comparison([], set(), 0)
    for name in {**one, **two}:
        told = one.get(name), two.get(name)
        if told[0] == told[1]:
            result.equal += 1
            continue
        candidates = (
            (item, pattern)
            for item in exceptions
            for pattern in item.fields
            if fnmatchcase(name, pattern) and (not item.routes or route in item.routes)
        )
        item, pattern = next(candidates, (None, ""))
        if item is not None and item.fits(route, *told):
            result.used.add((pattern, item.reason))
        else:
            result.unexplained.append(f"{name}: efishim {told[0]}, real {told[1]}")
    return result


def unused(exceptions: tuple[Exceptional, ...], comparisons: list[Comparison]) -> list[str]:
    """Patterns that explained nothing in any comparison."""
    used = {one for comparison in comparisons for one in comparison.used}
    return sorted(pattern for item in exceptions for pattern in item.fields if (pattern, item.reason) not in used)
