"""Makes text from files printable, for messages and records."""

from __future__ import annotations


def printable(raw: bytes | str) -> str:
    """Printable ASCII as it is, everything else as an escape: no control character reaches a terminal or splits a line."""
    if isinstance(raw, str):
        return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in raw)
    return "".join(chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}" for byte in raw)
