"""How much work a file may make. What bounds candidates bounds nothing: each may cost as much as the file is long."""

from __future__ import annotations


class Exhausted(Exception):
    """The work that a search may take is done, and it found nothing."""


class Budget:
    """Steps of Python, of which a few million take a second."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def spend(self, steps: int) -> None:
        """Raises Exhausted."""
        self.left -= steps
        if self.left < 0:
            raise Exhausted
