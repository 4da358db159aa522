"""GRUB as the loader in between: a CD image whose configuration is run at once. `efishim oracle` makes it."""

from __future__ import annotations

from efishim.oracle.grub import iso

__all__ = ["iso"]
