"""Captures the state at the entry: processor, native structure field by field, and modules."""

from __future__ import annotations

from efishim.lab.record import EntryView, Fields, Hex, ModuleView, ProcessorState, StructureView
from efishim.lab.snapshot.guest_read import Unreadable, read, read_layout, sha256
from efishim.machine.memory import PhysicalMemory
from efishim.provider import Module, Structure

MAX_PLAIN = 4096
"""Bytes of a structure without fields that are shown as text."""
MAX_MODULE = 1 << 30


def entry_view(
    memory: PhysicalMemory, cpu: ProcessorState, structures: tuple[Structure, ...], modules: tuple[Module, ...]
) -> EntryView:
    """Decode what lies in guest memory now. Never raises for what it finds there."""
    return EntryView(cpu, tuple(_structure(memory, one) for one in structures), tuple(_module(memory, one) for one in modules))


def _structure(memory: PhysicalMemory, one: Structure) -> StructureView:
    address, size = Hex(one.address), Hex(one.size)
    try:
        if one.layout is None:
            raw = read(memory, one.address, min(one.size, MAX_PLAIN), one.name)
            return StructureView(one.name, address, size, text=raw.rstrip(b"\0").decode("utf-8", "backslashreplace"))
        fields = read_layout(memory, one.address, one.layout, one.name).values()
        return StructureView(one.name, address, size, Fields.of(fields))
    except Unreadable as error:
        return StructureView(one.name, address, size, problem=str(error))


def _module(memory: PhysicalMemory, one: Module) -> ModuleView:
    line = one.command_line.decode("utf-8", "backslashreplace")
    start, size = Hex(one.start), Hex(one.size)
    try:
        if not 0 < one.size <= MAX_MODULE:
            raise Unreadable(f"a module of {one.size} bytes is not hashed")
        return ModuleView(start, size, sha256(memory, one.start, one.size), line)
    except Unreadable as error:
        return ModuleView(start, size, command_line=line, problem=str(error))
