"""Runs the observers of plugins. One that fails is named in the record and does not end the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from efishim.machine.cpu import Board
from efishim.plugins import attempt
from efishim.provider import Observer

NOTE_LIMIT = 100
"""Most notes that an observer may add to a record."""


class PluginObservers:
    """The observers of one run. Make it when the machine is built and the guest has not run."""

    def __init__(self, observers: Iterable[Observer], board: Board) -> None:
        self._notes: list[str] = []
        self._started = [one for one in observers if self._attempt(one.name, partial(one.start, board))]

    def finish(self) -> list[str]:
        """Notes for the record: what the observers say, each with its observer's name, and which of them failed."""
        for one in self._started:
            self._attempt(one.name, partial(self._keep, one))
        return list(self._notes)

    def _keep(self, one: Observer) -> None:
        notes = list(one.finish())
        self._notes += [f"{one.name}: {note}" for note in notes[:NOTE_LIMIT]]
        if len(notes) > NOTE_LIMIT:
            self._notes.append(f"{one.name}: {len(notes) - NOTE_LIMIT} further notes were left out")

    def _attempt(self, name: str, action: Callable[[], Any]) -> bool:
        problem = attempt(action)
        if problem:
            self._notes.append(f"the observer {name} failed: {problem}")
        return not problem
