"""The ROM segment: a stub for each vector, the configuration table, table anchors, BIOS date and model byte.

Each stub starts with an OUT that traps to the host, which derives the vector from the address. Stubs change no register.
"""

from __future__ import annotations

from efishim.wire.bios import ConfigurationTable
from efishim.wire.x86_tables import FarPointer16

SEGMENT = 0xF000
TRAP_PORT = 0xE4
"""No PC device answers there (the Board's trap)."""

STUBS, STUB_SIZE = 0xC000, 8
"""Offset of vector 0's stub; the others follow."""
RESET = 0xE05B
CONFIG_TABLE = 0xE6F5
POWER_ON, DATE, MODEL_BYTE = 0xFFF0, 0xFFF5, 0xFFFE
"""Places that the IBM AT's BIOS had them at, and that software knows (Technical Reference, "Compatibility")."""
FONT, FONT_SIZE = 0xD000, 0x1000
"""Where 256 glyphs of 8 by 16 would be; they are blank."""
RSDP, SMBIOS = 0x0000, 0x0040

MODEL_AT, SUBMODEL, REVISION = 0xFC, 0x00, 0x01
BUILD_DATE = b"04/01/16"
VECTORS = 256
TIMER, USER_TICK = 0x08, 0x1C
FREE_VECTORS = range(0x60, 0x68)
"""Left 0 for programs (interrupt list, "60h reserved for user interrupts")."""

OUT = bytes((0xE6, TRAP_PORT))
INT, IRET = 0xCD, b"\xcf"
TIMER_DONE = len(OUT) + 2
"""Where in the timer's stub the second OUT stands."""

FEATURE_SECOND_PIC, FEATURE_RTC, FEATURE_EBDA = 0x40, 0x20, 0x04


def stub(vector: int) -> bytes:
    """`out; iret`. The timer's calls int 1Ch in between, and comes back to end the interrupt."""
    if vector == TIMER:
        return OUT + bytes((INT, USER_TICK)) + OUT + IRET
    return OUT + IRET


def vector_table() -> bytes:
    """256 far pointers to the stubs, for address 0."""
    entries = ((0, 0) if v in FREE_VECTORS else (STUBS + STUB_SIZE * v, SEGMENT) for v in range(VECTORS))
    return b"".join(FarPointer16(offset=offset, segment=segment).build() for offset, segment in entries)


def config_table(*, pic: bool, rtc: bool) -> bytes:
    """Int 15h/C0's table: length, model, submodel, BIOS revision, five feature bytes."""
    features = (FEATURE_SECOND_PIC if pic else 0) | (FEATURE_RTC if rtc else 0) | FEATURE_EBDA
    table = ConfigurationTable(
        length=ConfigurationTable.SIZE - 2,
        model=MODEL_AT,
        submodel=SUBMODEL,
        bios_revision=REVISION,
        features=bytes((features,)),
    )
    return table.build()


def parts(*, pic: bool, rtc: bool) -> dict[int, bytes]:
    """Everything but the anchors, by offset in the segment."""
    found = {STUBS + STUB_SIZE * vector: stub(vector) for vector in range(VECTORS)}
    found[RESET] = OUT
    found[CONFIG_TABLE] = config_table(pic=pic, rtc=rtc)
    found[FONT] = bytes(FONT_SIZE)
    found[POWER_ON] = b"\xea" + FarPointer16(offset=RESET, segment=SEGMENT).build()  # jmp far
    found[DATE] = BUILD_DATE
    found[MODEL_BYTE] = bytes((MODEL_AT, 0))
    return found
