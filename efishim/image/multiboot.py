"""Multiboot and Multiboot2 headers of an image.

Sources: Multiboot Specification 0.6.96 section 3.1, Multiboot2 Specification 2.0 section 3.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from efishim.errors import ImageError
from efishim.wire import multiboot as wire
from efishim.wire.layout import Layout

ADDRESS_FIELDS = 1 << 16
VIDEO_FIELDS = 1 << 2
MANDATORY_1 = 0x0000FFFF
"""Flags that a loader which does not know them must refuse."""
KNOWN_1 = 0x7
ARCHITECTURE_I386 = 0
END_TAG = 0
MAX_TAGS = 64


L = TypeVar("L", bound=Layout)


@dataclass(frozen=True, slots=True)
class MultibootHeader:
    """A Multiboot 1 header. `address` is (header, load, load end, bss end, entry) when the image gives them."""

    offset: int
    flags: int
    address: tuple[int, int, int, int, int] | None
    video: tuple[int, int, int, int] | None
    """(mode type, width, height, depth) when the image asks for a video mode."""

    @property
    def unknown_requirements(self) -> int:
        """Required flags that the specification does not define: a loader must refuse them."""
        return self.flags & MANDATORY_1 & ~KNOWN_1


@dataclass(frozen=True, slots=True)
class Multiboot2Tag:
    """One tag of a Multiboot2 header; `data` is what follows its eight-byte head."""

    type: int
    optional: bool
    data: bytes

    @property
    def name(self) -> str:
        """The specification's name."""
        return wire.MULTIBOOT2_HEADER_TAGS.get(self.type, f"tag {self.type}")


def read_tag(tag: Multiboot2Tag, layout: type[L]) -> L:
    """What a tag says. Raises ImageError when it is too short for that."""
    if len(tag.data) < layout.SIZE:
        raise ImageError(f"a Multiboot2 header tag has {len(tag.data)} bytes, {layout.SIZE} are needed")
    return layout.parse(tag.data)


@dataclass(frozen=True, slots=True)
class Multiboot2Header:
    """A Multiboot2 header with its tags, the end tag left out."""

    offset: int
    length: int
    tags: tuple[Multiboot2Tag, ...]

    def tag(self, name: str) -> Multiboot2Tag | None:
        """The first tag of that name (wire.multiboot.MULTIBOOT2_HEADER_TAGS)."""
        return next((tag for tag in self.tags if tag.name == name), None)


def find_multiboot(data: bytes) -> MultibootHeader | None:
    """The first valid Multiboot 1 header in the first 8192 bytes."""
    magic = wire.MULTIBOOT_HEADER_MAGIC.to_bytes(4, "little")
    size = wire.MultibootHeader.SIZE
    for at in _places(data, magic, wire.MULTIBOOT_SEARCH - 12, 4):
        header = wire.MultibootHeader.parse(data[at : at + size].ljust(size, b"\0"))
        if (header.magic + header.flags + header.checksum) & 0xFFFFFFFF:
            continue
        needed = 48 if header.flags & VIDEO_FIELDS else 32 if header.flags & ADDRESS_FIELDS else 12
        if at + needed > len(data):
            continue
        address = (header.header_addr, header.load_addr, header.load_end_addr, header.bss_end_addr, header.entry_addr)
        video = (header.mode_type, header.width, header.height, header.depth)
        return MultibootHeader(
            offset=at,
            flags=header.flags,
            address=address if header.flags & ADDRESS_FIELDS else None,
            video=video if header.flags & VIDEO_FIELDS else None,
        )
    return None


def find_multiboot2(data: bytes) -> Multiboot2Header | None:
    """The first valid Multiboot2 header for x86 in the first 32768 bytes. A malformed tag ends the list of tags."""
    magic = wire.MULTIBOOT2_HEADER_MAGIC.to_bytes(4, "little")
    size = wire.Multiboot2Header.SIZE
    for at in _places(data, magic, wire.MULTIBOOT2_SEARCH - size, 8):
        if at + size > len(data):
            continue
        header = wire.Multiboot2Header.parse(data[at : at + size])
        total = header.magic + header.architecture + header.header_length + header.checksum
        if total & 0xFFFFFFFF or header.architecture != ARCHITECTURE_I386:
            continue
        end = at + header.header_length
        if header.header_length < size or end > min(len(data), wire.MULTIBOOT2_SEARCH):
            continue
        return Multiboot2Header(at, header.header_length, _tags(data[at + size : end]))
    return None


def _places(data: bytes, magic: bytes, last: int, alignment: int) -> list[int]:
    places = []
    at = data.find(magic, 0, last + len(magic))
    while at >= 0:
        if at % alignment == 0:
            places.append(at)
        at = data.find(magic, at + 1, last + len(magic))
    return places


def _tags(raw: bytes) -> tuple[Multiboot2Tag, ...]:
    tags: list[Multiboot2Tag] = []
    at = 0
    while at + wire.Multiboot2HeaderTag.SIZE <= len(raw) and len(tags) < MAX_TAGS:
        head = wire.Multiboot2HeaderTag.parse(raw[at : at + wire.Multiboot2HeaderTag.SIZE])
        if head.type == END_TAG or head.size < head.SIZE or at + head.size > len(raw):
            break
        tags.append(Multiboot2Tag(head.type, bool(head.flags & 1), raw[at + head.SIZE : at + head.size]))
        at += -(-head.size // 8) * 8
    return tuple(tags)
