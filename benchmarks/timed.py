"""A process, and when its output first showed what is waited for."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO


@dataclass
class Timed:
    """What one process did. Times in seconds since just before it was started, `peak` in bytes of resident memory."""

    marks: dict[str, float] = field(default_factory=dict)
    """Name of a marker to when the line that contains it was complete; without it when there was none."""
    exit: float = 0.0
    status: int = 0
    peak: int = 0
    output: str = ""
    """Everything on stdout and stderr, line by line as it came."""


def run_timed(command: Sequence[str], markers: Mapping[str, str], *, timeout: float) -> Timed:
    """Run a command to its end and note when each marker (name to text) first appeared on stdout or stderr.

    The clock is read when the line arrives here, so buffering on the way counts, as it does for a user who watches.
    Raises SystemExit with the end of the output when the command takes longer than `timeout` seconds.
    """
    timed = Timed()
    lines: list[str] = []
    late = threading.Event()
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def watch(stream: IO[bytes]) -> None:
        for raw in stream:
            now = time.perf_counter() - start
            line = raw.decode("utf-8", "backslashreplace")
            lines.append(line)
            for name, text in markers.items():
                if text in line:
                    timed.marks.setdefault(name, now)

    def give_up() -> None:
        late.set()
        process.kill()

    assert process.stdout is not None
    assert process.stderr is not None
    readers = [threading.Thread(target=watch, args=(stream,)) for stream in (process.stdout, process.stderr)]
    timer = threading.Timer(timeout, give_up)
    for thread in (*readers, timer):
        thread.start()
    # wait4 and not wait: the peak memory of this very process.
    _, status, usage = os.wait4(process.pid, 0)
    timed.exit = time.perf_counter() - start
    timer.cancel()
    process.returncode = timed.status = os.waitstatus_to_exitcode(status)
    for thread in readers:
        thread.join()
    process.stdout.close()
    process.stderr.close()
    timed.peak = usage.ru_maxrss * 1024
    timed.output = "".join(lines)
    if late.is_set():
        raise SystemExit(f"{command[0]} took longer than {timeout:.0f} s; it ended with:\n{timed.output[-2000:]}")
    return timed
