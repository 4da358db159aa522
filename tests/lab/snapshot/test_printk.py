"""The end of the kernel's log out of each generation of its ring, as its structures lie in memory, and out of garbage."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping

import pytest

from efishim.lab.snapshot.printk import INFO, RECORD, TEXT_LIMIT, Kernel, log_tail

TOP = 0xFFFF_FFFF_8100_0000
TOP32 = 0xC100_0000


class Memory:
    """Bytes at addresses, and variables by name."""

    def __init__(self, base: int, size: int = 1 << 17) -> None:
        self.base = base
        self.data = bytearray(size)
        self.variables: dict[str, int] = {}

    def read(self, address: int, size: int) -> bytes:
        at = address - self.base
        return bytes(self.data[at : at + size]) if 0 <= at < len(self.data) else b""

    def put(self, address: int, data: bytes) -> None:
        at = address - self.base
        self.data[at : at + len(data)] = data

    def kernel(self, width: int = 8) -> Kernel:
        return Kernel(self.read, self.variables.get, width)


def descriptors(
    messages: Mapping[int, bytes],
    *,
    width: int = 8,
    newer: bool = True,
    count_bits: int = 3,
    size_bits: int = 10,
    states: Mapping[int, int] | None = None,
    first: int = 0xFF8,
) -> Memory:
    """struct printk_ringbuffer of 5.10 and later; `messages` by their id, in order."""
    memory = Memory(TOP if width == 8 else TOP32)
    word = "Q" if width == 8 else "I"
    ring, descs, infos, text = (memory.base + n for n in (0x100, 0x1000, 0x2000, 0x8000))
    memory.variables["prb"] = memory.base + 0x10
    memory.put(memory.base + 0x10, struct.pack(f"<{word}", ring))
    head = max(messages)
    numbers = [count_bits, descs, infos, head, min(messages), *([17] if newer else [])]
    memory.put(ring, struct.pack(f"<{len(numbers)}{word}", *numbers))
    memory.put(ring + width * len(numbers), struct.pack(f"<2{word}", size_bits, text))
    begin, size = first, 1 << size_bits
    for number, message in messages.items():
        place = number & ((1 << count_bits) - 1)
        block = struct.pack(f"<{word}", number) + message
        block += bytes(-len(block) % width)
        start = begin & (size - 1)
        if start + len(block) > size:
            memory.put(text + start, block[:width])  # the id is left where the block would have begun, too
            start = 0
            following = (begin | (size - 1)) + 1 + len(block)
        else:
            following = begin + len(block)
        memory.put(text + start, block)
        state = (states or {}).get(number, 2) << (8 * width - 2) | number
        memory.put(descs + 3 * width * place, struct.pack(f"<3{word}", state, begin, following))
        memory.put(infos + INFO.size * place, INFO.pack(number, number * 1_000_000_000 + 5000, len(message), 0, 0, 0))
        begin = following
    return memory


MESSAGES = {0x10 + n: f"message {n}".encode() for n in range(6)}
EXPECTED = [f"[{0x10 + n:5d}.000005] message {n}" for n in range(6)]


@pytest.mark.parametrize("width", [8, 4])
@pytest.mark.parametrize("newer", [True, False])
def test_the_ring_with_descriptors(width: int, newer: bool) -> None:
    """With the number that newer kernels have in front of the text, and without; one message is stored behind the wrap."""
    memory = descriptors(MESSAGES, width=width, newer=newer)
    assert log_tail(memory.kernel(width), 100) == EXPECTED
    assert log_tail(memory.kernel(width), 2) == EXPECTED[-2:]


def test_descriptors_that_were_reused_or_are_not_finished_are_left_out() -> None:
    messages = {0x10 + n: f"message {n}".encode() for n in range(12)}  # there are eight places
    found = log_tail(descriptors(messages, states={0x1B: 0, 0x16: 3, 0x15: 1}).kernel(), 100)
    assert [line[-2:].strip() for line in found] == ["4", "5", "7", "8", "9", "10"]


def test_a_message_of_several_lines_is_several_lines() -> None:
    memory = descriptors({1: b"one\ntwo"})
    assert log_tail(memory.kernel(), 100) == ["[    1.000005] one", "two"]
    assert log_tail(memory.kernel(), 1) == ["two"]


@pytest.mark.parametrize("width", [8, 4])
def test_a_ring_that_has_no_symbol_is_found_and_of_two_the_one_in_use(width: int) -> None:
    """kallsyms of functions only; the static ring has the messages from before the larger one was there."""
    memory = descriptors(MESSAGES, width=width, count_bits=5)
    old = memory.base + 0x300
    memory.put(old, memory.read(memory.base + 0x100, 9 * width))
    memory.put(old + 3 * width, (0x13).to_bytes(width, "little"))  # its head
    kernel = Kernel(memory.read, lambda _: None, width, ((memory.base, 0x800),))
    assert log_tail(kernel, 100) == EXPECTED
    assert log_tail(Kernel(memory.read, lambda _: None, width, ((memory.base + 0x800, 0x100),)), 100) == []


def records(caller: bool) -> Memory:
    """struct printk_log of 3.5 to 5.9, the last one behind the wrap."""
    memory = Memory(TOP)
    names = ("log_buf", "log_buf_len", "log_first_idx", "log_next_idx")
    memory.variables = {name: TOP + 8 * n for n, name in enumerate(names)}
    text = TOP + 0x1000
    at, first = 0x100, 0x100
    for n in range(3):
        message, dictionary = f"message {n}".encode(), b"SUBSYSTEM=x" if n == 1 else b""
        extra = b"call" if caller else b""
        length = RECORD.size + len(extra) + len(message) + len(dictionary)
        length += -length % 4
        if n == 2:
            memory.put(text + at, RECORD.pack(0, 0, 0, 0, 0, 0))
            at = 0
        header = RECORD.pack(n * 1_000_000_000, length, len(message), len(dictionary), 0, 0)
        memory.put(text + at, header + extra + message + dictionary)
        at += length
    for name, value, form in (("log_buf", text, "<Q"), ("log_buf_len", 0x200, "<I"), ("log_first_idx", first, "<I")):
        memory.put(memory.variables[name], struct.pack(form, value))
    memory.put(memory.variables["log_next_idx"], struct.pack("<I", at))
    return memory


@pytest.mark.parametrize("caller", [False, True])
def test_the_ring_with_records(caller: bool) -> None:
    assert log_tail(records(caller).kernel(), 100) == [f"[{n:5d}.000000] message {n}" for n in range(3)]
    assert log_tail(records(caller).kernel(), 1) == ["[    2.000000] message 2"]


@pytest.mark.parametrize(("end", "expected"), [(20, ["<6>first", "<6>second"]), (0x100 + 20, ["<6>first", "<6>second"])])
def test_the_ring_of_characters(end: int, expected: list[str]) -> None:
    memory = Memory(TOP)
    memory.variables = {"log_buf": TOP, "log_buf_len": TOP + 8, "log_end": TOP + 16}
    text = b"<6>first\n<6>second\n"
    assert len(text) == 20 - 1
    ring = bytearray(b"\n" * 0x100)
    for n, byte in enumerate(text):
        ring[(end - len(text) + n) % 0x100] = byte
    memory.put(TOP + 0x1000, bytes(ring))
    memory.put(TOP, struct.pack("<Q", TOP + 0x1000))
    memory.put(TOP + 8, struct.pack("<I", 0x100))
    memory.put(TOP + 16, struct.pack("<I", end))
    assert [line for line in log_tail(memory.kernel(), 100) if line] == expected


def test_records_that_are_longer_than_they_can_be_are_cut() -> None:
    """Each says that it has 64 KiB of text, and the next begins a byte behind it: what is kept is what is asked for."""
    memory = records(caller=False)
    memory.data[0x1000:] = RECORD.pack(0, 16, 0xFFFF, 0, 0, 0) * ((len(memory.data) - 0x1000) // RECORD.size)
    memory.put(memory.variables["log_buf_len"], struct.pack("<I", len(memory.data) - 0x1000))
    memory.put(memory.variables["log_first_idx"], struct.pack("<I", 0))
    memory.put(memory.variables["log_next_idx"], struct.pack("<I", 1))
    found = log_tail(memory.kernel(), 8)
    assert len(found) <= 8
    assert max(map(len, found)) <= 4 * TEXT_LIMIT + 20


def test_a_kernel_without_a_ring_has_no_log() -> None:
    assert log_tail(Memory(TOP).kernel(), 100) == []
    unfilled = Memory(TOP)
    unfilled.variables = {"prb": TOP, "log_buf": TOP, "log_buf_len": TOP, "log_end": TOP, "log_first_idx": TOP}
    assert log_tail(unfilled.kernel(), 100) == []


@pytest.mark.parametrize("seed", range(20))
def test_a_hostile_ring_costs_little_and_raises_nothing(seed: int) -> None:
    """Any byte may be anything; what is read is bounded by what is looked at, not by what the ring says."""
    luck = random.Random(seed)
    for memory in (descriptors(MESSAGES), records(caller=False)):
        for _ in range(40):
            at = luck.choice([luck.randrange(0x200), luck.randrange(0x1000, 0x1100), luck.randrange(0x2000, 0x2100)])
            memory.data[at : at + 4] = luck.randbytes(4)
        asked = 0

        def read(address: int, size: int, memory: Memory = memory) -> bytes:
            nonlocal asked
            asked += size
            return memory.read(address, size)

        lines = log_tail(Kernel(read, memory.variables.get), 50)
        assert len(lines) <= 50
        assert asked < 80 << 20
