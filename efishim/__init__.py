"""Boots one x86 kernel through every entry point it has, in one deterministic emulator, and diffs what it sees."""

from __future__ import annotations

__version__ = "0.1.0"
