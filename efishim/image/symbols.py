"""Kernel symbols from kallsyms, an ELF symbol table or a System.map, by address and by name."""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from efishim.errors import ImageError
from efishim.image.elf import Elf, Segment, parse_sections
from efishim.image.kallsyms import Kallsyms, find_kallsyms
from efishim.image.pe import PeImage
from efishim.wire import elf as wire
from efishim.wire.layout import Buffer

MAX_SYMBOLS = 1 << 20
MAX_NAMES = 64 << 20
"""Most bytes of the names of an ELF file's symbols."""
MAX_MAP_SIZE = 16 << 20
MAX_NAME = 512


class Symbol(NamedTuple):
    """One symbol; `kind` is the letter that nm prints."""

    name: str
    address: int
    kind: str


class SymbolTable(msgspec.Struct, frozen=True):
    """Symbols as they are stored: `names` has one kind letter and name per line, `addresses` 64-bit numbers in the
    same order, little-endian. [start, end) is what the kernel covers; outside it no address has a name.
    """

    start: int
    end: int
    addresses: bytes
    names: str


class Symbols:
    """A kernel's symbols. Addresses are virtual ones of the kernel as linked: subtract what KASLR added first."""

    def __init__(self, table: SymbolTable) -> None:
        self.table = table
        if len(table.addresses) % 8:
            raise ImageError("a symbol table has addresses that are not whole 64-bit numbers")
        addresses = array("Q")
        addresses.frombytes(table.addresses)
        self._addresses = addresses
        self._names = table.names.split("\n") if table.names else []
        if len(self._names) != len(addresses):
            raise ImageError(f"a symbol table has {len(self._names)} names for {len(addresses)} addresses")
        if "" in self._names:
            raise ImageError("a symbol table has a symbol without kind and name")
        self._by_name: dict[str, int] = {}
        self._last: dict[str, int] = {}

    @classmethod
    def build(cls, names: list[str], addresses: list[int], start: int, end: int) -> Symbols:
        """From names with their kind letter in front and their addresses, in any order; equal addresses keep theirs."""
        if len(names) != len(addresses):
            raise ImageError(f"a symbol table has {len(names)} names for {len(addresses)} addresses")
        order = sorted(range(len(addresses)), key=addresses.__getitem__)
        if order != list(range(len(addresses))):
            names = [names[i] for i in order]
            addresses = [addresses[i] for i in order]
        try:
            packed = array("Q", addresses).tobytes()
        except OverflowError:
            raise ImageError("a symbol table has addresses of more than 64 bits") from None
        return cls(SymbolTable(start, end, packed, "\n".join(names)))

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[Symbol]:
        """In ascending order of addresses."""
        for entry, address in zip(self._names, self._addresses, strict=True):
            yield Symbol(entry[1:], address, entry[0])

    def address_of(self, name: str) -> int | None:
        """Address of the first symbol of that name. Static functions may share theirs: see `addresses_of`."""
        index = self._first.get(name)
        return None if index is None else self._addresses[index]

    def only_address_of(self, name: str) -> int | None:
        """Address of the symbol of that name; None when several have it, or none."""
        if not self._last:
            self._last = {entry[1:]: index for index, entry in enumerate(self._names)}
        index = self._last.get(name)
        return None if index is None or index != self._first[name] else self._addresses[index]

    @property
    def _first(self) -> dict[str, int]:
        """Of each name the first symbol."""
        if not self._by_name:
            # Reversed, so that the first of several wins.
            self._by_name = {e[1:]: i for i, e in zip(range(len(self) - 1, -1, -1), reversed(self._names), strict=True)}
        return self._by_name

    def addresses_of(self, name: str) -> tuple[int, ...]:
        """Addresses of all symbols of that name."""
        return tuple(address for entry, address in zip(self._names, self._addresses, strict=True) if entry[1:] == name)

    def name_at(self, address: int) -> tuple[str, int] | None:
        """(name, offset from it) of the symbol at or before an address; of several at one address the first, which is
        the one that the kernel itself prints. None outside the kernel.
        """
        if not self.table.start <= address < self.table.end:
            return None
        after = bisect_right(self._addresses, address)
        if after == 0:
            return None
        found = self._addresses[after - 1]
        if found < self.table.start:
            return None
        return self._names[bisect_left(self._addresses, found, 0, after)][1:], address - found

    def names_at(self, addresses: Iterable[int]) -> dict[int, tuple[str, int]]:
        """What `name_at` says of each address that has a name. Many are found by one walk along them and the table."""
        out: dict[int, tuple[str, int]] = {}
        start, end = self.table.start, self.table.end
        name, found, upto, after = "", -1, start, 0
        for address in sorted(addresses):
            if not start <= address < end:
                continue
            if address >= upto:
                after = bisect_right(self._addresses, address, after)
                upto = self._addresses[after] if after < len(self._addresses) else end
                found = self._addresses[after - 1] if after else -1
                first = bisect_left(self._addresses, found, 0, after)
                name = self._names[first][1:] if found >= start else ""
            if found >= start:
                out[address] = name, address - found
        return out


def symbols_from_kallsyms(kallsyms: Kallsyms, elf: Elf) -> Symbols:
    """All symbols of the tables that `find_kallsyms` found."""
    start, end = _virtual_range(elf)
    return Symbols.build(kallsyms.all_names(), kallsyms.addresses(), start, end)


def symbols_from_pe(data: bytes, pe: PeImage) -> Symbols | None:
    """Symbols of a kernel that is a PE image and carries such tables, as Xen's EFI binary does; None without them.

    Addresses are those of the image at its ImageBase.
    """
    base = pe.optional["ImageBase"]
    segments = tuple(
        Segment(s.pointer_to_raw_data, base + s.virtual_address, s.virtual_address, s.loaded_size, s.virtual_size, 0)
        for s in pe.sections
    )
    view = Elf(pe.plus, 0, 0, base + pe.entry_rva, segments, (), (0, 0, 0), image_base=base)
    table = find_kallsyms(data, view)
    return None if table is None else symbols_from_kallsyms(table, view)


def symbols_from_elf(data: Buffer, elf: Elf) -> Symbols | None:
    """Symbols of an unstripped ELF file's symbol tables, None without one. Raises ImageError for a malformed table."""
    names: list[str] = []
    addresses: list[int] = []
    sections = parse_sections(data, elf)
    # st_name, st_info, st_shndx, st_value of wire.Symbol64 and wire.Symbol32, without a Layout for each: a vmlinux has 200,000
    # symbols, and a Layout takes tens of microseconds.
    row, pick = (struct.Struct("<IBBHQQ"), (0, 1, 3, 4)) if elf.wide else (struct.Struct("<IIIBBH"), (0, 3, 5, 1))
    left = MAX_NAMES
    for section in [one for one in sections if one.type == wire.SHT_SYMTAB][:1]:  # gABI chapter 4: there may be one
        if section.offset + section.size > len(data) or section.link >= len(sections):
            raise ImageError(f"the ELF file's symbol table at byte {section.offset} lies outside the file")
        strings_at = sections[section.link]
        strings = bytes(data[strings_at.offset : strings_at.offset + strings_at.size])
        count = min(section.size // row.size, MAX_SYMBOLS)
        for fields in row.iter_unpack(data[section.offset : section.offset + count * row.size]):
            name_at, info, index, value = (fields[i] for i in pick)
            if index == wire.SHN_UNDEF or info & 0xF > wire.STT_FUNC or not name_at:
                continue
            end = strings.find(b"\0", name_at, name_at + MAX_NAME)
            name = strings[name_at : end if end >= 0 else name_at + MAX_NAME].decode("ascii", "backslashreplace")
            left -= len(name)
            if left < 0:
                raise ImageError(f"the names of the ELF file's symbols have more than {MAX_NAMES >> 20} MiB")
            if name and "\n" not in name:
                names.append(_kind(info, index) + name)
                addresses.append(value)
    if not names:
        return None
    start, end = _virtual_range(elf)
    return Symbols.build(names, addresses, start, end)


def _kind(info: int, index: int) -> str:
    """nm's letter, as far as type and binding tell: data symbols are not told apart by section here."""
    letter = "t" if info & 0xF == wire.STT_FUNC else "a" if index == wire.SHN_ABS else "d"
    return letter.upper() if info >> 4 else letter


def symbols_from_system_map(text: str) -> Symbols:
    """Symbols of a System.map. Raises ImageError for what is none, such as the placeholder in Debian's packages."""
    names: list[str] = []
    addresses: list[int] = []
    if len(text) > MAX_MAP_SIZE:
        raise ImageError(f"the System.map has {len(text)} characters")
    for number, line in enumerate(text.splitlines(), 1):
        parts = line.split()
        if not parts:
            continue
        try:
            address, kind, name = int(parts[0], 16), parts[1], parts[2]
        except (ValueError, IndexError):
            raise ImageError(f"line {number} of the System.map is not an address, a letter and a name") from None
        if not 0 <= address < 1 << 64 or len(kind) != 1:
            raise ImageError(f"line {number} of the System.map is not an address, a letter and a name")
        if "real System.map" in line:
            raise ImageError(
                "this System.map is Debian's placeholder",
                hint="it is not needed: the symbols are read from the kernel itself",
            )
        names.append(kind + name)
        addresses.append(address)
    if not names:
        raise ImageError("the System.map is empty")
    by_name = dict(zip((name[1:] for name in names), addresses, strict=True))
    start = by_name.get("_text", min(addresses))
    return Symbols.build(names, addresses, start, by_name.get("_end", max(addresses) + 1))


def _virtual_range(elf: Elf) -> tuple[int, int]:
    """[start, end) of the kernel's virtual addresses; the per-CPU segment, linked at 0, is not part of it."""
    loaded = [s for s in elf.segments if s.memory_size and (s.virtual >= 1 << 63 or not elf.wide)]
    loaded = loaded or [s for s in elf.segments if s.memory_size]
    if not loaded:
        return 0, 1 << 64
    return min(s.virtual for s in loaded), max(s.virtual + s.memory_size for s in loaded)
