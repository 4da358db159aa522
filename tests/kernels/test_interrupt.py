"""Ctrl-C at any moment: exit status 130 and a valid partial record, whatever was going on.

The moments are told by what a run says of itself, not by the clock of a machine that may be busy.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from efishim.lab import record as records
from efishim.lab.record import Milestone, Reason
from tests.support.milestones import WITHOUT_LOADER
from tests.support.runs import command

PATIENCE = 120.0
"""Host seconds until a moment must have come."""
AT_ONCE = 100.0
"""Host seconds within which a run must end when it is asked to; a busy machine included."""


def interrupted(folder: Path, kernel: Path, said: Callable[[str], bool], *, stream: str) -> tuple[records.Record, str]:
    """Start a run, interrupt it when a line of `stream` (stdout, stderr) is the one meant; its record, and all of stderr."""
    other = "stderr" if stream == "stdout" else "stdout"
    with (folder / other).open("wb+") as rest:
        process = subprocess.Popen(
            command(folder, [kernel]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if stream == "stdout" else rest,
            stderr=subprocess.PIPE if stream == "stderr" else rest,
        )
        heard = process.stdout if stream == "stdout" else process.stderr
        assert heard is not None
        try:
            before = wait_for(heard, said)
            process.send_signal(signal.SIGINT)
            asked = time.monotonic()
            before += heard.read().decode("utf-8", "replace")
            assert process.wait(AT_ONCE) == 130, before
            assert time.monotonic() - asked < AT_ONCE
        finally:
            process.kill()
            process.wait()
            heard.close()
        rest.seek(0)
        errors = before if stream == "stderr" else rest.read().decode("utf-8", "replace")
    return records.decode((folder / "run.json").read_bytes()), errors


def wait_for(heard: IO[bytes], said: Callable[[str], bool]) -> str:
    """Everything up to the line meant."""
    text = ""
    deadline = time.monotonic() + PATIENCE
    for raw in heard:
        line = raw.decode("utf-8", "replace")
        text += line
        if said(line):
            return text
        assert time.monotonic() < deadline, text
    raise AssertionError(f"it ended before the moment came:\n{text}")


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("stream", "word", "passed"),
    [
        pytest.param("stderr", "entry after", Milestone.ENTRY, id="decompression"),
        pytest.param("stderr", "start_kernel after", Milestone.START_KERNEL, id="early kernel"),
        pytest.param("stdout", "pnp: PnP ACPI init", Milestone.START_KERNEL, id="kernel"),
        pytest.param("stdout", "efishim-init: begin", Milestone.USERSPACE, id="userspace"),
    ],
)
def test_ctrl_c_leaves_a_partial_record(stream: str, word: str, passed: Milestone, cloud_kernel: Path, tmp_path: Path) -> None:
    record, errors = interrupted(tmp_path, cloud_kernel, lambda line: word in line, stream=stream)
    assert "Traceback" not in errors
    assert record.outcome.reason is Reason.INTERRUPTED
    assert not record.outcome.reproducible
    assert not record.outcome.met
    names = [point.name for point in record.milestones]
    assert names == WITHOUT_LOADER[: len(names)]  # partial, and whole as far as it goes
    assert passed in names
    assert Milestone.SHUTDOWN not in names
    assert record.outcome.reached is names[-1]
    assert record.outcome.insns >= record.milestones[-1].insns
    assert (record.boot_view is not None) == (Milestone.STARTUP_64 in names)
    assert [call.service for call in record.firmware_calls] or names == [Milestone.ENTRY]


@pytest.mark.kernel
def test_ctrl_c_while_the_image_is_opened(cloud_kernel: Path, tmp_path: Path) -> None:
    """Unpacking a payload takes a while the first time. The signal is noted, and the run ends before the guest has begun."""
    process = subprocess.Popen(
        command(tmp_path, [cloud_kernel]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")},  # nothing unpacked yet
    )
    try:
        wait_until_handled(process.pid)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=AT_ONCE)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130, errors
    assert b"Traceback" not in errors
    record = records.decode((tmp_path / "run.json").read_bytes())
    assert record.outcome.reason is Reason.INTERRUPTED
    assert [point.name for point in record.milestones] == [Milestone.ENTRY]
    assert record.boot_view is None


def wait_until_handled(pid: int) -> None:
    """Until the program has a handler of its own for SIGTERM, which Python has not: the run is being prepared (proc(5))."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        status = Path(f"/proc/{pid}/status").read_text()
        caught = int(next(line for line in status.splitlines() if line.startswith("SigCgt:")).split()[1], 16)
        if caught >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.005)
    raise AssertionError("no handler within reason")
