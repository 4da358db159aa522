"""Facts about the kernel proper, and their cache: quick, and never a reason to fail."""

from __future__ import annotations

import hashlib
import lzma
import os
import stat
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from efishim.errors import ImageError
from efishim.image import facts as facts_module
from efishim.image.elf import Segment, parse_elf
from efishim.image.facts import KernelCache, KernelFacts, KernelSource
from efishim.image.opened import open_image
from tests.support.images import build_bzimage, build_elf, build_kernel_elf, linux_symbols


def packed_kernel(elf: bytes) -> bytes:
    return lzma.compress(elf, lzma.FORMAT_XZ, lzma.CHECK_CRC32) + struct.pack("<I", len(elf))


ELF = build_kernel_elf()
IMAGE = build_bzimage(packed_kernel(ELF))


def source() -> KernelSource:
    return open_image(IMAGE, path="vmlinuz").source


def test_facts_of_a_compressed_kernel() -> None:
    facts = KernelCache().facts(source())
    symbols = dict(linux_symbols(percpu=True))
    assert facts.method == "xz"
    assert facts.unpacked_size == len(ELF)
    assert (facts.wide, facts.machine, facts.entry) == (True, 62, 0x1000000)
    assert facts.entry_code == (bytes(range(256)) * 16)[:64]
    assert facts.pvh_entry == 0x1000850
    assert facts.symbols["start_kernel"] == symbols["Tstart_kernel"]
    assert facts.symbols["startup_64"] == 0xFFFFFFFF81000000
    assert facts.load_start == 0x1000000
    assert facts.load_end == max(s.physical + s.memory_size for s in facts.segments)
    assert facts.physical_of(0xFFFFFFFF81000123) == 0x1000123
    assert facts.virtual_of(0x1000123) == 0xFFFFFFFF81000123
    assert facts.physical_of(0xFFFFFFFF80000000) is None
    assert facts.virtual_of(0) is None


def test_the_whole_kernel_can_be_unpacked() -> None:
    assert source().unpack() == ELF
    assert open_image(ELF, path="vmlinux").source.unpack() == ELF


@pytest.mark.slow
def test_unpacking_stops_behind_what_is_wanted() -> None:
    big = ELF + os.urandom(6 << 20)
    payload = lzma.compress(big, lzma.FORMAT_XZ, preset=0) + struct.pack("<I", len(big))
    data = build_bzimage(payload)
    probe = open_image(data, path="vmlinuz").source.probe()
    assert not probe.complete
    assert len(probe.data) < 4 << 20
    assert probe.facts().symbols["start_kernel"]


def test_a_kernel_without_symbols_is_unpacked_to_its_end() -> None:
    elf = build_elf([(0xFFFFFFFF81000000, 0x1000000, os.urandom(1 << 20), 1 << 20)], entry=0x1000010)
    image = open_image(build_bzimage(packed_kernel(elf)), path="vmlinuz")
    assert image.kernel.symbols == {}
    assert image.kernel.entry == 0x1000010
    assert image.symbols is None


def test_a_truncated_inner_kernel_is_refused() -> None:
    cut = build_elf([(0xFFFFFFFF81000000, 0x1000000, bytes(4096), 4096)], entry=0x1000000)[:-100]
    image = open_image(build_bzimage(packed_kernel(cut)), path="vmlinuz")
    with pytest.raises(ImageError, match="the ELF file is truncated"):
        _ = image.kernel


def test_a_second_look_unpacks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = KernelCache(tmp_path).facts(source())
    names = [s.name for s in KernelCache(tmp_path).symbols(source()) or ()]

    def fail(self: KernelSource) -> None:
        raise AssertionError("unpacked again")

    monkeypatch.setattr(KernelSource, "probe", fail)
    assert KernelCache(tmp_path).facts(source()) == first
    again = KernelCache(tmp_path).symbols(source())
    assert again is not None
    assert [s.name for s in again] == names
    assert again.address_of("start_kernel") == first.symbols["start_kernel"]


def cache_files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def with_hash(body: bytes) -> bytes:
    return hashlib.sha256(body).digest() + body


@pytest.mark.parametrize(
    "damage", ["empty", "flipped", "truncated", "junk", "valid hash of junk", "other structure", "odd symbols"]
)
def test_a_damaged_cache_is_rebuilt(tmp_path: Path, damage: str) -> None:
    cache = KernelCache(tmp_path)
    expected, symbols = cache.facts(source()), cache.symbols(source())
    assert symbols is not None
    contents = {path: path.read_bytes() for path in cache_files(tmp_path)}
    assert {path.suffix for path in contents} == {".facts", ".symbols"}
    for path, content in contents.items():
        flipped = bytearray(content)
        flipped[len(content) // 2] ^= 0x10
        junk = b"\xc1" * 100
        path.write_bytes(
            {
                "empty": b"",
                "flipped": bytes(flipped),
                "truncated": content[:-1],
                "junk": junk,
                "valid hash of junk": with_hash(junk),
                "odd symbols": with_hash(msgspec.msgpack.encode({"start": 0, "end": 1, "addresses": b"123", "names": "Ta"})),
                "other structure": with_hash(b"\x80"),
            }[damage]
        )
    assert cache.facts(source()) == expected
    assert list(cache.symbols(source()) or ()) == list(symbols)
    assert {path: path.read_bytes() for path in cache_files(tmp_path)} == contents


@pytest.mark.parametrize("kind", ["group", "others", "link", "pipe", "owner"])
def test_what_somebody_else_can_have_written_is_found_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """The hash in a file of the cache is computed by whoever writes it."""
    cache = KernelCache(tmp_path)
    expected = cache.facts(source())
    place = next(path for path in cache_files(tmp_path) if path.suffix == ".facts")
    forged = msgspec.msgpack.encode(msgspec.structs.replace(expected, entry=0x666))
    place.write_bytes(with_hash(forged))
    assert cache.facts(source()).entry == 0x666, "a file of one's own is believed"
    match kind:
        case "group":
            place.chmod(0o620)
        case "others":
            place.chmod(0o602)
        case "link":
            place.symlink_to(place.rename(tmp_path / "elsewhere"))
        case "pipe":
            place.unlink()
            os.mkfifo(place)
        case "owner":
            monkeypatch.setattr(os, "geteuid", lambda: place.stat().st_uid + 1)
    assert cache.facts(source()) == expected


def test_a_cache_of_another_format_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    KernelCache(tmp_path).facts(source())
    monkeypatch.setattr(facts_module, "CACHE_FORMAT", 999)
    KernelCache(tmp_path).facts(source())
    assert len(cache_files(tmp_path)) == 4


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"in the way")
    assert KernelCache(blocked).facts(source()).entry == 0x1000000
    assert KernelCache(blocked).symbols(source())


@pytest.mark.slow
def test_concurrent_writers_leave_whole_files(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: KernelCache(tmp_path).facts(source()), range(16)))
    assert all(facts == results[0] for facts in results)
    assert len(cache_files(tmp_path)) == 2
    assert all(not stat.S_IMODE(path.stat().st_mode) & 0o022 for path in cache_files(tmp_path))


def test_damaged_names_cost_the_symbols_only(tmp_path: Path) -> None:
    probe = open_image(ELF, path="vmlinux").source.probe()
    assert probe.kallsyms is not None
    broken = bytearray(ELF)
    at = probe.kallsyms.names + probe.kallsyms.markers[2]
    broken[at : at + 2] = b"\xff\xff"
    image = open_image(bytes(broken), path="vmlinux", cache=KernelCache(tmp_path))
    assert image.kernel.entry == 0x1000000
    with pytest.raises(ImageError, match="damaged"):
        _ = image.symbols


def linux(elf: bytes) -> bool:
    """Is an ELF file by itself taken for Linux?"""
    return KernelSource("", elf, elf=parse_elf(elf)).probe().facts().linux


def test_which_elf_files_are_linux() -> None:
    """A 64-bit entry point alone says nothing; symbols do, and in a stripped vmlinux the banner."""
    code = os.urandom(100)
    banner = b"Linux version 6.12.117+deb12-amd64 (debian-kernel@lists.debian.org) (x86_64-linux-gnu-gcc-12) #1 SMP\n\0"

    def stripped(data: bytes) -> bytes:
        return build_elf([(0xFFFFFFFF81000000, 0x1000000, data, len(data))], entry=0x1000000)

    assert linux(ELF)
    assert linux(stripped(code + banner))
    assert not linux(stripped(code))
    assert not linux(stripped(code + b"GNU Mach 1.8\0Linux version %s\0"))
    assert source().probe().facts().linux, "it is behind Linux's setup header"


def test_facts_are_values() -> None:
    facts = KernelCache().facts(source())
    assert isinstance(facts, KernelFacts)
    assert hash(facts.segments) == hash(tuple(facts.segments))
    assert Segment(0, 1, 2, 3, 4, 5).protection == "r-x"
