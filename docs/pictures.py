"""Makes the pictures of the documents: `python -m docs.pictures [KERNEL]`, or `make pictures`.

Two sessions as a terminal shows them (SVG), and the beginning of an HTML report as a browser shows it (PNG). The commands
really run, on a pseudo-terminal so that they show their colours.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

IMAGES = Path(__file__).parent / "images"
KERNEL = "deb:linux-image-cloud-amd64"
COLUMNS = 118
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Session:
    """One command, and how much of what it prints the picture has."""

    name: str
    command: str
    """Arguments of efishim; KERNEL stands for the kernel."""
    first: int
    """Lines from the beginning."""
    last: int
    """Lines from the end; what lies between is shown as dots."""


SESSIONS = (
    Session("run", "run KERNEL -p hvmlite -e pvh", first=14, last=22),
    Session("compare", "compare KERNEL -q -r hvmlite/efi -r hvmlite/pvh", first=36, last=2),
)


def on_a_terminal(arguments: Sequence[str]) -> str:
    """What a command writes to a terminal of COLUMNS columns."""
    leader, follower = pty.openpty()
    environment = os.environ | {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "LINES": "50"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=follower, stderr=follower, env=environment) as process:
        os.close(follower)
        pieces = []
        while True:
            try:
                piece = os.read(leader, 1 << 16)
            except OSError:  # the last writer has gone
                break
            if not piece:
                break
            pieces.append(piece)
        os.close(leader)
    if process.returncode:
        raise SystemExit(f"{shlex.join(arguments)} ended with status {process.returncode}")
    return settled(b"".join(pieces).decode(errors="replace"))


def settled(text: str) -> str:
    """Output without the progress that later output wrote over: what stands on the screen in the end."""
    lines = (line.rstrip("\r") for line in text.split("\n"))
    return "\n".join(line.rsplit("\r", 1)[-1].rsplit("\x1b[2K", 1)[-1] for line in lines)


def shortened(text: str, session: Session) -> str:
    """The beginning and the end of a session's output."""
    lines = text.rstrip("\n").split("\n")
    if len(lines) <= session.first + session.last + 1:
        return "\n".join(lines)
    return "\n".join([*lines[: session.first], "...", *lines[-session.last :]])


def drawn(command: str, output: str) -> str:
    """A terminal with a command and its output, as SVG."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
    for line in Text.from_ansi(output).split():
        line.truncate(COLUMNS, overflow="ellipsis")
        console.print(line)
    svg = console.export_svg(title="efishim", unique_id="efishim")
    # Its font would be fetched from a server whenever somebody looks at the picture; any monospaced one will do.
    return re.sub(r"@font-face {.*?}", "", svg, flags=re.DOTALL).replace("Fira Code", "DejaVu Sans Mono")


def photographed(page: Path, picture: Path) -> None:
    """The first screen of an HTML file, as PNG."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise SystemExit("no browser: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1280,1000",
             f"--user-data-dir={profile}", f"--screenshot={picture}", page.as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Make all pictures. Returns an exit status."""
    kernel = arguments[0] if arguments else KERNEL
    IMAGES.mkdir(exist_ok=True)
    for session in SESSIONS:
        words = ["efishim", *session.command.replace("KERNEL", kernel).split()]
        output = shortened(on_a_terminal([sys.executable, "-P", "-m", *words]), session)
        (IMAGES / f"{session.name}.svg").write_text(drawn(shlex.join(words), output))
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "report.html"
        words = ["compare", kernel, "-q", "-r", "hvmlite/efi", "-r", "hvmlite/pvh", "--format", "html", "-o", str(page)]
        subprocess.run([sys.executable, "-P", "-m", "efishim", *words], check=True)
        photographed(page, IMAGES / "report.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
