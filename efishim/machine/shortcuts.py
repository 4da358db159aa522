"""What the machine takes shortcuts through: the inside of one build of Unicorn, which another build may not have.

A shortcut looks at power-on whether everything is where it expects it. Where it is not, the machine takes the long way: slower,
with the same record. `efishim doctor` tells which are on.
"""

from __future__ import annotations

from dataclasses import dataclass


class NotHere(Exception):
    """This build of Unicorn does not have what a shortcut needs; the message says what."""


@dataclass(frozen=True)
class Shortcut:
    """One shortcut of a machine that is on: what it does, and why it is not taken; empty when it is."""

    name: str
    what: str
    why_not: str = ""
