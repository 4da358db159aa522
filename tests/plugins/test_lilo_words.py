"""The words of GRUB's linux16 and of SYSLINUX in the setup header, from their sources."""

from __future__ import annotations

import pytest
from efishim_plugins.lilo.provider import Lilo
from efishim_plugins.lilo.words import BY_NAME

from efishim.errors import ProviderError, UsageError
from efishim.provider import Arena, Handover, MemoryKind, MemoryRange, Module
from efishim.testing import Ram, run
from efishim.wire.bootparams import SetupHeader
from tests.plugins.test_lilo import KERNEL, LILO, SETUP, changed
from tests.support import loaders, probe_report
from tests.support.loaders import COMMAND_LINE, RAMDISK

SECOND = Module(RAMDISK.start + 0x10_0000, 0x123)


def made(loader: str, **words: object) -> tuple[Ram, Handover, SetupHeader]:
    wanted = loaders.request("linux16", kernel=KERNEL, loader=loader, **words)  # type: ignore[arg-type]
    memory = Ram(loaders.MEMORY)
    memory.write(SETUP, wanted.image[: 0x28 * 512])
    arena = Arena((MemoryRange(0, 0x9_FC00, MemoryKind.RAM),))
    arena.take(SETUP, 0xA000)
    handover = LILO.produce(wanted, memory, arena)
    assert handover.address is not None
    return memory, handover, SetupHeader.parse(memory.read(handover.address + 0x1F1, SetupHeader.SIZE))


def test_grub() -> None:
    """type 7, version 2; heap and command line as the specification's example."""
    memory, handover, header = made("grub", modules=(RAMDISK, SECOND))
    assert handover.address == SETUP
    assert changed(header) == {
        "type_of_loader": 0x72,
        "loadflags": 0x81,
        "heap_end_ptr": 0x8E00,
        "cmd_line_ptr": 0x9_9000,
        "ramdisk_image": RAMDISK.start,
        "ramdisk_size": SECOND.start + SECOND.size - RAMDISK.start,
    }
    line = b"BOOT_IMAGE=/vmlinuz " + COMMAND_LINE + b"\0"
    assert memory.read(0x9_9000, len(line)) == line
    assert handover.notes == ("GRUB puts 2 ramdisks behind each other, and the header has them as one",)
    assert LILO.read_back(memory, handover).command_line == line[:-1]


def test_syslinux() -> None:
    """Setup code at 64 KiB, a whole segment for it, its heap and its stack; vid_mode is written in any case."""
    memory, handover, header = made("syslinux")
    assert handover.address == 0x1_0000
    assert changed(header) == {
        "type_of_loader": 0x30,
        "loadflags": 0x81,
        "heap_end_ptr": 0xFE00,
        "cmd_line_ptr": 0x2_0000,
        "vid_mode": 0,
        "ramdisk_image": RAMDISK.start,
        "ramdisk_size": RAMDISK.size,
    }
    line = b"BOOT_IMAGE=vmlinuz " + COMMAND_LINE + b"\0"
    assert memory.read(0x2_0000, len(line)) == line
    assert memory.read(0x1_0400, 0x400) == loaders.image()[0x400:0x800].ljust(0x400, b"\0")
    wanted = loaders.request("linux16", kernel=KERNEL, loader="syslinux")
    state = LILO.entry_state(wanted, memory, handover)
    assert (state.segments["cs"].base, state.segments["ds"].base, state.registers["rsp"]) == (0x1_0200, 0x1_0000, 0xFFF0)
    assert LILO.entry_state(loaders.request("linux16", kernel=KERNEL), memory, Handover(SETUP)).registers["rsp"] == 0x9000


@pytest.mark.parametrize(
    ("loader", "line", "mode"),
    [
        ("lilo", b"vga=ask", None),
        ("grub", b"quiet", None),
        ("grub", b"vga=ask", 0xFFFD),
        ("grub", b"vga=1 vga=0x317", 0x317),
        ("grub", b"xvga=3", None),
        ("grub", b"vga=010", 8),
        ("grub", b"vga=nonsense", 0),
        ("syslinux", b"quiet", 0),
        ("syslinux", b"vga=current", 0x0F04),
        ("syslinux", b"vga=normal", 0xFFFF),
        ("syslinux", b"vga=e", 0xFFFE),
        ("syslinux", b"vga=792", 792),
    ],
)
def test_video_modes(loader: str, line: bytes, mode: int | None) -> None:
    assert BY_NAME[loader].video_mode(b"BOOT_IMAGE=x " + line) == mode


def test_what_syslinux_loads_elsewhere_is_refused() -> None:
    old, low = loaders.image(version=0x201), loaders.image(loadflags=0)
    for image in (old, low):
        assert "not imitated" in LILO.refuses("linux16", image, {"loader": "syslinux"})
        assert not LILO.refuses("linux16", image, {"loader": "grub"})
    assert not LILO.refuses("linux16", loaders.image(), {"loader": "syslinux"})
    with pytest.raises(UsageError, match="in the old way to old kernels only"):
        made("syslinux", cmdline="old")
    with pytest.raises(UsageError, match=r"lilo\.loader takes lilo, grub, syslinux"):
        made("loadlin")
    wanted = loaders.request("linux16", kernel=KERNEL, loader="syslinux")
    with pytest.raises(ProviderError, match="setup code of"):
        Lilo().produce(wanted, Ram(loaders.MEMORY), Arena(()))


@pytest.mark.slow
@pytest.mark.parametrize(("loader", "kind", "line"), [("grub", 0x72, 0x9_9000), ("syslinux", 0x30, 0x2_0000)])
def test_the_probe_kernel_is_told_so(loader: str, kind: int, line: int) -> None:
    record = run(provider="lilo", cmdline="probe", options=(f"lilo.loader={loader}",))
    assert record.outcome.met
    assert record.abi == []
    told = probe_report.parse(record.console.replace("\r", "")).fields
    assert told["boot_params.hdr.type_of_loader"] == f"{kind:#x}"
    assert told["boot_params.hdr.cmd_line_ptr"] == f"{line:#x}"
