"""Names for addresses."""

from __future__ import annotations

from efishim.compare.landmarks import Landmarks
from efishim.lab.record import Hex

MARKS = Landmarks({0x1FFF_C000: "initrd", 0x9_0000: "command_line"}, kernel=0x1000000, start_kernel=0xFFFF_FFFF_8100_0000)


def test_a_pointer_to_something_with_a_name_is_that_name() -> None:
    assert MARKS.pointer("ramdisk_image", Hex(0x1FFFC000)) == "&initrd"
    assert MARKS.pointer("cmdline_paddr", Hex(0x90000)) == "&command_line"


def test_a_number_that_is_no_pointer_stays() -> None:
    assert MARKS.pointer("ramdisk_size", Hex(0x90000)) == "0x90000"
    assert MARKS.pointer("cmdline_paddr", Hex(0x0)) == "0x0"
    assert MARKS.pointer("cmdline_paddr", Hex(0x90001)) == "0x90001"
    assert MARKS.pointer("cmdline_paddr", "no number") == "no number"


def test_places_in_the_kernel_do_not_depend_on_where_it_lies() -> None:
    moved = Landmarks({}, kernel=0x5000000, start_kernel=0xFFFF_FFFF_9100_0000)
    assert MARKS.in_kernel(Hex(0x1234000)) == moved.in_kernel(Hex(0x5234000)) == "&kernel+0x234000"
    assert MARKS.in_kernel(Hex(0xFFFFFFFF81000010)) == moved.in_kernel(Hex(0xFFFFFFFF91000010)) == "&start_kernel+0x10"
    assert MARKS.in_kernel(Hex(0xFFFFFE0000003000)) == "0xfffffe0000003000"
