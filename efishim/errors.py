"""Expected errors: one sentence, a hint, and an exit status that depends on the class.

The exit statuses are a contract of the command line: 1 the goal was not reached or differences were found, 2 usage error,
3 a provider or the emulator failed, 4 the image cannot be read, 77 the route does not apply to the image.
"""

from __future__ import annotations

from typing import ClassVar


class EfishimError(Exception):
    """An expected failure. Its text is one sentence; `hint` says what the user can do about it."""

    exit_status: ClassVar[int] = 3

    def __init__(self, sentence: str, *, hint: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.hint = hint


class UsageError(EfishimError):
    """The request itself makes no sense (an unknown route, a memory size out of range)."""

    exit_status = 2


class ImageError(EfishimError):
    """The image cannot be read: not a kernel, truncated, or a field points outside it."""

    exit_status = 4


class RouteError(EfishimError):
    """The route does not apply to this image; the sentence says why."""

    exit_status = 77


class ProviderError(EfishimError):
    """A provider failed or gave something that its specification forbids."""


class MachineError(EfishimError):
    """The emulator failed in a way that is not the guest's doing."""
