"""The probe kernel's reports of one way in, from efishim and from a real machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.stubs.conftest import CMDLINE, missing_tools_named
from tests.support import probe_report
from tests.support.probe_report import ProbeReport
from tests.support.qemu import Boot, Ending, run
from tests.support.runs import efishim_run, one_at_a_time

TIMEOUT = 600
"""Seconds a real machine may take."""


@dataclass(frozen=True)
class Pair:
    """Two reports of one way."""

    ours: ProbeReport
    real: ProbeReport


Get = Callable[[str], Pair]


@dataclass(frozen=True)
class Way:
    """How both machines are started: efishim's entry and its arguments, and what the real one boots, prepared in a folder."""

    entry: str
    arguments: Sequence[str]
    boot: Callable[[Path], Boot]


def pairs(shared: Path, kind: str, ways: dict[str, Way]) -> Get:
    """Both reports of a way, with the same ramdisk, command line and memory. Each machine runs once, also when several
    processes test; `kind` keeps what different modules boot apart.
    """
    done: dict[str, Pair] = {}

    def real(name: str) -> str:
        folder = shared / f"{kind}-{name.replace('/', '-')}"
        text = folder / "told"
        with one_at_a_time(folder):
            if not text.exists():
                (folder / "cd").mkdir()
                with missing_tools_named():
                    outcome = run(ways[name].boot(folder), folder, timeout=TIMEOUT)
                assert outcome.ending is Ending.POWER_OFF, outcome.serial[-2000:]
                text.write_text(outcome.serial)
        return text.read_text()

    def get(name: str) -> Pair:
        if name not in done:
            way = ways[name]
            ours = efishim_run(shared / f"probe-{way.entry}", "-a", CMDLINE, *way.arguments)
            assert ours.status == 0, ours.stderr
            console = ours.record.console.replace("\r", "")
            done[name] = Pair(probe_report.parse(console), probe_report.parse(real(name)))
        return done[name]

    return get
