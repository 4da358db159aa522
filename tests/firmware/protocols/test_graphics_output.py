"""EFI_GRAPHICS_OUTPUT_PROTOCOL (UEFI 2.10, 12.9)."""

from __future__ import annotations

import struct

import pytest

from tests.firmware.lab import INVALID, NOT_FOUND, SUCCESS, UNSUPPORTED, Lab

GOP = "9042a9de-23dc-4a38-96fb-7aded080516a"
QUERY, SET, BLT, MODE = range(4)
FILL, TO_BUFFER, TO_VIDEO, VIDEO_TO_VIDEO = range(4)
RED, GREEN = bytes.fromhex("0000ff00"), bytes.fromhex("00ff0000")


@pytest.fixture
def screen() -> Lab:
    return Lab(gop=True)


def mode(lab: Lab) -> tuple[int, ...]:
    """(MaxMode, Mode, Info, SizeOfInfo, FrameBufferBase, FrameBufferSize)"""
    return struct.unpack("<IIQQQQ", lab.memory.read(lab.value(lab.interface(GOP) + 24), 40))


def info(lab: Lab, address: int) -> tuple[int, ...]:
    return struct.unpack("<9I", lab.memory.read(address, 36))


def blt(lab: Lab, buffer: int, operation: int, *rest: int) -> int:
    return lab.method(lab.interface(GOP), BLT, buffer, operation, *rest)


def pixel(lab: Lab, x: int, y: int) -> bytes:
    *_, base, _ = mode(lab)
    return lab.memory.read(base + 4 * (y * info(lab, mode(lab)[2])[8] + x), 4)


def test_off_unless_asked_for(lab: Lab) -> None:
    assert lab.bs("LocateProtocol", lab.guid(GOP), 0, lab.cell()) == NOT_FOUND


def test_the_mode(screen: Lab) -> None:
    count, number, address, size, base, bytes_ = mode(screen)
    version, width, height, form, *masks, line = info(screen, address)
    assert (number, size, version, form) == (0, 36, 0, 1)
    assert masks == [0, 0, 0, 0]
    assert (width, height) == (1280, 800), "OVMF on QEMU's standard VGA (0x500 by 0x320 in the dumps)"
    assert line >= width
    assert bytes_ == width * height * 4
    found = screen.shim.memory_map.find(base)
    assert found is not None
    assert found.type == 0
    assert base + bytes_ <= found.end
    assert count > 1


def test_query_and_set(screen: Lab) -> None:
    this = screen.interface(GOP)
    size, pointer = screen.cell(), screen.cell()
    seen = []
    for number in range(mode(screen)[0]):
        assert screen.method(this, QUERY, number, size, pointer) == SUCCESS
        seen.append(info(screen, screen.value(pointer))[1:3])
        screen.ok("FreePool", screen.value(pointer))
        assert screen.method(this, SET, number) == SUCCESS
        assert info(screen, mode(screen)[2])[1:3] == seen[-1]
    assert len(set(seen)) == len(seen)
    assert screen.method(this, QUERY, 99, size, pointer) == INVALID
    assert screen.method(this, SET, 99) == UNSUPPORTED


def test_filling_and_copying(screen: Lab) -> None:
    assert blt(screen, screen.put(RED), FILL, 0, 0, 10, 20, 30, 40, 0) == SUCCESS
    assert pixel(screen, 10, 20) == pixel(screen, 39, 59) == RED
    assert pixel(screen, 9, 20) == pixel(screen, 40, 59) == bytes(4)
    assert blt(screen, 0, VIDEO_TO_VIDEO, 10, 20, 15, 25, 30, 40, 0) == SUCCESS
    assert pixel(screen, 44, 64) == RED
    buffer = screen.put(bytes(4 * 8 * 8))
    assert blt(screen, buffer, TO_BUFFER, 8, 18, 1, 2, 4, 4, 4 * 8) == SUCCESS
    rows = [screen.memory.read(buffer + 32 * y, 32) for y in range(8)]
    assert rows[4] == bytes(4) * 3 + RED * 2 + bytes(4) * 3, "row 20 of the screen is row 4 of the buffer"
    assert rows[1] == bytes(32)
    assert screen.method(screen.interface(GOP), SET, 0) == SUCCESS
    assert pixel(screen, 20, 30) == bytes(4), "setting a mode clears the screen"
    screen.memory.write(buffer, GREEN * 64)
    assert blt(screen, buffer, TO_VIDEO, 0, 0, 100, 100, 2, 2, 0) == SUCCESS
    assert pixel(screen, 101, 101) == GREEN
    assert pixel(screen, 102, 101) == bytes(4)


@pytest.mark.parametrize(
    "rest",
    [
        (4, 0, 0, 0, 0, 1, 1, 0),
        (FILL, 0, 0, 0, 0, 0, 1, 0),
        (FILL, 0, 0, 0, 0, 1, 0, 0),
        (FILL, 0, 0, 1280, 0, 1, 1, 0),
        (FILL, 0, 0, 0, 800, 1, 1, 0),
        (FILL, 0, 0, 1, 0, (1 << 64) - 1, 1, 0),
        (VIDEO_TO_VIDEO, 1279, 0, 0, 0, 2, 1, 0),
        (TO_BUFFER, 0, 799, 0, 0, 1, 2, 0),
    ],
)
def test_outside_of_the_screen(screen: Lab, rest: tuple[int, ...]) -> None:
    assert blt(screen, screen.cell(), *rest) == INVALID


def test_no_buffer(screen: Lab) -> None:
    for operation in (FILL, TO_BUFFER, TO_VIDEO):
        assert blt(screen, 0, operation, 0, 0, 0, 0, 1, 1, 0) == INVALID
