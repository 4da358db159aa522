"""Services that an image asks for more than there is: they answer, and what they cost has to do with what the image has."""

from __future__ import annotations

import struct
from collections import deque
from itertools import pairwise, permutations

import pytest

from efishim.firmware.services.virtual import _Ranges
from efishim.machine.host_work import TooMuchWork
from tests.firmware.fake import Body
from tests.firmware.lab import INVALID, NOT_FOUND, OUT_OF_RESOURCES, RAM, SUCCESS, Lab

BUS = "aaaaaaaa-1111-2222-3333-444444444444"
BINDING = "18a031ab-b443-4d1a-a5c0-0c09261e9f71"
DEVICE_PATH = "09576e91-6d3f-11d2-8e39-00a0c969723b"
BY_CHILD = 8
UNSUPPORTED = 1 << 63 | 3
ALIASED = 1 << 40
"""Where tables of the image's own map the same page again and again; the fake processor needs only both ends."""
SIZES = (RAM + 1, 2 * RAM, 1 << 36, (1 << 45) - 1, 1 << 46)


def aliased(lab: Lab, size: int) -> int:
    lab.cpu.windows += [(ALIASED, 0x30_0000, 0x1000), (ALIASED + size - 0x1000, 0x30_0000, 0x1000)]
    return ALIASED


@pytest.mark.parametrize("size", SIZES)
def test_ranges_longer_than_memory(lab: Lab, size: int) -> None:
    start, page = aliased(lab, size), lab.put(bytes(0x1000))
    lab.memory.write(0x30_0000, b"unchanged")
    with lab.memory.work.bounded(RAM >> 12):
        lab.bs("CopyMem", start, start + 1, size)
        lab.bs("SetMem", start, size, 0x55)
        assert lab.bs("CalculateCrc32", start, size, page) == INVALID
        assert lab.bs("LoadImage", 0, lab.shim.protocols.agent, 0, start, size, page) == OUT_OF_RESOURCES
    assert lab.memory.read(0x30_0000, 9) == b"unchanged"


def test_a_range_of_memory_is_copied(lab: Lab) -> None:
    lab.memory.write(0x100_0000, b"text")
    with lab.memory.work.bounded(RAM >> 12):
        lab.bs("CopyMem", 0x200_0000, 0x100_0000, 0x100_0000)
    assert lab.memory.read(0x200_0000, 4) == b"text"


class Watcher:
    """A driver that supports nothing, and notes what it is asked about."""

    def __init__(self, lab: Lab) -> None:
        self.asked: list[int] = []
        function = lab.function(self._supported)
        self.handle = lab.install(BINDING, lab.put(struct.pack("<3QI4xQQ", function, function, function, 0x10, 0, 0)))

    def _supported(self, this: int, controller: int, *_: int) -> Body:
        del this
        self.asked.append(controller)
        return UNSUPPORTED
        yield


def parent(lab: Lab, controller: int, child: int, agent: int) -> None:
    lab.ok("OpenProtocol", controller, lab.guid(BUS), lab.cell(), agent, child, BY_CHILD)


@pytest.mark.parametrize("number", [2, 3, 12])
def test_handles_that_are_each_other_s_children(lab: Lab, number: int) -> None:
    watcher = Watcher(lab)
    handles = [lab.install(BUS, n) for n in range(number)]
    for one, other in permutations(handles, 2):
        parent(lab, one, other, watcher.handle)
    assert lab.bs("ConnectController", handles[0], 0, 0, 1) == NOT_FOUND
    assert sorted(watcher.asked) == sorted(handles), "each once"


def test_a_long_chain_of_children(lab: Lab) -> None:
    watcher = Watcher(lab)
    handles = [lab.install(BUS, n) for n in range(100)]
    for one, other in pairwise(handles):
        parent(lab, one, other, watcher.handle)
    lab.bs("ConnectController", handles[0], 0, 0, 1)
    assert watcher.asked == handles


def test_children_come_before_siblings(lab: Lab) -> None:
    """A diamond, and one more: the shared child is met where it is first."""
    watcher = Watcher(lab)
    top, left, right, shared, last = (lab.install(BUS, n) for n in range(5))
    for one, other in ((top, left), (top, right), (left, shared), (right, shared), (right, last)):
        parent(lab, one, other, watcher.handle)
    lab.bs("ConnectController", top, 0, 0, 1)
    assert watcher.asked == [top, left, shared, right, last]
    watcher.asked.clear()
    lab.bs("ConnectController", top, 0, 0, 0)
    assert watcher.asked == [top]


@pytest.mark.slow
def test_a_search_through_too_many_handles_ends_the_run(lab: Lab) -> None:
    watcher = Watcher(lab)
    top = lab.install(BUS, 0)
    for n in range(600):
        parent(lab, top, lab.install(BUS, n), watcher.handle)
    with lab.memory.work.bounded(0), pytest.raises(TooMuchWork):
        deque(iter(lambda: lab.shim.handles.children(top), None), maxlen=0)


def node(body: bytes, kind: int = 1, subtype: int = 4) -> bytes:
    return struct.pack("<BBH", kind, subtype, 4 + len(body)) + body


END = b"\x7f\xff\x04\x00"
SMALL = node(b"") * 3000
"""Twelve thousand bytes of the smallest nodes."""


@pytest.mark.slow
def test_long_paths(lab: Lab) -> None:
    """All are the same up to their last node, and the last but one is the longest that fits."""
    handles = []
    first = lab.put(SMALL + END)
    for _ in range(2000):
        handles.append(lab.install(DEVICE_PATH, first))
    longest = lab.install(DEVICE_PATH, lab.put(SMALL + node(b"x") + END))
    other = lab.install(DEVICE_PATH, lab.put(SMALL + node(b"y") + END))
    path = lab.put(SMALL + node(b"x") + node(b"file", 4, 4) + END)
    where, device = lab.cell(path), lab.cell()
    with lab.memory.work.bounded(RAM >> 12):
        assert lab.bs("LocateDevicePath", lab.guid(DEVICE_PATH), where, device) == SUCCESS
    assert lab.value(device) == longest != other
    assert lab.value(where) == path + len(SMALL) + 5


@pytest.mark.parametrize(
    ("there", "wanted", "rest"),
    [
        (node(b"a") + END, node(b"a") + END, 5),
        (END, node(b"a") + END, 0),
        (node(b"a") + END, node(b"a") + node(b"b") + END, 5),
        (node(b"a") + b"\x7f\x01\x04\x00" + node(b"b") + END, node(b"a") + b"\x7f\x01\x04\x00" + node(b"b") + END, None),
        (node(b"a") + END, node(b"a") + b"\x7f\x01\x04\x00" + node(b"b") + END, 5),
        (node(b"ab") + END, node(b"a") + END, None),
        (node(b"a") + node(b"b") + END, node(b"a") + END, None),
        (node(b"a"), node(b"a") + END, None),
    ],
)
def test_beginnings_of_paths(lab: Lab, there: bytes, wanted: bytes, rest: int | None) -> None:
    """What is behind the path on the handle is not mapped: it ends with memory."""
    lab.memory.write(RAM - len(there), there)
    handle = lab.install(DEVICE_PATH, RAM - len(there))
    lab.install(BUS, 1, handle)
    path = lab.put(wanted)
    where, device = lab.cell(path), lab.cell()
    status = lab.bs("LocateDevicePath", lab.guid(BUS), where, device)
    if rest is None:
        assert status == NOT_FOUND
    else:
        assert (status, lab.value(device), lab.value(where) - path) == (SUCCESS, handle, rest)


@pytest.mark.parametrize(
    ("ranges", "start", "end", "covered"),
    [
        ([(0, 10)], 0, 10, True),
        ([(0, 10)], 0, 11, False),
        ([(5, 10)], 4, 6, False),
        ([(5, 10), (0, 5)], 2, 9, True),
        ([(0, 4), (5, 10)], 2, 9, False),
        ([(0, 10), (2, 3)], 1, 9, True),
        ([(3, 3)], 3, 3, False),
        ([(9, 2), (0, 3)], 0, 3, True),
        ([], 0, 1, False),
    ],
)
def test_what_ranges_cover(ranges: list[tuple[int, int]], start: int, end: int, *, covered: bool) -> None:
    assert _Ranges(ranges).cover(start, end) is covered
