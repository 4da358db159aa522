"""Definition of an experiment: statements, the runs that it needs, and a pure function from records to verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from efishim.lab.plan.plan import shell_word
from efishim.lab.record import Record
from efishim.study.model import Command, Source, Table, Verdict
from efishim.study.runs import Need, NoRecordError, Runs, Subject


@dataclass(frozen=True, slots=True)
class Statement:
    """Something that was said. `claim` is a sentence that can be true or not, for the source may be a question or a
    fragment; `criterion` says in a sentence when it is supported, before anything has run.
    """

    key: str
    source: Source
    claim: str
    criterion: str
    decidable: bool = True
    """False for what names no number or needs a machine that is not here: it is listed, with what is known, and gets no
    verdict.
    """


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
        """Judge; what cannot be judged for want of a run is not tested, and says why."""
        try:
            finding = self.judge(subject, runs)
        except NoRecordError as error:
            finding = Finding({one.key: Ruling(Verdict.UNTESTED, str(error)) for one in self.statements})
        missing = {one.key for one in self.statements} - finding.rulings.keys()
        assert not missing, f"{self.key} says nothing about {missing}"
        return finding


def decide(supported: bool, because: str) -> Ruling:
    """Supported or refuted."""
    return Ruling(Verdict.SUPPORTED if supported else Verdict.REFUTED, because)


def untested(because: str) -> Ruling:
    """Not tested here, and why."""
    return Ruling(Verdict.UNTESTED, because)


def commands(records: Mapping[Need, Record]) -> list[Command]:
    """How to have the records again."""
    return [Command(what=need.name, command=record.reproduce) for need, record in records.items()]


def compare_command(subject: Subject, *routes: str) -> Command:
    """A whole comparison of routes."""
    words = " ".join(f"-r {route}" for route in routes)
    return Command(what="everything in which they differ", command=f"efishim compare {shell_word(subject.label)} {words}")
