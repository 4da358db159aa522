"""The site that Sphinx makes of the documents, its generated pages, and the script that makes its pictures."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from docs import pictures
from docs.generate import pages
from docs.rule_reference import FILES
from efishim.compare.agreement import oracle_rules
from efishim.compare.rules import shipped_rules
from efishim.lab.abi import all_rules

ROOT = Path(__file__).parent.parent


def build(builder: str, source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Run Sphinx. What it has read of the documents is kept beside the target, for the next builder."""
    words = [sys.executable, "-P", "-m", "sphinx", "-b", builder, "-q", "-W", "--keep-going"]
    words += ["-d", str(target.parent / "doctrees"), str(source), str(target)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.slow
def test_the_site_and_the_man_pages_are_made_without_a_warning(tmp_path: Path) -> None:
    """Every document is in the navigation, and every link and every heading that a link names is there."""
    made = build("html", ROOT / "docs", tmp_path / "site")
    assert made.returncode == 0, made.stderr
    start = (tmp_path / "site" / "index.html").read_text()
    for page in ("tutorial", "for-vmm-authors", "reference/rules", "study", "contributing"):
        assert f'href="{page}.html"' in start
    pictures_shown = re.findall(r'src="(_images/[^"]+)"', start)
    assert pictures_shown
    assert all((tmp_path / "site" / one).is_file() for one in pictures_shown)

    made = build("man", ROOT / "docs", tmp_path / "man")
    assert made.returncode == 0, made.stderr
    text = (tmp_path / "man" / "efishim.1").read_text()
    assert ".TH" in text
    assert "Stop after this much host time" in " ".join(text.split())
    assert "milestones" in (tmp_path / "man" / "efishim-record.5").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# A\n\n[there](nowhere.md)\n", "nowhere.md"),
        ("# A\n\n[there](#no-such-heading)\n", "no-such-heading"),
        ("# A\n\n![a picture](none.png)\n", "none.png"),
    ],
)
def test_a_broken_document_fails(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "conf.py").write_text((ROOT / "docs" / "conf.py").read_text())
    (tmp_path / "index.md").write_text(text)
    made = build("html", tmp_path, tmp_path / "site")
    assert made.returncode != 0
    assert complaint in made.stderr


def test_every_rule_of_comparisons_has_a_section() -> None:
    text = pages()["rules.md"]
    headings = re.findall(r"^### (.*)$", text, re.MULTILINE)
    assert headings == [one.name for one in (*shipped_rules(), *oracle_rules())]
    sections = text.split("\n### ")[1:]
    about_values = [
        one for one in sections if not set(re.findall(r"`(\w+)[^`]*`", one.split("* facts: ")[1].split("\n")[0])) <= {"code"}
    ]
    assert len(about_values) > 150
    assert [one.split("\n")[0] for one in about_values if "* does not explain: " not in one] == []
    assert sum(int(one) for one in re.findall(r"(\d+) rules, in the order", text)) == len(headings)
    assert text.count("\n## ") == len(FILES) + 1


def test_every_abi_rule_has_a_row() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", pages()["abi-rules.md"], re.MULTILINE)
    assert rows == list(all_rules())


def test_what_a_terminal_shows_in_the_end() -> None:
    assert pictures.settled("one\r\ntwo\r\r\n") == "one\ntwo\n"
    assert pictures.settled("10 %\r50 %\rdone\r\n") == "done\n"


def test_a_long_output_is_shortened_in_the_middle() -> None:
    session = pictures.Session("x", "run", first=2, last=1)
    assert pictures.shortened("a\nb\nc\nd\n", session) == "a\nb\nc\nd"
    assert pictures.shortened("a\nb\nc\nd\ne\n", session) == "a\nb\n...\ne"


def test_a_session_is_drawn_as_svg() -> None:
    svg = pictures.drawn("efishim run", "\x1b[1;32mshutdown reached\x1b[0m & <more>\n" + "x" * 500)
    text = "".join(ET.fromstring(svg).itertext()).replace("\xa0", " ")
    assert "shutdown reached" in text
    assert "<more>" in text
    assert "x" * pictures.COLUMNS not in text
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"|<!--.*?-->', "", svg, flags=re.DOTALL), "it fetches something"


@pytest.mark.parametrize("name", [*(session.name for session in pictures.SESSIONS), "architecture"])
def test_the_pictures_are_there(name: str) -> None:
    assert ET.parse(pictures.IMAGES / f"{name}.svg").getroot().tag.endswith("svg")


@pytest.mark.slow
def test_a_session_runs_on_a_terminal() -> None:
    shown = pictures.on_a_terminal([sys.executable, "-P", "-m", "efishim", "run", "--until", "entry"])
    assert "entry reached" in shown
    assert "\x1b[" in shown, "no colours: it was not a terminal"
    with pytest.raises(SystemExit, match="ended with status 2"):
        pictures.on_a_terminal([sys.executable, "-P", "-m", "efishim", "run", "--no-such-option"])
