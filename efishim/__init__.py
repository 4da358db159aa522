"""A laboratory for how x86 kernels are entered."""

from __future__ import annotations

__version__ = "0.1.0"
