"""Kernels found in a dump: a vmlinux around its PVH note, and nothing where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from efishim.dump.found import image_in, pvh_notes
from efishim.dump.opened import open_dump
from efishim.image.entries import Entry
from tests.support.cores import Core, stopped

NOTE = bytes.fromhex("04000000 08000000 12000000 58656e00")


def test_notes_are_found_wherever_they_lie(tmp_path: Path) -> None:
    one = stopped("hvmlite", "pvh")
    memory = {
        0x100_0000: NOTE + (0x1234).to_bytes(8, "little"),
        0x101_FFF8: NOTE + (0x5678).to_bytes(8, "little"),  # over the end of a piece
        0x103_0000: NOTE[:4] + b"\4" + NOTE[5:] + (0x9ABC).to_bytes(4, "little"),
        0x104_0000: NOTE.replace(b"Xen", b"Yen") + bytes(8),
    }
    dump = open_dump(Core(replace(one, memory=memory)).write(tmp_path / "core"))
    assert sorted(set(pvh_notes(dump))) == [0x1234, 0x5678, 0x9ABC]


def test_without_a_linux_around_the_note_there_is_no_image(tmp_path: Path) -> None:
    one = stopped("hvmlite", "pvh")
    assert image_in(open_dump(Core(one).write(tmp_path / "core")), Entry.PVH) is None
    note = NOTE + one.registers["rip"].to_bytes(8, "little")
    banner = b"Linux version 6.1.0 ("
    memory = {**one.memory, one.registers["rip"] // 0x20_0000 * 0x20_0000 + 0x10_0000: note + banner}
    dump = open_dump(Core(replace(one, memory=memory)).write(tmp_path / "core"))
    assert one.registers["rip"] in pvh_notes(dump)
    assert image_in(dump, Entry.PVH) is None
    assert image_in(dump, Entry.MULTIBOOT) is None


def test_an_entry_that_no_kernel_is_linked_for_is_none(tmp_path: Path) -> None:
    """Behind it the kernel's mapping, 2 GiB below the end of the address space, would go past that end."""
    place = 0x8020_0000
    one = stopped("hvmlite", "pvh").with_registers(rip=place)
    note = NOTE + place.to_bytes(8, "little") + b"Linux version 6.1.0 ("
    dump = open_dump(Core(replace(one, memory={**one.memory, place: note})).write(tmp_path / "core"))
    assert image_in(dump, Entry.PVH) is None
