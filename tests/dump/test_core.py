"""ELF cores of QEMU's form: read, and refused in one sentence when they are truncated, foreign or hostile."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from efishim.dump.opened import open_dump
from efishim.dump.source import DumpError
from efishim.wire import elf
from efishim.wire.x86 import EFER_LMA, EFER_LME
from tests.support.cores import Core, Stopped, stopped


@pytest.fixture(scope="module")
def tiny() -> Stopped:
    """Registers of a real entry, and little memory."""
    return replace(stopped("hvmlite", "pvh"), memory={0x1000: b"code"}, ranges=((0, 0x1000), (0x1000, 0x2000)))


@pytest.mark.parametrize("wide", [True, False])
def test_a_core_gives_registers_and_memory_back(wide: bool, tiny: Stopped, tmp_path: Path) -> None:
    dump = open_dump(Core(tiny, wide=wide).write(tmp_path / "core"))
    assert {name: dump.registers[name] for name in tiny.registers} == dict(tiny.registers)
    assert dump.memory.read(0xFFE, 8) == b"\0\0code\0\0"
    assert (dump.form, dump.memory.find(0x2FFF), dump.memory.find(0x3000) is None) == (
        "ELF core of QEMU",
        dump.memory.find(0),
        True,
    )
    assert any(sentence.startswith("EFER is not in the dump") for sentence in dump.derived)


def test_long_mode_is_derived_from_the_machine_of_the_core(tmp_path: Path) -> None:
    one = stopped("kexec", "linux64")
    dump = open_dump(Core(one, machine=elf.MACHINE_X86_64).write(tmp_path / "core"))
    assert dump.registers["efer"] == EFER_LME | EFER_LMA
    assert {name for name in one.registers if dump.registers[name] != one.registers[name]} == {"efer"}


def test_the_first_of_several_processors_is_taken(tiny: Stopped, tmp_path: Path) -> None:
    dump = open_dump(Core(tiny, processors=3).write(tmp_path / "core"))
    assert "the dump has 3 processors, of which the first is used" in dump.derived


REFUSED: dict[str, tuple[Callable[[Stopped], Core], str]] = {
    "another machine": (lambda one: Core(one, machine=183), "the core of a machine of another kind (AArch64)"),
    "an executable": (lambda one: Core(one, type=2), "an ELF file of type EXEC, not a core"),
    "a core of Linux": (lambda one: Core(one, owner="LINUX"), "has NT_PRSTATUS, which has no control registers, and no note"),
    "notes that differ": (lambda one: Core(one, pointer=5), "contradict each other: RIP is"),
    "ranges that overlap": (
        lambda one: Core(replace(one, ranges=((0, 0x1000), (0x800, 0x1000)), memory={})),
        "two ranges of the dump have memory at 0x800",
    ),
    "no memory": (lambda one: Core(replace(one, ranges=(), memory={})), "the dump has no memory"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_core_of_qemus_is_refused_in_a_sentence(name: str, tiny: Stopped, tmp_path: Path) -> None:
    make, words = REFUSED[name]
    with pytest.raises(DumpError) as caught:
        open_dump(make(tiny).write(tmp_path / "core"))
    assert words in caught.value.sentence
    assert caught.value.sentence.count("\n") == 0


def test_every_truncation_is_refused_in_a_sentence(tiny: Stopped, tmp_path: Path) -> None:
    whole = Core(tiny).write(tmp_path / "core").read_bytes()
    cut = tmp_path / "cut"
    for size in sorted({*range(0, 900, 13), len(whole) - 1, len(whole) - 0x2001}):
        cut.write_bytes(whole[:size])
        with pytest.raises(DumpError) as caught:
            open_dump(cut)
        assert "BUG" not in caught.value.sentence


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("zstd", zstandard.compress)])
def test_a_core_may_be_packed(name: str, pack: Callable[[bytes], bytes], tiny: Stopped, tmp_path: Path) -> None:
    whole = pack(Core(tiny).write(tmp_path / "core").read_bytes())
    (tmp_path / "packed").write_bytes(whole)
    dump = open_dump(tmp_path / "packed")
    assert (dump.form, dump.memory.read(0x1000, 4)) == (f"ELF core of QEMU, {name}", b"code")
    for size in (len(whole) - 1, len(whole) // 2, 5):
        (tmp_path / "packed").write_bytes(whole[:size])
        with pytest.raises(DumpError):
            open_dump(tmp_path / "packed")


def test_segments_that_share_bytes_of_the_file_are_refused(tiny: Stopped, tmp_path: Path) -> None:
    """4096 of them would otherwise be as many times the file."""
    path = Core(tiny).write(tmp_path / "core")
    data = bytearray(path.read_bytes())
    row = elf.ElfHeader64.SIZE + 2 * elf.ProgramHeader64.SIZE
    first = elf.ProgramHeader64.parse(data[row : row + elf.ProgramHeader64.SIZE])
    first.p_offset, first.p_filesz, first.p_memsz = 0, len(data) - 8, len(data) - 8
    data[row : row + elf.ProgramHeader64.SIZE] = first.build()
    path.write_bytes(data)
    with pytest.raises(DumpError, match="overlap in the file"):
        open_dump(path)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (b"KDUMP   ", "makedumpfile"),
        (b"PAGEDU64", "Windows"),
        (b"EMiL", "LiME"),
        (b"QEVM", "saved state of QEMU"),
        (b"\x7fELF\x02\x02", "byte order"),
        (b"\xff" * 64, "neither an ELF core nor a TOML"),
        (struct.pack("<Q", 0) * 9, "neither an ELF core nor a TOML"),
    ],
)
def test_foreign_dumps_are_named(head: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(head.ljust(64, b"\0"))
    with pytest.raises(DumpError, match=words) as caught:
        open_dump(tmp_path / "dump")
    assert caught.value.hint
