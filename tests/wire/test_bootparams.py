"""boot_params against the layout of the kernel's header, the dumps of real boots, and the documents."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from efishim.wire import bootparams
from efishim.wire.bootparams import E820_TYPES, BootParams, EddInfo, ScreenInfo, SetupHeader
from efishim.wire.layout import Layout

ORACLE = Path(__file__).parents[2].parent / "shared" / "oracle"
DUMPS = sorted(ORACLE.glob("*/*/boot_params.bin"))
HEADER = Path("/usr/include/x86_64-linux-gnu/asm/bootparam.h")

oracle = pytest.mark.skipif(not DUMPS, reason="the dumps of real firmware (shared/oracle) do not lie beside this tree")

NAMES = {"screen": "screen_info", "efi": "efi_info"}
RENAMED = {"efi_info.loader_signature": "efi_info.efi_loader_signature"} | {
    f"efi_info.{name}": f"efi_info.efi_{name}"
    for name in ("systab", "memdesc_size", "memdesc_version", "memmap", "memmap_size", "systab_hi", "memmap_hi")
}


def ours(name: str) -> str:
    """The dumps shorten the names of two structures."""
    head, dot, tail = name.partition(".")
    name = NAMES.get(head, head) + dot + tail
    return RENAMED.get(name, name)


def zero_page() -> bytes:
    """A zero page written by the offsets of Documentation/arch/x86/zero-page.rst and boot.rst."""
    page = bytearray(4096)
    for offset, form, value in [
        (0x00F, "B", 0x70),
        (0x018, "I", 0x80000000),
        (0x058, "Q", 0x1122334455667788),
        (0x070, "Q", 0xF59D0),
        (0x0C0, "I", 1),
        (0x0C4, "I", 2),
        (0x0C8, "I", 3),
        (0x13C, "I", 0xCC),
        (0x1C0, "4s", b"EL64"),
        (0x1E8, "B", 2),
        (0x1EC, "B", 3),
        (0x1EF, "B", 0xFF),
        (0x1F1, "B", 0x27),
        (0x202, "4s", b"HdrS"),
        (0x206, "H", 0x20F),
        (0x210, "B", 0xB0),
        (0x218, "I", 0x1000),
        (0x21C, "I", 0x2000),
        (0x228, "I", 0x99000),
        (0x250, "Q", 0xABCDEF0123),
        (0x268, "I", 0x77),
        (0x290, "I", 0xDEADBEEF),
        (0x2D0, "20s", struct.pack("<QQI", 0, 0x9FC00, 1)),
        (0x2E4, "20s", struct.pack("<QQI", 0x9FC00, 0x400, 2)),
        (0xD00, "B", 0x80),
    ]:
        struct.pack_into("<" + form, page, offset, value)
    return bytes(page)


def test_fields_lie_where_the_documents_say() -> None:
    params = BootParams.parse(zero_page())
    assert params.screen_info.orig_video_isVGA == 0x70
    assert params.screen_info.lfb_base == 0x80000000
    assert params.tboot_addr == 0x1122334455667788
    assert params.acpi_rsdp_addr == 0xF59D0
    assert params.cc_blob_address == 0xCC
    assert params.values()["efi_info.efi_loader_signature"] == "EL64"
    assert (params.secure_boot, params.sentinel) == (3, 0xFF)
    assert (params.hdr.setup_sects, params.hdr.header) == (0x27, bootparams.HDRS_MAGIC)
    assert (params.hdr.version, params.hdr.type_of_loader, params.hdr.kernel_info_offset) == (0x20F, 0xB0, 0x77)
    assert params.hdr.setup_data == 0xABCDEF0123
    assert params.edd_mbr_sig_buffer[0] == 0xDEADBEEF
    assert params.eddbuf[0].device == 0x80


def test_the_upper_halves_of_addresses_count() -> None:
    params = BootParams.parse(zero_page())
    assert params.ramdisk() == (0x1_0000_1000, 0x2_0000_2000)
    assert params.cmd_line() == 0x3_0009_9000


def test_e820_goes_in_and_out() -> None:
    params = BootParams.parse(zero_page())
    assert [(e.addr, e.size, E820_TYPES[e.type]) for e in params.e820()] == [
        (0, 0x9FC00, "RAM"),
        (0x9FC00, 0x400, "RESERVED"),
    ]
    fresh = BootParams()
    fresh.set_e820([(0, 0x9FC00, 1), (0x9FC00, 0x400, 2)])
    assert fresh.build()[0x2D0:0x2F8] == zero_page()[0x2D0:0x2F8]
    assert fresh.e820_entries == 2
    with pytest.raises(ValueError, match="129 entries"):
        fresh.set_e820([(0, 0, 1)] * 129)


def test_more_entries_than_the_table_has_are_not_read() -> None:
    page = bytearray(4096)
    page[0x1E8] = 255
    assert len(BootParams.parse(page).e820()) == 128


@pytest.mark.parametrize("layout", [BootParams, SetupHeader, ScreenInfo, EddInfo], ids=lambda layout: layout.__name__)
def test_every_byte_has_one_owner(layout: type[Layout]) -> None:
    owners = [0] * layout.SIZE
    for leaf in layout.leaves():
        for byte in range(leaf.offset, leaf.offset + leaf.size):
            owners[byte] += 1
    unowned = {at for at, count in enumerate(owners) if count == 0}
    assert max(owners) == 1
    # The e820 table is decoded by its count, and boot.rst's header ends at 0x26c.
    assert unowned == (set(range(0x2D0, 0xCD0)) if layout is BootParams else set())


@oracle
@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: "/".join(dump.parts[-3:-1]))
def test_real_boots_decode_as_their_dumps_say(dump: Path) -> None:
    params = BootParams.parse(dump.read_bytes())
    values = params.values()
    expected = json.loads(dump.with_name("conv.json").read_text())["decoded"]
    assert len(expected) == 96
    for name, theirs in expected.items():
        mine = values.get(ours(name))
        if name == "e820":
            found = [[f"{e.addr:#x}", f"{e.addr + e.size - 1:#x}", E820_TYPES.get(e.type, e.type)] for e in params.e820()]
            assert found == theirs
        elif isinstance(mine, int):
            assert f"{mine:#x}" == theirs, name
        elif theirs in {"HdrS", "EL64"}:
            assert mine == theirs, name
        else:
            raw = bytes_of(params, ours(name))
            assert (raw.hex() if any(raw) else "") == theirs, name


def bytes_of(params: BootParams, name: str) -> bytes:
    """What the dumps give as one array, be it one field or several of the layout."""
    if name == "screen_info.rgba_size_pos":
        return params.build()[0x26:0x2E]
    leaves = [leaf for leaf in BootParams.leaves() if f"{leaf.name}.".startswith((f"{name}.", f"{name}["))]
    assert leaves, name
    return params.build()[leaves[0].offset : leaves[-1].offset + leaves[-1].size]


@pytest.mark.skipif(
    not HEADER.exists() or shutil.which("gcc") is None,
    reason="needs gcc and linux-libc-dev, to ask the kernel's own header",
)
def test_offsets_agree_with_the_header_of_the_kernel(tmp_path: Path) -> None:
    named = [leaf for leaf in BootParams.leaves() if leaf.name != "screen_info._reserved"]
    lines = [
        f'  printf("{leaf.name} %zu %zu\\n", offsetof(struct boot_params, {leaf.name}), '
        f"sizeof(((struct boot_params *)0)->{leaf.name}));"
        for leaf in named
    ]
    source = tmp_path / "offsets.c"
    source.write_text(
        "#include <stddef.h>\n#include <stdio.h>\n#include <asm/bootparam.h>\n"
        "int main(void) {\n" + "\n".join(lines) + "\n  return 0;\n}\n"
    )
    program = tmp_path / "offsets"
    subprocess.run(["gcc", "-w", "-o", program, source], check=True, timeout=60)
    output = subprocess.run([program], check=True, timeout=10, capture_output=True, text=True).stdout
    theirs = {name: (int(offset), int(size)) for name, offset, size in (line.split() for line in output.splitlines())}
    assert {leaf.name: (leaf.offset, leaf.size) for leaf in named} == theirs
