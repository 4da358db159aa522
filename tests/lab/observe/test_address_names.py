"""Names for addresses, with slides as KASLR makes them."""

from __future__ import annotations

import pytest
from msgspec import structs

from efishim.image.elf import Segment
from efishim.image.facts import KernelFacts
from efishim.image.symbols import Symbols
from efishim.lab.observe.address_names import AddressNames

VIRTUAL, PHYSICAL, SIZE = 0xFFFF_FFFF_8100_0000, 0x100_0000, 0x20_0000


@pytest.fixture
def names() -> AddressNames:
    segment = Segment(flags=5, offset=0x1000, virtual=VIRTUAL, physical=PHYSICAL, file_size=SIZE, memory_size=SIZE)
    facts = KernelFacts(
        method="none",
        unpacked_size=0,
        wide=True,
        machine=62,
        entry=PHYSICAL,
        load_start=PHYSICAL,
        load_end=PHYSICAL + SIZE,
        entry_code=bytes(64),
        segments=(segment,),
        notes=(),
        symbols={},
    )
    symbols = Symbols.build(["Tstartup_64", "Tstart_kernel"], [VIRTUAL, VIRTUAL + 0x1000], VIRTUAL, VIRTUAL + SIZE)
    return AddressNames(facts=facts, symbols=symbols, image_base=0x50_0000, image_size=0x1_0000)


def test_nothing_is_named_before_the_slides_are_known(names: AddressNames) -> None:
    assert names.function(VIRTUAL) is None
    assert names.function(PHYSICAL) is None


def test_the_image_as_loaded_is_named_by_offset(names: AddressNames) -> None:
    assert names.ref(0x50_0010).symbol == "image+0x10"
    assert names.ref(0x51_0000).symbol is None


def test_virtual_addresses_lose_their_slide(names: AddressNames) -> None:
    names.virtual_slide = 0x1E00_0000
    assert names.ref(VIRTUAL + 0x1E00_0000 + 0x1004).symbol == "start_kernel+0x4"


def test_identity_mapped_addresses_lose_theirs(names: AddressNames) -> None:
    names.physical_slide = 0x400_0000
    assert names.ref(PHYSICAL + 0x400_0000).symbol == "startup_64+0x0"


def test_a_32_bit_kernel_lies_from_its_page_offset_on(names: AddressNames) -> None:
    low = Segment(flags=5, offset=0x1000, virtual=0xC100_0000, physical=PHYSICAL, file_size=SIZE, memory_size=SIZE)
    assert names.facts is not None
    names.facts = structs.replace(names.facts, wide=False, machine=3, segments=(low,))
    names.symbols = Symbols.build(["Tstartup_32", "Tstart_kernel"], [0xC100_0000, 0xC100_1000], 0xC100_0000, 0xC120_0000)
    assert names.kernel_half == 0xC000_0000
    names.physical_slide = names.virtual_slide = 0xD00_0000
    assert names.ref(0xCE00_1004).symbol == "start_kernel+0x4"
    assert names.ref(0xE00_0000).symbol == "startup_32+0x0"
    assert names.ref(0xBFFF_FFFF).symbol is None


def test_an_address_is_shown_in_hexadecimal(names: AddressNames) -> None:
    assert names.ref(0xABC).address == 0xABC
    assert names.ref(0xABC).shown == "0xabc"


def test_code_before_the_kernel_is_none_of_it(names: AddressNames) -> None:
    """A decompressor may run at addresses at which the kernel lies later."""
    names.physical_slide, names.kernel_runs_from = 0x400_0000, 1000
    at = PHYSICAL + 0x400_0000
    assert [names.ref(at, insns).symbol for insns in (0, 999, 1000)] == [None, None, "startup_64+0x0"]
    assert names.ref(0x50_0010, 999).symbol == "image+0x10"
