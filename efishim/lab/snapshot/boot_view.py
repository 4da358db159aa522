"""Decodes the boot view from guest memory, under the names of the kernel's own headers.

Taken at `startup_64` (and wherever else RSI, or another register, holds boot_params). Nothing in it is believed: a
pointer that leads nowhere gives a `problem` in its place, never an exception, and every list has a bound.
"""

from __future__ import annotations

from efishim.lab.record import BootView, CommandLineView, Fields, Hex, InitrdView, ProcessorState
from efishim.lab.snapshot.efi_view import efi_view
from efishim.lab.snapshot.guest_read import Unreadable, read_layout, sha256
from efishim.lab.snapshot.setup_data import e820_view, setup_data_chain
from efishim.machine.memory import BusError, PhysicalMemory
from efishim.wire.bootparams import COMMAND_LINE_SIZE, E820_MAX_ENTRIES_ZEROPAGE, BootParams

MAX_INITRD = 1 << 30
"""Largest ramdisk that is hashed, bytes."""


def boot_view(memory: PhysicalMemory, *, boot_params: int, cpu: ProcessorState) -> BootView:
    """Decode what lies at the physical address `boot_params`. Never raises for what it finds there."""
    try:
        params = read_layout(memory, boot_params, BootParams, "boot_params")
    except Unreadable as error:
        return BootView(Hex(boot_params), Fields(), cpu, problem=str(error))
    stated = params.e820_entries
    return BootView(
        address=Hex(boot_params),
        boot_params=Fields.of(params.values()),
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
        return CommandLineView(Hex(address), problem="there is none: cmd_line_ptr is null")
    try:
        raw = memory.c_string(address, COMMAND_LINE_SIZE)
    except BusError as error:
        return CommandLineView(Hex(address), problem=str(error))
    problem = ""
    if len(raw) == COMMAND_LINE_SIZE:
        problem = f"it does not end within the {COMMAND_LINE_SIZE} bytes that the kernel takes"
    return CommandLineView(Hex(address), raw.decode("utf-8", "backslashreplace"), problem)


def _initrd(memory: PhysicalMemory, address: int, size: int) -> InitrdView:
    if not size:
        # The kernel looks at both: an address alone means nothing (arch/x86/kernel/setup.c, reserve_initrd).
        return InitrdView(Hex(address), Hex(size))
    if size > MAX_INITRD:
        return InitrdView(Hex(address), Hex(size), problem=f"larger than {MAX_INITRD >> 20} MiB, not hashed")
    try:
        return InitrdView(Hex(address), Hex(size), sha256(memory, address, size))
    except Unreadable as error:
        return InitrdView(Hex(address), Hex(size), problem=str(error))
