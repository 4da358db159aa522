"""A comparison as one HTML file that needs nothing else: no network, no script for what is essential."""

from __future__ import annotations

from efishim.report.html.page import render

__all__ = ["render"]
