"""A start_info with one thing wrong at a time: the guest shim says what is wrong on the console and stops."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tests.lab.boot.broken import HOLE, KERNEL, Guest

ABOVE_4_GIB = 1 << 32
SHIM = 0x10_0000
"""Where the shim's linker script puts it."""
RAM, RESERVED = 1, 2
(PE,) = struct.unpack_from("<I", KERNEL, 0x3C)
OPTIONAL = PE + 24
SECTIONS = OPTIONAL + struct.unpack_from("<H", KERNEL, PE + 20)[0]

Change = Callable[[Guest], None]


def unterminated(guest: Guest) -> None:
    at = guest.module(0).paddr - 0x20000 & ~0xFFF
    guest.machine.memory.write(at, b"x" * 0x10000)
    guest.tell(cmdline_paddr=at)


def over_the_shim(guest: Guest) -> None:
    """At the bottom of its stack, which is not used yet."""
    at = SHIM + 0x20000
    guest.machine.memory.write(at, guest.machine.memory.read(guest.info, 56))
    guest.point(at)


def without_shim(entry: dict[str, int]) -> dict[str, int]:
    """RAM begins behind it."""
    if entry["type"] != RAM or entry["addr"] > SHIM or entry["addr"] + entry["size"] <= SHIM:
        return {}
    return {"addr": SHIM + 0x1000, "size": entry["addr"] + entry["size"] - SHIM - 0x1000}


CASES: dict[str, tuple[Change, str]] = {
    "EBX is null": (lambda g: g.point(0), "EBX does not point to hvm_start_info, it is 0x0"),
    "EBX leads to no memory": (lambda g: g.point(HOLE), "the magic should be 0x336ec578, it is 0xffffffff"),
    "the magic": (lambda g: g.tell(magic=0x336EC579), "the magic should be 0x336ec578, it is 0x336ec579"),
    "it lies in the shim": (over_the_shim, "hvm_start_info overlaps the shim, at 0x120000"),
    "version 0 without Xen": (lambda g: g.tell(version=0), "has no memory map, and there is no Xen to ask for one"),
    "no entries": (lambda g: g.tell(memmap_entries=0), "has no memory map, and there is no Xen to ask for one"),
    "many entries": (lambda g: g.tell(memmap_entries=0x10000), "memmap_entries is too large: 0x10000"),
    "null memory map": (lambda g: g.tell(memmap_paddr=0), "memmap_paddr leads nowhere: 0x0"),
    "high memory map": (lambda g: g.tell(memmap_paddr=ABOVE_4_GIB), "memmap_paddr leads nowhere: 0x100000000"),
    "memory map in a hole": (lambda g: g.tell(memmap_paddr=HOLE), "a range that does not end, it begins at 0xffff"),
    "no RAM": (lambda g: g.tell_ranges(lambda e: {"type": RESERVED}), "the memory map has no RAM\n"),
    "a range that wraps": (
        lambda g: g.tell_ranges(lambda e: {"size": (1 << 64) - 1} if e["addr"] else {}),
        "the memory map has a range that does not end, it begins at",
    ),
    "a range without end": (
        lambda g: g.tell_ranges(lambda e: {"size": 1 << 62} if e["addr"] else {}),
        "the memory map has a range that no processor can address, it begins at",
    ),
    "no RAM for the shim": (lambda g: g.tell_ranges(without_shim), "no RAM where the shim was put, at 0x100000"),
    "no module": (lambda g: g.tell(nr_modules=0), "has no modules, and the first one must be the kernel"),
    "many modules": (lambda g: g.tell(nr_modules=1000), "nr_modules is too large: 0x3e8"),
    "null module list": (lambda g: g.tell(modlist_paddr=0), "modlist_paddr leads nowhere: 0x0"),
    "module list in a hole": (lambda g: g.tell(modlist_paddr=HOLE), "modlist_paddr does not lead to memory: 0xe0000000"),
    "an empty module": (lambda g: g.tell_module(0, size=0), "a module is empty"),
    "a module outside of RAM": (lambda g: g.tell_module(0, paddr=HOLE), "a module lies outside of RAM, at 0xe0000000"),
    "a module that wraps": (lambda g: g.tell_module(0, size=(1 << 64) - 1), "a module does not end, it begins at"),
    "a module over the shim": (lambda g: g.tell_module(0, paddr=SHIM), "a module overlaps the shim, at 0x100000"),
    "two modules at one place": (lambda g: g.tell_module(1, paddr=g.module(0).paddr), "two modules overlap, at"),
    "high command line": (lambda g: g.tell(cmdline_paddr=ABOVE_4_GIB), "cmdline_paddr leads nowhere: 0x100000000"),
    "command line in a hole": (lambda g: g.tell(cmdline_paddr=HOLE), "the command line does not end, it begins at 0xe0000000"),
    "command line without end": (unterminated, "the command line does not end, it begins at"),
    "high RSDP": (lambda g: g.tell(rsdp_paddr=ABOVE_4_GIB), "rsdp_paddr leads nowhere: 0x100000000"),
    "no RSDP there": (lambda g: g.tell(rsdp_paddr=SHIM), "rsdp_paddr does not point to an RSDP: 0x100000"),
    "no PE image": (lambda g: g.patch_kernel(0, b"\x7fELF"), "the first module is not a PE image"),
    "PE header outside": (
        lambda g: g.patch_kernel(0x3C, b"\xf0\xff\xff\x0f"),
        "no PE header where its first page says, at 0xffffff0",
    ),
    "PE signature": (lambda g: g.patch_kernel(PE, b"NE"), "the signature of its PE header is 0x454e"),
    "PE for i386": (lambda g: g.patch_kernel(PE + 4, b"\x4c\x01"), "not for 64-bit processors, its PE machine is 0x14c"),
    "PE for Windows": (lambda g: g.patch_kernel(OPTIONAL + 68, b"\x03"), "not an EFI application, its PE subsystem is 0x3"),
    "PE entry outside": (
        lambda g: g.patch_kernel(OPTIONAL + 16, b"\0\0\0\x10"),
        "entry point lies outside of the image, at 0x10000000",
    ),
    "PE section outside": (
        lambda g: g.patch_kernel(SECTIONS + 12, b"\0\0\0\x10"),
        "a PE section lies outside of the image, at 0x10000000",
    ),
    "PE image without size": (
        lambda g: g.patch_kernel(OPTIONAL + 56, bytes(4)),
        "cannot be loaded with a PE image size of 0x0",
    ),
    "PE image larger than memory": (
        lambda g: g.patch_kernel(OPTIONAL + 56, b"\0\0\0\x30"),
        "no memory for the kernel, it needs 0x30000000",
    ),
    "half a kernel": (lambda g: g.tell_module(0, size=0x1000), "the kernel is cut off: a PE section lies behind the end"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_it_is_said_and_the_shim_stops(case: str) -> None:
    change, sentence = CASES[case]
    guest = Guest.ready()
    change(guest)
    stop = guest.run()
    assert guest.console.startswith("efishim: ")
    assert sentence in guest.console
    assert guest.console.endswith("efishim: stopped\n")
    assert "probe: begin" not in guest.console
    assert stop.reason == "halted"


def test_with_nothing_wrong_the_kernel_runs() -> None:
    guest = Guest.ready()
    assert guest.run().reason == "shutdown"
    assert "probe: begin entry=efi" in guest.console
    assert "efishim:" not in guest.console


def test_what_is_not_wrong() -> None:
    """No ramdisk, no command line, no RSDP, a later version: all of these a hypervisor may do."""
    guest = Guest.ready()
    guest.tell(nr_modules=1, cmdline_paddr=0, rsdp_paddr=0, version=2)
    guest.run()
    assert "efi.loaded_image.load_options=\n" in guest.console
    assert "efi.protocol.LoadFile2=NOT_FOUND" in guest.console


@pytest.mark.slow
def test_the_command_line_may_lie_where_the_shim_would_allocate() -> None:
    guest = Guest.ready()
    at = guest.module(0).paddr - 0x2000 & ~0xFFF
    guest.machine.memory.write(at, b"console=ttyS0 from the top\0")
    guest.tell(cmdline_paddr=at)
    guest.run()
    assert "efi.loaded_image.load_options=console=ttyS0 from the top\n" in guest.console


def test_version_0_asks_xen_for_the_memory_map() -> None:
    guest = Guest.ready("hvmlite", version="0")
    assert guest.run().reason == "shutdown"
    assert "efi.memory_map=SUCCESS" in guest.console
