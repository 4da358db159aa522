"""Numbers and versions for people."""

from __future__ import annotations


def amount(number: int) -> str:
    """A count in at most three digits: 734, 12.3 k, 105 M, 1.05 G."""
    if number < 1000:
        return str(number)
    value = number / 1000
    for unit in ("k", "M"):
        if value < 999.5:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} G" if value < 999.5 else f"{value:.0f} G"


def size(number: int) -> str:
    """A number of bytes: 734 bytes, 12.3 KiB, 8.1 MiB."""
    if number < 1024:
        return f"{number} bytes"
    value = number / 1024
    for unit in ("KiB", "MiB"):
        if value < 1024:
            return f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def release(version: str) -> str:
    """The release of a kernel, which is the first word of its version: 6.1.0-57-cloud-amd64."""
    return version.partition(" ")[0]
