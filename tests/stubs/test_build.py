"""The committed binaries are what their sources assemble to, and the loaders notice when they are not."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import efishim_firmware_stubs
import pytest
from efishim_firmware_stubs import build

from tests.support.qemu import require


@pytest.mark.slow
@pytest.mark.parametrize("source", build.sources(), ids=str)
def test_sources_make_the_committed_bytes(source: Path, tmp_path: Path) -> None:
    if source.suffix == ".asm":
        require("nasm", "nasm")
    elif not build.same_tools():
        pytest.skip(f"compiled with {build.COMPILER} and {build.LINKER}, which are not what is installed")
    build.make(source, tmp_path / "new")
    assert (tmp_path / "new").read_bytes() == (build.ROOT / build.binary_of(source)).read_bytes()


def test_the_manifest_lists_every_binary_and_no_other() -> None:
    hashes = json.loads(build.MANIFEST.read_text())
    assert sorted(hashes) == sorted(build.binary_of(source).as_posix() for source in build.sources())
    for name, digest in hashes.items():
        assert hashlib.sha256((build.ROOT / name).read_bytes()).hexdigest() == digest


def test_names_of_binaries() -> None:
    assert build.binary_of(Path("init/init.elf.asm")) == Path("init/init.elf")
    assert build.binary_of(Path("machine/hook.asm")) == Path("machine/hook.bin")
    assert build.binary_of(Path("guest_shim/shim.elf.lds")) == Path("guest_shim/shim.elf")


def test_a_changed_binary_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "init").mkdir()
    (tmp_path / "hashes.json").write_bytes(build.MANIFEST.read_bytes())
    (tmp_path / "init/init.elf").write_bytes((build.ROOT / "init/init.elf").read_bytes() + b"\0")
    monkeypatch.setattr(efishim_firmware_stubs, "files", lambda _name: tmp_path)
    with pytest.raises(ValueError, match="SHA-256"):
        efishim_firmware_stubs.reporting_init()


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(KeyError):
        efishim_firmware_stubs.load("../README.md")


def test_a_refused_source_keeps_the_old_binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("nasm", "nasm")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "MANIFEST", tmp_path / "hashes.json")
    (tmp_path / "good.asm").write_text("bits 64\nret\n")
    assert build.build([Path("good.asm")]) == {}
    assert (tmp_path / "good.bin").read_bytes() == b"\xc3"
    (tmp_path / "good.asm").write_text("no such instruction\n")
    assert "good.asm:1" in build.build([Path("good.asm")])[Path("good.asm")]
    assert (tmp_path / "good.bin").read_bytes() == b"\xc3"
    assert json.loads((tmp_path / "hashes.json").read_text()) == {"good.bin": hashlib.sha256(b"\xc3").hexdigest()}


def test_the_elf_is_the_payload_of_the_probe_kernel() -> None:
    image, elf = efishim_firmware_stubs.probe_kernel(), efishim_firmware_stubs.probe_elf()
    assert elf.startswith(b"\x7fELF")
    assert image.endswith(elf)
    # A multiboot header in it would keep QEMU from looking for the PVH note.
    assert struct.pack("<I", 0x1BADB002) not in elf
    assert struct.pack("<I", 0x1BADB002) in image[:8192]
    assert struct.pack("<I", 0xE85250D6) in image[:32768]
