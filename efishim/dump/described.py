"""Dumps as a TOML file: registers, and ranges of memory that lie in plain files beside it.

docs/check-a-dump.md describes the format for those who write one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from efishim.dump.cpu import CONTROL, FLOATING, GENERAL, SEGMENTS
from efishim.dump.efer import derive_efer
from efishim.dump.memory import MAX_RANGES, DumpMemory, Range, ordered
from efishim.dump.model import Dump
from efishim.dump.source import MAX_UNPACKED, DumpError, Source, open_source
from efishim.image.text import printable
from efishim.reading import parse_toml
from efishim.wire.x86 import CR0_PE, DESCRIPTOR_ATTRIBUTES

FORMAT = "efishim-dump"
VERSION = 1
LIMIT = 1 << 20
"""Bytes of the TOML file."""
REQUIRED = ("rip", "cr0")
NUMBERS = (*GENERAL, "rip", "eflags", *CONTROL, *FLOATING)
EFLAGS = 2
"""Bit 1 is always set (SDM volume 1, section 3.4.3)."""
UNUSED = {"tr": 0x8B00, "ldtr": 0x8200}
"""Flags of the system segments after reset (SDM volume 3, table 9-1); their limit is 0xffff."""
REAL_FLAGS = 0x9300
IN_FULL = "docs/check-a-dump.md has the format with an example"
MAX_DOTS = 64
"""In one line."""
MAX_FILES = 64
"""Different files of memory."""
MAX_PACKED = MAX_UNPACKED
"""Bytes that all packed files together unpack to."""
TOP = ("format", "version", "entry", "registers", "segments", "tables", "memory")


def read_described(path: str, text: str, folder: Path) -> Dump:
    """Raises DumpError with one sentence."""
    if any(line.count(".") > MAX_DOTS for line in text.split("\n")):
        # tomllib takes time and memory by the square of a key's parts.
        raise DumpError(f"{path} has a line with more than {MAX_DOTS} dots, which is not in the format", hint=IN_FULL)
    table = parse_toml(text, path, DumpError)
    reader = _Reader(path)
    reader.keys(table, TOP, "")
    if table.get("format") != FORMAT:
        raise DumpError(f'{path} does not begin with format = "{FORMAT}"', hint=IN_FULL)
    if table.get("version") != VERSION:
        raise DumpError(f"{path} is of version {table.get('version')!r:.40}, and only {VERSION} is known", hint=IN_FULL)
    registers, derived = reader.registers(table)
    found, files = reader.ranges(table.get("memory", []), folder)
    ranges = ordered(found)
    if "efer" not in registers:
        registers["efer"], sentence = derive_efer(registers, DumpMemory(ranges))
        derived.append(sentence)
    entry = table.get("entry", "")
    if not isinstance(entry, str):
        raise DumpError(f"entry in {path} is not a text", hint=IN_FULL)
    packed = "".join(f", {one}" for one in sorted({one.source.packed for one in ranges if one.source} - {""}))
    return Dump(path, f"memory ranges{packed}", registers, ranges, tuple(derived), (path, *files), entry)


class _Reader:
    """Takes values out of tables, each with its name when it is wrong."""

    def __init__(self, path: str) -> None:
        self._path = path

    def keys(self, table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
        """Raises DumpError for a key that the format does not have: a misspelt one would be a zero."""
        for name in table:
            if name not in known:
                place = f"{where}.{name}" if where else name
                raise DumpError(f"{self._path} has {printable(place)[:80]}, which is not in the format", hint=IN_FULL)

    def table(self, value: Any, where: str) -> Mapping[str, Any]:
        """A table."""
        if not isinstance(value, dict):
            raise DumpError(f"{where} in {self._path} is not a table", hint=IN_FULL)
        return value

    def number(self, value: Any, where: str, bits: int = 64) -> int:
        """A number of so many bits. TOML's have 64 with a sign, so a larger one is a text in hexadecimal."""
        if isinstance(value, str) and value[:2].lower() == "0x":
            try:
                value = int(value[:40], 16)
            except ValueError:
                value = None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << bits:
            raise DumpError(f"{where} in {self._path} is not a number of {bits} bits", hint=IN_FULL)
        return value

    def registers(self, top: Mapping[str, Any]) -> tuple[dict[str, int], list[str]]:
        """All registers but a missing EFER, and what was filled in."""
        told = self.table(top.get("registers", {}), "registers")
        self.keys(told, NUMBERS, "registers")
        for name in REQUIRED:
            if name not in told:
                raise DumpError(f"{self._path} lacks registers.{name}", hint=IN_FULL)
        values = {name: self.number(value, f"registers.{name}") for name, value in told.items()}
        assumed = [name for name in NUMBERS if name not in values and name not in ("efer", *FLOATING)]
        values |= {name: EFLAGS if name == "eflags" else 0 for name in assumed}
        values = {**FLOATING, **values}
        derived = [f"not in the dump, and taken as 0: {', '.join(assumed)}"] if assumed else []
        segments, missing = self._segments(top, real=not values["cr0"] & CR0_PE)
        tables, without = self._tables(top)
        missing += without
        if missing:
            derived.append(f"not in the dump, and taken as after a reset: {', '.join(missing)}")
        return values | segments | tables, derived

    def _segments(self, top: Mapping[str, Any], *, real: bool) -> tuple[dict[str, int], list[str]]:
        table = self.table(top.get("segments", {}), "segments")
        self.keys(table, SEGMENTS, "segments")
        if "cs" not in table:
            raise DumpError(f"{self._path} lacks segments.cs", hint=IN_FULL)
        values: dict[str, int] = {}
        for name in SEGMENTS:
            where = f"segments.{name}"
            told = self.table(table.get(name, {}), where)
            self.keys(told, ("selector", "base", "limit", "attributes"), where)
            selector = self.number(told.get("selector", 0), f"{where}.selector", 16)
            base = self.number(told.get("base", selector << 4 if real else 0), f"{where}.base")
            default = 0xFFFF if real or name in UNUSED else 0
            limit = self.number(told.get("limit", default), f"{where}.limit", 32)
            flags = UNUSED.get(name, REAL_FLAGS if real else 0)
            if "attributes" in told:
                flags = self.number(told["attributes"], f"{where}.attributes", 16) << 8 & DESCRIPTOR_ATTRIBUTES
            values |= {name: selector, f"{name}.base": base, f"{name}.limit": limit, f"{name}.flags": flags}
        return values, [name for name in SEGMENTS if name not in table]

    def _tables(self, top: Mapping[str, Any]) -> tuple[dict[str, int], list[str]]:
        table = self.table(top.get("tables", {}), "tables")
        self.keys(table, ("gdt", "idt"), "tables")
        values: dict[str, int] = {}
        for name in ("gdt", "idt"):
            told = self.table(table.get(name, {}), f"tables.{name}")
            self.keys(told, ("base", "limit"), f"tables.{name}")
            values[f"{name}r.base"] = self.number(told.get("base", 0), f"tables.{name}.base")
            values[f"{name}r.limit"] = self.number(told.get("limit", 0), f"tables.{name}.limit", 16)
        return values, [name for name in ("gdt", "idt") if name not in table]

    def ranges(self, told: Any, folder: Path) -> tuple[list[Range], tuple[str, ...]]:
        """The ranges, and the paths of the files that they lie in."""
        if not isinstance(told, list) or len(told) > MAX_RANGES:
            raise DumpError(f"memory in {self._path} is not a list of at most {MAX_RANGES} ranges", hint=IN_FULL)
        sources: dict[str, Source] = {}
        return list(self._each(told, folder, sources)), tuple(str(folder / name) for name in sources)

    def _each(self, told: list[Any], folder: Path, sources: dict[str, Source]) -> Iterator[Range]:
        total = 0
        for index, value in enumerate(told):
            where = f"memory[{index}]"
            one = self.table(value, where)
            self.keys(one, ("start", "size", "file", "offset"), where)
            if "start" not in one or "size" not in one:
                raise DumpError(f"{where} in {self._path} has no start or no size", hint=IN_FULL)
            start, size = (self.number(one[name], f"{where}.{name}", 52) for name in ("start", "size"))
            if "file" not in one:
                yield Range(start, size)
                continue
            source = self._file(one["file"], where, folder, sources)
            offset = self.number(one.get("offset", 0), f"{where}.offset", 52)
            if offset + size > source.size:
                raise DumpError(f"{where} in {self._path} ends at byte {offset + size} of its file, which has {source.size}")
            total += size
            if total > sum(one.size for one in sources.values()):
                raise DumpError(f"the ranges of {self._path} have more bytes than their files: some are used twice")
            yield Range(start, size, source, offset, size)

    def _file(self, name: Any, where: str, folder: Path, sources: dict[str, Source]) -> Source:
        # A dump is hostile input: it may name files beside it, and no others on this machine.
        if not isinstance(name, str) or not name or name != Path(name).name or name in (".", "..") or "\0" in name:
            raise DumpError(f"{where}.file in {self._path} is not the name of a file in the same folder", hint=IN_FULL)
        if os.path.islink(folder / name):
            raise DumpError(f"{where}.file in {self._path} is a symbolic link, which is not followed")
        if name not in sources:
            if len(sources) == MAX_FILES:
                raise DumpError(f"{self._path} names more than {MAX_FILES} files")
            sources[name] = open_source(folder / name, what="file of memory")
            if sum(one.size for one in sources.values() if one.packed) > MAX_PACKED:
                raise DumpError(f"the packed files of {self._path} unpack to more than {MAX_PACKED >> 20} MiB")
        return sources[name]
