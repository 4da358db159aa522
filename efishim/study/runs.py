"""The runs that experiments need, and their results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from efishim.errors import EfishimError
from efishim.image.opened import Image
from efishim.image.symbols import Symbol
from efishim.lab.matrix import Result
from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Milestone, Reason, Record
from efishim.plugins import Registry
from efishim.study.meeting import NOBODY, MeetingFacts
from efishim.study.surfaces import SurfaceFacts

NOT_APPLICABLE = 77


@dataclass(frozen=True, slots=True)
class Need:
    """A run that an experiment needs. Two experiments that need the same run share it."""

    route: str
    """provider/entry."""
    platform: str = "pc"
    options: tuple[str, ...] = ()
    """`group.name=value`, sorted."""
    seed: int = 0
    ramdisks: bool = False
    """Two ramdisks in place of the embedded one."""
    until: Milestone = Milestone.SHUTDOWN
    image: str = ""
    """Label of another image than the kernel that is studied."""
    max_insns: str | None = None
    cmdline: str | None = None
    without: tuple[str, ...] = ()
    """`item=status`: what the firmware refuses."""
    shim: str | None = None
    """Where the firmware of a route behind the shim runs: guest; None is the host."""

    @property
    def provider(self) -> str:
        """The first half of the route."""
        return self.route.partition("/")[0]

    @property
    def entry(self) -> str:
        """The second half of the route."""
        return self.route.partition("/")[2]

    @property
    def placed_route(self) -> str:
        """route@platform."""
        return f"{self.route}@{self.platform}"

    @property
    def name(self) -> str:
        """For people: route@platform and what is particular about it."""
        words = [self.placed_route, *self.options]
        if self.shim:
            words.append(f"shim in the {self.shim}")
        if self.seed:
            words.append(f"seed {self.seed}")
        if self.ramdisks:
            words.append("two ramdisks")
        if self.image:
            words.append(self.image)
        if self.without:
            words.append(f"{len(self.without)} services refused")
        if self.until is not Milestone.SHUTDOWN:
            words.append(f"until {self.until.value}")
        return ", ".join(words)


class NoRecordError(Exception):
    """An experiment asked for a run that gave no record; the argument is a sentence."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The kernel that is studied."""

    label: str
    version: str
    entries: Mapping[str, str]
    """Each entry that efishim knows with the reason for which the image lacks it; empty for those that it has."""
    functions: frozenset[str] = frozenset()
    """Names of the functions in its symbol table; empty without one."""
    links: Mapping[str, int] = field(default_factory=dict)
    """Addresses at which some functions were linked."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of the functions up to the next symbol."""
    others: tuple[tuple[str, str], ...] = ()
    """Labels of images that are no Linux, and the command line that each is given; empty for the usual one."""
    other_entries: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The entries of each of them."""

    def has(self, entry: str) -> bool:
        """Does the image have the entry?"""
        return self.entries.get(entry, "unknown") == ""


@dataclass(frozen=True)
class Runs:
    """Results by need, and the surface where it was looked for."""

    results: Mapping[Need, Result]
    surface: SurfaceFacts
    meeting: MeetingFacts = NOBODY

    def get(self, need: Need) -> Record | None:
        """The record, if there is one."""
        result = self.results.get(need)
        return None if result is None else result.record

    def __getitem__(self, need: Need) -> Record:
        record = self.get(need)
        if record is None:
            raise NoRecordError(f"the run {need.name} gave no record: {self.reason(need)}")
        return record

    def reason(self, need: Need) -> str:
        """Why there is no record."""
        result = self.results.get(need)
        if result is None:
            return "it was not made"
        return "it was interrupted" if result.failure is None else result.failure.sentence

    def records(self, needs: Iterable[Need]) -> dict[Need, Record]:
        """Those of them that gave one."""
        found = {need: self.get(need) for need in needs}
        return {need: record for need, record in found.items() if record is not None}


def plans(
    registry: Registry, blob: Blob, others: Mapping[str, Blob], needs: Sequence[Need], ramdisks: tuple[Blob, ...]
) -> list[Plan]:
    """The plans of the needs, in their order. Raises UsageError for what no provider or platform knows."""
    return [_plan(registry, others[need.image] if need.image else blob, need, ramdisks) for need in needs]


def _plan(registry: Registry, blob: Blob, need: Need, ramdisks: tuple[Blob, ...]) -> Plan:
    words = Words(
        provider=need.provider,
        entry=need.entry,
        platform=need.platform,
        options=need.options,
        seed=need.seed,
        until=need.until.value,
        max_insns=need.max_insns,
        cmdline=need.cmdline,
        without=need.without,
        shim=need.shim,
    )
    plan = make_plan(registry, lambda: blob, words)
    return replace(plan, initrds=ramdisks, default_initrd=False) if need.ramdisks else plan


def subject_of(image: Image, label: str, others: Mapping[str, Image], lines: Mapping[str, str]) -> Subject:
    """What the experiments must know of an image before any run."""
    functions: frozenset[str] = frozenset()
    links: dict[str, int] = {}
    sizes: dict[str, int] = {}
    try:
        symbols = image.symbols
    except EfishimError:
        symbols = None
    if symbols is not None:
        table = list(symbols)
        functions = frozenset(symbol.name for symbol in table if symbol.kind in "tTwW")
        links = {symbol.name: symbol.address for symbol in table if symbol.name in ("start_kernel", "startup_64", "_text")}
        sizes = function_sizes(table)
    return Subject(
        label=label,
        version=image.version,
        entries={door.entry: door.reason for door in image.doors},
        functions=functions,
        links=links,
        sizes=sizes,
        others=tuple((label, lines.get(label, "")) for label in others),
        other_entries={name: frozenset(door.value for door in one.entries) for name, one in others.items()},
    )


def function_sizes(table: Iterable[Symbol]) -> dict[str, int]:
    """Bytes of each function as far as the next symbol, padding included: these symbols have no sizes of their own."""
    every = list(table)
    ends = dict(pairwise(sorted({symbol.address for symbol in every})))
    return {one.name: ends[one.address] - one.address for one in every if one.kind in "tTwW" and one.address in ends}


def failed(result: Result) -> str:
    """Why a run must count as failed; empty when it gave what can be judged."""
    if result.record is not None:
        outcome = result.record.outcome
        broken = (Reason.EMULATOR, Reason.TIMEOUT, Reason.INTERRUPTED)
        return f"{outcome.reason.value}: {outcome.details}" if outcome.reason in broken else ""
    if result.failure is None:
        return "interrupted before it began"
    return "" if result.failure.exit_status == NOT_APPLICABLE else result.failure.sentence
