"""Builds the study from runs: judges each kernel on its own, then all of them together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import efishim
from efishim.study.answer import reuse
from efishim.study.claims import EXPERIMENTS
from efishim.study.experiment import Experiment, Finding
from efishim.study.model import Evidence, Failure, Judgement, KernelView, Reuse, Row, StatementView, Study, Table, combine
from efishim.study.objections import OBJECTIONS
from efishim.study.runs import Need, Runs, Subject, failed


@dataclass(frozen=True)
class KernelStudy:
    """What came out with one kernel."""

    view: KernelView
    findings: Mapping[str, Finding]
    """By the key of the experiment."""
    reuse: Reuse
    failures: Sequence[Failure] = ()
    runs: int = 0
    unicorn: str = ""


@dataclass(frozen=True, slots=True)
class Heading:
    """What the document says about itself."""

    command: str
    date: str = ""


def all_needs(subject: Subject, experiments: Iterable[Experiment] = EXPERIMENTS) -> list[Need]:
    """The runs that the experiments need, each once, in the order in which they are first asked for."""
    return list(dict.fromkeys(need for experiment in experiments for need in experiment.needs(subject)))


def judge_kernel(
    view: KernelView, subject: Subject, runs: Runs, experiments: Iterable[Experiment] = EXPERIMENTS
) -> KernelStudy:
    """All experiments with one kernel."""
    failures = [
        Failure(kernel=view.name, run=need.name, reason=reason)
        for need, result in runs.results.items()
        if (reason := failed(result))
    ]
    unicorn = next((one.record.tool.unicorn for one in runs.results.values() if one.record is not None), "")
    return KernelStudy(
        view,
        {experiment.key: experiment.find(subject, runs) for experiment in experiments},
        reuse(view.name, subject, runs),
        failures,
        sum(result.record is not None for result in runs.results.values()),
        unicorn,
    )


def build(kernels: Sequence[KernelStudy], heading: Heading, experiments: Iterable[Experiment] = EXPERIMENTS) -> Study:
    """One document of all kernels."""
    return Study(
        tool=f"efishim {efishim.__version__}",
        emulator=next((f"unicorn {one.unicorn}" for one in kernels if one.unicorn), ""),
        date=heading.date,
        command=heading.command,
        kernels=[one.view for one in kernels],
        reuse=[one.reuse for one in kernels],
        rows=[_row(experiment, kernels) for experiment in experiments],
        objections=list(OBJECTIONS),
        failures=[failure for one in kernels for failure in one.failures],
        runs=sum(one.runs for one in kernels),
    )


def _row(experiment: Experiment, kernels: Sequence[KernelStudy]) -> Row:
    statements = []
    for statement in experiment.statements:
        told = [(one.view.name, one.findings[experiment.key].rulings[statement.key]) for one in kernels]
        statements.append(
            StatementView(
                key=statement.key,
                source=statement.source,
                claim=statement.claim,
                criterion=statement.criterion,
                verdict=combine([one.verdict for _, one in told]),
                judgements=[Judgement(kernel=name, verdict=one.verdict, because=one.because) for name, one in told],
            )
        )
    return Row(
        key=experiment.key,
        title=experiment.title,
        question=experiment.question,
        statements=statements,
        evidence=_evidence([(one.view.name, list(one.findings[experiment.key].tables)) for one in kernels]),
        limits=list(experiment.limits),
    )


def _evidence(found: Sequence[tuple[str, list[Table]]]) -> list[Evidence]:
    """What several kernels have alike (the runs with other images, say) is there once."""
    evidence: list[Evidence] = []
    for name, tables in found:
        same = next((place for place, one in enumerate(evidence) if one.tables == tables), None)
        if same is None:
            evidence.append(Evidence(kernels=[name], tables=tables))
        else:
            evidence[same] = Evidence(kernels=[*evidence[same].kernels, name], tables=tables)
    return evidence
