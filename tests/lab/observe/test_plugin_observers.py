"""Observers of plugins: what they say is kept, what they break is theirs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from efishim.lab.observe import plugin_observers
from efishim.lab.observe.plugin_observers import PluginObservers


def observer(name: str, *, start: Any = lambda board: None, finish: Any = list) -> Any:
    return SimpleNamespace(name=name, summary="", start=start, finish=finish)


def fail(*_: Any) -> Any:
    raise RuntimeError("two\nlines")


def test_notes_carry_their_observers_name() -> None:
    seen: list[Any] = []
    running = PluginObservers([observer("a", start=seen.append, finish=lambda: ["one", "two"]), observer("b")], "board")  # type: ignore[arg-type]
    assert seen == ["board"]
    assert running.finish() == ["a: one", "a: two"]


def test_one_that_fails_at_the_start_is_named_and_not_asked_again() -> None:
    running = PluginObservers([observer("bad", start=fail, finish=lambda: ["x"]), observer("good", finish=lambda: ["y"])], None)  # type: ignore[arg-type]
    failed, good = running.finish()
    assert failed.startswith(
        "the observer bad failed: RuntimeError: two lines (tests/lab/observe/test_plugin_observers.py, line "
    )
    assert good == "good: y"


def test_one_that_fails_at_the_end_is_named() -> None:
    running = PluginObservers([observer("bad", finish=fail), observer("good", finish=lambda: ["y"])], None)  # type: ignore[arg-type]
    failed, good = running.finish()
    assert failed.startswith(
        "the observer bad failed: RuntimeError: two lines (tests/lab/observe/test_plugin_observers.py, line "
    )
    assert good == "good: y"


def test_a_flood_of_notes_is_cut() -> None:
    running = PluginObservers([observer("a", finish=lambda: ["x"] * (plugin_observers.NOTE_LIMIT + 5))], None)  # type: ignore[arg-type]
    notes = running.finish()
    assert len(notes) == plugin_observers.NOTE_LIMIT + 1
    assert notes[-1] == "a: 5 further notes were left out"
