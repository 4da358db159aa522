"""The pieces of boot_params by name."""

from __future__ import annotations

import pytest
from efishim_plugins.boot_params import structures

from efishim.errors import ProviderError
from efishim.testing import Ram
from efishim.wire.bootparams import BootParams, EfiSetupData, SetupData

AT, LINE, MAP, NODE = 0x1_0000, 0x2_0000, 0x2_1000, 0x3_0000


def memory(*, following: int = 0, version: int = 0x20F) -> Ram:
    params = BootParams()
    params.hdr.version = version
    params.set_e820([(0, 0x1000, 1), (0x1000, 0x1000, 2)])
    params.hdr.cmd_line_ptr, params.hdr.setup_data = LINE, NODE
    params.efi_info.efi_memmap, params.efi_info.efi_memmap_size = MAP, 96
    ram = Ram()
    ram.write(AT, params.build())
    ram.write(LINE, b"quiet\0")
    ram.write(NODE, SetupData(type=4, len=96, next=following).build())
    return ram


def test_pieces() -> None:
    found = {one.name: (one.address, one.size, one.layout) for one in structures.of(memory(), AT)}
    assert found["boot_params"] == (AT, 4096, BootParams)
    assert found["e820_table[1]"][:2] == (AT + 0x2D0 + 20, 20)
    assert found["command line"] == (LINE, 6, None)
    assert found["EFI memory map"] == (MAP, 96, None)
    assert found["setup_data SETUP_EFI"] == (NODE, 16, SetupData)
    assert found["SETUP_EFI body"] == (NODE + 16, 96, EfiSetupData)
    assert len(found) == 7


def test_nothing_is_nothing() -> None:
    assert structures.of(Ram(), None) == ()
    assert [one.name for one in structures.of(Ram(), AT)] == ["boot_params"]


def test_a_chain_without_end() -> None:
    with pytest.raises(ProviderError):
        structures.of(memory(following=NODE), AT)


@pytest.mark.parametrize(
    ("version", "line", "nodes"),
    [
        (0x20F, True, 2),
        (0x209, True, 2),
        (0x208, True, 0),
        (0x203, True, 0),
        (0x202, True, 0),
        (0x201, False, 0),
        (0, False, 0),
    ],
)
def test_what_older_protocols_have_not(version: int, line: bool, nodes: int) -> None:
    """There is something else where the fields are now: setup_data came with 2.09, cmd_line_ptr with 2.02."""
    names = [one.name for one in structures.of(memory(version=version), AT)]
    assert ("command line" in names) is line
    assert sum("SETUP_EFI" in name for name in names) == nodes


def test_garbage_of_an_older_protocol_is_not_followed() -> None:
    structures.of(memory(following=NODE, version=0x208), AT)
