"""EFI_TIME of a moment."""

from __future__ import annotations

from datetime import UTC, datetime

from efishim.firmware.calling.efi_time import efi_time


def test_a_moment_is_told_to_the_second_in_utc() -> None:
    raw = efi_time(datetime(2016, 4, 7, 13, 14, 15, 999, tzinfo=UTC)).build()
    assert raw == bytes.fromhex("e007 04 07 0d 0e 0f 00 00000000 0000 00 00")
