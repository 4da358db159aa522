"""Packets of the GDB remote serial protocol, as both of its ends need them.

Source: "Debugging with GDB", appendix "GDB Remote Serial Protocol", section "Overview".
"""

from __future__ import annotations

from dataclasses import dataclass

ESCAPE, RUN = 0x7D, 0x2A
_FLIP = 0x20
_SPECIAL = frozenset(b"#$}*")
INTERRUPT = b"\x03"


@dataclass(frozen=True)
class Packet:
    """What came between `$` and `#`, as it was sent; `sound` when the checksum was right."""

    body: bytes
    sound: bool


def checksum(body: bytes) -> int:
    """The sum of all bytes as they are sent, modulo 256."""
    return sum(body) & 0xFF


def framed(body: bytes) -> bytes:
    """A packet. What must be escaped in `body` is escaped already (`escaped`)."""
    return b"$%s#%02x" % (body, checksum(body))


def escaped(data: bytes) -> bytes:
    """Binary data, fit for a packet."""
    out = bytearray()
    for byte in data:
        out += bytes((ESCAPE, byte ^ _FLIP)) if byte in _SPECIAL else bytes((byte,))
    return bytes(out)


def unescaped(data: bytes) -> bytes:
    """Binary data out of a packet."""
    out = bytearray()
    flip = 0
    for byte in data:
        if byte == ESCAPE and not flip:
            flip = _FLIP
        else:
            out.append(byte ^ flip)
            flip = 0
    return bytes(out)


def take(buffer: bytearray) -> Packet | bytes | None:
    """The next item of a stream, taken out of the buffer: a packet, or one byte between packets (`+`, `-`, INTERRUPT, or one
    that means nothing). None while there is no whole one.
    """
    if not buffer:
        return None
    if buffer[0] != ord("$"):
        item = bytes(buffer[:1])
        del buffer[:1]
        return item
    end = buffer.find(b"#")
    if end < 0 or len(buffer) < end + 3:
        return None
    body, digits = bytes(buffer[1:end]), bytes(buffer[end + 1 : end + 3])
    del buffer[: end + 3]
    return Packet(body, digits.lower() == b"%02x" % checksum(body))
