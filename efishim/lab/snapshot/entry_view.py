"""What there was at the entry: the processor, the native structure field by field, and the modules."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from efishim.lab.snapshot.boot_view import hexadecimal_tree
from efishim.lab.snapshot.guest_read import Unreadable, read, read_layout, sha256
from efishim.lab.snapshot.processor import ProcessorState
from efishim.machine.memory import PhysicalMemory
from efishim.provider import Module, Structure

MAX_PLAIN = 4096
"""Bytes of a structure without fields that are shown as text."""
MAX_MODULE = 1 << 30


class StructureView(Struct, frozen=True):
    """One piece of the native structure: its fields, or as `text` what has none."""

    name: str
    address: int
    size: int
    fields: dict[str, int | str] = {}
    text: str = ""
    problem: str = ""


class ModuleView(Struct, frozen=True):
    """A module in guest memory; `size` in bytes."""

    address: int
    size: int
    sha256: str = ""
    command_line: str = ""
    problem: str = ""


class EntryView(Struct, frozen=True):
    """Everything at the first instruction of the image."""

    cpu: ProcessorState
    structures: tuple[StructureView, ...] = ()
    modules: tuple[ModuleView, ...] = ()

    def document(self) -> dict[str, Any]:
        """As the record carries it: JSON types only, every number a hexadecimal string."""
        document: dict[str, Any] = hexadecimal_tree(msgspec.to_builtins(self))
        return document


def entry_view(
    memory: PhysicalMemory, cpu: ProcessorState, structures: tuple[Structure, ...], modules: tuple[Module, ...]
) -> EntryView:
    """Decode what lies in guest memory now. Never raises for what it finds there."""
    return EntryView(cpu, tuple(_structure(memory, one) for one in structures), tuple(_module(memory, one) for one in modules))


def _structure(memory: PhysicalMemory, one: Structure) -> StructureView:
    try:
        if one.layout is None:
            raw = read(memory, one.address, min(one.size, MAX_PLAIN), one.name)
            return StructureView(one.name, one.address, one.size, text=raw.rstrip(b"\0").decode("utf-8", "backslashreplace"))
        return StructureView(one.name, one.address, one.size, read_layout(memory, one.address, one.layout, one.name).values())
    except Unreadable as error:
        return StructureView(one.name, one.address, one.size, problem=str(error))


def _module(memory: PhysicalMemory, one: Module) -> ModuleView:
    line = one.command_line.decode("utf-8", "backslashreplace")
    try:
        if not 0 < one.size <= MAX_MODULE:
            raise Unreadable(f"a module of {one.size} bytes is not hashed")
        return ModuleView(one.start, one.size, sha256(memory, one.start, one.size), line)
    except Unreadable as error:
        return ModuleView(one.start, one.size, command_line=line, problem=str(error))
