"""`efishim show` and `efishim explain` as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from efishim.cli import main
from efishim.lab.record import encode
from tests.records import a_record


@pytest.fixture
def record(tmp_path: Path) -> str:
    (tmp_path / "run.json").write_bytes(encode(a_record()))
    return str(tmp_path / "run.json")


def test_a_record_is_shown(record: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", record]) == 0
    assert "shutdown reached" in capsys.readouterr().out
    assert main(["show", record, "console"]) == 0
    assert capsys.readouterr().out == "Linux version\n"
    assert main(["show", record, "--format", "html", "-o", str(tmp_path / "run.html")]) == 0
    assert (tmp_path / "run.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["show", "{record}", "lunch"], 2, "lunch"),
        (["show", "/nonexistent"], 4, "does not exist"),
        (["show", "{record}", "--format", "html", "-o", "/nonexistent/x"], 2, "does not exist"),
        (["explain", "kernel placemen"], 2, "did you mean kernel placement?"),
        (["explain", "lunch"], 2, "neither a fact nor a rule"),
    ],
)
def test_mistakes(words: list[str], status: int, sentence: str, record: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word.format(record=record) for word in words]) == status
    assert sentence in capsys.readouterr().err


def explained(word: str, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert main(["explain", word, "--format", "json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_a_rule_has_its_source_as_a_link_and_its_counter_cases(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "kernel placement"]) == 0
    shown = capsys.readouterr().out
    assert "KASLR" in shown
    assert "/arch/x86/boot/compressed/kaslr.c\n" in shown
    assert "does not explain: kernel.physical_base@: 0x1200000 against 0x0" in shown
    assert main(["explain", "pvh/cr4"]) == 0
    assert "https://xenbits.xen.org/" in capsys.readouterr().out


def test_a_fact_has_the_rules_that_may_explain_it(capsys: pytest.CaptureFixture[str]) -> None:
    found = explained("startup_64.boot_params.hdr.type_of_loader", capsys)
    assert {"type of loader"} <= {rule["rule"] for rule in found["rules"]}  # type: ignore[attr-defined]
    assert explained("log.nobody wrote a rule about this", capsys)["rules"] == []
    assert main(["explain", "log.nobody wrote a rule about this"]) == 0
    assert "No rule explains a difference of it" in capsys.readouterr().out
