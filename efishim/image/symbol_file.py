"""Writes a kernel's symbols as an ELF file that has nothing else, for debuggers: a bzImage gives gdb none.

Source: System V ABI, "Sections" and "Symbol Table".
"""

from __future__ import annotations

from efishim.errors import ImageError
from efishim.image.symbols import Symbols
from efishim.wire import elf as wire

ET_EXEC, SHT_STRTAB, SHF_ALLOC, SHF_EXECINSTR = 2, 3, 2, 4
LOCAL, GLOBAL = 0, 1 << 4
"""st_info's upper half, STB_LOCAL and STB_GLOBAL."""
_NAMES = b"\0.text\0.symtab\0.strtab\0.shstrtab\0"
_CODE = frozenset("tTwW")


def symbol_file(symbols: Symbols) -> bytes:
    """An ELF file for x86-64 with one empty section over the kernel's addresses as linked, and all of its symbols: functions
    and objects by the letter of their kind. Raises ImageError when there are none.
    """
    table = symbols.table
    inside = [one for one in symbols if table.start <= one.address < table.end]
    if not inside:
        raise ImageError("the image has no symbols", hint="kernels with CONFIG_KALLSYMS have some")
    inside.sort(key=lambda one: one.kind.isupper())  # local ones come first
    names, rows, at = bytearray(b"\0"), [bytes(wire.Symbol64.sizeof())], 1
    for one in inside:
        kind = wire.STT_FUNC if one.kind in _CODE else wire.STT_OBJECT
        bind = GLOBAL if one.kind.isupper() else LOCAL
        row = wire.Symbol64(st_name=at, st_info=bind | kind, st_other=0, st_shndx=1, st_value=one.address, st_size=0)
        rows.append(row.build())
        names += one.name.encode() + b"\0"
        at = len(names)
    first_global = 1 + sum(not one.kind.isupper() for one in inside)
    body, header = b"".join(rows), wire.ElfHeader64.sizeof()
    places = (header, header + len(body), header + len(body) + len(names))
    sections = [
        bytes(wire.SectionHeader64.sizeof()),
        _section(
            ".text", wire.SHT_NOBITS, header, table.end - table.start, flags=SHF_ALLOC | SHF_EXECINSTR, address=table.start
        ),
        _section(".symtab", wire.SHT_SYMTAB, places[0], len(body), link=3, info=first_global, entry=wire.Symbol64.sizeof()),
        _section(".strtab", SHT_STRTAB, places[1], len(names)),
        _section(".shstrtab", SHT_STRTAB, places[2], len(_NAMES)),
    ]
    ident = wire.ElfIdent(magic=wire.ELF_MAGIC, ei_class=wire.CLASS64, ei_data=wire.DATA_LITTLE, ei_version=1, ei_osabi=0)
    head = wire.ElfHeader64(
        e_type=ET_EXEC,
        e_machine=wire.MACHINE_X86_64,
        e_version=1,
        e_entry=0,
        e_phoff=0,
        e_shoff=places[2] + len(_NAMES),
        e_flags=0,
        e_ehsize=header,
        e_phentsize=0,
        e_phnum=0,
        e_shentsize=wire.SectionHeader64.sizeof(),
        e_shnum=len(sections),
        e_shstrndx=4,
    )
    begin = ident.build()
    return begin + head.build()[len(begin) :] + body + bytes(names) + _NAMES + b"".join(sections)


def _section(
    name: str,
    kind: int,
    offset: int,
    size: int,
    *,
    flags: int = 0,
    address: int = 0,
    link: int = 0,
    info: int = 0,
    entry: int = 0,
) -> bytes:
    return wire.SectionHeader64(
        sh_name=_NAMES.index(name.encode() + b"\0"),
        sh_type=kind,
        sh_flags=flags,
        sh_addr=address,
        sh_offset=offset,
        sh_size=size,
        sh_link=link,
        sh_info=info,
        sh_addralign=1,
        sh_entsize=entry,
    ).build()
