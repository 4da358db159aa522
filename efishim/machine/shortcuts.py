"""Shortcuts that depend on the internals of one build of Unicorn, and the check that they are available.

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
