"""What tests of boot loaders give them: an image with the header of a stock kernel, and the machine of the dumps.

The values are those of Debian's Linux 6.1.176 for clouds, and of QEMU's `pc` with 512 MiB under SeaBIOS, as its E820 tells.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace

from efishim.provider import (
    Arena,
    BootRequest,
    EfiFacts,
    Handover,
    Loaded,
    MachineFacts,
    MemoryKind,
    MemoryRange,
    Module,
    Provider,
)
from efishim.testing import Ram
from efishim.wire.bootparams import BootParams, SetupHeader

HEADER: Mapping[str, int] = {
    "setup_sects": 0x27,
    "root_flags": 1,
    "syssize": 0xD7920,
    "vid_mode": 0xFFFF,
    "boot_flag": 0xAA55,
    "jump": 0x6AEB,
    "header": 0x53726448,
    "version": 0x20F,
    "start_sys_seg": 0x1000,
    "kernel_version": 0x42C0,
    "loadflags": 1,
    "setup_move_size": 0x8000,
    "code32_start": 0x100000,
    "heap_end_ptr": 0x5BE0,
    "initrd_addr_max": 0x7FFFFFFF,
    "kernel_alignment": 0x200000,
    "relocatable_kernel": 1,
    "min_alignment": 0x15,
    "xloadflags": 0x7F,
    "cmdline_size": 0x7FF,
    "payload_offset": 0x2CC,
    "payload_length": 0xD5FD3F,
    "pref_address": 0x1000000,
    "init_size": 0x3378000,
    "handover_offset": 0xD694F0,
    "kernel_info_offset": 0xD75FDC,
}
HEADER_AT = 0x1F1
RSDP = 0xF59D0
COMMAND_LINE = b"console=ttyS0 earlyprintk=serial,ttyS0 nokaslr panic=-1"
"""What all dumps were made with."""
KERNEL = Loaded(0x100_0000, HEADER["init_size"], 0x100_0000)
RAMDISK = Module(0x1F08_C000, 0xA6E00)
MEMORY = 0x2000_0000
"""Bytes of RAM."""

SEABIOS: Sequence[tuple[int, int, int]] = (
    (0x0, 0x9FC00, 1),
    (0x9FC00, 0x400, 2),
    (0xF0000, 0x10000, 2),
    (0x100000, 0x1FEE0000, 1),
    (0x1FFE0000, 0x20000, 2),
    (0xFFFC0000, 0x40000, 2),
    (0xFD00000000, 0x300000000, 2),
)


def image(**changes: int) -> bytes:
    """A kernel that is all header; `changes` are fields of it."""
    header = SetupHeader(**{**HEADER, **changes})
    return (bytes(HEADER_AT) + header.build()).ljust(0x40 * 512, b"\xcc")


def facts(
    ranges: Sequence[tuple[int, int, int]] = SEABIOS, *, rsdp: int | None = RSDP, efi: EfiFacts | None = None
) -> MachineFacts:
    """A machine with that memory map (start, size, type)."""
    return MachineFacts(tuple(MemoryRange(start, size, MemoryKind(kind)) for start, size, kind in ranges), rsdp, efi=efi)


def request(
    entry: str,
    *,
    machine: MachineFacts | None = None,
    command_line: bytes = COMMAND_LINE,
    modules: tuple[Module, ...] = (RAMDISK,),
    kernel: Loaded | None = KERNEL,
    data: bytes | None = None,
    **options: str,
) -> BootRequest:
    """A request as the lab makes it; `options` are the provider's."""
    return BootRequest(machine or facts(), command_line, modules, image() if data is None else data, kernel, options, entry)


def with_options(wanted: BootRequest, **options: str) -> BootRequest:
    """The request with other options of the provider, for names that `request` takes itself."""
    return replace(wanted, options=options)


def produced(provider: Provider, wanted: BootRequest) -> tuple[Ram, Handover]:
    """Guest memory with the structure in it."""
    memory = Ram(MEMORY)
    return memory, provider.produce(wanted, memory, Arena(wanted.facts.memory_map))


def params_of(memory: Ram, handover: Handover) -> BootParams:
    """The structure as it lies in memory."""
    assert handover.address is not None
    return BootParams.parse(memory.read(handover.address, BootParams.SIZE))


def fields(params: BootParams) -> dict[str, int | str]:
    """Everything in it that is not zero, and the memory map's entries under `e820`."""
    shown = {name: value for name, value in params.values().items() if str(value).strip("0")}
    return {
        name: int(value, 16) if isinstance(value, str) and value.startswith("0x") else value for name, value in shown.items()
    }


def e820_of(params: BootParams) -> list[tuple[int, int, int]]:
    """The table as (start, size, type)."""
    return [(one.addr, one.size, one.type) for one in params.e820()]


def header_fields(**changes: int) -> dict[str, int | str]:
    """The header's fields as `fields` gives them, with changes."""
    shown: dict[str, int | str] = {f"hdr.{name}": value for name, value in {**HEADER, **changes}.items() if value}
    if "hdr.header" in shown:
        shown["hdr.header"] = "HdrS"
    return shown


def efi_map(*regions: tuple[int, int, int, int, int], size: int = 48) -> bytes:
    """EFI_MEMORY_DESCRIPTORs from (type, physical start, virtual start, pages, attributes)."""
    return b"".join(
        struct.pack("<I4xQQQQ", kind, start, virtual, pages, attributes).ljust(size, b"\0")
        for kind, start, virtual, pages, attributes in regions
    )
