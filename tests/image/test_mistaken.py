"""Hints for files that are no kernels for x86."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from efishim.cli import main
from efishim.errors import ImageError
from efishim.image.entries import Entry
from efishim.image.mistaken import hint, other_machine
from efishim.image.opened import open_image


def elf(machine: int, order: str = "<") -> bytes:
    head = b"\x7fELF\x02" + (b"\x01" if order == "<" else b"\x02") + b"\x01" + bytes(9)
    return (head + struct.pack(f"{order}HHI", 2, machine, 1)).ljust(0x1000, b"\0")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"070701" + b"0" * 104, "goes behind -i"),
        (b"\x28\xb5\x2f\xfd" + bytes(64), "zstd data, perhaps an initial ramdisk"),
        (bytes(56) + b"ARM\x64" + bytes(64), "a kernel for arm64"),
        (bytes(56) + b"RSC\x05" + bytes(64), "a kernel for RISC-V"),
        (b"!<arch>\ndebian-binary", "deb:PACKAGE"),
        (bytes(0x8001) + b"CD001", "ISO 9660"),
        (b"hello", ""),
        (b"", ""),
    ],
)
def test_the_first_bytes_say_what_it_is(data: bytes, words: str) -> None:
    assert words in hint(data)
    assert bool(hint(data)) == bool(words)


def test_an_elf_file_for_another_machine_is_named() -> None:
    assert other_machine(elf(183)) == "arm64"
    assert other_machine(elf(22, ">")) == "S/390"
    assert other_machine(elf(0x7777)) == "machine 30583"
    assert other_machine(elf(62)) == other_machine(elf(3)) == other_machine(b"MZ") == other_machine(b"\x7fELF") == ""


@pytest.mark.parametrize(
    ("data", "words"), [(elf(183), "ELF file for arm64"), (b"070701" + bytes(999), "cannot|can be booted")]
)
def test_the_error_has_the_hint(data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words) as refused:
        open_image(data, path="x").require(Entry.EFI)
    assert refused.value.hint


def test_kernel_and_ramdisk_swapped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "initrd").write_bytes(b"070701" + b"0" * 600)
    assert main(["run", str(tmp_path / "initrd"), "-i", "/nonexistent"]) == 4
    assert "no ramdisk has this path" in capsys.readouterr().err
    assert main(["run", str(tmp_path / "initrd"), "-i", str(tmp_path / "initrd")]) == 4
    assert "an initial ramdisk goes behind -i" in capsys.readouterr().err
