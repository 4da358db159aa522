"""The command line as a whole: help, exit statuses, where things are printed, and that nobody sees a traceback."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from efishim.cli import main
from efishim.cli.app import OWN_COMMANDS
from efishim.cli.run import MILESTONES
from efishim.lab.record import Milestone
from tests.support.images import SectionSpec, build_pe

EFISHIM = [sys.executable, "-c", "import sys; from efishim.cli import main; sys.exit(main())"]


@pytest.mark.parametrize("command", [[], *([name] for name in OWN_COMMANDS)])
def test_every_command_explains_itself(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    shown = capsys.readouterr()
    assert "Usage" in shown.out
    assert shown.err == ""


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "doctor" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["nope"], "nope"),
        (["run", "--nope"], "--nope"),
        (["run", "--until", "lunch"], "lunch"),
        (["run", "-p", "nope"], "nope"),
        (["run", "-e", "nope"], "nope"),
        (["run", "--platform", "nope"], "nope"),
        (["run", "-m", "1M"], "1M"),
        (["run", "-m", "nope"], "nope"),
        (["run", "-a", "@/does/not/exist"], "/does/not/exist"),
        (["run", "--option", "nope"], "nope"),
        (["run", "--option", "firmware.nope=1"], "firmware.nope"),
        (["run", "--seed", "-1"], "-1"),
        (["run", "--seed", "x"], "x"),
        (["run", "--epoch", "-1"], "-1"),
        (["run", "--timeout", "nan"], "nan"),
        (["run", "--max-insns", "0"], "0"),
        (["run", "--format", "nope"], "nope"),
        (["run", "--no-initrd", "-i", "/dev/null"], "--no-initrd"),
        (["run", "--record", "/does/not/exist/record.json"], "/does/not/exist"),
        (["run", "deb:"], "deb:"),
        (["providers", "nope"], "nope"),
        (["completion", "nope"], "nope"),
    ],
)
def test_wrong_usage_is_one_sentence_on_stderr(arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert word in shown.err
    lines = shown.err.rstrip("\n").splitlines()
    lines = [line for line in lines if not line.startswith("efishim: ")]
    assert lines[0].startswith("error: ")
    assert len(lines) <= 2
    assert all(line.startswith("hint: ") for line in lines[1:])


@pytest.mark.parametrize("command", ["run", "inspect"])
def test_files_that_are_no_images_give_status_4(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_text("hello\n" * 100)
    for path in (tmp_path, tmp_path / "none", tmp_path / "empty", tmp_path / "text", "/dev/zero", "new\nline\x1b[2J"):
        assert main([command, str(path)]) == 4
        shown = capsys.readouterr()
        assert shown.out == ""
        errors = [line for line in shown.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        assert "\x1b" not in shown.err
        assert "Traceback" not in shown.err


def test_milestones_are_those_of_the_record() -> None:
    assert [milestone.value for milestone in Milestone] == list(MILESTONES)


LIBRARIES = [sys.executable, "-c", "import importlib.metadata, pluggy, rich_click"]
"""What every command with plugins and such a help needs. Where --help takes 0.13 s of an idle host, these take 0.06 s."""
LIKE_LIBRARIES = 3


@pytest.mark.slow
def test_help_comes_within_the_promised_time() -> None:
    """0.3 s is the promise. How long that is in terms of this host, which may be slow or busy, its libraries tell: by processor
    time, the best of five each, in turn.
    """
    ours, libraries = (
        min(times) for times in zip(*((spent(*EFISHIM, "--help"), spent(*LIBRARIES)) for _ in range(5)), strict=True)
    )
    assert ours < LIKE_LIBRARIES * libraries


@pytest.mark.slow
def test_a_start_that_imports_too_much_is_seen() -> None:
    """What a run needs, which --help must not import."""
    heavy = [
        sys.executable,
        "-c",
        "import importlib.metadata, pluggy, rich_click, efishim.lab.run, efishim.compare.build, pefile",
    ]
    ours, libraries = (min(times) for times in zip(*((spent(*heavy), spent(*LIBRARIES)) for _ in range(3)), strict=True))
    assert ours > LIKE_LIBRARIES * libraries


def spent(*command: str) -> float:
    """Processor seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def on_a_terminal(*arguments: str, **environment: str) -> str:
    """What a command prints on a terminal."""
    leader, follower = pty.openpty()
    given = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    process = subprocess.Popen(
        [*EFISHIM, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        env=given | {"TERM": "xterm-256color", "COLUMNS": "100"} | environment,
    )
    os.close(follower)
    shown = b""
    try:
        while piece := os.read(leader, 65536):
            shown += piece
    except OSError:  # Linux gives EIO when the other side is gone
        pass
    process.wait(30)
    os.close(leader)
    return shown.decode()


COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-9]")


@pytest.mark.slow
def test_colours_only_on_a_terminal_and_not_with_no_color() -> None:
    assert COLOUR.search(on_a_terminal("providers", "nope"))
    assert not COLOUR.search(on_a_terminal("providers", "nope", NO_COLOR="1"))
    piped = subprocess.run([*EFISHIM, "providers", "nope"], capture_output=True, text=True, check=False)
    assert "\x1b" not in piped.stderr


def test_a_closed_pipe_is_no_traceback() -> None:
    process = subprocess.Popen([*EFISHIM, "schema"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()
    assert process.wait(30) == 128 + signal.SIGPIPE


@pytest.mark.slow
def test_a_bad_plugin_is_named_on_stderr_and_the_rest_works(tmp_path: Path) -> None:
    """An installed third-party package whose plugin does not import, as pip would lay it down."""
    (tmp_path / "broken.py").write_text("raise RuntimeError('I am broken')\n")
    metadata = tmp_path / "broken-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[efishim_v1]\nbroken = broken\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    for arguments, status in (["providers"], 0), (["plugins"], 3):
        shown = subprocess.run([*EFISHIM, *arguments], capture_output=True, text=True, check=False, env=environment)
        assert shown.returncode == status
        assert "firmware" in shown.stdout
        assert "plugin broken" in shown.stderr
        assert "I am broken" in shown.stderr
        assert "Traceback" not in shown.stderr


SPEAKS = bytes.fromhex("488d350f000000 ac 84c0 7407 66baf803 ee ebf4 31c0 c3")
"""lea rsi, [rip+15]; 1: lodsb; test al, al; jz 2f; mov dx, 0x3f8; out dx, al; jmp 1b; 2: xor eax, eax; ret"""
SAYS = b"begin \x1b[2J\x1b[1;1Hroot# \x1b]0;title\x07 \xc2\x9b8m \x9b \xe2\x80\xae \x7f\x0e end\r\n"


def streamed(folder: Path, *words: str) -> bytes:
    """What a terminal gets to see of a guest that says all this on its serial port."""
    program = folder / "speaks.efi"
    program.write_bytes(build_pe([SectionSpec(b".text", 0x1000, SPEAKS + SAYS + b"\0", 0x200)]))
    leader, follower = pty.openpty()
    with subprocess.Popen([*EFISHIM, "run", str(program), "-q", *words], stdin=follower, stdout=follower, stderr=follower):
        os.close(follower)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: nobody has the other end open any more
            while piece := os.read(leader, 1 << 16):
                shown += piece
    os.close(leader)
    return shown


@pytest.mark.slow
def test_a_hostile_guest_moves_nothing_on_a_terminal(tmp_path: Path) -> None:
    shown = streamed(tmp_path).decode()
    assert shown.startswith("begin root# ^[]0;title^G ")
    assert shown.rstrip().endswith("end")
    assert [char for char in shown if not char.isprintable() and char not in "\r\n"] == []


@pytest.mark.slow
def test_raw_is_raw(tmp_path: Path) -> None:
    """The counter-case, and what a file or a pipe gets without being asked."""
    assert SAYS.rstrip() in streamed(tmp_path, "--console", "raw")
    done = subprocess.run([*EFISHIM, "run", str(tmp_path / "speaks.efi"), "-q"], capture_output=True, check=False)
    assert done.stdout == SAYS
