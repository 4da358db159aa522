"""One record, as text and as a page."""

from __future__ import annotations

import pytest

from efishim.cli.show import PARTS as NAMES
from efishim.report.record_parts import PARTS, parts
from efishim.report.record_shown import page, text
from tests.records import a_record
from tests.report.pages import ATTACK, hostile, parsed

EXPECTED = {
    "milestones": "shutdown              1,234,567,890",
    "told": "startup_64.boot_params.hdr.type_of_loader",
    "calls": "HandleProtocol",
    "hardware": "serial",
    "code": "start_kernel",
    "console": "Linux version",
}


def squeezed(shown: str) -> str:
    return " ".join(shown.split())


def test_the_command_names_the_parts_that_there_are() -> None:
    assert tuple(PARTS) == NAMES == tuple(EXPECTED)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_is_shown_in_whole_and_alone(name: str) -> None:
    shown = text(a_record(), [name])
    assert squeezed(EXPECTED[name]) in squeezed(shown)
    assert "reproduce" not in shown
    others = [words for other, words in EXPECTED.items() if other != name]
    assert not [words for words in others if squeezed(words) in squeezed(shown) and words != "start_kernel"]


def test_the_overview_says_what_each_part_has() -> None:
    shown = text(a_record())
    assert "firmware/efi@pc" in shown
    assert all(f"  {one.name}" in shown and one.summary in shown for one in parts(a_record()) if one.name != "milestones")


def test_the_page_has_everything_and_loads_nothing() -> None:
    shown = page(a_record())
    found = parsed(shown)
    assert found.strays == []
    assert {one.attributes["id"] for one in found.of("section")} == set(PARTS)
    assert all(squeezed(words.split()[0]) in squeezed(shown) for words in EXPECTED.values())
    assert not [one for one in found.elements if "src" in one.attributes]
    assert {one.attributes["id"] for one in parsed(page(a_record(), ["told"])).of("section")} == {"told"}


def test_what_comes_from_a_guest_stays_text() -> None:
    record = hostile(a_record())
    assert len(parsed(page(record)).of("script")) == 1
    assert parsed(page(record)).of("img") == []
    for name in PARTS:
        assert [char for char in text(record, [name]) if not char.isprintable() and char != "\n"] == []
    assert "<img" in ATTACK
