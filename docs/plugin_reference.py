"""The reference for plugin authors: every hook, every interface that a plugin implements, and every type that it meets."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Iterator
from enum import Enum
from itertools import pairwise
from typing import Any

from efishim import hookspecs, provider
from efishim.firmware.calling.functions import Function, Parameter, Returns
from efishim.firmware.calling.guest import Guest
from efishim.firmware.protocols.base import ProtocolContext
from efishim.firmware.shim import Shim
from efishim.image.bzimage import BzImage, HeaderField
from efishim.image.elf import Elf, Note, PvhRelocation, Segment
from efishim.image.entries import Door, Parts
from efishim.image.facts import KernelFacts
from efishim.image.loading import LoadPlan, Piece, Room
from efishim.image.multiboot import Multiboot2Header, Multiboot2Tag, MultibootHeader
from efishim.image.opened import Image
from efishim.image.pe import PeImage, PeSection
from efishim.image.symbols import Symbols
from efishim.logged_call import LoggedCall
from efishim.machine.bus import Bus
from efishim.machine.clock import Clock
from efishim.machine.cpu import Board, BoardCpu, Cpu, InterruptController, MsrModel
from efishim.machine.memory import PhysicalMemory, Region
from efishim.platform.definition import PlatformFacts, PlatformOptions
from efishim.platform.resources import Resource
from efishim.wire.layout import Layout, Leaf

PROTOCOLS = (
    *(
        "Provider",
        "Platform",
        "Loader",
        "EntryKind",
        "ImageSource",
        "FirmwareProtocol",
        "Observer",
        "ReportFormat",
        "GuestMemory",
    ),
)
ELSEWHERE: tuple[type, ...] = (
    *(Door, LoadPlan, Piece, Room, Image, Parts, KernelFacts, Segment, Note, PvhRelocation, Symbols),
    *(Elf, BzImage, HeaderField, PeImage, PeSection, MultibootHeader, Multiboot2Header, Multiboot2Tag, Layout, Leaf),
    *(PhysicalMemory, Region, Board, BoardCpu, Cpu, Bus, Clock, InterruptController, MsrModel),
    *(PlatformOptions, PlatformFacts, Resource, Shim, ProtocolContext, Guest, LoggedCall, Function, Parameter, Returns),
)
"""Types of other rooms that members of the interfaces take or give."""


def hooks(head: str) -> str:
    """The whole page; `head` stands at its top."""
    parts = [head, "# Hooks and interfaces\n\n", _doc(hookspecs)]
    parts.append("[A plugin for each hook](../hooks.md) has a complete example of each.\n\n## Hooks\n\n")
    for name, function in inspect.getmembers(hookspecs, inspect.isfunction):
        if name.startswith("efishim_"):
            parts.append(f"### {name}\n\n```python\ndef {name}() -> {inspect.signature(function).return_annotation}\n```\n\n")
            parts.append(_doc(function))
    parts.append("## Interfaces\n\nWhat plugins implement. Any class with these members is one.\n\n")
    parts += [_interface(getattr(provider, name)) for name in PROTOCOLS]
    parts.append("## Types\n\nWhat is passed and returned, from `efishim.provider`.\n\n")
    functions = []
    for name in provider.__all__:
        thing = getattr(provider, name)
        if isinstance(thing, type) and name not in PROTOCOLS:
            parts.append(_type(thing))
        elif inspect.isfunction(thing):
            functions.append(_function(name, thing))
    parts.append("## Functions\n\nOf `efishim.provider`.\n\n" + "".join(functions))
    parts.append("## Types of other packages\n\nImport them inside your functions.\n\n")
    parts += [_type(thing, module=True) for thing in ELSEWHERE]
    return "".join(parts).rstrip() + "\n"


def _interface(protocol: Any) -> str:
    return f"### {protocol.__name__}\n\n{_doc(protocol)}{_members(protocol)}"


def _type(thing: type, *, module: bool = False) -> str:
    """A type with its fields and methods, or its values."""
    where = f"`{thing.__module__}`. " if module else ""
    parts = [f"### {thing.__name__}\n\n{where}{_doc(thing)}"]
    if issubclass(thing, Enum):
        notes = field_notes(thing)
        rows = [f"* `{one.value}`{': ' if one.name in notes else ''}{notes.get(one.name, '')}\n" for one in thing]
        return "".join([*parts, *rows, "\n"])
    rows = [f"| `{name}: {how}` | {note} |\n" for name, how, note in _fields(thing)]
    if rows:
        parts.append("| field | meaning |\n|---|---|\n" + "".join(rows) + "\n")
    return "".join([*parts, _members(thing)])


def _fields(thing: type) -> Iterator[tuple[str, str, str]]:
    notes = field_notes(thing)
    declared = inspect.get_annotations(thing)
    for name, how in declared.items():
        if not name.startswith("_"):
            yield name, str(how).replace("|", "\\|"), _cell(notes.get(name, ""))


def _members(thing: type) -> str:
    """Properties and methods that have a docstring."""
    rows = []
    for member, value in vars(thing).items():
        if member.startswith("_"):
            continue
        inner = getattr(value, "fget", None) or getattr(value, "func", None) or value
        if not inspect.isfunction(inner) or not inner.__doc__:
            continue
        signature = inspect.signature(inner)
        if value is inner:
            words = f"{member}{signature}".replace("'", "").replace("(self, ", "(").replace("(self)", "()")
        else:
            words = f"{member}: {signature.return_annotation}"
        rows.append(f"| `{words.replace('|', chr(92) + '|')}` | {_cell(inner.__doc__)} |\n")
    return "| member | meaning |\n|---|---|\n" + "".join(rows) + "\n" if rows else ""


def _function(name: str, function: Any) -> str:
    words = f"{name}{inspect.signature(function)}".replace("'", "")
    return f"### {name}\n\n```python\n{words}\n```\n\n{_doc(function)}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def field_notes(structure: type) -> dict[str, str]:
    """The text that stands below a field in the source, which Python does not keep."""
    (declared,) = ast.parse(inspect.getsource(structure)).body
    notes: dict[str, str] = {}
    for field, below in pairwise(getattr(declared, "body", [])):
        names = [field.target] if isinstance(field, ast.AnnAssign) else field.targets if isinstance(field, ast.Assign) else []
        if names and isinstance(names[0], ast.Name) and isinstance(below, ast.Expr):
            notes[names[0].id] = " ".join(ast.literal_eval(below.value).split())
    return notes


def _doc(thing: Any) -> str:
    own = vars(thing).get("__doc__") or ""
    generated = dataclasses.is_dataclass(thing) and own.startswith(f"{getattr(thing, '__name__', '')}(")
    return "" if generated else f"{inspect.cleandoc(own)}\n\n"


def missing(page: str, record: str) -> set[str]:
    """Types in the tables of the page that have a heading neither here nor among the parts of the record."""
    known = set(re.findall(r"^#{2,3} (\w+)$", page + record, re.MULTILINE)) | KNOWN
    told = " ".join(re.findall(r"^\| `(.*?)` \|", page, re.MULTILINE))
    return {name for name in re.findall(r"\b[A-Z]\w+\b", told) if not name.isupper()} - known


KNOWN = frozenset(
    {
        *("Any", "Callable", "ClassVar", "Iterable", "Iterator", "Mapping", "None", "Path", "Sequence", "UUID"),
        *("True", "False"),
    }
)
"""Of Python itself."""

INSIDE = frozenset(
    {
        *("Attachment", "Buffer", "CpuidModel", "CpuidResult", "Device", "EfiRuntime", "Event", "Events", "Handler"),
        *("KernelCache", "KernelSource", "LoadedImage", "PcInterrupts", "Pool", "Rtc", "Shown", "Span", "Uart"),
    }
)
"""Parts of devices, of the firmware and of the cache, which a plugin passes on and does not look into."""
