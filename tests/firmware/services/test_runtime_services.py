"""Time, reset and counters (UEFI 2.10, 8.3 to 8.5)."""

from __future__ import annotations

import struct

import pytest

from tests.firmware.lab import DEVICE_ERROR, INVALID, SUCCESS, Lab

NS = 1_000_000_000


def read_time(lab: Lab) -> tuple[int, ...]:
    time = lab.put(bytes(16))
    assert lab.rs("GetTime", time, 0) == SUCCESS
    year, month, day, hour, minute, second, _, nano, zone, daylight, _ = struct.unpack("<H6BIhBB", lab.memory.read(time, 16))
    assert nano == 0
    return year, month, day, hour, minute, second, zone, daylight


def efi_time(*fields: int, nano: int = 0, zone: int = 0x7FF, daylight: int = 0) -> bytes:
    return struct.pack("<H6BIhBB", *fields, 0, nano, zone, daylight, 0)


def test_the_clock_starts_at_the_epoch(lab: Lab) -> None:
    """1,000,000,000 s after 1970 was 2001-09-09 01:46:40 UTC."""
    assert read_time(lab) == (2001, 9, 9, 1, 46, 40, 0x7FF, 0)
    lab.board.clock.advance_to(21 * NS)
    assert read_time(lab)[:6] == (2001, 9, 9, 1, 47, 1)


def test_capabilities(lab: Lab) -> None:
    capabilities = lab.put(b"\xff" * 12)
    assert lab.rs("GetTime", lab.put(bytes(16)), capabilities) == SUCCESS
    resolution, accuracy, sets_to_zero = struct.unpack("<IIB", lab.memory.read(capabilities, 9))
    assert (resolution, sets_to_zero) == (1, 0)
    assert accuracy > 0


def test_set_time_goes_on_from_there(lab: Lab) -> None:
    lab.board.clock.advance_to(100 * NS)
    assert lab.rs("SetTime", lab.put(efi_time(2024, 2, 29, 23, 59, 58, zone=-60, daylight=1))) == SUCCESS
    assert read_time(lab) == (2024, 2, 29, 23, 59, 58, -60, 1)
    lab.board.clock.advance_to(103 * NS)
    assert read_time(lab)[:6] == (2024, 3, 1, 0, 0, 1)


@pytest.mark.parametrize(
    "time",
    [
        efi_time(1899, 1, 1, 0, 0, 0),
        efi_time(10000, 1, 1, 0, 0, 0),
        efi_time(2023, 2, 29, 0, 0, 0),
        efi_time(2023, 13, 1, 0, 0, 0),
        efi_time(2023, 1, 0, 0, 0, 0),
        efi_time(2023, 1, 1, 24, 0, 0),
        efi_time(2023, 1, 1, 0, 60, 0),
        efi_time(2023, 1, 1, 0, 0, 60),
        efi_time(2023, 1, 1, 0, 0, 0, nano=1_000_000_000),
        efi_time(2023, 1, 1, 0, 0, 0, zone=1441),
        efi_time(2023, 1, 1, 0, 0, 0, zone=-1441),
        efi_time(2023, 1, 1, 0, 0, 0, daylight=4),
    ],
)
def test_times_that_are_none(lab: Lab, time: bytes) -> None:
    assert lab.rs("SetTime", lab.put(time)) == INVALID
    assert lab.rs("SetWakeupTime", 1, lab.put(time)) == INVALID


def test_the_alarm(lab: Lab) -> None:
    enabled, pending, time = lab.cell(), lab.cell(), lab.put(bytes(16))
    assert lab.rs("GetWakeupTime", enabled, pending, time) == SUCCESS
    assert (lab.value(enabled, 1), lab.value(pending, 1)) == (0, 0)
    wanted = efi_time(2001, 9, 9, 1, 46, 50)
    assert lab.rs("SetWakeupTime", 1, lab.put(wanted)) == SUCCESS
    assert lab.rs("GetWakeupTime", enabled, pending, time) == SUCCESS
    assert (lab.value(enabled, 1), lab.value(pending, 1)) == (1, 0)
    assert lab.memory.read(time, 16) == wanted
    lab.board.clock.advance_to(11 * NS)
    assert lab.rs("GetWakeupTime", enabled, pending, time) == SUCCESS
    assert lab.value(pending, 1) == 1
    assert lab.rs("SetWakeupTime", 0, 0) == SUCCESS
    assert lab.rs("GetWakeupTime", enabled, pending, time) == SUCCESS
    assert lab.value(enabled, 1) == 0


@pytest.mark.parametrize(("kind", "reason"), [(0, "reset"), (1, "reset"), (2, "shutdown"), (3, "reset"), (4, None)])
def test_reset(lab: Lab, kind: int, reason: str | None) -> None:
    lab.rs("ResetSystem", kind, 0, 0, 0)
    assert lab.board.stopped == reason


def test_monotonic_counts(lab: Lab) -> None:
    count, high = lab.cell(), lab.cell()
    seen = []
    for _ in range(3):
        lab.ok("GetNextMonotonicCount", count)
        seen.append(lab.value(count))
    assert lab.rs("GetNextHighMonotonicCount", high) == SUCCESS
    lab.ok("GetNextMonotonicCount", count)
    seen.append(lab.value(count))
    assert seen == sorted(set(seen)), "it never goes back"
    assert seen[3] >> 32 == lab.value(high, 4)


@pytest.mark.parametrize("last", [(9999, 12, 31, 23, 59, 59), (9999, 12, 31, 23, 59, 58), (9999, 12, 1, 0, 0, 0)])
def test_a_clock_that_runs_beyond_its_last_year_is_a_device_error(lab: Lab, last: tuple[int, ...]) -> None:
    """GetTime: "the time could not be retrieved due to a hardware error" (8.3.1). The alarm and SetTime go on working."""
    assert lab.rs("SetTime", lab.put(efi_time(*last))) == SUCCESS
    assert read_time(lab)[:6] == last
    lab.board.clock.advance_to(lab.board.clock.now + 40 * 86_400 * NS)
    assert lab.rs("GetTime", lab.put(bytes(16)), 0) == DEVICE_ERROR
    wakeup = lab.put(bytes(32))
    assert lab.rs("GetWakeupTime", wakeup, wakeup + 1, wakeup + 8) == SUCCESS
    assert lab.rs("SetTime", lab.put(efi_time(2024, 1, 1, 0, 0, 0))) == SUCCESS
    assert read_time(lab)[0] == 2024
