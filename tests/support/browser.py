"""Debian's Chromium without a window: pages are served from this process, which sees everything that is asked for."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
LIMIT = 300.0
"""Host seconds for one start of the browser."""
TRIES = 3
"""Starts of the browser to find out how quick a page can be."""

MAIN_THREAD = "CrRendererMain"
TASK = "ThreadControllerImpl::RunTask"
"""What Chromium's trace calls the thread that shows a page, and all that this thread does."""

FRAME = """<!DOCTYPE html><meta charset="utf-8"><link rel="icon" href="data:,">
<style>body { margin: 0 } iframe { border: 0; display: block }</style>
<pre id="result"></pre>
<script>
var questions = QUESTIONS, results = {};
function next() {
  var question = questions.shift();
  if (!question) {
    document.getElementById("result").textContent = JSON.stringify(results);
    return;
  }
  var frame = document.createElement("iframe");
  frame.width = question.width;
  frame.height = 900;
  frame.onload = function () {
    var ask = new Function("page", "view", question.body);
    try { results[question.name] = ask(frame.contentDocument, frame.contentWindow); } catch (error) {
      results[question.name] = {error: String(error)};
    }
    frame.remove();
    setTimeout(next, 0);
  };
  frame.src = question.path;
  document.body.appendChild(frame);
}
next();
</script>
"""
"""The report in a frame of the same origin: its own policy stays in force, and a script outside of it can look at it."""


@dataclass(frozen=True)
class Question:
    """The body of a function in which `page` is the report's document and `view` its window, and how wide that is."""

    body: str
    width: int = 1280
    path: str = "/report.html"


@dataclass
class Browser:
    """Starts Chromium; `asked` are the paths that were asked for, `messages` what its console said."""

    program: str
    folder: Path
    port: int
    pages: dict[str, str]
    asked: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def start(self, *options: str, path: str = "/report.html", budget: int = 4000) -> str:
        """One start; returns what it wrote to stdout. With a budget of 0 milliseconds the page's clock is the host's."""
        command = self._command(*options, path=path, budget=budget)
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=LIMIT, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        self.messages += [line for line in done.stderr.splitlines() if re.search(r"\bCONSOLE\b", line)]
        return done.stdout

    def _command(self, *options: str, path: str, budget: int) -> list[str]:
        return [
            *(self.program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr"),
            f"--user-data-dir={self.folder / 'profile'}",
            *([f"--virtual-time-budget={budget}"] if budget else []),
            *(*options, f"http://127.0.0.1:{self.port}{path}"),
        ]

    def seconds_to_paint(self, path: str = "/report.html", enough: float = float("inf")) -> float:
        """Processor seconds that the page's main thread takes from the navigation to the painted page: parsing, scripts, style,
        layout and paint. On a host with nothing else to do that is the time that a reader waits. The host's clock would tell
        how busy the host is. Shared caches still tell a little: the best of several tries counts, and the first that takes no
        more than `enough` is the last.
        """
        best = self._main_thread_seconds(path)
        for _ in range(TRIES - 1):
            if best <= enough:
                break
            best = min(best, self._main_thread_seconds(path))
        return best

    def _main_thread_seconds(self, path: str) -> float:
        """From Chromium's own trace, whose events have the processor time of their thread (`tdur`, microseconds)."""
        picture, trace = self.folder / "paint.png", self.folder / "trace.json"
        for file in (picture, trace):
            file.unlink(missing_ok=True)
        self.start(
            *(f"--screenshot={picture}", "--window-size=1280,2000", "--trace-startup=toplevel,devtools.timeline"),
            *(f"--trace-startup-file={trace}", "--trace-startup-format=json", f"--trace-startup-duration={int(LIMIT)}"),
            path=path,
            budget=0,
        )
        assert picture.exists()
        events = json.loads(trace.read_bytes())["traceEvents"]
        main = {
            (one["pid"], one["tid"]) for one in events if one["name"] == "thread_name" and one["args"]["name"] == MAIN_THREAD
        }
        address = f"http://127.0.0.1:{self.port}{path}"
        page = {one["pid"] for one in events if (one["pid"], one["tid"]) in main and address in json.dumps(one.get("args"))}
        assert len(page) == 1, "one process shows the page"
        tasks = [one for one in events if one["name"] == TASK and one["pid"] in page and (one["pid"], one["tid"]) in main]
        assert tasks
        return sum(int(one.get("tdur", 0)) for one in tasks) / 1e6

    def ask(self, questions: Mapping[str, Question]) -> dict[str, Any]:
        """Ask each of a fresh copy of the page, all in one start of the browser."""
        asked = [{"name": name, **asdict(question)} for name, question in questions.items()]
        self.pages["/frame.html"] = FRAME.replace("QUESTIONS", json.dumps(asked).replace("<", "\\u003c"))
        dom = self.start("--dump-dom", "--window-size=1300,1000", path="/frame.html", budget=60_000)
        found = re.search(r'<pre id="result">(.*?)</pre>', dom, re.DOTALL)
        assert found is not None
        assert found[1], "the page was not loaded in time"
        answers: dict[str, Any] = json.loads(html.unescape(found[1]))
        return answers

    def picture(self, width: int, height: int, *options: str) -> bytes:
        """A screenshot as PNG."""
        target = self.folder / "picture.png"
        self.start(f"--screenshot={target}", f"--window-size={width},{height}", *options)
        return target.read_bytes()

    def pdf(self) -> bytes:
        """The page as it is printed."""
        target = self.folder / "page.pdf"
        self.start(f"--print-to-pdf={target}", "--no-pdf-header-footer")
        return target.read_bytes()


def pages_of(pdf: bytes) -> int:
    """How many pages a document of Chromium's has."""
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


@contextmanager
def browser(report: str, folder: Path) -> Iterator[Browser]:
    """A browser for one report. Skips, with the reason, where there is none."""
    program = next((path for name in NAMES for path in [shutil.which(name)] if path), None)
    if program is None:
        pytest.skip("no Chromium: apt-get install chromium")
    pages = {"/report.html": report}
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(pages, asked))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Browser(program, folder, server.server_port, pages, asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def handler(pages: Mapping[str, str], asked: list[str]) -> type[BaseHTTPRequestHandler]:
    """Serves pages, notes every request."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            page = pages.get(self.path)
            data = b"" if page is None else page.encode("utf-8")
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the standard library
            """Say nothing."""

    return Handler
