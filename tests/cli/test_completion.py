"""Shell completions: printed, and installed where shells look."""

from __future__ import annotations

from pathlib import Path

import pytest

from efishim.cli import main
from efishim.cli.completion import place

PLACES = {
    "bash": ".local/share/bash-completion/completions/efishim",
    "zsh": ".zfunc/_efishim",
    "fish": ".config/fish/completions/efishim.fish",
}


@pytest.mark.parametrize("shell", PLACES)
def test_an_installed_script_is_the_printed_one(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR", "BASH_COMPLETION_USER_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["completion", shell]) == 0
    printed = capsys.readouterr().out
    assert main(["completion", shell, "--install"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / PLACES[shell])
    assert (tmp_path / PLACES[shell]).read_text().strip() == printed.strip()


def test_the_environment_says_where_else() -> None:
    assert place("bash", {"HOME": "/h", "XDG_DATA_HOME": "/d"}) == Path("/d/bash-completion/completions/efishim")
    assert place("bash", {"HOME": "/h", "BASH_COMPLETION_USER_DIR": "/b"}) == Path("/b/completions/efishim")
    assert place("zsh", {"HOME": "/h", "ZDOTDIR": "/z"}) == Path("/z/.zfunc/_efishim")
    assert place("fish", {"HOME": "/h", "XDG_CONFIG_HOME": "/c"}) == Path("/c/fish/completions/efishim.fish")


def test_a_place_that_cannot_be_made_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/dev/null")
    assert main(["completion", "fish", "--install"]) == 3
    assert "cannot be made" in capsys.readouterr().err
