"""The comparison document: plain values, from which text, JSON, Markdown, JUnit and HTML are generated.

Nothing in it comes from the host's clock: the comparison of the same records is the same document.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from efishim.canonical import canonical
from efishim.compare.facts import Fact, Side, Stage, read_fact

SCHEMA = 1
"""Number of this document's schema."""


class _Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all parts have in common."""


class Point(_Struct, frozen=True, kw_only=True):
    """A milestone that a run passed."""

    name: str
    insns: int
    virtual_ns: int
    at: str = ""
    """Symbol or address."""


class RunView(_Struct, frozen=True, kw_only=True):
    """One run of the comparison. `name` is unique in it; `key` is the letter under which tables have it."""

    key: str
    name: str
    provider: str
    entry: str
    platform: str
    image: str
    """Path as the user named it."""
    image_sha256: str
    version: str
    met: bool
    goal: str
    reached: str
    """Last milestone, empty without one."""
    verdict: str
    """One or two sentences."""
    milestones: list[Point]
    insns: int
    calls: dict[str, int]
    """Firmware calls by service."""
    hardware: dict[str, int]
    """Accesses by group."""
    blocks: int
    notes: list[str]
    reproduce: str


class Skipped(_Struct, frozen=True, kw_only=True):
    """A route without a record. With `failed` it should have had one: a provider or the emulator gave up."""

    route: str
    reason: str
    hint: str = ""
    failed: bool = False


class DifferenceView(_Struct, frozen=True, kw_only=True):
    """A fact with its value on each side; a value is empty where a run does not have the fact."""

    fact: Fact = msgspec.field(name="path")
    left: str
    right: str
    side: Side
    also: list[Fact] = []
    """The same difference at later stages; of code, the functions that ran behind the branch."""

    @property
    def path(self) -> str:
        """The fact as people see it."""
        return self.fact.path

    @property
    def stages(self) -> list[str]:
        """The later stages."""
        return [fact.stage.value for fact in self.also if fact.stage is not Stage.RUN]


class Group(_Struct, frozen=True, kw_only=True):
    """The differences that one rule explains."""

    rule: str
    kind: str
    """`placement` or `by design`."""
    reason: str
    source: str
    differences: list[DifferenceView]


class Question(StrEnum):
    """What the first screen answers. The words are what people read; programs ask for the member."""

    USERSPACE = "Did both reach userspace?"
    INPUTS = "What boot information differs?"
    UNREAD = "What was passed to the guest and never read by it?"
    CONVERGENCE = "Where do the routes converge?"
    BEHAVIOUR = "What ran on one route only?"
    COST = "What did each route cost?"


class Answer(_Struct, frozen=True, kw_only=True):
    """A question that the first screen answers, in sentences."""

    question: Question
    lines: list[str]


class PairView(_Struct, frozen=True, kw_only=True):
    """Two runs side by side; `left` and `right` are names of runs."""

    left: str
    right: str
    answers: list[Answer]
    identical: int
    """Facts that are the same."""
    unexplained: list[DifferenceView]
    groups: list[Group]
    unused: list[str]
    """Rules that apply to such a pair and matched nothing."""

    def answer(self, question: Question) -> list[str]:
        """The sentences that answer a question."""
        return [line for one in self.answers if one.question is question for line in one.lines]

    @property
    def explained(self) -> int:
        """How many differences the rules explain."""
        return sum(len(group.differences) for group in self.groups)


class Row(_Struct, frozen=True, kw_only=True):
    """A fact in which runs differ: for each run, in their order, the index of its value in `values`, -1 without the fact."""

    fact: Fact = msgspec.field(name="path")
    side: Side
    values: list[str]
    cells: list[int]

    @property
    def path(self) -> str:
        """The fact as people see it."""
        return self.fact.path


class Comparison(_Struct, frozen=True, kw_only=True):
    """Everything. `runs[0]` is the reference that each other run is paired with."""

    schema: int = SCHEMA
    tool: str
    runs: list[RunView]
    skipped: list[Skipped]
    rows: list[Row]
    pairs: list[PairView]

    @property
    def unexplained(self) -> int:
        """Differences that no rule explains."""
        return sum(len(pair.unexplained) for pair in self.pairs)

    @property
    def clean(self) -> bool:
        """Every run reached its goal, none failed, nothing is unexplained: the exit status is 0."""
        failed = any(one.failed for one in self.skipped)
        return not failed and not self.unexplained and all(run.met for run in self.runs)

    def run(self, name: str) -> RunView:
        """A run by its name."""
        return next(one for one in self.runs if one.name == name)


def encode(comparison: Comparison) -> bytes:
    """Canonical JSON: sorted keys, two spaces, a newline at the end."""
    return canonical(comparison, _plain)


def decode(text: str | bytes) -> Comparison:
    """The document read back. Raises msgspec.ValidationError for what is none."""
    return msgspec.json.decode(text, type=Comparison, dec_hook=_read)


def _plain(value: object) -> str:
    """A document has its facts by their paths."""
    if isinstance(value, Fact):
        return value.path
    raise NotImplementedError


def _read(kind: type, value: object) -> Fact:
    if kind is Fact and isinstance(value, str):
        return read_fact(value)
    raise NotImplementedError


def _schema(kind: type) -> dict[str, Any]:
    if kind is Fact:
        return {"type": "string"}
    raise NotImplementedError


def json_schema() -> dict[str, Any]:
    """The document as JSON Schema (draft 2020-12)."""
    return msgspec.json.schema(Comparison, schema_hook=_schema)
