"""Device paths (UEFI 2.10, chapter 10): building, measuring, comparing and showing them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.status import EfiError, Status
from efishim.wire.guids import guid_bytes, guid_name, guid_text

HARDWARE, ACPI, MESSAGING, MEDIA, BIOS_BOOT, END = 1, 2, 3, 4, 5, 0x7F
"""Node types (table 10.1)."""

END_ENTIRE, END_INSTANCE = 0xFF, 0x01
PATH_LIMIT = 0x10000
"""Longest device path that a service follows, in bytes."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node: its body is what follows the four bytes of the header."""

    type: int
    subtype: int
    body: bytes = b""

    def __bytes__(self) -> bytes:
        return bytes((self.type, self.subtype)) + (4 + len(self.body)).to_bytes(2, "little") + self.body

    @property
    def ends_path(self) -> bool:
        """End Entire Device Path?"""
        return self.type == END and self.subtype == END_ENTIRE


END_NODE = Node(END, END_ENTIRE)


def vendor_media(guid: str, data: bytes = b"") -> Node:
    """Vendor-Defined Media (10.3.5.3)."""
    return Node(MEDIA, 3, guid_bytes(guid) + data)


def vendor_hardware(guid: str, data: bytes = b"") -> Node:
    """Vendor-Defined Hardware (10.3.2.4)."""
    return Node(HARDWARE, 4, guid_bytes(guid) + data)


def file_path(name: str) -> Node:
    """File Path Media (10.3.5.4)."""
    return Node(MEDIA, 4, name.encode("utf-16-le", "surrogatepass") + b"\0\0")


def memory_mapped(memory_type: int, start: int, end: int) -> Node:
    """Memory Mapped (10.3.2.3); `end` is the last byte."""
    return Node(HARDWARE, 3, memory_type.to_bytes(4, "little") + start.to_bytes(8, "little") + end.to_bytes(8, "little"))


def path_bytes(*nodes: Node) -> bytes:
    """A whole path with its end."""
    return b"".join(bytes(node) for node in (*nodes, END_NODE))


def nodes(data: bytes) -> Iterator[Node]:
    """The nodes of a path, the end included. Raises EfiError(INVALID_PARAMETER) when it is malformed."""
    at = 0
    while True:
        if at + 4 > len(data):
            raise EfiError(Status.INVALID_PARAMETER)
        length = int.from_bytes(data[at + 2 : at + 4], "little")
        if length < 4 or at + length > len(data):
            raise EfiError(Status.INVALID_PARAMETER)
        node = Node(data[at], data[at + 1], bytes(data[at + 4 : at + length]))
        yield node
        if node.ends_path:
            return
        at += length


def read_path(guest: Guest, address: int) -> bytes:
    """The bytes of a path in guest memory, with its end. Raises EfiError(INVALID_PARAMETER)."""
    out = bytearray()
    while len(out) < PATH_LIMIT:
        header = guest.read(address + len(out), 4)
        length = int.from_bytes(header[2:], "little")
        if length < 4:
            break
        out += header + guest.read(address + len(out) + 4, length - 4)
        if header[0] == END and header[1] == END_ENTIRE:
            return bytes(out)
    raise EfiError(Status.INVALID_PARAMETER)


def to_text(data: bytes) -> str:
    """A path in the spirit of 10.6.1, with GUIDs by name: `VenMedia(LINUX_EFI_INITRD_MEDIA_GUID)`."""
    try:
        words = [_node_text(node) for node in nodes(data) if node.type != END]
    except EfiError:
        return "malformed"
    return "/".join(words) or "end"


def _node_text(node: Node) -> str:
    body = node.body
    match node.type, node.subtype:
        case (t, 3 | 4) if (t == MEDIA and node.subtype == 3) or (t == HARDWARE and node.subtype == 4):
            if len(body) >= 16:
                name = "VenMedia" if t == MEDIA else "VenHw"
                tail = f",{body[16:].hex()}" if body[16:] else ""
                return f"{name}({guid_name(guid_text(body[:16]))}{tail})"
        case (4, 4):
            return body.decode("utf-16-le", "replace").rstrip("\0")
        case (1, 3) if len(body) >= 20:
            first, last = int.from_bytes(body[4:12], "little"), int.from_bytes(body[12:20], "little")
            return f"MemoryMapped({body[0]:#x},{first:#x},{last:#x})"
        case (1, 1) if len(body) >= 2:
            return f"Pci({body[1]:#x},{body[0]:#x})"
        case (2, 1) if len(body) >= 8:
            return f"Acpi({body[:4].hex()},{int.from_bytes(body[4:8], 'little'):#x})"
        case _:
            pass
    return f"Path({node.type},{node.subtype},{body.hex()})"
