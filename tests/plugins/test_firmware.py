"""The firmware provider: nothing to write, but for the handover entry."""

from __future__ import annotations

import efishim_firmware_stubs
import pytest
from efishim_plugins.firmware.provider import Firmware

from efishim.errors import ProviderError
from efishim.provider import Handover, MachineFirmware, Module
from efishim.testing import check_provider
from tests.support import loaders
from tests.support.loaders import COMMAND_LINE, KERNEL, RAMDISK, fields, header_fields, params_of

FIRMWARE = Firmware()


def test_checker() -> None:
    assert check_provider(FIRMWARE, efishim_firmware_stubs.probe_kernel()) == []


@pytest.mark.parametrize("entry", ["efi", "efi-mixed"])
def test_nothing_is_written(entry: str) -> None:
    memory, handover = loaders.produced(FIRMWARE, loaders.request(entry))
    assert handover == Handover(None)
    assert not memory.written()
    assert FIRMWARE.structures(memory, handover) == ()
    with pytest.raises(ProviderError):
        FIRMWARE.read_back(memory, handover)


def test_boot_params_of_the_handover_entry() -> None:
    memory, handover = loaders.produced(FIRMWARE, loaders.request("efi-handover"))
    told = fields(params_of(memory, handover))
    line = int(told.pop("hdr.cmd_line_ptr"))
    # boot.rst asks the loader for header, command line and ramdisk; the memory map is the firmware's to tell
    assert told == header_fields(
        type_of_loader=0xFF, code32_start=0x100_0000, ramdisk_image=RAMDISK.start, ramdisk_size=RAMDISK.size
    )
    assert memory.read(line, len(COMMAND_LINE) + 1) == COMMAND_LINE + b"\0"
    assert (handover.address or 0) % 0x1000 == 0
    assert FIRMWARE.read_back(memory, handover).command_line == COMMAND_LINE
    assert [one.name for one in FIRMWARE.structures(memory, handover)] == ["boot_params", "command line"]


def test_several_ramdisks() -> None:
    modules = (RAMDISK, Module(RAMDISK.start + RAMDISK.size, 0x100))
    memory, handover = loaders.produced(FIRMWARE, loaders.request("efi-handover", modules=modules))
    assert params_of(memory, handover).ramdisk() == (RAMDISK.start, RAMDISK.size + 0x100)


def test_a_command_line_that_the_kernel_does_not_take() -> None:
    with pytest.raises(ProviderError):
        loaders.produced(FIRMWARE, loaders.request("efi-handover", command_line=b"x" * 2048))


def test_every_entry_is_the_shims() -> None:
    for entry in FIRMWARE.entries:
        assert entry.through_shim
        assert FIRMWARE.runs_on(entry.name, {}) is MachineFirmware.EFI
        with pytest.raises(ProviderError):
            FIRMWARE.cpu_state(entry.name, KERNEL, Handover(None))
