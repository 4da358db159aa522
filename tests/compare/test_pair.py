"""Two records side by side: real runs of the probe kernel."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
import pytest

from efishim.compare.build import build, rows, run_names
from efishim.compare.evidence import Difference
from efishim.compare.facts import Side, read_fact
from efishim.compare.inputs import ranges
from efishim.compare.model import Question, encode
from efishim.compare.pair import compare, facts_of, fold_stages
from efishim.compare.rules import Class
from efishim.errors import UsageError
from efishim.lab.record import Record
from efishim.testing import run


@cache
def record(provider: str, entry: str, until: str = "startup_64", **words: Any) -> Record:
    return run(provider=provider, entry=entry, until=until, **words)


@pytest.mark.slow
def test_a_record_is_like_itself() -> None:
    one = record("hvmlite", "efi")
    pair = compare(one, one)
    assert pair.judged == ()
    assert pair.clean
    assert pair.identical > 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("hvmlite", "efi"), ("hvmlite", "pvh")),
        (("hvmlite", "efi"), ("firmware", "efi")),
        (("grub", "linux32"), ("lilo", "linux16")),
        (("grub", "linux64"), ("kexec", "linux64")),
        (("grub", "linux64"), ("grub", "linux32")),
        (("lilo", "linux16"), ("hvmlite", "efi")),
    ],
)
def test_what_the_probe_kernel_is_told_on_two_routes_is_explained(one: tuple[str, str], other: tuple[str, str]) -> None:
    pair = compare(record(*one), record(*other))
    assert [judged.difference for judged in pair.of(Class.UNEXPLAINED, Side.INPUTS)] == []
    assert pair.of(Class.BY_DESIGN, Side.INPUTS)


@pytest.mark.slow
def test_another_seed_moves_things_and_changes_nothing() -> None:
    pair = compare(record("hvmlite", "efi"), record("hvmlite", "efi", seed=7))
    assert pair.of(Class.UNEXPLAINED, Side.INPUTS) == ()
    assert pair.of(Class.BY_DESIGN, Side.INPUTS) == ()


def test_more_memory_is_not_explained_away() -> None:
    pair = compare(record("hvmlite", "pvh"), record("hvmlite", "pvh", memory="600M"))
    paths = [judged.difference.path for judged in pair.of(Class.UNEXPLAINED, Side.INPUTS)]
    assert any(path.startswith("machine.memory[") for path in paths)
    assert any(path.startswith("entry.memory_map[") for path in paths)


def test_a_difference_at_several_stages_is_one() -> None:
    found = fold_stages(
        [difference("start_kernel.x", "1", "2"), difference("startup_64.x", "1", "2"), difference("startup_64.y", "1", "3")]
    )
    assert [(one.path, one.also) for one in found] == [("startup_64.x", (read_fact("start_kernel.x"),)), ("startup_64.y", ())]


def difference(path: str, left: str, right: str) -> Difference:
    return Difference(read_fact(path), left, right)


def test_runs_of_numbers() -> None:
    assert ranges([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"
    assert ranges([]) == ""


@pytest.mark.slow
def test_the_document_of_a_comparison_is_the_same_each_time() -> None:
    records = [record("hvmlite", "efi"), record("hvmlite", "pvh")]
    assert encode(build(records)) == encode(build(records))


def test_the_names_of_runs_are_unique() -> None:
    one = record("hvmlite", "efi")
    other = msgspec.structs.replace(one, route=msgspec.structs.replace(one.route, platform="kvm"))
    assert run_names([one, one]) == ["hvmlite/efi#1", "hvmlite/efi#2"]
    assert run_names([one, other]) == ["hvmlite/efi@pc", "hvmlite/efi@kvm"]
    assert run_names([one]) == ["hvmlite/efi"]


def test_more_runs_than_letters_are_refused() -> None:
    with pytest.raises(UsageError, match="more than the 26"):
        build([record("hvmlite", "efi")] * 27)


def test_the_table_has_each_fact_in_which_any_two_differ_once() -> None:
    records = [record("hvmlite", "efi"), record("hvmlite", "pvh"), record("grub", "linux64")]
    facts = [facts_of(one) for one in records]
    table = rows(facts)
    for row in table:
        texts = ["" if cell < 0 else row.values[cell] for cell in row.cells]
        assert texts == [one.of(Side(row.side)).get(row.fact, "") for one in facts]
        assert len(set(texts)) > 1
    shown = {row.fact.stageless for row in table}
    for fact in facts[0].inputs:
        if len({one.inputs.get(fact, "") for one in facts}) > 1:
            assert fact.stageless in shown


@pytest.mark.slow
def test_the_answers_of_two_routes() -> None:
    pair = build([record("hvmlite", "efi", "shutdown"), record("hvmlite", "pvh", "shutdown")]).pairs[0]
    said = {answer.question: " ".join(answer.lines) for answer in pair.answers}
    assert "hvmlite/efi: " in said[Question.USERSPACE]
    assert "0 firmware calls" in said[Question.COST]
    assert "firmware services (BootServices." in said[Question.BEHAVIOUR]
    assert "hvm_start_info" in said[Question.UNREAD]
