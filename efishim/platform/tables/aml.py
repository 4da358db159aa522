"""An encoder for ACPI Machine Language: each function returns the bytes of one construct.

Source: ACPI 6.5 chapter 20 (AML encoding) for names, data and packages; section 6.4 for resource descriptors.
"""

from __future__ import annotations

from efishim.errors import MachineError

ZERO_OP, ONE_OP, NAME_OP, BYTE, WORD, DWORD, STRING, QWORD = b"\x00", b"\x01", b"\x08", 0x0A, 0x0B, 0x0C, 0x0D, 0x0E
SCOPE_OP, BUFFER_OP, PACKAGE_OP, DEVICE_OP = b"\x10", b"\x11", b"\x12", b"\x5b\x82"

MEMORY_RANGE, IO_RANGE, BUS_RANGE = 0, 1, 2
_FIXED = 0x0C
"""General flags: minimum and maximum fixed, positive decode, produced for the devices below (6.4.3.5)."""


def integer(value: int) -> bytes:
    """The shortest integer constant (20.2.3)."""
    if value in {0, 1}:
        return ZERO_OP if value == 0 else ONE_OP
    for prefix, size in ((BYTE, 1), (WORD, 2), (DWORD, 4), (QWORD, 8)):
        if value < 1 << 8 * size:
            return bytes([prefix]) + value.to_bytes(size, "little")
    raise MachineError(f"{value:#x} is no AML integer")


def string(text: str) -> bytes:
    """A NUL-terminated ASCII string (20.2.3)."""
    return bytes([STRING]) + text.encode("ascii") + b"\0"


def name_seg(name: str) -> bytes:
    """Four characters of a name, padded with underscores (20.2.2)."""
    if not 1 <= len(name) <= 4 or not name.replace("_", "A").isalnum() or name[0].isdigit() or name != name.upper():
        raise MachineError(f"{name!r} is no AML name segment")
    return name.ljust(4, "_").encode("ascii")


def path(name: str) -> bytes:
    """A name string such as `\\_SB.PCI0` (20.2.2): root prefix, then one, two or more segments."""
    prefix = b"\\" if name.startswith("\\") else b""
    segments = [name_seg(part) for part in name.removeprefix("\\").split(".")]
    if len(segments) == 2:
        return prefix + b"\x2e" + b"".join(segments)
    if len(segments) > 2:
        return prefix + b"\x2f" + bytes([len(segments)]) + b"".join(segments)
    return prefix + segments[0]


def package_length(size: int) -> bytes:
    """PkgLength for `size` bytes that follow it; it counts itself too (20.2.4)."""
    if size + 1 < 0x40:
        return bytes([size + 1])
    for extra in (1, 2, 3):
        total = size + 1 + extra
        if total < 1 << (4 + 8 * extra):
            return bytes([extra << 6 | total & 0x0F]) + (total >> 4).to_bytes(extra, "little")
    raise MachineError(f"an AML package of {size} bytes is too long")


def _wrapped(opcode: bytes, body: bytes) -> bytes:
    return opcode + package_length(len(body)) + body


def scope(name: str, *terms: bytes) -> bytes:
    """Scope (name) { terms }."""
    return _wrapped(SCOPE_OP, path(name) + b"".join(terms))


def device(name: str, *terms: bytes) -> bytes:
    """Device (name) { terms }."""
    return _wrapped(DEVICE_OP, path(name) + b"".join(terms))


def named(name: str, value: bytes) -> bytes:
    """Name (name, value)."""
    return NAME_OP + path(name) + value


def package(*elements: bytes) -> bytes:
    """Package () { elements }."""
    return _wrapped(PACKAGE_OP, bytes([len(elements)]) + b"".join(elements))


def buffer(data: bytes) -> bytes:
    """Buffer (n) { data }."""
    return _wrapped(BUFFER_OP, integer(len(data)) + data)


def eisa_id(text: str) -> bytes:
    """EISAID ("PNP0A03"): three letters in five bits each, four hex digits, big-endian (19.6.36)."""
    letters, number = text[:3], int(text[3:], 16)
    packed = 0
    for letter in letters:
        packed = packed << 5 | ord(letter) - 0x40
    return bytes([DWORD]) + (packed << 16 | number).to_bytes(4, "big")


# Resource descriptors (6.4)


def resources(*descriptors: bytes) -> bytes:
    """ResourceTemplate () { descriptors }: a buffer with an end tag, whose zero checksum means "do not check"."""
    return buffer(b"".join(descriptors) + b"\x79\x00")


def io_ports(start: int, count: int) -> bytes:
    """IO (Decode16, start, start, 1, count) (6.4.2.5)."""
    return b"\x47\x01" + start.to_bytes(2, "little") * 2 + bytes([1, count])


def fixed_memory(start: int, size: int) -> bytes:
    """Memory32Fixed (ReadOnly, start, size) (6.4.3.4)."""
    return b"\x86\x09\x00\x00" + start.to_bytes(4, "little") + size.to_bytes(4, "little")


def irq(number: int) -> bytes:
    """IRQNoFlags () {number}: edge triggered, active high (6.4.2.1)."""
    return b"\x22" + (1 << number).to_bytes(2, "little")


def _address_space(kind: int, flags: int, first: int, last: int) -> bytes:
    """Word, DWord or QWord address space descriptor (6.4.3.5), produced, not consumed, by its device."""
    tag, size = (0x88, 2) if kind != MEMORY_RANGE else (0x87, 4) if last < 1 << 32 else (0x8A, 8)
    values = (0, first, last, 0, last - first + 1)  # granularity, minimum, maximum, translation, length
    body = bytes([kind, _FIXED, flags]) + b"".join(value.to_bytes(size, "little") for value in values)
    return bytes([tag]) + len(body).to_bytes(2, "little") + body


def bus_window(first: int, last: int) -> bytes:
    """WordBusNumber."""
    return _address_space(BUS_RANGE, 0, first, last)


def io_window(first: int, last: int) -> bytes:
    """WordIO over the entire range."""
    return _address_space(IO_RANGE, 0x03, first, last)


def memory_window(first: int, last: int, *, cacheable: bool = False) -> bytes:
    """DWordMemory, or QWordMemory when it ends above 4 GiB; read and write."""
    return _address_space(MEMORY_RANGE, 0x03 if cacheable else 0x01, first, last)
