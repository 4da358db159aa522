"""Which entry a dump was taken at, and where the image lies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.dump.entry import ENTRIES, entry_of, place_of, require_same
from efishim.dump.found import image_in
from efishim.dump.opened import open_dump
from efishim.dump.source import DumpError
from efishim.errors import ImageError
from efishim.image.entries import Entry
from efishim.image.opened import Image, open_image
from efishim.wire import elf
from tests.support.cores import Core, Stopped, described, stopped

ROUTES = (
    ("hvmlite", "pvh"),
    ("kexec", "linux64"),
    ("grub", "linux32"),
    ("multiboot", "multiboot"),
    ("multiboot2", "multiboot2"),
)


def machine(one: Stopped) -> int:
    """What QEMU would write."""
    return elf.MACHINE_X86_64 if one.registers["efer"] else elf.MACHINE_386


def probe() -> Image:
    """The image that was loaded."""
    return open_image(efishim_firmware_stubs.probe_kernel(), path="probe")


@pytest.mark.slow
@pytest.mark.parametrize(("provider", "entry"), ROUTES)
def test_registers_and_memory_tell_the_entry_and_the_image_is_in_place(provider: str, entry: str, tmp_path: Path) -> None:
    one = stopped(provider, entry)
    dump = open_dump(Core(one, machine=machine(one)).write(tmp_path / "core"))
    assert entry_of(dump) == entry
    place = place_of(dump, Entry(entry), probe())
    assert place.loaded.entry_point == one.registers["rip"]
    require_same(dump, place, probe())
    for piece in place.pieces:
        assert dump.memory.read(piece.address, len(piece.data)) == piece.data


def test_what_looks_like_nothing_is_to_be_said(tmp_path: Path) -> None:
    one = stopped("hvmlite", "pvh").with_registers(rbx=0, rsi=0)
    dump = open_dump(Core(one).write(tmp_path / "core"))
    with pytest.raises(DumpError, match="does not tell which entry") as caught:
        entry_of(dump)
    assert all(name in caught.value.hint for name in ENTRIES)
    assert entry_of(open_dump(Core(one.with_registers(cr0=0x10)).write(tmp_path / "core"))) is Entry.LINUX16


def test_a_description_may_say_the_entry(tmp_path: Path) -> None:
    path = described(stopped("hvmlite", "pvh"), tmp_path)
    text = path.read_text()
    path.write_text(f'entry = "multiboot"\n{text}')
    assert entry_of(open_dump(path)) is Entry.MULTIBOOT
    path.write_text(f'entry = "efi"\n{text}')
    with pytest.raises(DumpError, match="of an entry 'efi'"):
        entry_of(open_dump(path))


def test_an_image_that_was_not_loaded_is_refused(tmp_path: Path) -> None:
    one = stopped("kexec", "linux64")
    at = one.registers["rip"] // 0x10000 * 0x10000
    code = bytearray(one.memory[at])
    code[one.registers["rip"] - at] ^= 0xFF
    dump = open_dump(Core(replace(one, memory={**one.memory, at: bytes(code)}), machine=62).write(tmp_path / "core"))
    with pytest.raises(ImageError, match="is not the kernel of"):
        require_same(dump, place_of(dump, Entry.LINUX64, probe()), probe())


@pytest.mark.parametrize(("provider", "entry"), ROUTES[1:3])
def test_a_linux_image_is_found_in_memory(provider: str, entry: str, tmp_path: Path) -> None:
    one = stopped(provider, entry)
    dump = open_dump(Core(one, machine=machine(one)).write(tmp_path / "core"))
    raw = image_in(dump, Entry(entry))
    assert raw is not None
    found, given = open_image(raw, path="found"), probe()
    assert found.parts.bzimage is not None
    assert given.parts.bzimage is not None
    assert found.data[found.parts.bzimage.setup_size :] == given.data[given.parts.bzimage.setup_size :].ljust(
        len(found.data) - found.parts.bzimage.setup_size, b"\0"
    )
    assert (
        image_in(open_dump(Core(one.with_registers(rsi=0), machine=machine(one)).write(tmp_path / "core")), Entry(entry))
        is None
    )
