"""How entries are recognised, on a guest that a test moves by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

import pytest
from efishim_firmware_stubs import probe_kernel

from efishim.image.elf import Segment
from efishim.image.facts import KernelFacts
from efishim.image.opened import Image, open_image
from efishim.machine.memory import PhysicalMemory
from efishim.oracle import entry_points
from efishim.oracle.entry_points import ALIGNMENT, Candidates, KernelProper
from efishim.oracle.session import Session

MIB = 1 << 20


@dataclass
class FakeSession:
    """Breakpoints with their handlers, and the place where the guest stands."""

    ram: PhysicalMemory
    place: int = 0
    handlers: dict[int, Callable[[], None]] = field(default_factory=dict)
    expected: tuple[Callable[[], bool], Callable[[], None]] | None = None

    def __post_init__(self) -> None:
        self.qemu = SimpleNamespace(ram=self.ram)

    def on(self, address: int, handler: Callable[[], None]) -> None:
        self.handlers[address] = handler

    def off(self, address: int) -> None:
        self.handlers.pop(address, None)

    def expect(self, sight: Callable[[], bool], handler: Callable[[], None]) -> None:
        self.expected = sight, handler

    def reach(self, place: int) -> None:
        """The guest comes to an address."""
        self.place = place
        if place in self.handlers:
            self.handlers[place]()

    def look(self) -> bool:
        """What the session does between slices."""
        if self.expected is None or not self.expected[0]():
            return False
        _, handler = self.expected
        self.expected = None
        handler()
        return True


@pytest.fixture
def session() -> FakeSession:
    ram = PhysicalMemory()
    ram.add(0, 64 * MIB)
    return FakeSession(ram)


@pytest.fixture(scope="module")
def probe() -> Image:
    return open_image(probe_kernel(), path="probe")


def arm(entry_point: Candidates, session: FakeSession) -> list[int]:
    """Where it said that the kernel was entered."""
    entered: list[int] = []
    entry_point.arm(cast("Session", session), lambda: entered.append(session.place))
    return entered


def test_only_the_right_code_is_the_entry(session: FakeSession) -> None:
    entry_point = Candidates([0x1000, 0x2000], b"\xfa\xfc\x31\xc0")
    entered = arm(entry_point, session)
    session.ram.write(0x2000, b"\xfa\xfc\x31\xc0")
    session.reach(0x1000)
    session.reach(0x3000)
    assert entered == []
    session.reach(0x2000)
    session.reach(0x2000)
    assert entered == [0x2000]
    assert session.handlers == {}


def test_the_entries_of_a_bzimage_are_recognised_by_its_code(session: FakeSession, probe: Image) -> None:
    linux = probe.parts.bzimage
    assert linux is not None
    code = probe.data[linux.setup_size :]
    for entry_point, base in ((entry_points.linux32(probe, 64 * MIB), 0), (entry_points.linux64(probe, 64 * MIB), 0x200)):
        entered = arm(entry_point, session)
        session.ram.write(32 * MIB, code[:0x1000])
        session.reach(32 * MIB + base)
        assert entered == [32 * MIB + base]
        session.handlers.clear()
    assert MIB in entry_points.linux32(probe, 64 * MIB).addresses  # where it goes unless it is relocated


@pytest.mark.parametrize("segment", [0x1000, 0x9000])
def test_the_setup_code_is_recognised_where_loaders_put_it(session: FakeSession, probe: Image, segment: int) -> None:
    """boot.rst, "Loading The Rest of The Kernel": 0x90000 by tradition; QEMU takes 0x10000. The loader filled the header in."""
    entered = arm(entry_points.linux16(probe), session)
    session.ram.write(segment << 4, probe.data[:0x210] + b"\xff" * 0x50)
    session.reach((segment << 4) + 0x200)
    assert entered == [(segment << 4) + 0x200]


def test_startup_64_is_found_wherever_it_was_put(session: FakeSession, probe: Image) -> None:
    facts = probe.kernel
    entered = arm(KernelProper(probe, 64 * MIB), session)
    place = 40 * MIB + (facts.entry & (ALIGNMENT - 1))
    session.ram.write(place, facts.entry_code)
    session.reach(place)
    assert entered == [place]


def test_few_places_stay_once_the_code_shows_up(session: FakeSession) -> None:
    """First where it lies in the unpacked ELF file, then where the decompressor moves it; laid out as Debian's 6.12 is."""
    code = bytes(range(1, 65))
    segment = Segment(0x20_0000, 0xFFFF_FFFF_8100_0000, 0x100_0000, MIB, MIB, 5)
    facts = KernelFacts("zstd", 4 * MIB, True, 62, 0x100_0B53, 0x100_0000, 0x110_0000, code, (segment,), (), {})
    entry_point = KernelProper(cast("Image", SimpleNamespace(kernel=facts)), 64 * MIB)
    entered = arm(entry_point, session)
    assert len(session.handlers) == len(entry_point.addresses) == 32
    assert not session.look()
    buffer = 20 * MIB
    session.ram.write(buffer + 0x20_0B53, code)
    assert session.look()
    assert set(session.handlers) == {buffer + 0x20_0B53, buffer + 0xB53}
    session.ram.write(buffer + 0xB53, code)
    session.reach(buffer + 0xB53)
    assert entered == [buffer + 0xB53]


def test_a_kernel_that_lay_there_before_narrows_nothing(session: FakeSession, probe: Image) -> None:
    """With kexec, the first kernel's code is in memory already."""
    facts = probe.kernel
    old, new = (at * MIB + (facts.entry & (ALIGNMENT - 1)) for at in (16, 48))
    session.ram.write(old, facts.entry_code)
    entry_point = KernelProper(probe, 64 * MIB)
    arm(entry_point, session)
    before = time.process_time()
    assert not session.look()
    assert len(session.handlers) == len(entry_point.addresses)
    session.ram.write(new, facts.entry_code)
    assert session.look()
    assert {old, new} <= set(session.handlers)
    assert len(session.handlers) <= 4
    assert time.process_time() - before < 5
