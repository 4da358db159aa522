"""Describes an image as one document: headers, entries, sections, payload, notes, and the routes that apply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from efishim.errors import ImageError
from efishim.image.entries import Door
from efishim.image.opened import Image
from efishim.lab.plan.doors import all_doors, route_problem
from efishim.plugin_guard import PluginError
from efishim.provider import EntryKind, Provider

NONE: Mapping[str, EntryKind] = MappingProxyType({})
NOTE_BYTES = 32
"""How much of a note's description is shown."""


def describe(image: Image, providers: Iterable[Provider], kinds: Mapping[str, EntryKind] = NONE) -> dict[str, Any]:
    """A document of plain values. Sizes and file offsets are numbers, addresses and flags hexadecimal strings."""
    found = all_doors(image, kinds)
    return {
        "path": image.path,
        "sha256": image.sha256,
        "size": len(image.data),
        "compression": image.compression,
        "formats": list(image.formats),
        "version": image.version,
        "entries": [
            {"entry": str(door.entry), "applies": door.applies, "where": door.where, "reason": door.reason} for door in found
        ],
        "routes": routes(image, found, providers),
        "linux": _linux(image),
        "pe": _pe(image),
        "multiboot": _multiboot(image),
        "kernel": _kernel(image),
    }


def routes(image: Image, doors: Iterable[Door], providers: Iterable[Provider]) -> list[dict[str, Any]]:
    """Every provider's every entry: does it apply to this image, without options, and why not."""
    known = {door.entry: door for door in doors}
    rows = []
    for provider in providers:
        for entry in provider.entries:
            try:
                reason = route_problem(image, known.get(entry.name), entry.name, provider, {})
            except PluginError as error:
                reason = error.sentence
            rows.append({"route": f"{provider.name}/{entry.name}", "applies": not reason, "reason": reason})
    return rows


def _linux(image: Image) -> dict[str, Any] | None:
    linux = image.parts.bzimage
    if linux is None:
        return {"problem": image.parts.bzimage_problem} if image.parts.bzimage_problem else None
    return {
        "protocol": linux.protocol_name,
        "setup_size": linux.setup_size,
        "payload_offset": linux.payload_offset,
        "payload_size": linux.payload_size,
        "loadflags": list(linux.loadflags),
        "xloadflags": list(linux.xloadflags),
        "kernel_info": dict(linux.kernel_info),
        "fields": [
            {"name": field.name, "offset": field.offset, "size": field.size, "value": _hex(field.value)}
            for field in linux.fields
        ],
    }


def _pe(image: Image) -> dict[str, Any] | None:
    pe = image.parts.pe
    if pe is None:
        return {"problem": image.parts.pe_problem} if image.parts.pe_problem else None
    return {
        "machine": pe.machine_name,
        "format": "PE32+" if pe.plus else "PE32",
        "nx_compat": pe.nx_compat,
        "relocatable": pe.relocatable,
        "coff": {name: _hex(value) for name, value in pe.coff.items()},
        "optional": {name: _hex(value) for name, value in pe.optional.items()},
        "directories": {name: {"rva": _hex(rva), "size": size} for name, (rva, size) in pe.directories.items()},
        "sections": [
            {
                "name": section.name,
                "rva": _hex(section.virtual_address),
                "virtual_size": section.virtual_size,
                "offset": section.pointer_to_raw_data,
                "raw_size": section.size_of_raw_data,
                "protection": section.protection,
            }
            for section in pe.sections
        ],
    }


def _multiboot(image: Image) -> dict[str, Any] | None:
    first, second = image.parts.multiboot, image.parts.multiboot2
    if first is None and second is None:
        return None
    return {
        "version_1": None if first is None else {"offset": first.offset, "flags": _hex(first.flags)},
        "version_2": None
        if second is None
        else {
            "offset": second.offset,
            "length": second.length,
            "tags": [{"name": tag.name, "optional": tag.optional, "data": tag.data.hex()} for tag in second.tags],
        },
    }


def _kernel(image: Image) -> dict[str, Any] | None:
    """The kernel proper; a sentence where there is none or it cannot be unpacked."""
    try:
        facts = image.kernel
        symbols = image.symbols
    except ImageError as error:
        return {"problem": error.sentence}
    return {
        "compression": facts.method,
        "unpacked_size": facts.unpacked_size,
        "class": "ELF64" if facts.wide else "ELF32",
        "entry": _hex(facts.entry),
        "pvh_entry": _hex(facts.pvh_entry),
        "load": {"start": _hex(facts.load_start), "end": _hex(facts.load_end)},
        "segments": [
            {
                "physical": _hex(segment.physical),
                "virtual": _hex(segment.virtual),
                "offset": segment.offset,
                "file_size": segment.file_size,
                "memory_size": segment.memory_size,
                "protection": segment.protection,
            }
            for segment in facts.segments
        ],
        "notes": [
            {"owner": note.owner, "type": note.type, "name": note.name, "data": note_text(note.description)}
            for note in facts.notes
        ],
        "symbols": 0 if symbols is None else len(symbols),
        "landmarks": {name: _hex(address) for name, address in sorted(facts.symbols.items())},
    }


def note_text(data: bytes) -> str:
    """A note's description: text in quotes where it is text, otherwise a number or hexadecimal bytes."""
    text = data.rstrip(b"\0")
    if text and all(0x20 <= byte < 0x7F for byte in text):
        return f'"{text[: NOTE_BYTES * 2].decode("ascii")}"'
    if len(data) in (4, 8):
        return f"{int.from_bytes(data, 'little'):#x}"
    return data[:NOTE_BYTES].hex() + ("..." if len(data) > NOTE_BYTES else "")


def _hex(value: int | None) -> str | None:
    return None if value is None else f"{value:#x}"
