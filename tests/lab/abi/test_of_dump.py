"""The rules of an entry, held against a dump: what holds in the machine holds in its dump, and what is broken is named."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.dump.opened import open_dump
from efishim.dump.source import DumpError
from efishim.image.entries import Door, Entry
from efishim.image.loading import LoadPlan, Piece, Room
from efishim.image.opened import Image, open_image
from efishim.lab.abi.of_dump import check_dump
from efishim.provider import Findings, Moment, Requirement
from efishim.wire.bootparams import BootParams
from tests.support.cores import Core, Stopped, stopped


def check(one: Stopped, entry: str, folder: Path, *, given: bool = False) -> dict[str, str]:
    """Rule and what was found."""
    machine = 62 if one.registers["efer"] else 3
    dump = open_dump(Core(one, machine=machine).write(folder / "core"))
    image = open_image(efishim_firmware_stubs.probe_kernel(), path="probe") if given else None
    return {found.rule: found.found for found in check_dump(dump, Entry(entry), image).violations}


@pytest.mark.parametrize(("provider", "entry"), [("hvmlite", "pvh"), ("kexec", "linux64"), ("grub", "linux32")])
@pytest.mark.parametrize("given", [True, False])
def test_what_our_providers_hand_over_holds_in_a_dump_too(provider: str, entry: str, given: bool, tmp_path: Path) -> None:
    assert check(stopped(provider, entry), entry, tmp_path, given=given) == {}


def test_the_limit_of_the_task_register_that_qemu_leaves_is_named(tmp_path: Path) -> None:
    one = stopped("hvmlite", "pvh").with_registers(tr_limit=0xFFFF)
    assert check(one, "pvh", tmp_path) == {"pvh/tr": "it is base 0x0, limit 0xffff, tss-busy"}


def test_a_wrong_segment_pointer_and_entry_are_named(tmp_path: Path) -> None:
    one = stopped("kexec", "linux64")
    assert "linux64/selectors" in check(one.with_registers(cs=8), "linux64", tmp_path)
    assert check(stopped("hvmlite", "pvh").with_registers(rbx=0), "pvh", tmp_path)["pvh/start-info"]
    assert check(stopped("hvmlite", "pvh").with_registers(rip=0x10_0000), "pvh", tmp_path, given=True)["pvh/entry-point"]


def test_only_with_the_image_is_it_seen_that_something_lies_on_it(tmp_path: Path) -> None:
    one = stopped("kexec", "linux64")
    at = one.registers["rip"] // 0x10000 * 0x10000
    code = bytearray(one.memory[at])
    code[-0x100] ^= 1
    assert code[-0x100] == one.memory[at][-0x100] ^ 1
    changed = replace(one, memory={**one.memory, at: bytes(code)})
    found = check(changed, "linux64", tmp_path, given=True)
    assert set(found) <= {"image/intact"}
    dump = open_dump(Core(one, machine=62).write(tmp_path / "core"))
    result = check_dump(dump, Entry.LINUX64)
    assert dict(result.unchecked) == {"image/intact": "needs the image, KERNEL"}
    assert "image/intact" not in result.checked


@pytest.mark.slow
def test_tables_without_end_are_refused(tmp_path: Path) -> None:
    """4 GiB of kernel, as its header says, mapped in pages of 4 KiB: a million walks that all find what they should."""
    one = stopped("kexec", "linux64")
    tables, directories = 0x100_0000, 0x180_0000
    memory = dict(one.memory)
    for n in range(2048):
        memory[tables + n * 0x1000] = struct.pack("<512Q", *((512 * n + k) << 12 | 3 for k in range(512)))
    pointers, root = directories + 0x4000, directories + 0x5000
    memory[directories] = struct.pack("<2048Q", *(tables + n * 0x1000 | 3 for n in range(2048)))
    memory[pointers] = struct.pack("<4Q", *(directories + n * 0x1000 | 3 for n in range(4)))
    memory[root] = struct.pack("<Q", pointers | 3)
    params = one.registers["rsi"]
    memory[params + BootParams.leaf("hdr.init_size").offset] = struct.pack("<I", 0xF000_0000)
    with pytest.raises(DumpError, match="takes more work to check than a handover gives reason to"):
        check(replace(one, memory=memory).with_registers(cr3=root), "linux64", tmp_path)


def test_an_entry_that_dumps_have_not_is_refused(tmp_path: Path) -> None:
    dump = open_dump(Core(stopped("hvmlite", "pvh")).write(tmp_path / "core"))
    with pytest.raises(DumpError, match="not looked at as of the entry efi"):
        check_dump(dump, Entry.EFI)


class Fixed:
    """An entry of a plugin: at the start of a kernel that lies where the test says."""

    name, summary, follows = "fixed", "an entry for tests", ""
    specifications = leaves_out = ()
    requirements = (Requirement("fixed/entry-point", "It is entered at its start", "the test"),)

    def __init__(self, at: int) -> None:
        self._at = at

    def find(self, image: Image) -> Door:
        return Door(self.name, where=f"{self._at:#x}")

    def load(self, image: Image, room: Room, *, high: bool) -> LoadPlan:
        assert room.fits(self._at, 4)
        return LoadPlan((Piece(self._at, b"code", 4),), self._at, 4, self._at)

    def check(self, moment: Moment, findings: Findings) -> None:
        found = moment.cpu.registers.rip
        findings.demand(self.requirements[0], found == moment.loaded.entry_point, f"RIP is {found:#x}")


def test_an_entry_of_a_plugin_has_its_rules_and_its_image_in_place(tmp_path: Path) -> None:
    one = stopped("hvmlite", "pvh")
    good = replace(one, memory={0x20_0000: b"code"}).with_registers(rip=0x20_0000)
    image = open_image(efishim_firmware_stubs.probe_kernel(), path="probe")

    def rules(dumped: Stopped, at: int) -> list[str]:
        dump = open_dump(Core(dumped).write(tmp_path / "core"))
        return [found.rule for found in check_dump(dump, Fixed(at), image).violations]

    assert rules(good, 0x20_0000) == []
    assert rules(good.with_registers(rip=0), 0x20_0000) == ["fixed/entry-point"]
    assert rules(good, 0x30_0000) == ["image/intact", "fixed/entry-point"]
    with pytest.raises(DumpError, match="only checked with the image"):
        check_dump(open_dump(Core(good).write(tmp_path / "core")), Fixed(0x20_0000))
