"""Talking on stderr: signs of life in moderation, no control characters, no line that moves without a terminal."""

from __future__ import annotations

import io

import pytest

from efishim.cli import talk
from efishim.cli.talk import Talk
from efishim.lab.record import Milestone, MilestonePoint


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that the test moves."""
    now = [100.0]
    monkeypatch.setattr("efishim.cli.talk.time.monotonic", lambda: now[0])
    return now


def test_a_sign_of_life_comes_only_after_a_silence(clock: list[float]) -> None:
    stream = io.StringIO()
    with Talk(stream).progress(quiet=False, moving=True) as progress:
        progress.phase("running")
        for _ in range(10):
            progress.tick(1_000_000, 10**9)
        assert stream.getvalue() == ""
        clock[0] += talk.HEARTBEAT
        progress.tick(2_000_000, 2 * 10**9)
        progress.tick(2_000_000, 2 * 10**9)
    assert stream.getvalue() == "efishim: running: 2 M instructions, guest clock 2.0 s\n"


def test_a_phase_is_told_when_nothing_was_for_a_while(clock: list[float]) -> None:
    stream = io.StringIO()
    with Talk(stream).progress(quiet=False, moving=False) as progress:
        progress.phase("quick")
        clock[0] += talk.PATIENCE
        progress.phase("fetching")
    assert stream.getvalue() == "efishim: fetching\n"


def test_milestones_and_notes_are_always_told() -> None:
    stream = io.StringIO()
    with Talk(stream).progress(quiet=False, moving=False) as progress:
        progress.milestone(MilestonePoint(name=Milestone.STARTUP_64, insns=99_000_000, seconds=1.25))
        progress.note("a TPM was asked for")
    assert stream.getvalue().splitlines() == [
        "efishim: startup_64 after 99 M instructions, 1.25 s",
        "efishim: note: a TPM was asked for",
    ]


def test_quiet_is_quiet() -> None:
    stream = io.StringIO()
    with Talk(stream).progress(quiet=True, moving=True) as progress:
        progress.phase("x")
        progress.tick(1, 1)
        progress.note("x")
        progress.milestone(MilestonePoint(name=Milestone.ENTRY, insns=0, seconds=0))
    assert stream.getvalue() == ""


def test_a_terminal_of_its_own_gets_a_moving_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = io.StringIO()
    own = Talk(stream)
    monkeypatch.setattr(type(own.console), "is_terminal", True)
    with own.progress(quiet=False, moving=True) as progress:
        assert isinstance(progress, talk.MovingProgress)
        progress.phase("running")
        progress.tick(1_000_000, 10**9)
        progress.milestone(MilestonePoint(name=Milestone.ENTRY, insns=0, seconds=0))
    assert "entry after 0 instructions" in stream.getvalue()
    with own.progress(quiet=False, moving=False) as progress:
        assert not isinstance(progress, talk.MovingProgress)


def test_messages_are_one_line_without_control_characters_or_markup() -> None:
    stream = io.StringIO()
    Talk(stream).error("two\nlines \x1b[2J [bold]x[/bold]", "a\rhint")
    assert stream.getvalue() == "error: two lines \N{REPLACEMENT CHARACTER}[2J [bold]x[/bold]\nhint: a hint\n"
