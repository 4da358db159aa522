"""The pages of show, surface and compare in a browser: nothing is cut, and axe finds nothing serious.

axe-core is not a part of efishim. It comes with a package that pip fetches for the test, which is skipped where pip cannot.
"""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from efishim.report.record_shown import page
from efishim.report.surfaces import renderers
from tests.report.pages import records, report
from tests.report.test_html_browser import WIDE
from tests.support.browser import Browser, Question, browser
from tests.surface.needy import needy_surface

pytestmark = pytest.mark.slow

WIDTHS = (400, 1280, 1400)
AXE = "axe-playwright-python==0.1.8"
"""A package that has axe.min.js in it. Another version would have other rules."""
PATIENCE = 120.0
FULL = os.environ.get("EFISHIM_FULL") == "1"
LONG = pytest.mark.skipif(not FULL, reason="axe takes ten seconds of a processor for the page of compare: EFISHIM_FULL=1")

ASK = """
document.querySelectorAll("details").forEach(function (one) { one.open = true; });
axe.run({resultTypes: ["violations"]}).then(function (found) {
  var result = document.createElement("pre");
  result.id = "axe";
  result.textContent = JSON.stringify(found.violations.map(function (one) { return [one.id, one.impact, one.nodes[0].html]; }));
  document.body.appendChild(result);
});
"""

Pages = dict[str, Callable[[], str]]


@pytest.fixture(scope="module")
def pages(shared: Path) -> Pages:
    return {
        "show": lambda: page(records()[0]),
        "surface": lambda: renderers()["html"](needy_surface(shared)),
        "compare": lambda: report(2),
    }


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script. Skips, with the reason, where it cannot be had."""
    folder = tmp_path_factory.mktemp("axe")
    words = ["download", "-q", "--no-deps", "--only-binary", ":all:", "--retries", "1", "--timeout", "15"]
    command = [sys.executable, "-m", "pip", *words, "-d", str(folder), AXE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip(f"pip did not fetch {AXE} in {PATIENCE:.0f} s")
    found = next(folder.glob("*.whl"), None)
    if found is None:
        pytest.skip(f"pip cannot fetch {AXE}: {done.stderr.strip().splitlines()[-1:]}")
    with zipfile.ZipFile(found) as wheel:
        name = next(one for one in wheel.namelist() if one.endswith("axe.min.js"))
        return wheel.read(name).decode()


def dark(text: str) -> str:
    return text.replace("(prefers-color-scheme: dark)", "all")


def findings(shown: Browser, text: str, script: str) -> list[list[Any]]:
    """What axe says of a page with everything open: rule, impact, the first element."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    safe = [one.replace("</script", "<\\/script") for one in (script, ASK)]
    scripts = "".join(f"<script>{one}</script>" for one in safe)
    shown.pages["/axe.html"] = text.replace("</body>", f"{scripts}</body>")
    dom = shown.start("--dump-dom", path="/axe.html", budget=60_000)
    result = re.search(r'<pre id="axe">(.*?)</pre>', dom, re.DOTALL)
    assert result is not None
    found: list[list[Any]] = json.loads(html.unescape(result[1]))
    return found


def serious(found: list[list[Any]]) -> list[list[Any]]:
    return [one for one in found if one[1] in ("serious", "critical")]


@pytest.mark.parametrize("name", ["show", "surface"])
def test_nothing_is_wider_than_the_screen(name: str, pages: Pages, tmp_path: Path) -> None:
    with browser(pages[name](), tmp_path) as shown:
        answers = shown.ask({str(width): Question(WIDE, width) for width in WIDTHS})
        assert answers == {str(width): [width, width, []] for width in WIDTHS}


@pytest.mark.parametrize("name", ["show", "surface", pytest.param("compare", marks=LONG)])
def test_axe_finds_nothing_serious(name: str, pages: Pages, axe: str, tmp_path: Path) -> None:
    text = pages[name]()
    with browser(text, tmp_path) as shown:
        assert serious(findings(shown, text, axe)) == []
        if FULL:
            assert serious(findings(shown, dark(text), axe)) == []


def test_axe_finds_what_is_wrong(axe: str, tmp_path: Path) -> None:
    """The counter-case: a picture without words, in a page without a language."""
    bad = "<!DOCTYPE html><html><head><title>bad</title></head><body><img src='data:,'></body></html>"
    with browser(bad, tmp_path) as shown:
        assert {"image-alt", "html-has-lang"} <= {one[0] for one in serious(findings(shown, bad, axe))}


@pytest.mark.skipif(not FULL, reason="pictures of every page are for people: EFISHIM_FULL=1")
@pytest.mark.parametrize("name", ["show", "surface", "compare"])
def test_pictures(name: str, pages: Pages, tmp_path: Path) -> None:
    for scheme, change in (("light", str), ("dark", dark)):
        with browser(change(pages[name]()), tmp_path) as shown:
            for width in WIDTHS:
                (tmp_path / f"{name}-{width}-{scheme}.png").write_bytes(shown.picture(width, 1600))
    assert len(list(tmp_path.glob(f"{name}-*.png"))) == 2 * len(WIDTHS)
