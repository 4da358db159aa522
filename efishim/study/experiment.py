"""Definition of an experiment: statements, the runs that it needs, and a pure function from records to verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from efishim.lab.plan.plan import shell_word
from efishim.lab.record import Record
from efishim.study.model import Command, Table, Verdict
from efishim.study.runs import Need, NoRecordError, Runs, Subject


@dataclass(frozen=True, slots=True)
class Statement:
    """Something that was said. `claim` is a sentence that can hold or not, for the quote may be a question or a fragment;
    `criterion` says in a sentence when it holds, before anything has run.
    """

    key: str
    quote: str
    claim: str
    criterion: str


@dataclass(frozen=True, slots=True)
class Ruling:
    """A verdict with the numbers that made it."""

    verdict: Verdict
    because: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What came out with one kernel: a verdict for each statement, by key, and the evidence."""

    rulings: Mapping[str, Ruling]
    tables: Sequence[Table] = ()


@dataclass(frozen=True, slots=True)
class Experiment:
    """A row of the study."""

    key: str
    title: str
    question: str
    statements: tuple[Statement, ...]
    needs: Callable[[Subject], tuple[Need, ...]]
    judge: Callable[[Subject, Runs], Finding]
    limits: tuple[str, ...]
    surface: bool = False
    """Does it need the surface?"""

    def find(self, subject: Subject, runs: Runs) -> Finding:
        """Judge; what cannot be judged for want of a run cannot be told, and says why."""
        try:
            finding = self.judge(subject, runs)
        except NoRecordError as error:
            finding = Finding({one.key: Ruling(Verdict.UNTOLD, str(error)) for one in self.statements})
        missing = {one.key for one in self.statements} - finding.rulings.keys()
        assert not missing, f"{self.key} says nothing about {missing}"
        return finding


def decide(holds: bool, because: str) -> Ruling:
    """Holds or does not."""
    return Ruling(Verdict.HOLDS if holds else Verdict.DOES_NOT_HOLD, because)


def untold(because: str) -> Ruling:
    """Cannot be told."""
    return Ruling(Verdict.UNTOLD, because)


def commands(records: Mapping[Need, Record]) -> list[Command]:
    """How to have the records again."""
    return [Command(what=need.name, command=record.reproduce) for need, record in records.items()]


def compare_command(subject: Subject, *routes: str) -> Command:
    """A whole comparison of routes."""
    words = " ".join(f"-r {route}" for route in routes)
    return Command(what="everything in which they differ", command=f"efishim compare {shell_word(subject.label)} {words}")
