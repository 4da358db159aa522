"""EFI_MEMORY_ATTRIBUTE_PROTOCOL (UEFI 2.10, 37.6) in a firmware whose memory is data unless it is allocated for code."""

from __future__ import annotations

import pytest

from tests.firmware.lab import INVALID, NO_MAPPING, NOT_FOUND, SUCCESS, UNSUPPORTED, Lab

PROTOCOL = "f4560cf6-40ec-4b4a-a192-bf1d57d0b189"
GET, SET, CLEAR = range(3)
RP, XP, RO = 1 << 13, 1 << 14, 1 << 17


@pytest.fixture
def strict() -> Lab:
    return Lab(strict_nx=True)


CODE, DATA = (1, 3, 5), (0, 2, 4, 6, 9, 10)
"""Memory types (7.2.1)."""


def pages(lab: Lab, count: int = 4, kind: int = 2) -> int:
    out = lab.cell()
    lab.ok("AllocatePages", 0, kind, count, out)
    return lab.value(out)


def call(lab: Lab, index: int, *arguments: int) -> int:
    return lab.method(lab.interface(PROTOCOL), index, *arguments)


def attributes(lab: Lab, base: int, length: int = 0x1000) -> int:
    out = lab.cell()
    assert call(lab, GET, base, length, out) == SUCCESS
    return lab.value(out)


def test_only_in_strict_firmware(lab: Lab) -> None:
    assert lab.bs("LocateProtocol", lab.guid(PROTOCOL), 0, lab.cell()) == NOT_FOUND


def test_code_comes_to_life_as_the_stub_does_it(strict: Lab) -> None:
    """Linux makes its new image read-only and only then executable (efi_adjust_memory_range_protection)."""
    base = pages(strict)
    assert attributes(strict, base) == XP
    assert call(strict, SET, base, 0x2000, RO) == SUCCESS
    assert call(strict, CLEAR, base, 0x2000, XP) == SUCCESS
    assert attributes(strict, base, 0x2000) == RO
    assert attributes(strict, base + 0x2000) == XP
    out = strict.cell()
    assert call(strict, GET, base + 0x1000, 0x2000, out) == NO_MAPPING, "not of one kind"


@pytest.mark.parametrize("kind", CODE)
def test_memory_for_code(strict: Lab, kind: int) -> None:
    """The strict policy of EDK II's builds is for data; what is allocated for code may be written, too."""
    assert attributes(strict, pages(strict, kind=kind)) == 0


@pytest.mark.parametrize("kind", DATA)
def test_memory_for_data(strict: Lab, kind: int) -> None:
    assert attributes(strict, pages(strict, kind=kind)) == XP


def test_who_asks_for_both_gets_both(strict: Lab) -> None:
    """EFI_ACCESS_DENIED is for what firmware keeps to itself; to ask for both is no reason, and EDK II does it."""
    base = pages(strict)
    assert call(strict, CLEAR, base, 0x2000, XP) == SUCCESS
    assert attributes(strict, base, 0x2000) == 0


def test_read_protection(strict: Lab) -> None:
    base = pages(strict)
    assert call(strict, SET, base, 0x1000, RP) == SUCCESS
    assert attributes(strict, base) == RP | XP
    assert call(strict, CLEAR, base, 0x1000, RP) == SUCCESS
    assert attributes(strict, base) == XP


@pytest.mark.parametrize(
    ("offset", "length", "wanted", "status"),
    [
        (1, 0x1000, XP, INVALID),
        (0, 0x800, XP, INVALID),
        (0, 0, XP, INVALID),
        (0, 0x1000, 0, INVALID),
        (0, 0x1000, 1 << 15, INVALID),
        (0x7000_0000, 0x1000, XP, UNSUPPORTED),
        (0, 1 << 60, XP, UNSUPPORTED),
    ],
)
def test_errors(strict: Lab, offset: int, length: int, wanted: int, status: int) -> None:
    base = pages(strict) + offset
    assert call(strict, SET, base, length, wanted) == status
    assert call(strict, CLEAR, base, length, wanted) == status


def test_freed_and_taken_again_it_is_data(strict: Lab) -> None:
    base = pages(strict)
    call(strict, SET, base, 0x1000, RO)
    call(strict, CLEAR, base, 0x1000, XP)
    strict.ok("FreePages", base, 4)
    assert pages(strict) == base
    assert attributes(strict, base, 0x4000) == XP
