"""Puts sections behind those of a PE image (Microsoft PE and COFF Specification, Section Table)."""

from __future__ import annotations

from collections.abc import Mapping

import pefile

from efishim.errors import UsageError
from efishim.wire.pe import SectionHeader

INITIALIZED_READABLE = 0x4000_0040
NUMBER_OF_SECTIONS, SIZE_OF_IMAGE, OPTIONAL = 6, 56, 24
"""Offsets from the PE signature, from the optional header, and of the optional header from the signature."""


def with_sections(image: bytes, parts: Mapping[str, bytes]) -> bytes:
    """The image with a section for each part, in their order. Raises UsageError for what is no PE image and for one whose
    headers have no room.
    """
    try:
        pe = pefile.PE(data=image, fast_load=True)  # type: ignore[no-untyped-call]  # pefile has no types
    except pefile.PEFormatError as error:
        raise UsageError(f"the stub is no PE image: {error}") from error
    optional, count = pe.OPTIONAL_HEADER, pe.FILE_HEADER.NumberOfSections
    signature = pe.DOS_HEADER.e_lfanew
    table = signature + OPTIONAL + pe.FILE_HEADER.SizeOfOptionalHeader + count * SectionHeader.SIZE
    if not count or table + len(parts) * SectionHeader.SIZE > optional.SizeOfHeaders:
        raise UsageError(f"the headers of the stub have no room for {len(parts)} more sections")
    out = bytearray(image.ljust(_aligned(len(image), optional.FileAlignment), b"\0"))
    # A page each: firmware that protects memory does so in pages.
    step = max(optional.SectionAlignment, 0x1000)
    address = max(one.VirtualAddress + one.Misc_VirtualSize for one in pe.sections)
    for number, (name, part) in enumerate(parts.items()):
        address = _aligned(address, step)
        raw = part.ljust(_aligned(len(part), optional.FileAlignment), b"\0")
        header = SectionHeader(
            Name=name.encode().ljust(8, b"\0"),
            VirtualSize=len(part),
            VirtualAddress=address,
            SizeOfRawData=len(raw),
            PointerToRawData=len(out),
            Characteristics=INITIALIZED_READABLE,
        ).build()
        at = table + number * SectionHeader.SIZE
        out[at : at + SectionHeader.SIZE] = header
        out += raw
        address += len(part)
    _put(out, signature + NUMBER_OF_SECTIONS, 2, count + len(parts))
    _put(out, signature + OPTIONAL + SIZE_OF_IMAGE, 4, _aligned(address, step))
    return bytes(out)


def _aligned(number: int, step: int) -> int:
    return -(-number // step) * step


def _put(out: bytearray, at: int, size: int, number: int) -> None:
    out[at : at + size] = number.to_bytes(size, "little")
