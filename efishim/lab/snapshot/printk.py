"""Reads the end of a Linux kernel's log from its ring in guest memory, whichever generation of the ring it has.

It is there when no console ever came up. What is read was written by the guest: all numbers are bounded, and what makes no
sense is left out.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

LARGEST_RING = 64 << 20
LARGEST_COUNT = 20
"""Bits of the number of descriptors."""
TEXT_LIMIT = 2048
"""Bytes of one message that are read; the kernel's own limit is at most 1024 (LOG_LINE_MAX, kernel/printk/printk.c; now
PRINTKRB_RECORD_MAX, kernel/printk/internal.h)."""
WINDOW = 64 << 10
"""Bytes before the end of the older rings that are looked at."""
SEARCHED = 512
"""Most descriptors that are looked at."""
COMMITTED, FINALIZED = 1, 2
"""States of a descriptor that has a message (kernel/printk/printk_ringbuffer.h, enum desc_state)."""
LARGEST_AREA = 32 << 20
MOST_PLACES = 64
LARGEST_AREAS = 128 << 20
"""Bytes of all areas together that are searched."""
RINGS = {
    8: re.compile(rb"(?=[\x05-\x14]\0{7}.{6}\xff\xff.{6}\xff\xff)", re.DOTALL),
    4: re.compile(rb"(?=[\x05-\x14]\0{3}.{3}[\xc0-\xff].{3}[\xc0-\xff])", re.DOTALL),
}
"""By the size of a pointer."""
INFO = struct.Struct("<QQHBBI64x")
"""struct printk_info: seq, ts_nsec, text_len, facility, flags and level, caller_id, dev_info."""
RECORD = struct.Struct("<QHHHBB")
"""struct printk_log of 3.5 to 5.9: ts_nsec, len, text_len, dict_len, facility, flags and level."""

Read = Callable[[int, int], bytes]
"""Bytes at a virtual address of the kernel; shorter, or empty, where there is none."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """How to look into a kernel: its memory, the addresses of its variables, and the size of its pointers in bytes."""

    read: Read
    address_of: Callable[[str], int | None]
    width: int = 8
    areas: tuple[tuple[int, int], ...] = ()
    """(address, bytes) of where the kernel's variables are, for kernels whose kallsyms have functions only."""

    def word(self, address: int) -> int:
        """A pointer or an unsigned long; 0 where nothing is."""
        return int.from_bytes(self.read(address, self.width), "little")

    def u32(self, address: int) -> int:
        """An unsigned int."""
        return int.from_bytes(self.read(address, 4), "little")

    def variable(self, name: str) -> int:
        """The value of a pointer variable, 0 when there is none."""
        address = self.address_of(name)
        return self.word(address) if address is not None else 0


def log_tail(kernel: Kernel, lines: int) -> list[str]:
    """The last lines of the log, in order, with the time stamps that the kernel would print; empty when there is none."""
    for reader in (_descriptors, _records, _characters):
        found = reader(kernel, lines)
        if found:
            return [line for message in found for line in message.split("\n")][-lines:]
    return []


def _stamped(nanoseconds: int, text: bytes) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"[{seconds:5d}.{rest // 1000:06d}] {text.decode('utf-8', 'backslashreplace')}"


def _descriptors(kernel: Kernel, lines: int) -> list[str]:
    """Since 5.10: struct printk_ringbuffer with descriptors, infos and a ring of text (kernel/printk/printk_ringbuffer.h)."""
    ring = kernel.variable("prb")
    if ring:
        return [text for _, text in _messages(kernel, ring, lines)]
    # The static ring stays as it was when a larger one takes over: the one with the latest message is in use.
    found = [messages for at in _rings(kernel) if (messages := _messages(kernel, at, lines))]
    return [text for _, text in max(found, key=lambda messages: messages[-1][0], default=[])]


def _rings(kernel: Kernel) -> Iterator[int]:
    """Where a struct printk_ringbuffer may be: a number of bits, and two pointers to the upper half of the address space."""
    places, left = 0, LARGEST_AREAS
    for start, size in kernel.areas:
        data = kernel.read(start, min(size, LARGEST_AREA, left))
        left -= len(data)
        for match in RINGS[kernel.width].finditer(data):
            if match.start() % kernel.width == 0:
                places += 1
                if places > MOST_PLACES:
                    return
                yield start + match.start()


def _messages(kernel: Kernel, ring: int, lines: int) -> list[tuple[int, str]]:
    """The last messages of a ring with their sequence numbers, in order."""
    width = kernel.width
    bits = kernel.u32(ring)
    descs, infos, head = (kernel.word(ring + width * n) for n in (1, 2, 3))
    # Newer kernels have one more number in front of the text ring, which is no pointer where the ring has one.
    text = next((at for at in (ring + 5 * width, ring + 6 * width) if _is_text_ring(kernel, at)), None)
    if not 0 < bits <= LARGEST_COUNT or text is None:
        return []
    size, data = 1 << kernel.u32(text), kernel.word(text + width)
    state_shift, count = 8 * width - 2, 1 << bits
    mask = (1 << state_shift) - 1
    found: list[tuple[int, str]] = []
    for back in range(min(count, SEARCHED)):
        wanted = (head - back) & mask
        place = wanted & (count - 1)
        desc = kernel.read(descs + 3 * width * place, 3 * width)
        info = kernel.read(infos + INFO.size * place, INFO.size)
        if len(desc) < 3 * width or len(info) < INFO.size:
            continue
        state, begin, behind = (int.from_bytes(desc[n : n + width], "little") for n in range(0, 3 * width, width))
        if state & mask != wanted or state >> state_shift not in (COMMITTED, FINALIZED):
            continue
        sequence, stamp, length, *_ = INFO.unpack(info)
        # A block that would not fit before the end of the ring is at its beginning.
        wraps = (begin ^ (behind - 1) % (1 << 8 * width)) & -size
        at = 0 if wraps else begin & (size - 1)
        if begin & 1 or kernel.word(data + at) != wanted:
            continue  # it has no text
        text_of = kernel.read(data + at + width, min(length, TEXT_LIMIT))
        found.append((sequence, _stamped(stamp, text_of)))
        if len(found) >= lines:
            break
    return found[::-1]


def _is_text_ring(kernel: Kernel, at: int) -> bool:
    """A number of bits, and a pointer into the upper half of the address space."""
    bits, data = kernel.u32(at), kernel.word(at + kernel.width)
    return 10 <= bits <= LARGEST_RING.bit_length() and bool(data >> (8 * kernel.width - 1)) and bool(kernel.read(data, 1))


def _buffer(kernel: Kernel) -> tuple[int, int]:
    """(address, bytes) of the buffer of the older rings; no bytes when there is none."""
    length = kernel.address_of("log_buf_len")
    size = kernel.u32(length) if length is not None else 0
    address = kernel.variable("log_buf")
    return address, size if 0 < size <= LARGEST_RING and address else 0


def _records(kernel: Kernel, lines: int) -> list[str]:
    """3.5 to 5.9: records of different length, from log_first_idx to log_next_idx (kernel/printk/printk.c)."""
    address, size = _buffer(kernel)
    first_at, next_at = kernel.address_of("log_first_idx"), kernel.address_of("log_next_idx")
    if not size or first_at is None or next_at is None:
        return []
    at, end = kernel.u32(first_at), kernel.u32(next_at)
    ring = kernel.read(address, size)
    found: deque[tuple[int, int, int]] = deque(maxlen=lines)
    left = size // RECORD.size
    while at != end and left > 0 and at + RECORD.size <= len(ring):
        left -= 1
        stamp, length, text_length, dictionary, _facility, _level = RECORD.unpack_from(ring, at)
        if not length:
            at = 0  # the rest did not fit
            continue
        # With CONFIG_PRINTK_CALLER four bytes more; the whole is aligned to four.
        header = 20 if length - text_length - dictionary >= 20 else RECORD.size
        found.append((stamp, at + header, min(text_length, TEXT_LIMIT)))
        at += length
    return [_stamped(stamp, ring[start : start + size]) for stamp, start, size in found]


def _characters(kernel: Kernel, lines: int) -> list[str]:
    """Until 3.4: nothing but characters, the last before log_end (kernel/printk.c)."""
    address, size = _buffer(kernel)
    end_at = kernel.address_of("log_end")
    if not size or end_at is None or size & (size - 1):
        return []
    end = kernel.u32(end_at)
    wanted = min(end, size, WINDOW)
    start = (end - wanted) & (size - 1)
    ring = kernel.read(address, size)
    text = (ring + ring)[start : start + wanted]
    return text.decode("utf-8", "backslashreplace").splitlines()[-lines:]
