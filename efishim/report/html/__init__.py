"""A comparison as one self-contained HTML file: no network, and scripts only for extras."""

from __future__ import annotations

from efishim.report.html.page import render

__all__ = ["render"]
