"""A platform that is imported on first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from efishim.provider import OptionHelp

if TYPE_CHECKING:
    from efishim.machine.cpu import Board
    from efishim.platform.definition import PlatformDefinition, PlatformFacts, PlatformOptions


class Shipped:
    """A profile of the platform room, which is imported when it is used."""

    def __init__(self, name: str, summary: str, load: Callable[[], PlatformDefinition]) -> None:
        self.name = name
        self.summary = summary
        self._load = load

    @property
    def options(self) -> tuple[OptionHelp, ...]:
        """Its features."""
        return tuple(OptionHelp(one.name, one.help, str(one.default)) for one in self._load().features)

    def build(self, board: Board, options: PlatformOptions) -> PlatformFacts:
        """Put the machine together."""
        return self._load().build(board, options)
