"""The default ramdisk: the i386 init for a 32-bit Linux, the x86-64 one for everything else."""

from __future__ import annotations

from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.default_ramdisk import default_ramdisk
from efishim.lab.plan.plan import Blob, Plan
from efishim.plugins import load_plugins
from tests.support.images import build_bzimage, build_elf

BANNER = b"Linux version 6.99.0-test (someone@example.org) #1\n\0"
NARROW = build_elf([(0xC1000000, 0x1000000, b"code", 4)], entry=0x1000000, wide=False, machine=3)
WIDE = build_elf([(0xFFFFFFFF81000000, 0x1000000, b"code", 4)], entry=0x1000000)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts of made images do not go to the user's cache."""
    monkeypatch.setenv("EFISHIM_CACHE", str(tmp_path / "cache"))


def vmlinux(*, wide: bool, content: bytes = BANNER) -> bytes:
    base = 0xFFFFFFFF80000000 if wide else 0xC0000000
    segments = [(base + 0x1000000, 0x1000000, content, len(content))]
    return build_elf(segments, entry=0x1000000, wide=wide, machine=62 if wide else 3)


def plan(image: bytes, **words: object) -> Plan:
    return make_plan(load_plugins(), lambda: Blob.embedded("image", image), Words(**words))  # type: ignore[arg-type]


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize(
    "image",
    [
        build_bzimage(NARROW, xloadflags=0),
        build_bzimage(NARROW, xloadflags=1 << 2),  # XLF_EFI_HANDOVER_32
        build_bzimage(NARROW, protocol=0x208),  # has no xloadflags
        vmlinux(wide=False),
    ],
)
def test_a_32_bit_linux_gets_the_i386_init(image: bytes) -> None:
    chosen = plan(image)
    (ramdisk,) = chosen.initrds
    assert (ramdisk.label, ramdisk.read()) == ("embedded:init32", efishim_firmware_stubs.reporting_initrd(wide=False))
    (told,) = chosen.record_options().initrds
    assert (told.path, told.sha256) == (ramdisk.label, ramdisk.sha256)
    assert "initrd" not in chosen.reproduce()
    assert " -i " not in chosen.reproduce()


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize(
    "image",
    [
        build_bzimage(WIDE),
        build_bzimage(WIDE, xloadflags=0),
        build_bzimage(WIDE, protocol=0x208),
        vmlinux(wide=True),
        efishim_firmware_stubs.probe_kernel(),
        efishim_firmware_stubs.probe_elf(),
        vmlinux(wide=False, content=b"another system"),
        build_bzimage(xloadflags=0),  # no payload, as memtest86+
        build_bzimage(b"not a kernel", xloadflags=0),
        b"no image at all",
    ],
)
def test_everything_else_gets_the_x86_64_init(image: bytes) -> None:
    (ramdisk,) = plan(image).initrds
    assert (ramdisk.label, ramdisk.read()) == ("embedded:init", efishim_firmware_stubs.reporting_initrd())


@pytest.mark.usefixtures("own_cache")
def test_an_image_that_vanished_gets_the_x86_64_init(tmp_path: Path) -> None:
    path = tmp_path / "image"
    path.write_bytes(build_bzimage(NARROW, xloadflags=0))
    blob = Blob.from_file(path)
    path.unlink()
    assert default_ramdisk(blob).label == "embedded:init"


@pytest.mark.usefixtures("own_cache")
def test_a_ramdisk_of_the_user_s_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "mine"
    path.write_bytes(b"mine")
    image = build_bzimage(NARROW, xloadflags=0)
    chosen = plan(image, initrds=(str(path),))
    assert [one.read() for one in chosen.initrds] == [b"mine"]
    assert not chosen.default_initrd
    assert plan(image, no_initrd=True).initrds == ()
