"""The lilo provider against boot.rst, and the entry state of GRUB's linux16, which follows the same rules."""

from __future__ import annotations

import efishim_firmware_stubs
import pytest
from efishim_plugins.lilo.provider import Lilo

from efishim.errors import ProviderError, UsageError
from efishim.provider import Arena, CpuMode, Handover, Loaded, MachineFirmware, Module
from efishim.testing import Ram, check_provider, run
from efishim.wire.bootparams import SetupHeader
from tests.support import loaders, probe_report
from tests.support.loaders import COMMAND_LINE, HEADER, RAMDISK

LILO = Lilo()
SETUP = 0x9_0000
KERNEL = Loaded(0x10_0000, 0x337_8000, 0x9_0200, SETUP)
LINE = b"auto BOOT_IMAGE=linux " + COMMAND_LINE


def made(**words: object) -> tuple[Ram, Handover, SetupHeader]:
    """The setup code in memory, as the lab puts it there, and what LILO makes of it."""
    wanted = loaders.request("linux16", kernel=KERNEL, **words)  # type: ignore[arg-type]
    memory = Ram(loaders.MEMORY)
    memory.write(SETUP, wanted.image[: 0x28 * 512])
    handover = LILO.produce(wanted, memory, _no_arena())
    return memory, handover, SetupHeader.parse(memory.read(SETUP + 0x1F1, SetupHeader.SIZE))


def _no_arena() -> Arena:
    """LILO places nothing: everything has its place."""
    return Arena(())


def changed(header: SetupHeader) -> dict[str, int | str]:
    """Fields that are not as in the image."""
    image = SetupHeader(**HEADER).values()
    return {name: value for name, value in header.values().items() if value != image[name]}


def test_checker() -> None:
    assert check_provider(LILO, efishim_firmware_stubs.probe_kernel()) == []


def test_new_command_line_protocol() -> None:
    memory, handover, header = made()
    assert handover.address == SETUP
    # type 0, version 2; CAN_USE_HEAP; the heap ends at 0x9000 less 0x200, and the command line is there (boot.rst)
    assert changed(header) == {
        "type_of_loader": 2,
        "loadflags": 0x81,
        "heap_end_ptr": 0x8E00,
        "cmd_line_ptr": 0x9_9000,
        "ramdisk_image": RAMDISK.start,
        "ramdisk_size": RAMDISK.size,
    }
    assert memory.read(0x9_9000, len(LINE) + 1) == LINE + b"\0"
    assert memory.read(0x9_0020, 4) == bytes(4)


def test_old_command_line_protocol() -> None:
    memory, _, header = made(cmdline="old")
    assert changed(header) == {
        "type_of_loader": 2,
        "loadflags": 0x81,
        "heap_end_ptr": 0x8E00,
        "setup_move_size": 0x9000 + len(LINE) + 1,
        "ramdisk_image": RAMDISK.start,
        "ramdisk_size": RAMDISK.size,
    }
    assert memory.read(0x9_0020, 4) == b"\x3f\xa3\x00\x90"
    assert memory.read(0x9_9000, len(LINE) + 1) == LINE + b"\0"


def test_a_kernel_from_before_the_new_protocol() -> None:
    memory, _, header = made(data=loaders.image(version=0x201))
    assert header.cmd_line_ptr == 0
    assert memory.read(0x9_0020, 2) == b"\x3f\xa3"


def test_a_kernel_without_a_heap() -> None:
    _, _, header = made(data=loaders.image(version=0x200))
    assert header.loadflags == 1
    assert header.heap_end_ptr == HEADER["heap_end_ptr"]


def test_the_rest_of_the_setup_code_stays_as_it_is() -> None:
    memory, _, _ = made()
    image = loaders.image()
    assert memory.read(SETUP, 0x1F1) == image[:0x1F1]
    assert memory.read(SETUP + 0x26C, 0x1000) == image[0x26C:0x126C]


@pytest.mark.parametrize("style", ["new", "old"])
def test_read_back(style: str) -> None:
    memory, handover, _ = made(cmdline=style)
    told = LILO.read_back(memory, handover)
    assert told.command_line == LINE
    assert [(one.start, one.size) for one in told.modules] == [(RAMDISK.start, RAMDISK.size)]
    assert {one.field for one in told.provenance} >= {"memory_map", "rsdp", "smbios", "framebuffer"}


def test_read_back_sees_what_is_in_memory() -> None:
    memory, handover, _ = made()
    memory.write(0x9_9000, b"AUTO")
    assert LILO.read_back(memory, handover).command_line.startswith(b"AUTO BOOT_IMAGE")


def test_read_back_without_any_command_line() -> None:
    memory, handover, _ = made()
    memory.write(SETUP + 0x228, bytes(4))
    assert LILO.read_back(memory, handover).command_line == b""


def test_no_header() -> None:
    with pytest.raises(ProviderError):
        LILO.read_back(Ram(), Handover(SETUP))
    with pytest.raises(ProviderError):
        LILO.read_back(Ram(), Handover(None))


@pytest.mark.parametrize("style", ["new", "old"])
def test_structures(style: str) -> None:
    memory, handover, _ = made(cmdline=style)
    pieces = {one.name: (one.address, one.size) for one in LILO.structures(memory, handover)}
    assert pieces["setup_header"] == (0x9_01F1, SetupHeader.SIZE)
    assert pieces["command line"] == (0x9_9000, len(LINE) + 1)
    assert ("old command line protocol" in pieces) is (style == "old")


def test_state() -> None:
    state = LILO.cpu_state("linux16", KERNEL, Handover(SETUP))
    assert state.mode is CpuMode.REAL
    # the dump of linux16: CS:IP 9020:0000, SP 9000, the other segments 9000, interrupts off
    assert state.rip == 0
    assert state.registers == {"rsp": 0x9000, "eflags": 2}
    assert (state.segments["cs"].selector, state.segments["cs"].base, state.segments["cs"].limit) == (0x9020, 0x90200, 0xFFFF)
    for name in ("ds", "es", "fs", "gs", "ss"):
        assert (state.segments[name].selector, state.segments[name].base) == (0x9000, 0x90000)


def test_the_second_ramdisk_stays_behind() -> None:
    _, handover, header = made(modules=(RAMDISK, Module(0x1F20_0000, 0x1000)))
    assert (header.ramdisk_image, header.ramdisk_size) == (RAMDISK.start, RAMDISK.size)
    assert any("the first of 2" in note for note in handover.notes)


def test_a_command_line_without_room() -> None:
    # 2047 bytes are what this kernel takes, and LILO's own words are 21 and a blank
    made(command_line=b"x" * (2047 - 22))
    with pytest.raises(ProviderError):
        made(command_line=b"x" * (2047 - 21))


def test_a_command_line_longer_than_its_place() -> None:
    with pytest.raises(ProviderError, match="room for 4095"):
        made(command_line=b"x" * 5000, data=loaders.image(cmdline_size=0x10000))


def test_setup_code_must_be_there() -> None:
    with pytest.raises(ProviderError, match="setup code"):
        loaders.produced(LILO, loaders.request("linux16", kernel=Loaded(0x10_0000, 1, 0x10_0000)))


def test_options_and_firmware() -> None:
    assert LILO.runs_on("linux16", {}) is MachineFirmware.BIOS
    with pytest.raises(UsageError):
        made(cmdline="newer")


@pytest.mark.slow
def test_the_probe_kernel_takes_the_entry() -> None:
    record = run(provider="lilo", cmdline="probe")
    assert record.outcome.met
    told = probe_report.parse(record.console.replace("\r", "")).fields
    assert "auto BOOT_IMAGE=linux probe" in record.console
    assert told["cpu.bits"] == "0x10"
    assert told["boot_params.hdr.type_of_loader"] == "0x2"
