"""Device paths: built, read back, shown; malformed ones are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.firmware.calling import device_path as dp
from efishim.firmware.calling.status import EfiError
from tests.firmware.lab import Lab

GUID = "5568e427-68fc-4f3d-ac74-ca555231cc68"


def test_the_bytes_of_the_initrd_path() -> None:
    """LINUX_EFI_INITRD_MEDIA_GUID as drivers/firmware/efi/libstub/efi-stub-helper.c lays it out."""
    expected = bytes.fromhex("0403140027e46855fc683d4fac74ca555231cc687fff0400")
    assert dp.path_bytes(dp.vendor_media(GUID)) == expected


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (dp.vendor_media(GUID), "VenMedia(LINUX_EFI_INITRD_MEDIA_GUID)"),
        (dp.vendor_hardware(GUID, b"\x01\x02"), "VenHw(LINUX_EFI_INITRD_MEDIA_GUID,0102)"),
        (dp.file_path("\\EFI\\BOOT"), "\\EFI\\BOOT"),
        (dp.memory_mapped(2, 0x1000, 0x1FFF), "MemoryMapped(0x2,0x1000,0x1fff)"),
        (dp.Node(1, 1, b"\x02\x1f"), "Pci(0x1f,0x2)"),
        (dp.Node(2, 1, bytes.fromhex("d041030a00000000")), "Acpi(d041030a,0x0)"),
        (dp.Node(3, 99, b"\xab"), "Path(3,99,ab)"),
        (dp.Node(4, 3, b"short"), "Path(4,3,73686f7274)"),
    ],
)
def test_texts(node: dp.Node, text: str) -> None:
    assert dp.to_text(dp.path_bytes(node)) == text


def test_an_empty_path() -> None:
    assert dp.to_text(dp.path_bytes()) == "end"


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 255), st.binary(max_size=40)), max_size=6))
def test_round_trip(parts: list[tuple[int, int, bytes]]) -> None:
    wanted = [dp.Node(*part) for part in parts]
    assert list(dp.nodes(dp.path_bytes(*wanted))) == [*wanted, dp.END_NODE]


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    assert isinstance(dp.to_text(data), str)
    try:
        found = list(dp.nodes(data))
    except EfiError:
        return
    assert found[-1].ends_path


@pytest.mark.parametrize("data", ["04030300", "04030000", "0403ffff"])
def test_paths_without_an_end_in_memory(lab: Lab, data: str) -> None:
    with pytest.raises(EfiError, match="INVALID_PARAMETER"):
        dp.read_path(lab.shim.guest, lab.put(bytes.fromhex(data) * 3))


@pytest.mark.slow
def test_a_path_that_goes_on_for_ever(lab: Lab) -> None:
    start = 0x3000000
    lab.memory.write(start, bytes.fromhex("01010400") * 0x10000)
    with pytest.raises(EfiError, match="INVALID_PARAMETER"):
        dp.read_path(lab.shim.guest, start)
