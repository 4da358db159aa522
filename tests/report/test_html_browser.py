"""The HTML form in a real browser: what people see, use and print."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from efishim.compare.model import Row
from tests.report.pages import document, hostile_report, report
from tests.support.browser import Browser, Question, browser, pages_of
from tests.support.pace import slowness

pytestmark = pytest.mark.slow

PHONE, DESKTOP = 390, 1280
OPENING_LIMIT = 2.0
"""Processor seconds of the thread that shows the page."""

VISIBLE = """
  var rows = Array.prototype.slice.call(page.querySelectorAll(TABLE + " tbody tr"));
  function shown() { return rows.filter(function (row) { return row.getClientRects().length > 0; }).length; }
  function words(text) {
    var search = page.querySelector('form[data-for="' + TABLE.slice(1) + '"] input[type=search]');
    search.value = text;
    search.dispatchEvent(new view.Event("input", {bubbles: true}));
  }
  function tick(value) {
    page.querySelector('form[data-for="' + TABLE.slice(1) + '"] input[value=' + value + ']').click();
  }
"""

MATRIX, FUNCTIONS = (f'var TABLE = "#{table}";{VISIBLE}' for table in ("matrix-t", "code-t"))

WIDE = """
  Array.prototype.forEach.call(page.querySelectorAll("details"), function (one) { one.open = true; });
  var limit = page.documentElement.clientWidth;
  var loose = Array.prototype.filter.call(page.querySelectorAll("body *"), function (one) {
    if (one.closest(".box, .vh, pre, .skip") || !one.getClientRects().length) return false;
    return one.getBoundingClientRect().right > limit + 1;
  });
  return [page.documentElement.scrollWidth, limit, loose.map(function (one) { return one.outerHTML.slice(0, 80); })];
"""

LABELS = """
  var bad = [];
  Array.prototype.forEach.call(page.querySelectorAll("#memory svg"), function (svg) {
    var frame = svg.getBoundingClientRect(), texts = svg.querySelectorAll("thead text, text:not(.brk)"), last = {};
    Array.prototype.forEach.call(texts, function (text) {
      var box = text.getBoundingClientRect(), line = Math.round(box.top);
      if (box.left < (last[line] || -1) - 0.5 || box.right > frame.right + 1) bad.push(text.textContent);
      last[line] = box.right;
    });
  });
  return [page.querySelectorAll("#memory svg text").length, bad];
"""

CONTRAST = """
  function numbers(text) { return (text.match(/[\\d.]+/g) || []).map(Number); }
  function light(color) {
    var part = numbers(color).slice(0, 3).map(function (one) {
      one /= 255;
      return one <= 0.04045 ? one / 12.92 : Math.pow((one + 0.055) / 1.055, 2.4);
    });
    return 0.2126 * part[0] + 0.7152 * part[1] + 0.0722 * part[2];
  }
  function behind(one) {
    for (; one; one = one.parentElement) {
      var color = numbers(view.getComputedStyle(one).backgroundColor);
      if (color.length < 4 || color[3] > 0) return view.getComputedStyle(one).backgroundColor;
    }
    return "rgb(255, 255, 255)";
  }
  var worst = 99, dark = 0;
  var texts = page.querySelectorAll("p, td, th, a, small, b, span, summary, h1, h2, h3, dd, caption");
  Array.prototype.forEach.call(texts, function (one) {
    if (!one.getClientRects().length || one.closest(".vh")) return;
    var a = light(view.getComputedStyle(one).color), b = light(behind(one));
    worst = Math.min(worst, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  });
  dark = light(behind(page.body));
  return [worst, dark];
"""

QUESTIONS = {
    "search": Question(
        MATRIX + 'words("EFI_INFO systab"); return [rows.length, shown(), page.querySelector("form output").textContent];'
    ),
    "classes": Question(MATRIX + 'var all = shown(); tick("design"); return [all, shown()];'),
    "sides": Question(MATRIX + 'tick("told"); return shown();'),
    "functions": Question(
        FUNCTIONS + 'words("no such function"); var none = shown(); words(""); return [none, shown() === rows.length];'
    ),
    "pair": Question("""
      var pick = page.getElementById("pick");
      pick.value = "pair-C";
      pick.dispatchEvent(new view.Event("change"));
      return Array.prototype.filter.call(page.querySelectorAll("details.pair"), function (one) {
        return one.getClientRects().length > 0 && one.open;
      }).map(function (one) { return one.id; });
    """),
    "link": Question("""
      var link = page.querySelector('#hardware a[href^="#hw-"]');
      view.location.hash = link.getAttribute("href");
      view.dispatchEvent(new view.HashChangeEvent("hashchange"));
      return page.querySelector(link.getAttribute("href")).open;
    """),
    "column": Question(
        """
      var box = page.querySelector("#matrix .box"), head = box.querySelector("tbody th");
      box.scrollLeft = 300;
      var place = head.getBoundingClientRect();
      return [box.scrollLeft > 0, Math.abs(place.left - box.getBoundingClientRect().left) < 3, place.width];
    """,
        PHONE,
    ),
    **{f"wide {width}": Question(WIDE, width) for width in (320, PHONE, DESKTOP)},
    "labels": Question(LABELS),
    "light": Question(CONTRAST),
    "dark": Question(CONTRAST, path="/dark.html"),
}

ATTACKED = {
    "wide": Question(WIDE, PHONE),
    "runs": Question(
        "return [page.title, page.images.length, page.scripts.length, page.body.textContent.includes('<img src=x onerror=')];"
    ),
}

ASKED = frozenset({"/report.html", "/frame.html", "/dark.html", "/blank.html"})


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(report(), tmp_path_factory.mktemp("honest")) as found:
        yield found
        assert found.messages == [], "the console says nothing"
        assert set(found.asked) <= ASKED, "nothing else was asked for"


@pytest.fixture(scope="module")
def answers(honest: Browser) -> dict[str, Any]:
    dark = report().replace("(prefers-color-scheme: dark)", "all")
    honest.pages["/dark.html"] = re.sub(r"style-src [^;]+;[^;]+;", "style-src 'unsafe-inline';", dark)
    return honest.ask(QUESTIONS)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with browser(hostile_report(), tmp_path_factory.mktemp("attacked")) as found:
        got = found.ask(ATTACKED)
        assert found.messages == []
        assert set(found.asked) <= ASKED
        return got


def test_the_matrix_is_searched(answers: dict[str, Any]) -> None:
    wanted = [row for row in document().rows if all(word in searched(row) for word in ("efi_info", "systab"))]
    assert 0 < len(wanted) < len(document().rows)
    assert answers["search"] == [len(document().rows), len(wanted), f"{len(wanted)} of {len(document().rows)}"]


def searched(row: Row) -> str:
    """What a reader of a row of the matrix can search in."""
    return f"{row.path} {' '.join(row.values)}".lower()


def test_the_matrix_is_filtered_by_class_and_by_side(answers: dict[str, Any]) -> None:
    every, without_design = answers["classes"]
    assert every == len(document().rows)
    assert without_design < every
    assert answers["sides"] == sum(row.side == "done" for row in document().rows)


def test_functions_are_searched(answers: dict[str, Any]) -> None:
    assert answers["functions"] == [0, True]


def test_one_pair_is_chosen(answers: dict[str, Any]) -> None:
    assert answers["pair"] == ["pair-C"]


def test_a_link_opens_what_is_folded(answers: dict[str, Any]) -> None:
    assert answers["link"] is True


@pytest.mark.parametrize("width", [320, PHONE, DESKTOP])
def test_the_page_does_not_scroll_sideways(answers: dict[str, Any], width: int) -> None:
    total, limit, loose = answers[f"wide {width}"]
    assert loose == []
    assert total <= limit <= width


def test_nor_does_a_hostile_one(attacked: dict[str, Any]) -> None:
    total, limit, loose = attacked["wide"]
    assert loose == []
    assert total <= limit


def test_nothing_of_a_hostile_record_runs(attacked: dict[str, Any]) -> None:
    title, images, scripts, text = attacked["runs"]
    assert title.startswith("Comparison of boot routes")
    assert (images, scripts, text) == (0, 1, True)


def test_the_first_column_stays_in_view(answers: dict[str, Any]) -> None:
    scrolled, stays, width = answers["column"]
    assert scrolled
    assert stays
    assert 90 < width < PHONE / 2, "wide enough to read, with room for the rest"


def test_labels_in_pictures_neither_overlap_nor_leave_them(answers: dict[str, Any]) -> None:
    count, bad = answers["labels"]
    assert count > 20
    assert bad == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_schemes(answers: dict[str, Any], scheme: str) -> None:
    """A contrast of at least 4.5 to 1, as WCAG 2.1 asks for in 1.4.3."""
    worst, background = answers[scheme]
    assert (background < 0.1) == (scheme == "dark")
    assert worst >= 4.5


def test_it_opens_quickly(honest: Browser) -> None:
    limit = OPENING_LIMIT * slowness()
    assert honest.seconds_to_paint(enough=limit) <= limit


def test_a_page_that_is_slow_is_seen(tmp_path: Path) -> None:
    """Of two tables, the one with forty times the cells, each with an element of its own, takes at least four times as long."""
    row = "<tr>" + "<td><span>x</span>" * 20
    small, large = (f"<!DOCTYPE html><link rel=icon href=data:,><table>{row * rows}</table>" for rows in (100, 4000))
    with browser(large, tmp_path) as window:
        window.pages["/small.html"] = small
        quick, slow = (window.seconds_to_paint(path) for path in ("/small.html", "/report.html"))
    assert slow > 4 * quick


def test_what_is_folded_is_not_printed(honest: Browser) -> None:
    """Two routes, all folded: under 20 pages. Opened first, the rest is printed, which is the counter-case."""
    folded = re.sub(r"(<details[^>]*) open>", r"\1>", report(2))
    opened = folded.replace("<details", "<details open")
    counts = []
    for text in (folded, opened):
        honest.pages["/report.html"] = text
        try:
            pdf = honest.pdf()
        finally:
            honest.pages["/report.html"] = report()
        assert pdf.startswith(b"%PDF-")
        counts.append(pages_of(pdf))
    assert counts[0] < 20
    assert counts[1] > counts[0] + 3


def test_addresses_in_the_memory_maps_are_hexadecimal() -> None:
    ticks = re.findall(r'<text x="[^"]*" y="12">([^<]*)</text>', report())
    assert len(ticks) >= 2
    assert all(re.fullmatch(r"0x[0-9a-f]+", one) for one in ticks)


def shades(png: bytes) -> int:
    """How many different colours a picture of Chromium has (8 bits per channel, PNG filters undone)."""
    place, data, head = 8, b"", b""
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        body = png[place + 8 : place + 8 + length]
        head, data = (body if kind == b"IHDR" else head), data + (body if kind == b"IDAT" else b"")
        place += 12 + length
    width, height, _, colour = struct.unpack(">IIBB", head[:10])
    step = {2: 3, 6: 4}[colour]
    raw, size = zlib.decompress(data), width * step
    last, found = bytearray(size), set()
    for y in range(height):
        line = unfiltered(raw[y * (size + 1)], bytearray(raw[y * (size + 1) + 1 : (y + 1) * (size + 1)]), last, step)
        found |= {bytes(line[x : x + 3]) for x in range(0, size, step)}
        last = line
    return len(found)


def unfiltered(kind: int, line: bytearray, last: bytearray, step: int) -> bytearray:
    """One line of a PNG (ISO/IEC 15948, 9.2)."""
    for i in range(len(line)):
        left, up, corner = (line[i - step] if i >= step else 0), last[i], (last[i - step] if i >= step else 0)
        if kind == 4:
            near = min(((abs(up - corner), 0, left), (abs(left - corner), 1, up), (abs(left + up - 2 * corner), 2, corner)))
            line[i] = (line[i] + near[2]) & 0xFF
        else:
            line[i] = (line[i] + (0, left, up, (left + up) // 2)[kind]) & 0xFF
    return line


@pytest.mark.parametrize(("name", "width"), [("desktop", DESKTOP), ("phone", 500)])
def test_pictures_are_drawn(honest: Browser, tmp_path: Path, name: str, width: int) -> None:
    png = honest.picture(width, 600)
    assert png.startswith(b"\x89PNG")
    (tmp_path / f"{name}.png").write_bytes(png)
    assert shades(png) > 20
