"""The answer to "why": items, what each of them does, and what each difference behind the meeting point depends on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A run from the meeting point on. `taken` items come from the other side; the rest of the state is that of `base`."""

    base: str
    """The route that the state comes from, except for what was taken."""
    taken: tuple[str, ...]
    outcome: str
    switched: tuple[str, ...]
    """Differences that are as on the other side."""
    other: int
    """Facts that are as on neither side."""
    exact: bool
    """The record is that of the base to the byte: taking these items over changed nothing."""


@dataclass(frozen=True, kw_only=True)
class ItemAnswer:
    """One item of the difference of state."""

    name: str
    size: int
    values: tuple[str, str]
    idle: bool
    """Taken over, alone or with others that do nothing, it changes no fact in either direction."""
    exact: bool
    """The records of these runs are those without it, to the byte."""
    readers: tuple[str, ...] | None = None
    """Functions of the kernel that read it from boot_params in a run without experiments, on either side; None for what is not
    a part of boot_params, and when that run was lost."""
    switches: tuple[str, ...] = ()
    """Differences that it switches alone, in one direction at least."""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A smallest set of items that switches a difference, and where it was taken over to."""

    items: tuple[str, ...]
    into: str
    """The route that got the items of the other one."""
    sides: tuple[int, int]
    """From which of the two routes into which, by number."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A difference behind the meeting point. A value is empty where there is no such fact."""

    fact: str
    kind: str
    values: tuple[str, str]
    causes: tuple[Cause, ...]
    root: str = ""
    """Of a function: behind which branch it ran, `function -> function`, the last one that both runs came through and the
    first behind it."""


@dataclass(frozen=True, kw_only=True)
class Sanity:
    """With all items taken over the run is the other side's. `defects` say in what it was not."""

    into: str
    of: str
    same: bool
    defects: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Everything."""

    image: str
    sha256: str
    version: str
    routes: tuple[str, str]
    outcomes: tuple[str, str]
    """How each of them ends."""
    insns: int
    """At the meeting point, for both."""
    virtual_ns: int
    items: tuple[ItemAnswer, ...]
    effects: tuple[Effect, ...]
    sanity: tuple[Sanity, ...]
    trials: tuple[Trial, ...]
    notes: tuple[str, ...] = ()
    schema: int = 1

    @property
    def unexplained(self) -> tuple[Effect, ...]:
        """Differences without a cause."""
        return tuple(effect for effect in self.effects if not effect.causes)

    @property
    def sound(self) -> bool:
        """Did every sanity run come out as it has to?"""
        return all(one.same for one in self.sanity)
