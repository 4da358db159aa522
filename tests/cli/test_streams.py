"""Standard output that fails: no record is lost, no traceback shown, and the exit status says it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from efishim.lab.record import Milestone, decode

pytestmark = pytest.mark.slow

PROGRAM = [sys.executable, "-c", "import sys; from efishim.cli import main; sys.exit(main())"]
EFISHIM = shlex.join(PROGRAM)
RUN = "run -q --until exit_boot_services --record run.json"


def shell(line: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """A line of bash, in which `efishim` is this efishim; the status is that of the first command of a pipe."""
    script = f'efishim() {{ {EFISHIM} "$@"; }}\n{line}\nexit ${{PIPESTATUS[0]}}'
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, check=False, timeout=120)


def whole(folder: Path) -> bool:
    record = decode((folder / "run.json").read_bytes())
    return record.outcome.met and record.outcome.reached is Milestone.EXIT_BOOT_SERVICES and len(record.console) > 100


def test_a_full_disk(tmp_path: Path) -> None:
    done = shell(f"efishim {RUN} >/dev/full", tmp_path)
    assert whole(tmp_path)
    assert done.returncode == 3
    assert done.stderr.splitlines() == [b"error: standard output cannot be written: No space left on device"]


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    """`head` with a record: the run goes on to its end. The status is that of SIGPIPE."""
    done = shell(f"efishim {RUN} | head -c 10", tmp_path)
    assert whole(tmp_path)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == b""


def test_a_run_that_nobody_listens_to_ends(tmp_path: Path) -> None:
    """Without a record nothing of it would be left. This one prints and then spins for a day of its own time."""
    begun = time.monotonic()
    done = shell("efishim run -q --timeout 100 --without BootServices.ExitBootServices=EFI_ABORTED | head -c 10", tmp_path)
    assert done.returncode == 128 + signal.SIGPIPE
    assert time.monotonic() - begun < 60
    assert done.stderr == b""


@pytest.mark.parametrize("closing", [">&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_streams_that_nobody_opened(closing: str, tmp_path: Path) -> None:
    """Nor is the record, the next file that is opened, written to in place of one of them."""
    done = shell(f"efishim {RUN} {closing}", tmp_path)
    assert done.returncode == 0
    assert whole(tmp_path)
    assert done.stderr == b""


@pytest.mark.parametrize(
    "command", ["--help", "inspect", "schema", "providers", "platforms", "plugins", "completion bash", "oracle --list"]
)
def test_no_command_shows_a_traceback(command: str, tmp_path: Path) -> None:
    full = shell(f"efishim {command} >/dev/full", tmp_path)
    assert (full.returncode, full.stderr.count(b"\n"), full.stderr[:7]) == (3, 1, b"error: ")
    gone = shell(f"efishim {command} | (exec <&-; sleep 0)", tmp_path)
    assert gone.returncode in {0, 128 + signal.SIGPIPE}
    assert gone.stderr == b""


def test_compare_keeps_its_records(tmp_path: Path) -> None:
    words = "-q -j 1 -r firmware/efi -r hvmlite/efi --until entry --records kept"
    done = shell(f"efishim compare {words} >/dev/full", tmp_path)
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_characters_that_the_encoding_lacks_are_escaped(tmp_path: Path) -> None:
    name = "kernel\N{SNOWMAN}"
    done = subprocess.run(
        [*PROGRAM, "inspect", name], env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=False
    )
    assert done.returncode == 4
    assert rb"kernel\u2603 does not exist" in done.stderr


def test_a_pipe_that_does_not_wait_gets_all(tmp_path: Path) -> None:
    """A parent that made the pipe non-blocking, as event loops do."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with subprocess.Popen([*PROGRAM, "schema"], stdout=theirs, stderr=subprocess.PIPE) as process:
        os.close(theirs)
        time.sleep(1.0)  # it is full by now, if it can be
        with os.fdopen(ours, "rb") as stream:
            data = stream.read()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert data.endswith(b"}\n")
    assert len(data) > 10_000
