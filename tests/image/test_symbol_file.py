"""Symbols for gdb, read back with another reader of ELF files."""

from __future__ import annotations

import io

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from efishim.errors import ImageError
from efishim.image.symbol_file import symbol_file
from efishim.image.symbols import Symbols

BASE = 0xFFFF_FFFF_8100_0000
KERNEL = Symbols.build(
    ["Tstartup_64", "tlocal", "Djiffies", "Aper_cpu", "bzero"],
    [BASE, BASE + 0x10, BASE + 0x100, 0, BASE + 0x200],
    BASE,
    BASE + 0x1000,
)


def test_another_reader_finds_them() -> None:
    elf = ELFFile(io.BytesIO(symbol_file(KERNEL)))
    text, table = elf.get_section_by_name(".text"), elf.get_section_by_name(".symtab")
    assert text is not None
    assert isinstance(table, SymbolTableSection)
    assert (text["sh_addr"], text["sh_size"], text["sh_type"]) == (BASE, 0x1000, "SHT_NOBITS")
    found = {one.name: (one["st_value"], one["st_info"]["bind"], one["st_info"]["type"]) for one in table.iter_symbols()}
    found.pop("")
    assert found == {
        "startup_64": (BASE, "STB_GLOBAL", "STT_FUNC"),
        "local": (BASE + 0x10, "STB_LOCAL", "STT_FUNC"),
        "jiffies": (BASE + 0x100, "STB_GLOBAL", "STT_OBJECT"),
        "zero": (BASE + 0x200, "STB_LOCAL", "STT_OBJECT"),
    }, "what lies outside of the kernel is left out"
    locals_ = [one["st_info"]["bind"] == "STB_LOCAL" for one in table.iter_symbols()]
    assert locals_ == [True] * table["sh_info"] + [False] * (len(locals_) - table["sh_info"])


def test_no_symbols_are_an_error() -> None:
    with pytest.raises(ImageError, match="no symbols"):
        symbol_file(Symbols.build([], [], 0, 0))
