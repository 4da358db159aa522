"""Blocks are folded to the parts of the way; each counts once, however often it was translated."""

from __future__ import annotations

from msgspec import UNSET

from efishim.lab.observe.address_names import AddressNames
from efishim.lab.observe.code_parts import DECOMPRESSOR, SETUP, CodeLayout, coverage
from efishim.lab.observe.code_ways import Notes
from efishim.lab.observe.image_code import ImageCode
from efishim.machine.native import EVENT

CODE = ImageCode(bytes(0x1000), slides=[0x10000])
LAYOUT = CodeLayout(setup_end=0x200)


def test_parts_and_instructions() -> None:
    found = coverage([(0x10000, 4, 2), (0x10300, 8, 3)], {(0x10000, 4): 5, (0x10300, 8): 1}, LAYOUT, AddressNames(), CODE)
    assert [(one.name, one.blocks, one.insns) for one in found.parts] == [(SETUP, 1, 10), (DECOMPRESSOR, 1, 3)]


def test_a_block_that_was_translated_twice() -> None:
    """All translations were dropped in between: it is in the list again, and the number of times is that of both."""
    blocks, entered = [(0x10000, 4, 2), (0x10300, 8, 3), (0x10000, 4, 2)], {(0x10000, 4): 5, (0x10300, 8): 1}
    found = coverage(blocks, entered, LAYOUT, AddressNames(), CODE)
    assert (found.blocks, sum(one.insns for one in found.parts)) == (2, 13)


def test_what_led_to_each_block() -> None:
    """By places in the list of offsets; in another function by its number and the block's."""
    blocks = [(0x10300, 8, 3), (0x10400, 8, 1), (0x10380, 8, 1), (0x10000, 4, 2), (0x10010, 4, 1)]
    found = coverage(blocks, {}, LAYOUT, AddressNames(), CODE, Notes([0, 1, 2, 3, EVENT | 0xEC], [0] * 5))
    assert [(one.name, one.offsets, one.after) for one in found.functions] == [
        (DECOMPRESSOR, "300 380 400", "? -1 2"),
        (SETUP, "0 10", "0.1 !ec"),
    ]
    assert [one.after for one in coverage(blocks, {}, LAYOUT, AddressNames(), CODE).functions] == [UNSET, UNSET]
