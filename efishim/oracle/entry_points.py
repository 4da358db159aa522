"""Detects that a loader enters the kernel: candidate addresses of the first instruction, and the check that confirms one.

Loaders choose load addresses themselves. Breakpoints in QEMU are cheap, so there is one at every possible address, and
the bytes found there distinguish the kernel's entry point from other code that runs by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from efishim.errors import RouteError
from efishim.image.entries import Entry
from efishim.image.multiboot import read_tag
from efishim.image.opened import Image
from efishim.lab.observe.milestones import ENTRY_BYTES
from efishim.machine.memory import BusError
from efishim.oracle.session import Session
from efishim.wire.linux_header import ENTRY64_OFFSET
from efishim.wire.multiboot import Multiboot2HeaderEntry

PROOF = 32
"""Bytes of a loader's entry that are compared. Of the kernel proper fewer are: KASLR changes addresses in its code."""

MEGABYTE = 1 << 20
ALIGNMENT = 2 * MEGABYTE
"""CONFIG_PHYSICAL_ALIGN of Linux is at least 2 MiB on x86-64; boot loaders take it from kernel_alignment."""

MAX_PLACES = 4096
"""Most breakpoints of this kind: 8 GiB of memory."""

SETUP_ENTRY = 0x200
REAL_MODE_ENDS = 0xA0000
SETUP_STEP = 0x10000


class EntryPoint(Protocol):
    """Waits for one entry."""

    def arm(self, session: Session, entered: Callable[[], None]) -> None:
        """Watch; `entered` is called once, with the guest stopped at the entry's first instruction."""


class Candidates:
    """Any of many addresses, proven by the code that lies there."""

    def __init__(self, addresses: Iterable[int], code: bytes, *, accept: Callable[[Session], bool] = lambda _: True) -> None:
        self.addresses = tuple(addresses)[:MAX_PLACES]
        self._code = code
        self._accept = accept

    def arm(self, session: Session, entered: Callable[[], None]) -> None:
        """Watch all of them until one is it."""

        def hit() -> None:
            if not self._proven(session) or not self._accept(session):
                return
            for address in self.addresses:
                session.off(address)
            entered()

        for address in self.addresses:
            session.on(address, hit)

    def _proven(self, session: Session) -> bool:
        try:
            return session.qemu.ram.read(session.place, len(self._code)) == self._code
        except BusError:
            return False


def aligned(memory: int, offset: int) -> range:
    """Every place at `offset` behind a multiple of the kernel's alignment."""
    first = offset if offset else ALIGNMENT
    return range(first, memory, ALIGNMENT)


class KernelProper(Candidates):
    """`startup_64`: the entry of the kernel inside, wherever it was put.

    Hundreds of breakpoints make decompression several times slower. So as soon as the kernel's code shows up in memory,
    which is long before it runs, only the places stay that this appearance allows.
    """

    def __init__(self, image: Image, memory: int) -> None:
        facts = image.kernel
        self._facts = facts
        self._present: set[int] = set()
        super().__init__(aligned(memory, facts.entry & (ALIGNMENT - 1)), facts.entry_code[:ENTRY_BYTES])

    def arm(self, session: Session, entered: Callable[[], None]) -> None:
        """Watch all places, then few."""
        super().arm(session, entered)
        self._present = self._appearances(session)

        def narrow() -> None:
            present = self._appearances(session)
            if present <= self._present:
                session.expect(sight, narrow)
                return
            keep = present | {self._moved(at) for at in present}
            for address in self.addresses:
                if address not in keep:
                    session.off(address)

        def sight() -> bool:
            return not self._appearances(session) <= self._present

        session.expect(sight, narrow)

    def _appearances(self, session: Session) -> set[int]:
        """Where its first instructions lie now; not all of them are the kernel that will run."""
        ram = session.qemu.ram
        return {at for at in self.addresses if ram.find(at, ENTRY_BYTES) and ram.read(at, ENTRY_BYTES) == self._code}

    def _moved(self, at: int) -> int:
        """Where the entry will be when it is at `at` in the ELF file as it was unpacked: its segments are moved to the
        start of the buffer in their place (arch/x86/boot/compressed/misc.c, parse_elf).
        """
        facts = self._facts
        for segment in facts.segments:
            if segment.physical <= facts.entry < segment.physical + segment.memory_size:
                in_file = facts.entry - segment.physical + segment.offset
                return at - in_file + facts.entry - facts.load_start
        return at


def kernel_proper(image: Image, memory: int) -> KernelProper | None:
    """The entry point `startup_64`; None for an image without a 64-bit kernel. Whoever comes there has an identity mapping."""
    facts = image.kernel
    return KernelProper(image, memory) if facts.wide and len(facts.entry_code) >= ENTRY_BYTES else None


def linux16(image: Image) -> Candidates:
    """The real-mode setup code. Its header was changed by the loader, the jump before it and the signature were not."""
    data = _bzimage(image)
    segments = [*range(SETUP_STEP, REAL_MODE_ENDS, SETUP_STEP), *range(0x80000, REAL_MODE_ENDS, 0x1000)]
    return Candidates(sorted({at + SETUP_ENTRY for at in segments}), data[SETUP_ENTRY : SETUP_ENTRY + 6])


def linux32(image: Image, memory: int) -> Candidates:
    """The start of the protected-mode code; 1 MiB is where it goes when it is not relocated."""
    code = _protected_mode_code(image)
    return Candidates([MEGABYTE, *aligned(memory, 0)], code[:PROOF])


def linux64(image: Image, memory: int) -> Candidates:
    """The 64-bit entry."""
    code = _protected_mode_code(image)
    return Candidates(aligned(memory, ENTRY64_OFFSET), code[ENTRY64_OFFSET : ENTRY64_OFFSET + PROOF])


def pvh(image: Image) -> Candidates:
    """The address in the ELF note; QEMU does not relocate."""
    image.require(Entry.PVH)
    address = image.kernel.pvh_entry
    assert address is not None
    return Candidates([address], b"")


def multiboot(image: Image, number: int) -> Candidates:
    """The entry address that the header or, without one, the ELF file gives. `number` is that of the specification."""
    entry = Entry.MULTIBOOT2 if number == 2 else Entry.MULTIBOOT
    image.require(entry)
    parts = image.parts
    address: int | None = None
    if number == 1 and parts.multiboot is not None and parts.multiboot.address is not None:
        address = parts.multiboot.address[4]
    if number == 2 and parts.multiboot2 is not None and (tag := parts.multiboot2.tag("ENTRY_ADDRESS")) is not None:
        address = read_tag(tag, Multiboot2HeaderEntry).entry_addr
    if address is None and parts.elf is not None:
        address = parts.elf.physical_entry
    if address is None:
        raise RouteError(f"{image.path} does not say where its {entry} entry is")
    return Candidates([address], b"")


def _bzimage(image: Image) -> bytes:
    if image.source.bzimage is None:
        raise RouteError(f"{image.path} has no Linux setup header")
    return image.source.data


def _protected_mode_code(image: Image) -> bytes:
    data = _bzimage(image)
    linux = image.source.bzimage
    assert linux is not None
    return data[linux.setup_size : linux.setup_size + ENTRY64_OFFSET + PROOF]
