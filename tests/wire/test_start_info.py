"""hvm_start_info against start_info.h and what QEMU gave a real kernel."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from efishim.wire.start_info import (
    XEN_HVM_START_MAGIC_VALUE,
    HvmMemmapTableEntry,
    HvmModlistEntry,
    HvmStartInfo,
    HvmStartInfoV0,
)

ORACLE = Path(__file__).parents[2].parent / "shared" / "oracle"
DUMPS = sorted(ORACLE.glob("*/*/hvm_start_info.bin"))

V1 = struct.pack("<4I4QII", 0x336EC578, 1, 3, 2, 0x1000, 0x2000, 0xE0000, 0x3000, 7, 0)


def test_version_1_has_the_fields_of_the_header() -> None:
    info = HvmStartInfo.parse(V1)
    assert info.values() == {
        "magic": XEN_HVM_START_MAGIC_VALUE,
        "version": 1,
        "flags": 3,
        "nr_modules": 2,
        "modlist_paddr": 0x1000,
        "cmdline_paddr": 0x2000,
        "rsdp_paddr": 0xE0000,
        "memmap_paddr": 0x3000,
        "memmap_entries": 7,
        "reserved": 0,
    }


def test_version_0_ends_before_the_memory_map() -> None:
    assert HvmStartInfoV0.parse(V1[:40]).rsdp_paddr == 0xE0000
    assert "memmap_paddr" not in HvmStartInfoV0.parse(V1).values()
    with pytest.raises(ValueError, match="needs 56 bytes"):
        HvmStartInfo.parse(V1[:40])


def test_the_entries_of_the_lists() -> None:
    module = HvmModlistEntry.parse(struct.pack("<4Q", 0x1FF00000, 0x5000, 0x2100, 0))
    assert (module.paddr, module.size, module.cmdline_paddr) == (0x1FF00000, 0x5000, 0x2100)
    entry = HvmMemmapTableEntry.parse(struct.pack("<QQII", 0x100000, 0x1FF00000, 1, 0))
    assert (entry.addr, entry.size, entry.type) == (0x100000, 0x1FF00000, 1)


@pytest.mark.skipif(not DUMPS, reason="the dumps of real firmware (shared/oracle) do not lie beside this tree")
@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: "/".join(dump.parts[-3:-1]))
def test_what_qemu_gave_agrees_with_what_the_kernel_made_of_it(dump: Path) -> None:
    info = HvmStartInfo.parse(dump.read_bytes())
    kernel = json.loads(dump.with_name("conv.json").read_text())
    assert (info.magic, info.version, info.nr_modules) == (XEN_HVM_START_MAGIC_VALUE, 1, 1)
    # xen_prepare_pvh takes the command line where it is, and adds one entry for the ISA hole to the memory map.
    assert info.cmdline_paddr == int(kernel["decoded"]["hdr.cmd_line_ptr"], 16)
    assert info.memmap_entries + 1 == int(kernel["decoded"]["e820_entries"], 16)
