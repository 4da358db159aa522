"""What plugins bring as data, in the form of the files that users write: comparison rules and firmware profiles."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules that classify differences between runs. They come after efishim's own and replace none of them.

    Each is as strict as a shipped rule: it has a reason that is a sentence, a source that says where to look, predicates or
    exact values (`accepts`, `values`), and counter-cases, which it is held against on the compared runs. In reports its name is
    `DISTRIBUTION:NAME`.
    """

    name: str
    summary: str
    """One line for listings."""
    toml: str
    """In the form of efishim/compare/rules.toml; its head says what the keys mean."""


@dataclass(frozen=True, slots=True)
class FirmwareProfile:
    """How an EFI firmware answers, for `--profile NAME`."""

    name: str
    summary: str
    """One line for listings."""
    toml: str
    """In the form that `efishim surface` writes and docs/surface.md describes."""


@dataclass(frozen=True, slots=True)
class FoundImage:
    """An image that a source delivered."""

    path: Path
    """The file; it must not change while the run goes on."""
    label: str
    """What the record calls it: a reference, `NAME:...`, that finds the same bytes again."""


class ImageSource(Protocol):
    """Where images come from that are not files: `efishim run NAME:REFERENCE`."""

    @property
    def name(self) -> str:
        """What stands before the colon."""

    @property
    def summary(self) -> str:
        """One line for listings."""

    @property
    def form(self) -> str:
        """How a reference is written: `deb:PACKAGE[=VERSION][/FILE]`."""

    def find(self, reference: str, cache: Path, say: Callable[[str], None]) -> FoundImage:
        """The image of a whole reference, `NAME:` included. `cache` is efishim's cache directory, which need not exist
        yet; `say` shows a few words of progress. Raises UsageError for a reference that is none, ImageError for an image that
        cannot be fetched.
        """
