"""Opening files: what cannot be opened says why in one sentence."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle
import struct
import tracemalloc
from pathlib import Path

import pytest

from efishim.errors import ImageError
from efishim.image.entries import Entry
from efishim.image.opened import open_image, read_image_file
from tests.support.images import SectionSpec, build_bzimage, build_elf, build_kernel_elf, build_pe

TEXT = SectionSpec(b".text", 0x1000, b"\xc3" * 0x200, 0x200)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.slow
def test_a_kernel(tmp_path: Path) -> None:
    data = build_bzimage(build_kernel_elf())
    image = read_image_file(write(tmp_path / "vmlinuz", data))
    assert image.sha256 == hashlib.sha256(data).hexdigest()
    assert image.format == "bzImage"
    assert image.version.startswith("6.99.0-test")
    assert image.kernel.entry == 0x1000000
    assert image.symbols is not None
    assert image.symbols.address_of("start_kernel") == image.kernel.symbols["start_kernel"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"Hello, this is a text file.\n" * 400, "neither a Linux kernel, PE, ELF nor Multiboot"),
        (b"MZ" + bytes(62), "neither"),
        (b"\x7fELF\2\2" + bytes(64), "byte order 2"),
        (b"\x1f\x8b" + b"not gzip at all" + bytes(4), "gzip file is corrupt"),
        (gzip.compress(b"text", mtime=0), "neither"),
        (build_pe([TEXT])[:0x500], "truncated: section .text"),
        (build_bzimage(b"p" * 64)[:-64], "the Linux image is truncated"),
    ],
)
def test_content_that_is_no_image(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        read_image_file(write(tmp_path / "file", content))
    assert "\n" not in caught.value.sentence
    assert caught.value.exit_status == 4


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a directory"):
        read_image_file(tmp_path)
    with pytest.raises(ImageError, match="does not exist") as caught:
        read_image_file(tmp_path / "nothing")
    assert "deb:PACKAGE" in caught.value.hint
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer for ever
    with pytest.raises(ImageError, match="a device, pipe or socket"):
        read_image_file(tmp_path / "pipe")
    with pytest.raises(ImageError, match="a device, pipe or socket"):
        read_image_file("/dev/zero")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image_file(write(tmp_path / "file", b"x") / "below")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image_file("nul\0byte")
    with pytest.raises(ImageError, match="cannot be read"):
        read_image_file("x" * 5000)
    with pytest.raises(ImageError, match=r"^'' does not exist"):
        read_image_file("")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(ImageError, match="cannot be read"):
        read_image_file(loop)


def test_odd_names_stay_on_one_line(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/a\nb\x1b\xff")
    with pytest.raises(ImageError, match=r"a\\nb\\x1b\\udcff does not exist"):
        read_image_file(path)
    Path(path).write_bytes(build_bzimage())
    assert read_image_file(path).path.endswith(r"a\nb\x1b\udcff")


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for /boot/vmlinuz on systems that hide it; simulated, since root may read everything."""
    path = write(tmp_path / "vmlinuz", b"x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ImageError, match="may not be read"):
        read_image_file(path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as stream:
        stream.truncate((1 << 30) + 1)
    with pytest.raises(ImageError, match="1073741825 bytes"):
        read_image_file(path)


def test_a_large_file_of_another_kind_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    with path.open("wb") as stream:
        stream.write(b"not an image" * 10_000)
        stream.truncate(500 << 20)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError, match="neither a Linux kernel"):
            read_image_file(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_a_compressed_elf_is_opened_as_its_content() -> None:
    """Debian ships Xen and GNU Mach gzipped, and boot loaders unpack them."""
    content = build_kernel_elf()
    packed = gzip.compress(content, mtime=0)
    image = open_image(packed, path="xen.gz")
    assert (image.data, image.compression, image.formats) == (content, "gzip", ("elf",))
    assert image.sha256 == hashlib.sha256(packed).hexdigest()
    assert image.entries == (Entry.PVH,)


def test_the_version_of_an_elf_kernel_is_in_its_banner() -> None:
    banner = b"Linux version 5.10.0-test (gcc) #1 SMP\n\0"
    data = build_elf([(0xFFFFFFFF81000000, 0x1000000, bytes(64) + banner, 0x1000)], entry=0x1000000)
    assert open_image(data, path="vmlinux").version == "5.10.0-test (gcc) #1 SMP"
    assert open_image(build_pe([TEXT]), path="app.efi").version == ""


def test_a_unified_kernel_image_has_the_kernel_that_it_carries() -> None:
    linux = build_bzimage(build_kernel_elf())
    sections = [
        TEXT,
        SectionSpec(b".uname", 0x3000, b"6.99.0-uki", 10, 0x40000040),
        SectionSpec(b".linux", 0x4000, linux, len(linux), 0x40000040),
    ]
    image = open_image(build_pe(sections, size_of_image=0x100000), path="uki.efi")
    assert image.formats == ("pe",)
    assert image.entries == (Entry.EFI,)
    assert image.version == "6.99.0-uki"
    assert image.kernel.entry == 0x1000000


def test_an_application_without_kernel_says_so() -> None:
    image = open_image(build_pe([TEXT]), path="app.efi")
    with pytest.raises(ImageError, match="no kernel inside"):
        _ = image.kernel


def test_one_broken_format_leaves_the_others() -> None:
    """A kernel whose PE header is damaged still has its Linux entries, and `efi` has the damage as its reason."""
    linux = bytearray(build_bzimage())
    linux[:64] = b"MZ" + bytes(58) + struct.pack("<I", 0x80)
    linux[0x80:0x98] = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 0xFFFF, 0)
    image = open_image(bytes(linux), path="vmlinuz")
    assert image.formats == ("bzImage",)
    reason = next(door.reason for door in image.doors if door.entry is Entry.EFI)
    assert "optional header" in reason


@pytest.mark.slow
def test_images_survive_pickling() -> None:
    image = open_image(build_bzimage(build_kernel_elf()), path="vmlinuz")
    assert image.doors
    again = pickle.loads(pickle.dumps(image))
    assert again == image
    assert again.doors == image.doors


def test_the_embedded_probe_kernel_has_every_entry_that_it_is_for() -> None:
    probe = Path(__file__).parents[2] / "firmware_stubs" / "efishim_firmware_stubs" / "probe" / "probe.efi"
    image = read_image_file(probe)
    assert set(Entry) - set(image.entries) <= {Entry.EFI_MIXED}
    assert set(image.formats) >= {"bzImage", "pe", "multiboot", "multiboot2"}
