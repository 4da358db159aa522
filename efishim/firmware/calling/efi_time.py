"""EFI_TIME (UEFI 2.10, 8.3.1)."""

from __future__ import annotations

from datetime import datetime

from efishim.wire.uefi import Time


def efi_time(moment: datetime) -> Time:
    """A moment to the second, in UTC and without daylight saving time."""
    return Time(
        Year=moment.year,
        Month=moment.month,
        Day=moment.day,
        Hour=moment.hour,
        Minute=moment.minute,
        Second=moment.second,
    )
