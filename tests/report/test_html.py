"""The HTML form as a document: nothing in it can do harm, everything in it can be found, and it stays small."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256

import msgspec
import pytest

from efishim.compare.build import build
from efishim.compare.rules import shipped_rules
from efishim.lab.record import Coverage, FirmwareCall, FunctionCoverage, LedgerEntry, LedgerKind, Record, decode, encode
from efishim.report.html import render
from efishim.report.html.code import code
from efishim.report.html.limits import SIZE_LIMIT, Limits, cut
from efishim.report.html.page import anchor
from efishim.report.html.timeline import LEAST, PHASE_WIDTH, timeline
from efishim.report.sources import cited
from tests.report.pages import ATTACK, document, hostile_report, parsed, records, report

REPORTS = pytest.mark.parametrize("text", [report, hostile_report], ids=["honest", "hostile"])


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_same_records_give_the_same_bytes(count: int) -> None:
    found = [decode(encode(record)) for record in records()[:count]]
    again = [msgspec.structs.replace(one, outcome=msgspec.structs.replace(one.outcome, seconds=99.0)) for one in found]
    assert render(build(again), again) == report(count)


@pytest.mark.slow
def test_the_host_is_not_in_it() -> None:
    assert not re.search(r"\b20\d\d-\d\d-\d\d[T ]\d\d:\d\d", report())


@pytest.mark.slow
@REPORTS
def test_every_element_is_closed_where_it_should_be(text: object) -> None:
    page = parsed(text())  # type: ignore[operator]
    assert page.strays == []
    assert page.open == []


@REPORTS
def test_nothing_is_loaded_from_anywhere(text: object) -> None:
    page = parsed(text())  # type: ignore[operator]
    places = {value for one in page.elements for name, value in one.attributes.items() if name in ("href", "src", "action")}
    # Sources of rules are links that a reader may follow; what a guest said is never one.
    sources = {one.attributes["href"] for one in page.of("a") if one.attributes.get("rel") == "noreferrer"}
    known = {one.link for rule in shipped_rules() for one in cited(rule.source)}
    assert sources <= known
    assert all(place.startswith("#") or place == "data:," for place in places - sources)
    assert "url(" not in page.of("style")[0].text
    assert "@import" not in page.of("style")[0].text


def test_markup_in_records_stays_text() -> None:
    page = parsed(hostile_report())
    assert [one.text for one in page.of("script")] == [one.text for one in parsed(report()).of("script")]
    assert len(page.of("style")) == 1
    assert page.of("img") == []
    assert page.of("code")
    assert not [name for one in page.elements for name in one.attributes if name.startswith("on") or name == "style"]
    assert any(ATTACK in one.text for one in page.of("li")), "the notes are there, as text"
    assert any(ATTACK in one.text for one in page.of("dd")) or any(ATTACK in one.text for one in page.of("code"))
    assert "<b>6.1</b>" not in hostile_report()


def test_control_characters_do_not_come_through() -> None:
    inside = re.sub(r"<(script|style)>.*?</\1>", "", hostile_report(), flags=re.DOTALL)
    assert not [char for char in inside if not char.isprintable() and char != "\n"]


@REPORTS
def test_the_policy_allows_the_two_texts_of_the_page_and_nothing_else(text: object) -> None:
    page = parsed(text())  # type: ignore[operator]
    policy = next(one.attributes["content"] for one in page.of("meta") if "http-equiv" in one.attributes)
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == "'none'"
    for name, tag in (("script-src", "script"), ("style-src", "style")):
        digest = b64encode(sha256(page.of(tag)[0].text.encode("utf-8")).digest()).decode("ascii")
        assert parts[name] == f"'sha256-{digest}'"
    assert parts.keys() == {"default-src", "script-src", "style-src", "img-src", "base-uri", "form-action"}


def test_links_inside_lead_somewhere() -> None:
    page = parsed(report())
    names = [one.attributes["id"] for one in page.elements if "id" in one.attributes]
    assert len(names) == len(set(names))
    inside = [one for one in page.of("a") if one.attributes.get("rel") != "noreferrer"]
    assert inside
    for one in inside:
        assert one.attributes["href"].removeprefix("#") in names
    for one in page.elements:
        for attribute in ("aria-labelledby", "data-for"):
            if attribute in one.attributes:
                assert one.attributes[attribute] in names


def test_tables_can_be_read_aloud() -> None:
    page = parsed(report())
    assert all(one.attributes.get("scope") in ("col", "row", "rowgroup") for one in page.of("th"))
    boxes = [one for one in page.elements if one.attributes.get("class", "").split()[:1] == ["box"]]
    assert boxes
    for one in boxes:
        assert one.attributes["role"] == "region"
        assert one.attributes["tabindex"] == "0", "what scrolls can be scrolled with keys"
        assert "aria-label" in one.attributes or "aria-labelledby" in one.attributes
    assert all("div" in one.parents for one in page.of("table"))
    assert all(one.attributes.get("aria-hidden") or one.attributes.get("aria-label") for one in page.of("svg"))
    assert [one.tag for one in page.elements if re.fullmatch("h[1-6]", one.tag)][:2] == ["h1", "h2"]
    assert page.of("html")[0].attributes["lang"] == "en"


def test_what_needs_the_script_is_hidden_without_it() -> None:
    page = parsed(report())
    assert page.of("form")
    assert all("hidden" in one.attributes for one in page.of("form"))
    assert all("form" in one.parents for one in page.of("input"))


@pytest.mark.slow
@pytest.mark.measured
@pytest.mark.parametrize("count", [2, 4])
def test_every_difference_is_there(count: int) -> None:
    codes = {one.text for one in parsed(report(count)).of("code")}
    for pair in document(count).pairs:
        for one in (*pair.unexplained, *(difference for group in pair.groups for difference in group.differences)):
            assert one.path in codes
    assert {row.path for row in document(count).rows} <= codes


def test_each_reason_stands_beside_what_it_explains() -> None:
    page = parsed(report(2))
    text = " ".join(one.text for tag in ("p", "a") for one in page.of(tag))
    for group in document(2).pairs[0].groups:
        assert group.reason in text
        assert all(one.text in text for one in cited(group.source))


@pytest.mark.slow
def test_the_verdict_says_what_the_exit_status_says() -> None:
    verdict = next(one for one in parsed(report(2)).of("p") if one.attributes.get("class", "").startswith("verdict"))
    assert ("good" in verdict.attributes["class"]) == document(2).clean
    bare = build(records()[:2], rules=())
    page = parsed(render(bare, records()[:2]))
    verdict = next(one for one in page.of("p") if one.attributes.get("class", "").startswith("verdict"))
    assert "bad" in verdict.attributes["class"]
    assert f"{bare.unexplained} differences are unexplained" in verdict.text


def test_every_run_can_be_had_again() -> None:
    commands = [one.text for one in parsed(report()).of("code") if "pre" in one.parents]
    assert commands == [record.reproduce for record in records()]


def huge(record: Record, number: int) -> Record:
    """A record as large as they come, of which nothing is in another one."""
    return msgspec.structs.replace(
        record,
        console="".join(f"[    0.000000] line {i} of {number} {'x' * 60}\n" for i in range(300)),
        notes=[f"note {i} {'y' * 500}" for i in range(1000)],
        firmware_calls=[
            FirmwareCall(service=f"Service{i % 900}of{number}", args=[], status="EFI_SUCCESS", insns=i) for i in range(500)
        ],
        ledger=[LedgerEntry(kind=LedgerKind.PORT, what=f"{i:#x}", group=f"group {i % 50}", reads=1) for i in range(3000)],
        coverage=Coverage(
            blocks=1,
            functions=[FunctionCoverage(name=f"function_{i}_of_{number}", part="kernel", blocks=1) for i in range(500)],
        ),
        reproduce="z" * 100_000,
    )


@pytest.mark.slow
def test_a_large_comparison_is_cut_with_a_count() -> None:
    found = [huge(records()[0], number) for number in range(15)]
    comparison = build(found)
    assert len(comparison.runs) == 15
    text = render(comparison, found)
    assert len(text.encode("utf-8")) < SIZE_LIMIT
    assert re.search(r"[\d,]+ more facts are not shown here", text)
    assert re.search(r"[\d,]+ more functions are not shown here", text)


def test_halving_ends_and_a_cut_counts() -> None:
    limits = Limits()
    for _ in range(20):
        limits = limits.halved()
    assert limits == limits.halved()
    some = cut(range(10), 4)
    assert (some.shown, some.more, some.total) == ((0, 1, 2, 3), 6, 10)
    assert cut(range(3), 4).more == 0


def test_runs_of_the_same_code_share_a_column_and_the_empty_have_none() -> None:
    base = records()[0]

    def ran(*names: str) -> Record:
        functions = [FunctionCoverage(name=name, part="kernel", blocks=1, offsets="0") for name in names]
        return msgspec.structs.replace(base, coverage=Coverage(blocks=1, functions=functions))

    found = [ran("a"), ran("b"), ran("b"), ran()]
    view = code(build(found, []), found, Limits())
    assert [(column.index, column.keys) for column in view.columns] == [(0, "A"), (1, "B, C")]
    assert view.hidden == (build(found, []).runs[3].name,)


def test_bars_have_one_scale() -> None:
    found = list(records()[:2])
    rows = timeline(build(found, []), found).rows
    bars = [(phase.insns, phase.width) for row in rows for phase in row.phases if phase is not None]
    longest, width = max(bars)
    assert width == PHASE_WIDTH
    assert all(bar == pytest.approx(max(LEAST, PHASE_WIDTH * insns / longest), abs=0.06) for insns, bar in bars if insns)


def test_a_fact_has_a_link_that_stays() -> None:
    page = parsed(report())
    rows = [one.attributes["id"] for one in page.of("tr") if one.attributes.get("id")]
    assert len(set(rows)) == len(rows) == len(document().rows)
    assert anchor(document().rows[0].path) in rows
    assert anchor("entry.cpu.cr0") == "f-" + sha256(b"entry.cpu.cr0").hexdigest()[:10]
