"""A comparison in every form that people and programs read."""

from __future__ import annotations

import json
import re
from functools import cache
from xml.etree import ElementTree

import jsonschema
import msgspec
import pytest

from efishim.cli import shared
from efishim.compare.build import build
from efishim.compare.facts import Kind, Side, did
from efishim.compare.model import Comparison, DifferenceView, Skipped, decode, json_schema
from efishim.compare.rules import Rule
from efishim.lab.record import Record
from efishim.report import comparison_text
from efishim.report.comparisons import FORMATS, renderers
from efishim.report.junit import Case, render
from efishim.testing import run

NO_RULES: tuple[Rule, ...] = ()


@cache
def records() -> tuple[Record, ...]:
    routes = (("hvmlite", "efi"), ("hvmlite", "pvh"), ("grub", "linux64"))
    return tuple(run(provider=provider, entry=entry, until="entry") for provider, entry in routes)


def comparison(count: int = 2, *, rules: tuple[Rule, ...] | None = None, skipped: tuple[Skipped, ...] = ()) -> Comparison:
    return build(records()[:count], skipped, rules)


def text_of(form: str, document: Comparison, *, verbose: bool = False) -> str:
    return renderers()[form](document, records(), verbose)


def test_the_command_offers_what_there_is() -> None:
    assert shared.FORMATS == FORMATS == tuple(renderers())


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "html"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_form_ends_with_one_line_end_and_is_the_same_each_time(form: str, count: int) -> None:
    text = text_of(form, comparison(count))
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert text == text_of(form, comparison(count))


def test_json_is_what_its_schema_says() -> None:
    document = json.loads(text_of("json", comparison(3)))
    jsonschema.validate(document, json_schema())
    assert [one["name"] for one in document["runs"]] == ["hvmlite/efi", "hvmlite/pvh", "grub/linux64"]
    assert [(one["left"], one["right"]) for one in document["pairs"]] == [
        ("hvmlite/efi", "hvmlite/pvh"),
        ("hvmlite/efi", "grub/linux64"),
    ]
    assert decode(text_of("json", comparison(3))) == comparison(3)


def test_text_of_two_has_the_answers_first_and_each_rule_with_its_reason_and_source() -> None:
    text = text_of("text", comparison(2))
    assert text.index("Did both reach userspace?") < text.index("explained:")
    for group in comparison(2).pairs[0].groups:
        assert group.reason in text
        assert f"source: {group.source}" in text
    assert text.endswith("Every difference is explained.\n")


def test_what_is_unexplained_is_shown_in_full_and_said_at_the_end() -> None:
    document = comparison(2, rules=NO_RULES)
    text = text_of("text", document)
    found = document.pairs[0].unexplained
    assert len(found) > 20
    for one in found:
        assert one.path in text
    assert f"{len(found)} differences are unexplained." in text
    assert not document.clean


def test_the_table_of_many_names_runs_by_letters_and_stays_narrow() -> None:
    text = text_of("text", comparison(3))
    assert re.search(r"^A +hvmlite/efi ", text, re.MULTILINE)
    assert re.search(r"^boot information +A B C", text, re.MULTILINE)
    row = next(row for row in comparison(3).rows if row.path == "entry.hvm_start_info.magic")
    assert comparison_text.cells(row) == ". . -"
    row = next(row for row in comparison(3).rows if row.path == "entry.cpu.rsi")
    assert comparison_text.cells(row) == ". . a"


def test_the_reference_without_a_fact_is_a_dash_and_not_a_dot() -> None:
    row = next(row for row in comparison(3).rows if row.path == "entry.boot_params.hdr.header")
    assert comparison_text.cells(row) == "- - a"


def test_verbose_shows_more() -> None:
    assert len(text_of("text", comparison(2), verbose=True)) > len(text_of("text", comparison(2)))
    assert "matched nothing" in text_of("text", comparison(2), verbose=True)


def test_routes_without_a_record_are_told_with_the_reason() -> None:
    broken = Skipped(route="z/w", reason="it broke", hint="mend it", failed=True)
    skipped = (Skipped(route="x/y", reason="no such door"), broken)
    document = comparison(2, skipped=skipped)
    text = text_of("text", document)
    assert "x/y does not apply: no such door" in text
    assert "z/w failed: it broke (mend it)" in text
    assert not document.clean
    assert comparison(2, skipped=skipped[:1]).clean


def test_markdown_is_tables_that_nothing_in_a_value_breaks() -> None:
    document = comparison(2, rules=NO_RULES)
    pair = document.pairs[0]
    wild = DifferenceView(fact=did(Kind.LOG, "a|b`c"), left="x|y\n# z", right="`", side=Side.BEHAVIOUR)
    document = msgspec.structs.replace(document, pairs=[msgspec.structs.replace(pair, unexplained=[wild])])
    lines = text_of("markdown", document).split("\n")
    row = next(line for line in lines if "log.a" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 4
    assert "\n# z" not in "\n".join(lines[5:])


def test_control_characters_reach_no_terminal() -> None:
    document = comparison(2, rules=NO_RULES)
    wild = DifferenceView(fact=did(Kind.LOG, "\x1b[31mred\x07"), left="said", right="", side=Side.BEHAVIOUR)
    document = msgspec.structs.replace(document, pairs=[msgspec.structs.replace(document.pairs[0], unexplained=[wild])])
    for form in ("text", "markdown", "junit"):
        assert "\x1b" not in text_of(form, document)


def test_junit_has_a_case_for_each_route_and_check() -> None:
    root = ElementTree.fromstring(text_of("junit", comparison(3)))
    cases = {(case.get("classname"), case.get("name")) for case in root.iter("testcase")}
    assert ("efishim.compare.hvmlite/efi", "reaches entry") in cases
    assert ("efishim.compare.hvmlite/pvh", "boot information, against hvmlite/efi") in cases
    assert len(cases) == 3 + 2 * 2
    assert root.get("failures") == "0"


def test_junit_says_what_failed() -> None:
    document = comparison(2, rules=NO_RULES, skipped=(Skipped(route="z/w", reason="it broke", failed=True),))
    root = ElementTree.fromstring(text_of("junit", document))
    failures = {case.get("name"): case.find("failure") for case in root.iter("testcase") if case.find("failure") is not None}
    assert root.get("failures") == str(len(failures))
    told = failures["boot information, against hvmlite/efi"]
    assert told is not None
    assert "unexplained against hvmlite/efi" in str(told.get("message"))
    assert "entry.cpu.mode" in str(told.text)
    assert failures["runs"] is not None


def test_junit_is_xml_whatever_a_guest_printed() -> None:
    text = render("suite", [Case("a", "b", failure="\x00<\ud800&\x1b", details="\x08]]>"), Case("c", "d", skipped="no\x01")])
    root = ElementTree.fromstring(text)
    assert root.get("tests") == "2"
    assert root.get("skipped") == "1"


def test_rules_that_were_used_are_listed_with_their_counts() -> None:
    document = comparison(3)
    lines = comparison_text.rules_used(document).splitlines()
    counts = {line.split(maxsplit=2)[2]: int(line.split()[0]) for line in lines[1:]}
    for group in (group for pair in document.pairs for group in pair.groups):
        assert counts[group.rule] >= len(group.differences)
    assert sum(counts.values()) == sum(pair.explained + len(pair.unexplained) for pair in document.pairs)
    assert lines[-1].endswith("(unexplained)")
