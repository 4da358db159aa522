"""Bits of the processor against their places in the manuals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.wire import x86
from efishim.wire.x86 import segment_descriptor


@pytest.mark.parametrize(
    ("raw", "base", "limit"),
    [
        (0x00CF9A000000FFFF, 0, 0xFFFFFFFF),
        (0x00009A000000FFFF, 0, 0xFFFF),
        (0x12CF92345678FFFF, 0x12345678, 0xFFFFFFFF),
        (0x12409234567800FF, 0x12345678, 0xFF),
        (0x008F920000000000, 0, 0xF0000FFF),
        (0xFF0F9BFFFFFFFFFF, 0xFFFFFFFF, 0xFFFFF),
    ],
)
def test_descriptors(raw: int, base: int, limit: int) -> None:
    found = segment_descriptor(raw)
    assert (found.base, found.limit) == (base, limit)
    assert found.flags == raw >> 32


@given(st.integers(0, (1 << 64) - 1))
def test_descriptor_fields(raw: int) -> None:
    found = segment_descriptor(raw)
    assert found.base == (raw >> 16 & 0xFFFFFF) | (raw >> 56) << 24
    limit = (raw & 0xFFFF) | (raw >> 48 & 0xF) << 16
    assert found.limit == (limit * 4096 + 4095 if raw >> 55 & 1 else limit)
    assert found.present == bool(raw >> 47 & 1)
    assert found.dpl == raw >> 45 & 3
    assert found.code == (raw >> 43 & 3 == 3)
    assert found.writable_data == (raw >> 43 & 3 == 2 and bool(raw >> 41 & 1))
    assert found.conforming == bool(raw >> 42 & 1)


def test_bits_stand_where_the_manuals_have_them() -> None:
    """SDM volume 3: figures 2-7 (control registers), 2-5 (EFLAGS), tables 2-1 (EFER) and 4-19 (pages), section 4.7."""
    places = {
        "CR0": "PE 0 MP 1 EM 2 TS 3 ET 4 NE 5 WP 16 PG 31",
        "CR4": "DE 3 PSE 4 PAE 5 MCE 6 OSFXSR 9 OSXMMEXCPT 10 LA57 12 SMEP 20 SMAP 21",
        "EFER": "SCE 0 LME 8 LMA 10 NXE 11",
        "EFLAGS": "TF 8 IF 9 DF 10 NT 14 RF 16 VM 17 AC 18",
        "PTE": "P 0 W 1 U 2 A 5 D 6 PS 7 NX 63",
        "PF": "P 0 W 1 U 2 RSVD 3 I 4",
        "DESCRIPTOR": "L 21 B 22 G 23",
    }
    for register, listed in places.items():
        words = listed.split()
        for name, bit in zip(words[::2], words[1::2], strict=True):
            assert getattr(x86, f"{register}_{name}") == 1 << int(bit), f"{register}.{name}"
