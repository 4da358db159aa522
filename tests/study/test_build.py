"""The document: one of several kernels, the same twice, whole in every format."""

from __future__ import annotations

import json
import re

import msgspec
import pytest

from efishim.cli.study import FORMATS, SUFFIXES
from efishim.report import studies
from efishim.report.study_markdown import pages
from efishim.study import summary
from efishim.study.build import Heading, all_needs, build, judge_kernel
from efishim.study.claims import EXPERIMENTS, same_code
from efishim.study.model import Evidence, KernelView, Study, Table, Verdict, combine, encode
from tests.study.made import made, runs, subject

H, N, S, U = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.SOME, Verdict.UNTESTED


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [([H], H), ([H, H], H), ([N, N], N), ([U, U], U), ([H, N], S), ([N, H], S), ([H, U], S), ([N, U], N)],
)
def test_verdicts_of_several_kernels(verdicts: list[Verdict], expected: Verdict) -> None:
    assert combine(verdicts) is expected


def a_study(*names: str, meets: dict[str, str] | None = None, date: str = "") -> Study:
    """Of kernels of these names; `meets` says where the PVH entry of some meets the others."""
    one = subject()
    kernels = []
    for name in names:
        place = (meets or {}).get(name, "startup_64+0x0")
        records = {need: made(need, meets=place if need == same_code.PVH else "startup_64+0x0") for need in all_needs(one)}
        view = KernelView(name=name, path=f"deb:{name}", version=name, sha256="0" * 64)
        kernels.append(judge_kernel(view, one, runs(records)))
    return build(kernels, Heading("efishim study " + " ".join(f"deb:{name}" for name in names), date))


def test_every_statement_of_every_experiment_is_in_the_document() -> None:
    study = a_study("6.1", "6.12")
    assert [row.key for row in study.rows] == [one.key for one in EXPERIMENTS]
    for row in study.rows:
        assert row.limits
        for statement in row.statements:
            assert [one.kernel for one in statement.judgements] == ["6.1", "6.12"]
            assert all(one.because for one in statement.judgements)
    assert study.complete


def test_kernels_that_differ_are_said_to() -> None:
    study = a_study("6.1", "6.12", meets={"6.12": "elsewhere+0x0"})
    statement = next(line.statement for line in summary.lines(study) if line.statement.key == "same-code")
    assert statement.verdict is S
    assert any("same startup code" in sentence for sentence in summary.disagreements(study))
    assert not any("same startup code" in sentence for sentence in summary.disagreements(a_study("6.1", "6.12")))


@pytest.mark.parametrize("form", studies.FORMATS)
def test_every_format_has_every_verdict(form: str) -> None:
    study = a_study("6.1")
    text = studies.renderers()[form](study)
    assert text == studies.renderers()[form](a_study("6.1")), "the same document twice"
    assert text.endswith("\n")
    for line in summary.lines(study):
        assert line.statement.verdict.value in text.lower()
    for title in ("The same startup code", "Dead code and absent hardware"):
        assert title in text


def test_evidence_has_its_command() -> None:
    for row in a_study("6.1").rows:
        for evidence in row.evidence:
            for table in evidence.tables:
                assert all(len(line) == len(table.columns) for line in table.rows), table.title
                assert all(one.command.startswith("efishim ") for one in table.commands), table.title
    assert "efishim run vmlinuz -p hvmlite -e pvh" in studies.renderers()["markdown"](a_study("6.1"))


def test_no_date_but_the_users() -> None:
    assert json.loads(encode(a_study("6.1")))["date"] == ""
    assert "May 2026" in studies.renderers()["html"](a_study("6.1", date="May 2026"))


def test_html_escapes_what_comes_from_kernels() -> None:
    text = studies.renderers()["html"](a_study("<script>alert(1)</script>"))
    assert "<script>" not in text


def test_the_command_line_knows_the_formats() -> None:
    assert FORMATS == studies.FORMATS == tuple(studies.renderers())
    assert set(SUFFIXES.values()) == set(FORMATS)


def test_a_run_is_made_once_however_many_experiments_need_it() -> None:
    needs = all_needs(subject())
    assert len(needs) == len(set(needs))
    assert len(needs) < sum(len(one.needs(subject())) for one in EXPERIMENTS)


def test_one_page_of_result_with_its_evidence_in_files() -> None:
    study = a_study("6.1", "6.12")
    front, files = pages(study, "study")
    assert set(files) == {f"{row.key}.md" for row in study.rows}
    for row in study.rows:
        assert f"(study/{row.key}.md)" in front
        assert files[f"{row.key}.md"].startswith("# ")
        assert all(table.title not in front for evidence in row.evidence for table in evidence.tables)
    for line in summary.lines(study):
        assert front.count(f"**{line.statement.verdict.value}**") >= 1
    assert len(front) < sum(map(len, files.values()))


def test_objections_have_their_verdicts() -> None:
    study = a_study("6.1")
    for form in ("markdown", "html", "text"):
        text = studies.renderers()[form](study)
        assert all(one.answer.split(";")[0].lower() in text.lower() for one in study.objections), form


def test_bars_are_as_long_as_their_numbers() -> None:
    table = Table(title="Cost", columns=["route", "one", "two"], rows=[["a", "1,000", "250"], ["b", "-", "0"]], bars=[1, 2])
    study = a_study("6.1")
    row = msgspec.structs.replace(study.rows[0], evidence=[Evidence(kernels=["6.1"], tables=[table])])
    text = studies.renderers()["html"](msgspec.structs.replace(study, rows=[row]))
    assert re.findall(r"width: ([0-9.]+)%", text) == ["100.000", "25.000"], "one scale from zero; nothing for nothing"
