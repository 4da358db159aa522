"""The boot view: what the kernel was told, decoded from guest memory under the names of the kernel's own headers.

Taken at `startup_64` (and wherever else RSI, or another register, holds boot_params). Nothing in it is believed: a
pointer that leads nowhere gives a `problem` in its place, never an exception, and every list has a bound.

In memory, addresses, sizes and field values are ints. In the record (`BootView.document`) every number is a
hexadecimal string, because JSON readers lose bits above 2**53; texts, byte arrays (hex without prefix) and names stay.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from efishim.lab.snapshot.efi_view import EfiView, efi_view
from efishim.lab.snapshot.guest_read import Unreadable, read_layout, sha256
from efishim.lab.snapshot.processor import ProcessorState
from efishim.lab.snapshot.setup_data import E820View, SetupDataChain, e820_view, setup_data_chain
from efishim.machine.memory import BusError, PhysicalMemory
from efishim.wire.bootparams import COMMAND_LINE_SIZE, E820_MAX_ENTRIES_ZEROPAGE, BootParams

MAX_INITRD = 1 << 30
"""Largest ramdisk that is hashed, bytes."""


class CommandLineView(Struct, frozen=True):
    """The kernel's command line; bytes that are not UTF-8 appear as \\xNN."""

    address: int
    text: str = ""
    problem: str = ""


class InitrdView(Struct, frozen=True):
    """The initial ramdisk, all given ones behind each other. `size` in bytes; `sha256` is empty with a `problem`."""

    address: int
    size: int
    sha256: str = ""
    problem: str = ""


class BootView(Struct, frozen=True):
    """Everything that the kernel was told. `boot_params` has each field of the structure under its full name
    (`hdr.cmd_line_ptr`, `screen_info.lfb_base`, `eddbuf[0].params`), zero ones too, but for e820_table, which is
    `e820`. The parts after it are None when boot_params itself cannot be read, which `problem` then says.
    """

    address: int
    boot_params: dict[str, int | str]
    cpu: ProcessorState
    e820: tuple[E820View, ...] = ()
    setup_data: SetupDataChain | None = None
    efi: EfiView | None = None
    command_line: CommandLineView | None = None
    initrd: InitrdView | None = None
    problem: str = ""

    def document(self) -> dict[str, Any]:
        """As the record carries it: JSON types only, every number a hexadecimal string."""
        document: dict[str, Any] = hexadecimal_tree(msgspec.to_builtins(self))
        return document


def boot_view(memory: PhysicalMemory, *, boot_params: int, cpu: ProcessorState) -> BootView:
    """Decode what lies at the physical address `boot_params`. Never raises for what it finds there."""
    try:
        params = read_layout(memory, boot_params, BootParams, "boot_params")
    except Unreadable as error:
        return BootView(boot_params, {}, cpu, problem=str(error))
    stated = params.e820_entries
    return BootView(
        address=boot_params,
        boot_params=params.values(),
        cpu=cpu,
        e820=tuple(e820_view(entry) for entry in params.e820()),
        setup_data=setup_data_chain(memory, params.hdr.setup_data),
        efi=efi_view(memory, params.efi_info),
        command_line=_command_line(memory, params.cmd_line()),
        initrd=_initrd(memory, *params.ramdisk()),
        problem=f"e820_entries is {stated}, the table holds {E820_MAX_ENTRIES_ZEROPAGE}"
        if stated > E820_MAX_ENTRIES_ZEROPAGE
        else "",
    )


def _command_line(memory: PhysicalMemory, address: int) -> CommandLineView:
    if not address:
        return CommandLineView(address, problem="there is none: cmd_line_ptr is null")
    try:
        raw = memory.c_string(address, COMMAND_LINE_SIZE)
    except BusError as error:
        return CommandLineView(address, problem=str(error))
    problem = ""
    if len(raw) == COMMAND_LINE_SIZE:
        problem = f"it does not end within the {COMMAND_LINE_SIZE} bytes that the kernel takes"
    return CommandLineView(address, raw.decode("utf-8", "backslashreplace"), problem)


def _initrd(memory: PhysicalMemory, address: int, size: int) -> InitrdView:
    if not size:
        # The kernel looks at both: an address alone means nothing (arch/x86/kernel/setup.c, reserve_initrd).
        return InitrdView(address, size)
    if size > MAX_INITRD:
        return InitrdView(address, size, problem=f"larger than {MAX_INITRD >> 20} MiB, not hashed")
    try:
        return InitrdView(address, size, sha256(memory, address, size))
    except Unreadable as error:
        return InitrdView(address, size, problem=str(error))


def hexadecimal_tree(value: Any) -> Any:
    """Every int of a tree of JSON types as a hexadecimal string, as records carry numbers that may be addresses."""
    if isinstance(value, dict):
        return {key: hexadecimal_tree(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [hexadecimal_tree(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:#x}"
    return value
