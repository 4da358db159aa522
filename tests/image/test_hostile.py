"""Hostile images: whatever the bytes, typed errors come out, in bounded time and memory."""

from __future__ import annotations

import gzip
import lzma
import struct
import time
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.fuzz_image import open_everything
from tests.support.images import (
    SectionSpec,
    build_bzimage,
    build_elf,
    build_kernel_elf,
    build_pe,
    elf_note,
    relocation_block,
)

pytestmark = [pytest.mark.slow, pytest.mark.unmeasured]

SECONDS = 10
MEMORY = 192 << 20

KERNEL = build_kernel_elf(count=1100)
XZ = lzma.compress(KERNEL, lzma.FORMAT_XZ) + struct.pack("<I", len(KERNEL))
RELOCATIONS = relocation_block(0x1000, [(10, 0x10 * n) for n in range(15)])
MULTIBOOT = struct.pack("<III", 0x1BADB002, 3, -(0x1BADB002 + 3) % (1 << 32))
MULTIBOOT2 = struct.pack("<IIIIHHIIIHHI", 0xE85250D6, 0, 40, -(0xE85250D6 + 40) % (1 << 32), 1, 0, 16, 4, 6, 0, 0, 8)

SEEDS: dict[str, bytes] = {
    "kernel": build_bzimage(XZ),
    "plain kernel": build_bzimage(KERNEL),
    "gzip kernel": build_bzimage(gzip.compress(KERNEL, mtime=0)),
    "vmlinux": KERNEL,
    "pe": build_pe(
        [
            SectionSpec(b".text", 0x1000, bytes(0x400), 0x400),
            SectionSpec(b".reloc", 0x5000, RELOCATIONS, len(RELOCATIONS), 0x42000040),
            SectionSpec(b".compat", 0x6000, struct.pack("<BBHI", 1, 8, 0x14C, 0x1100), 8, 0x42000040),
        ],
        relocations=(0x5000, len(RELOCATIONS)),
    ),
    "uki": build_pe([SectionSpec(b".linux", 0x1000, build_bzimage(XZ), 0x80000, 0x40000040)], size_of_image=0x100000),
    "multiboot": build_elf(
        [(0x100000, 0x100000, bytes(16) + MULTIBOOT + bytes(4) + MULTIBOOT2 + bytes(64), 0x1000)],
        entry=0x100000,
        notes=elf_note(b"Xen", 18, b"\0\0\x10\0") + elf_note(b"Xen", 19, b"\0" * 12),
        wide=False,
        machine=3,
        sections=[
            (b".symtab", 2, bytes(16) + struct.pack("<IIIBBH", 1, 0x100000, 4, 0x12, 0, 1), 2, 16),
            (b".strtab", 3, b"\0_start\0", 0, 0),
        ],
    ),
    "gzip": gzip.compress(KERNEL, mtime=0),
}

HEADERS = {
    # where the header fields of each seed lie: MS-DOS, PE and section headers; the setup header; ELF headers
    "kernel": range(0x1F1, 0x270),
    "pe": (*range(0x40), *range(0x80, 0x80 + 24 + 160 + 120)),
    "vmlinux": range(64 + 3 * 56),
    "multiboot": range(52 + 2 * 32),
}


def bounded(data: bytes) -> str:
    """Run the fuzz function within the time that it may take."""
    started = time.process_time()
    outcome = open_everything(data)
    assert time.process_time() - started < SECONDS
    return outcome


@pytest.mark.parametrize("seed", list(SEEDS))
def test_the_seeds_are_whole(seed: str) -> None:
    """A mutation says nothing when the seed was refused already."""
    assert bounded(SEEDS[seed]) in {"bzImage", "pe", "elf"}


@pytest.mark.parametrize("seed", list(HEADERS))
def test_one_flipped_bit_in_each_header_field(seed: str) -> None:
    whole = SEEDS[seed]
    for at in HEADERS[seed]:
        # Each of the eight bits in turn from byte to byte: all of them for every field of a byte or more, in seconds.
        bit = 1 << at % 8
        bounded(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        bounded(whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1 :])


@pytest.mark.parametrize("value", [b"\xff" * 4, b"\xff\xff\xff\x7f", b"\0" * 4, b"\0\0\0\x80", b"\xf0\xff\xff\xff"])
@pytest.mark.parametrize("seed", list(HEADERS))
def test_absurd_sizes_and_offsets_in_every_place(seed: str, value: bytes) -> None:
    whole = SEEDS[seed]
    for at in list(HEADERS[seed])[::4]:
        bounded(whole[:at] + value + whole[at + 4 :])


@pytest.mark.parametrize("seed", list(SEEDS))
def test_truncation_everywhere(seed: str) -> None:
    whole = SEEDS[seed]
    for size in {*range(0, 0x280, 7), *range(0, len(whole), len(whole) // 40), len(whole) - 1}:
        bounded(whole[:size])


def test_memory_stays_bounded() -> None:
    """Sizes that claim gigabytes, in every place where an image may state one."""
    claims = [
        build_pe([SectionSpec(b".text", 0x1000, bytes(0x200), 0xFFFFFFFF)], size_of_image=0xFFFFFFFF),
        build_pe([SectionSpec(b".text", 0x1000, bytes(0x200), 0x3FFFE000)], size_of_image=0x3FFFF000),
        build_bzimage(KERNEL[:4096] + b"\xff" * 4),
        build_bzimage(gzip.compress(bytes(64 << 20), mtime=0)),
        build_elf([(0, 0, bytes(64), (1 << 63))], entry=0),
        gzip.compress(bytes(64 << 20), mtime=0),
    ]
    tracemalloc.start()
    try:
        for image in claims:
            bounded(image)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A seed with a few changes: bytes overwritten, a piece cut out or repeated, the end cut off."""
    data = bytearray(SEEDS[draw(st.sampled_from(sorted(SEEDS)))])
    for _ in range(draw(st.integers(1, 4))):
        # headers are where changes matter: half of them fall into the first KiB
        at = draw(st.one_of(st.integers(0, min(1023, len(data) - 1)), st.integers(0, len(data) - 1)))
        match draw(st.integers(0, 3)):
            case 0:
                piece = draw(st.binary(min_size=1, max_size=8))
                data[at : at + len(piece)] = piece
            case 1:
                value = draw(st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFF000, len(data), len(data) - 1]))
                data[at : at + 4] = struct.pack("<I", value)
            case 2:
                del data[at : at + draw(st.integers(1, 64))]
            case _:
                data[at:at] = data[at : at + draw(st.integers(1, 64))]
        if not data:
            return b"\0"
    if draw(st.integers(0, 5)) == 0:
        del data[draw(st.integers(1, len(data))) :]
    return bytes(data)


QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=150)


@QUICK
@given(mutated())
def test_mutated_images(data: bytes) -> None:
    bounded(data)


@QUICK
@given(
    st.binary(max_size=4096),
    st.sampled_from([b"", b"MZ", b"\x7fELF\2\1\1", b"\x1f\x8b\x08", bytes(0x1FE) + b"\x55\xaa\xeb\x6aHdrS\x0f\2"]),
)
def test_random_bytes(data: bytes, start: bytes) -> None:
    bounded(start + data)


@QUICK
@given(mutated())
def test_mutations_inside_the_compressed_kernel(data: bytes) -> None:
    """The same mutations behind a sound header: an attacker controls the unpacked kernel just as well."""
    bounded(build_bzimage(lzma.compress(data, preset=0) + struct.pack("<I", len(data))))
