"""Help on narrow terminals."""

from __future__ import annotations

import re

import pytest

from efishim.cli import main
from efishim.cli.app import OWN_COMMANDS

NAMES = [[], *([name] for name in OWN_COMMANDS), ["baseline", "save"], ["baseline", "check"]]


def shown(command: list[str], columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main([*command, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", NAMES, ids=" ".join)
def test_no_word_is_cut_at_sixty_columns(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow, wide = (shown(command, columns, capsys, monkeypatch) for columns in (60, 400))
    lines = narrow.splitlines()
    assert max(map(len, lines)) <= 60
    known = set(re.findall(r"[\w/.]+", wide))
    assert {word for word in re.findall(r"[\w/.]+", narrow) if len(word) > 3} <= known | {"Options", "Commands"}
    assert "╭" in wide
    assert "╭" not in narrow, "the table is for those who have room"
