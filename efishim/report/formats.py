"""The output formats of a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from efishim.report.json import Json
from efishim.report.text import Text

if TYPE_CHECKING:
    from efishim.plugins import Registry
    from efishim.provider import ReportFormat


def formats(registry: Registry) -> Mapping[str, ReportFormat]:
    """The formats by name: efishim's own, then those of plugins, which cannot replace them."""
    own: dict[str, ReportFormat] = {"text": Text(), "json": Json()}
    return own | {name: form for name, form in registry.reports.items() if name not in own}
