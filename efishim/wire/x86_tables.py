"""Entries of interrupt tables: Intel SDM volume 3. Segment descriptors, whose fields are scattered, are decoded in x86.py."""

from __future__ import annotations

from efishim.wire.layout import Layout, u8, u16, u32


class FarPointer16(Layout):
    """An entry of the real-mode interrupt vector table (20.1.4)."""

    SIZE = 4

    offset: int = u16(0)
    segment: int = u16(2)


class Gate32(Layout):
    """An interrupt or trap gate of 32-bit protected mode (6.11)."""

    SIZE = 8

    offset_low: int = u16(0)
    selector: int = u16(2)
    reserved: int = u8(4)
    access: int = u8(5)
    offset_middle: int = u16(6)


class Gate64(Gate32):
    """The same in IA-32e mode (6.14.1); the byte called reserved has the IST there."""

    SIZE = 16

    offset_high: int = u32(8)
    reserved2: int = u32(12)
