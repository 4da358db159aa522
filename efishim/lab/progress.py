"""The progress interface of a run. The core never prints; callers pass an implementation."""

from __future__ import annotations

from typing import Protocol

from efishim.lab.record import MilestonePoint


class Progress(Protocol):
    """What a run reports while it goes on. Every method returns quickly and never raises."""

    def phase(self, text: str) -> None:
        """A new phase began, in a few words: `unpacking the payload`, `running`."""

    def milestone(self, point: MilestonePoint) -> None:
        """A milestone was passed."""

    def tick(self, insns: int, virtual_ns: int) -> None:
        """Still running: guest instructions executed, and the guest's own clock. Called some times a second."""

    def note(self, text: str) -> None:
        """Something the user should know, in one sentence."""


class NoProgress:
    """The null twin: says nothing."""

    def phase(self, text: str) -> None:
        """Nothing."""

    def milestone(self, point: MilestonePoint) -> None:
        """Nothing."""

    def tick(self, insns: int, virtual_ns: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""
