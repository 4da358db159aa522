"""Device paths (UEFI 2.10, chapter 10): builds, measures, compares and formats them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.status import EfiError, Status
from efishim.machine.memory import PAGE
from efishim.wire.guids import guid_bytes, guid_name, guid_text
from efishim.wire.uefi_protocols import AcpiPath, DevicePathNode, HardDrivePath, MemoryMappedPath, PciPath

HARDWARE, ACPI, MESSAGING, MEDIA, BIOS_BOOT, END = 1, 2, 3, 4, 5, 0x7F
"""Node types (table 10.1)."""

END_ENTIRE, END_INSTANCE = 0xFF, 0x01
HEADER = DevicePathNode.sizeof()
PIECE = 256
"""Bytes of a device path that are compared at once."""
PATH_LIMIT = 0x10000
"""Longest device path that a service follows, in bytes."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node: its body is what follows the four bytes of the header."""

    type: int
    subtype: int
    body: bytes = b""

    def __bytes__(self) -> bytes:
        size = DevicePathNode.sizeof() + len(self.body)
        return DevicePathNode(Type=self.type, SubType=self.subtype, Length=size).build() + self.body

    @property
    def ends_path(self) -> bool:
        """End Entire Device Path?"""
        return self.type == END and self.subtype == END_ENTIRE


END_NODE = Node(END, END_ENTIRE)
END_OF_PATH = bytes(END_NODE)


def vendor_media(guid: str, data: bytes = b"") -> Node:
    """Vendor-Defined Media (10.3.5.3)."""
    return Node(MEDIA, 3, guid_bytes(guid) + data)


def vendor_hardware(guid: str, data: bytes = b"") -> Node:
    """Vendor-Defined Hardware (10.3.2.4)."""
    return Node(HARDWARE, 4, guid_bytes(guid) + data)


def file_path(name: str) -> Node:
    """File Path Media (10.3.5.4)."""
    return Node(MEDIA, 4, name.encode("utf-16-le", "surrogatepass") + b"\0\0")


def hard_drive(number: int, start: int, blocks: int, signature: bytes, *, gpt: bool) -> Node:
    """Hard Drive Media (10.3.5.1): a partition of a GPT, or of an MBR."""
    kind = 2 if gpt else 1
    path = HardDrivePath(
        partition_number=number,
        partition_start=start,
        partition_size=blocks,
        signature=signature,
        format=kind,
        signature_type=kind,
    )
    return Node(MEDIA, 1, path.build())


def memory_mapped(memory_type: int, start: int, end: int) -> Node:
    """Memory Mapped (10.3.2.3); `end` is the last byte."""
    return Node(HARDWARE, 3, MemoryMappedPath(memory_type=memory_type, start=start, end=end).build())


def path_bytes(*nodes: Node) -> bytes:
    """A whole path with its end."""
    return b"".join(bytes(node) for node in (*nodes, END_NODE))


def nodes(data: bytes) -> Iterator[Node]:
    """The nodes of a path, the end included. Raises EfiError(INVALID_PARAMETER) when it is malformed."""
    at = 0
    while True:
        if at + HEADER > len(data):
            raise EfiError(Status.INVALID_PARAMETER)
        head = DevicePathNode.parse(data[at : at + HEADER])
        if head.Length < HEADER or at + head.Length > len(data):
            raise EfiError(Status.INVALID_PARAMETER)
        node = Node(head.Type, head.SubType, bytes(data[at + HEADER : at + head.Length]))
        yield node
        if node.ends_path:
            return
        at += head.Length


def read_path(guest: Guest, address: int) -> bytes:
    """The bytes of a path in guest memory, with its end. Raises EfiError(INVALID_PARAMETER)."""
    out = bytearray()
    while len(out) < PATH_LIMIT:
        raw = guest.read(address + len(out), HEADER)
        head = DevicePathNode.parse(raw)
        if head.Length < HEADER:
            break
        out += raw + guest.read(address + len(out) + HEADER, head.Length - HEADER)
        if (head.Type, head.SubType) == (END, END_ENTIRE):
            return bytes(out)
    raise EfiError(Status.INVALID_PARAMETER)


def ends_of_nodes(path: bytes) -> list[int]:
    """Where the nodes of the first instance of a path end, which is where a path that leads on to it may: 0 is the first."""
    ends = [0]
    for node in nodes(path):
        if node.type == END:
            break
        ends.append(ends[-1] + 4 + len(node.body))
    return ends


def beginning(guest: Guest, path: int, wanted: bytes, ends: list[int]) -> int | None:
    """Bytes of the path at an address, if it is a beginning of `wanted`, whose nodes end at `ends`; without its own end.

    A path that is one begins with the same bytes, which have the same nodes, and is at its end where they part. So there
    is nothing to follow node by node, which would be most of a search among many long paths.
    """
    same = 0
    while same < len(wanted):
        # What is behind the end of the other path may not be mapped.
        piece = wanted[same : same + min(PIECE, PAGE - (path + same) % PAGE)]
        try:
            there = guest.read(path + same, len(piece))
        except EfiError:
            there = b""
        if not there:
            break
        if there != piece:
            same += next(at for at, (one, other) in enumerate(zip(there, piece, strict=True)) if one != other)
            break
        same += len(piece)
    at = ends[bisect_right(ends, same) - 1]
    try:
        return at if guest.read(path + at, len(END_OF_PATH)) == END_OF_PATH else None
    except EfiError:
        return None


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
        case (4, 1) if len(body) >= HardDrivePath.SIZE:
            disk = HardDrivePath.parse(body)
            gpt = disk.signature_type == 2
            mark = guid_text(disk.signature) if gpt else f"{int.from_bytes(disk.signature[:4], 'little'):#x}"
            place = f"{disk.partition_start:#x},{disk.partition_size:#x}"
            return f"HD({disk.partition_number},{'GPT' if gpt else 'MBR'},{mark},{place})"
        case (1, 3) if len(body) >= MemoryMappedPath.SIZE:
            told = MemoryMappedPath.parse(body)
            return f"MemoryMapped({told.memory_type & 0xFF:#x},{told.start:#x},{told.end:#x})"
        case (1, 1) if len(body) >= PciPath.SIZE:
            pci = PciPath.parse(body)
            return f"Pci({pci.device:#x},{pci.function:#x})"
        case (2, 1) if len(body) >= AcpiPath.SIZE:
            return f"Acpi({body[:4].hex()},{AcpiPath.parse(body).uid:#x})"
        case _:
            pass
    return f"Path({node.type},{node.subtype},{body.hex()})"
