"""Violated ABI rules as people read them."""

from __future__ import annotations

from efishim.lab.record import AbiViolation
from efishim.report.text import summary
from efishim.report.violations import FOUND, violations
from tests.records import a_record


def violation(rule: str, demand: str, found: str) -> AbiViolation:
    return AbiViolation(rule=rule, sentence=f"{demand}; {found}.", found=found, source="boot.rst, a section")


def test_each_rule_is_said_once_with_everything_that_was_found() -> None:
    wrong = [
        violation("linux64/gdt", "There is a GDT", "0x10 is missing"),
        violation("linux64/mode", "The mode is right", "the mode is real16"),
        violation("linux64/gdt", "There is a GDT", "0x18 is missing"),
    ]
    assert violations(a_record(abi=wrong)) == [
        "the handover at the entry efi violates 2 rules:",
        "  linux64/gdt: There is a GDT",
        "      found: 0x10 is missing",
        "      found: 0x18 is missing",
        "      specification: boot.rst, a section",
        "  linux64/mode: The mode is right",
        "      found: the mode is real16",
        "      specification: boot.rst, a section",
    ]


def test_a_rule_that_is_broken_all_over_does_not_fill_the_screen() -> None:
    lines = violations(a_record(abi=[violation("pvh/reserved", "It is zero", f"it is {n}") for n in range(100)]))
    assert len(lines) == FOUND + 4
    assert lines[-2] == "      and 97 more of this rule"


def test_older_records_have_the_sentence_only() -> None:
    lines = violations(a_record(abi=[AbiViolation(rule="pvh/cr4", sentence="CR4 is clear; it is 1.", source="pvh.pandoc")]))
    assert lines[1:] == ["  pvh/cr4: CR4 is clear; it is 1.", "      specification: pvh.pandoc"]


def test_the_summary_has_them_and_is_silent_without() -> None:
    assert "violates 1 rule:" in summary(a_record(abi=[violation("pvh/cr4", "CR4 is clear", "it is 1")]))
    assert "violates" not in summary(a_record(abi=None))
    assert "violates" not in summary(a_record(abi=[]))
