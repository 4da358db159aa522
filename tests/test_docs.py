"""The documents: what is generated is current, examples run and print what is shown, links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from docs.generate import REFERENCE, pages
from docs.plugin_reference import INSIDE, missing
from efishim.plugins import Registry
from efishim.testing import Subject, conformance

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
MARK = "<!-- runnable -->"
"""Stands before a console block whose commands the test runs. `...` matches anything in a line, on its own any lines."""


@dataclass(frozen=True)
class Example:
    """One command of a document, and what the document says that it prints."""

    where: str
    command: str
    shown: str


def examples() -> list[Example]:
    """All runnable commands of all documents."""
    found = []
    for document in DOCUMENTS:
        pieces = document.read_text().split(MARK)[1:]
        for number, piece in enumerate(pieces, start=1):
            block = re.match(r"\s*```console\n(.*?)```", piece, re.DOTALL)
            assert block, f"{document}: {MARK} number {number} stands before no console block"
            for command in re.split(r"^\$ ", block[1], flags=re.MULTILINE)[1:]:
                line, _, shown = command.partition("\n")
                found.append(Example(f"{document.relative_to(ROOT)}:{number}", line, shown))
    return found


def pattern(shown: str) -> re.Pattern[str]:
    """What a document shows, as an expression for what a command printed."""
    lines = shown.rstrip("\n").split("\n") if shown.strip() else []
    return re.compile("".join(r"(?:.*\n)*?" if line.strip() == "..." else _line(line) for line in lines))


def _line(line: str) -> str:
    return ".*".join(re.escape(piece) for piece in line.rstrip().split("...")) + r"[ ]*\n"


def test_every_field_of_the_record_has_a_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", pages()["record.md"], re.MULTILINE)
    assert len(rows) > 250
    assert [name for name, kind, meaning in rows if not kind or not meaning or kind == "any"] == []


@pytest.mark.parametrize("name", sorted(pages()))
def test_the_reference_is_what_the_program_says(name: str) -> None:
    assert (REFERENCE / name).read_text() == pages()[name], "run `make docs`"


def test_the_reference_has_every_type_that_a_plugin_meets() -> None:
    found = missing(pages()["hooks.md"], pages()["record.md"])
    assert found == INSIDE
    assert missing("| `member: Unheard` | of |\n### Heard\n| `other: Heard` | of |", "") == {"Unheard"}


def test_there_are_examples() -> None:
    assert len(examples()) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("example", examples(), ids=lambda example: f"{example.where} {example.command}")
def test_an_example_runs_and_prints_what_is_shown(example: Example, tmp_path: Path) -> None:
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    launcher = bin_directory / "efishim"
    launcher.write_text(f"#!{sys.executable}\nimport sys\nfrom efishim.cli import main\nsys.exit(main())\n")
    launcher.chmod(0o755)
    environment = os.environ | {"PATH": f"{bin_directory}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    shown = subprocess.run(
        ["bash", "-c", example.command],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
        timeout=120,
    )
    assert shown.returncode == 0, shown.stderr
    assert pattern(example.shown).fullmatch(shown.stdout), f"it printed:\n{shown.stdout}\n{shown.stderr}"


def test_a_shown_line_that_is_not_printed_is_noticed() -> None:
    """The comparison itself: it can fail, and `...` swallows only what stands between."""
    assert pattern("a\n...\nb\n").fullmatch("a\n1\n2\nb\n")
    assert pattern("a\n...\n").fullmatch("a\n")
    assert not pattern("a\n...\nb\n").fullmatch("a\nc\n")
    assert not pattern("a\n").fullmatch("a\nb\n")
    assert pattern("a ... c\n").fullmatch("a b c\n")
    assert not pattern("a ... c\n").fullmatch("a b\nc\n")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_files_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text()):
        if not re.match(r"[a-z]+:", target):
            assert (document.parent / target).exists(), f"{document.name} links to {target}, which does not exist"


@pytest.mark.slow
def test_the_provider_of_the_guide_is_a_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The complete module of write-a-provider.md loads through the registry and gives back what it wrote."""
    text = (ROOT / "docs" / "write-a-provider.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    modules = [block for block in blocks if "@hookimpl" in block]
    assert len(modules) == 1
    (tmp_path / "efishim_note.py").write_text(modules[0])
    monkeypatch.syspath_prepend(tmp_path)

    class Source:
        name = "note"

        def load(self) -> object:
            return __import__("efishim_note")

    registry = Registry([Source()])
    provider = registry.provider("note")
    assert registry.problems == ()
    assert registry.given_by("note") == ["provider note"]

    tests = [block for block in blocks if "def test_" in block or "class TestNote" in block]
    assert tests, "the guide shows how to test a provider"
    space: dict[str, object] = {}
    exec(compile("\n".join(tests), "write-a-provider.md", "exec"), space)
    ran = [value() for name, value in space.items() if name.startswith("test_") and callable(value)]
    assert ran
    assert list(conformance(Subject(space["TestNote"].provider))) == []  # type: ignore[attr-defined]
    assert provider.entries[0].name == "efi"
