"""JSON in the one form in which efishim writes documents, so that two of the same content have the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec


def canonical(value: Any, enc_hook: Callable[[Any], Any] | None = None) -> bytes:
    """Sorted keys, two spaces of indentation, one newline at the end. `enc_hook` is msgspec's, for types that JSON has not."""
    return msgspec.json.format(msgspec.json.encode(value, order="sorted", enc_hook=enc_hook), indent=2) + b"\n"
