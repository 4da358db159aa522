"""A record as canonical JSON."""

from __future__ import annotations

from efishim.lab.record import Record, encode


class Json:
    """`--format json`: the document that `efishim schema` describes."""

    name = "json"
    summary = "the record itself"

    def render(self, record: Record) -> str:
        """Sorted keys, two spaces of indentation."""
        return encode(record).decode("utf-8")
