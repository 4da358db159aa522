"""Results on stdout, on a terminal and elsewhere."""

from __future__ import annotations

import re
import sys

import pytest

from efishim.cli import out

ROWS = [("a", "first"), ("longer", "a very long text " * 20)]


def test_without_a_terminal_rows_are_whole_and_unpadded(capsys: pytest.CaptureFixture[str]) -> None:
    out.table(("name", "text"), ROWS)
    out.heading("title", "rest")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "name    text"
    assert lines[1] == "a       first"
    assert lines[2] == ("longer  " + "a very long text " * 20).rstrip()
    assert lines[3] == "title  rest"


def test_on_a_terminal_the_last_column_wraps(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    out.table(("name", "text"), ROWS)
    out.heading("title")
    lines = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()
    assert len(lines) > 5
    assert all(len(line) <= 60 for line in lines)
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["name", "a", "longer", "title"]


@pytest.mark.parametrize("tty", [False, True])
def test_control_characters_are_replaced(
    tty: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: tty)
    out.table(("name",), [("a\x1b[2J\nb",)])
    out.heading("x\x07", "y\x1b")
    out.paragraph("z\r")
    shown = capsys.readouterr().out
    assert not set("\x1b\x07\r") & set(shown)
    assert shown.count("\N{REPLACEMENT CHARACTER}") == 5
