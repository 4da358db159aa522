"""What a dump decides of a plan: RAM size, platform, command line and ramdisks."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from efishim.dump.opened import open_dump
from efishim.dump.source import DumpError
from efishim.image.entries import Entry
from efishim.lab.plan.arguments import Words
from efishim.lab.plan.from_dump import memory_of, plan_dump, told
from efishim.lab.plan.plan import GIB, MIB, Blob
from efishim.plugins import GROUP, Registry, load_plugins
from tests.support.cores import Core, described, stopped
from tests.test_plugins import installed

HEAD = 'format = "efishim-dump"\nversion = 1\n[registers]\nrip = 0\ncr0 = 0x11\n[segments.cs]\nselector = 8\n'


@pytest.mark.parametrize(
    ("ranges", "size"),
    [
        ([(0, 512 * MIB)], 512 * MIB),
        ([(0, 0xA_0000), (0xC_0000, 512 * MIB - 0xC_0000), (0xFD00_0000, 16 * MIB)], 512 * MIB),
        ([(0, 3 * GIB), (4 * GIB, 5 * GIB), (0xFFFC_0000, 0x4_0000)], 8 * GIB),
        ([(0, 100 * MIB + 1)], 101 * MIB),
        ([(0, 0x20_0000)], 64 * MIB),
        ([(0, 1 << 45)], 64 * GIB),
    ],
)
def test_ram_is_what_lies_from_1_mib_and_from_4_gib_on(ranges: list[tuple[int, int]], size: int, tmp_path: Path) -> None:
    """QEMU's flash ends at 4 GiB, and its last page belongs to it and not to RAM."""
    memory = "".join(f"[[memory]]\nstart = {start}\nsize = {size}\n" for start, size in ranges)
    (tmp_path / "dump").write_text(HEAD + memory)
    assert memory_of(open_dump(tmp_path / "dump")) == size


def test_the_dump_tells_command_line_and_ramdisks(tmp_path: Path) -> None:
    registry = load_plugins()
    one = stopped("kexec", "linux64")
    dump = open_dump(Core(one, machine=62).write(tmp_path / "core"))
    assert told(registry, dump, Entry.LINUX64, ramdisks=True).cmdline == b"console=ttyS0 told"
    broken = open_dump(Core(one.with_registers(rsi=1 << 40), machine=62).write(tmp_path / "core"))
    assert told(registry, broken, Entry.LINUX64).cmdline == b""


def test_the_platform_is_qemus_for_a_core_and_the_users_before_that(tmp_path: Path) -> None:
    one = stopped("hvmlite", "pvh")
    core, ranges = Core(one).write(tmp_path / "core"), described(one, tmp_path)
    kernel = Blob.embedded("kernel", b"x")

    def platform(path: Path, word: str) -> str:
        return plan_dump(load_plugins(), str(path), lambda: kernel, Words(platform=word, memory="")).platform

    assert [platform(core, ""), platform(ranges, ""), platform(core, "kvm")] == ["pc-qemu", "pc", "kvm"]


def test_a_file_of_holes_that_a_run_would_hash_for_hours_is_refused(tmp_path: Path) -> None:
    one = stopped("kexec", "linux64")
    path = Core(replace(one, ranges=(*one.ranges, (1 << 40, 1 << 40))), machine=62).write(tmp_path / "core")
    with pytest.raises(DumpError, match="more than 64 GiB, holes included"):
        plan_dump(load_plugins(), str(path), lambda: Blob.embedded("kernel", b"x"), Words(platform="", memory=""))


def test_a_dump_is_read_by_our_provider_whoever_else_has_one(tmp_path: Path) -> None:
    """Firecracker's reads back what lies at Firecracker's addresses; its name comes before that of any of ours."""
    theirs = installed("firecracker", import_module("efishim_firecracker"), "efishim-firecracker")
    registry = Registry([*entry_points(group=GROUP), theirs])
    assert next(iter(registry.providers)) == "firecracker"
    for provider, entry in (("hvmlite", "pvh"), ("kexec", "linux64")):
        dump = open_dump(Core(stopped(provider, entry), machine=62 if entry == "linux64" else 3).write(tmp_path / entry))
        found = told(registry, dump, Entry(entry), ramdisks=True)
        assert found == told(load_plugins(), dump, Entry(entry), ramdisks=True)
        assert found.cmdline == b"console=ttyS0 told"
