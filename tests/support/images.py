"""Images made for tests, written down from the specifications and not with the layouts under test."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import zstandard

PE_AT = 0x80


@dataclass(frozen=True)
class SectionSpec:
    """A PE section: its raw data, where it goes, and how large it is in memory."""

    name: bytes
    rva: int
    data: bytes
    virtual_size: int
    characteristics: int = 0x60000020


def build_pe(
    sections: Sequence[SectionSpec],
    *,
    machine: int = 0x8664,
    plus: bool = True,
    subsystem: int = 10,
    entry: int = 0x1000,
    image_base: int = 0x400000,
    size_of_image: int = 0x10000,
    characteristics: int = 0x0206,
    dll_characteristics: int = 0x0100,
    relocations: tuple[int, int] = (0, 0),
    head: bytes = b"",
) -> bytes:
    """A PE image: MS-DOS header, PE header at 0x80, sections packed at 512 bytes behind the headers.

    `head` fills the file between the MS-DOS header and the PE header.
    """
    optional = struct.pack("<HBBIIIII", 0x20B if plus else 0x10B, 2, 20, 0x1000, 0x200, 0, entry, 0x1000)
    optional += struct.pack("<Q", image_base) if plus else struct.pack("<II", 0x2000, image_base)
    optional += struct.pack(
        "<IIHHHHHHIIIIHH", 0x1000, 0x200, 0, 0, 1, 0, 0, 0, 0, size_of_image, 0x400, 0, subsystem, dll_characteristics
    )
    optional += struct.pack("<QQQQ" if plus else "<IIII", 0, 0, 0, 0) + struct.pack("<II", 0, 6)
    directories = [(0, 0)] * 5 + [relocations]
    optional += b"".join(struct.pack("<II", *pair) for pair in directories)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", machine, len(sections), 0, 0, 0, len(optional), characteristics)
    table, body, at = b"", b"", 0x400
    for section in sections:
        raw = section.data + b"\0" * (-len(section.data) % 0x200)
        table += struct.pack(
            "<8sIIIIIIHHI",
            section.name,
            section.virtual_size,
            section.rva,
            len(raw),
            at if raw else 0,
            0,
            0,
            0,
            0,
            section.characteristics,
        )
        body += raw
        at += len(raw)
    dos = b"MZ" + b"\0" * 58 + struct.pack("<I", PE_AT)
    header = (dos + head).ljust(PE_AT, b"\0") + coff + optional + table
    return header.ljust(0x400, b"\0") + body


def relocation_block(page: int, entries: Sequence[tuple[int, int]]) -> bytes:
    """A block of base relocations: (type, offset in the page) each, padded to four bytes."""
    words = [kind << 12 | offset for kind, offset in entries]
    words += [0] * (len(words) % 2)
    return struct.pack("<II", page, 8 + 2 * len(words)) + struct.pack(f"<{len(words)}H", *words)


def build_bzimage(
    payload: bytes = b"",
    *,
    protocol: int = 0x20F,
    xloadflags: int = 0x7F,
    version: bytes = b"6.99.0-test (someone@example.org) #1",
    setup_sects: int = 3,
    handover: int = 0x1000,
    header_end: int = 0x26C,
    patches: Mapping[int, bytes] | None = None,
) -> bytes:
    """A Linux boot protocol image: setup code, then protected-mode code of 0x1000 bytes, then the payload.

    `patches` overwrite bytes of the setup code by file offset.
    """
    setup = bytearray((setup_sects + 1) * 512)
    code = b"\x90" * 0x1000 + payload
    code += b"\0" * (-len(code) % 16)
    setup[0x1F1] = setup_sects
    struct.pack_into("<I", setup, 0x1F4, len(code) // 16)
    struct.pack_into("<H", setup, 0x1FE, 0xAA55)
    setup[0x200:0x206] = bytes([0xEB, header_end - 0x202]) + b"HdrS"
    struct.pack_into("<H", setup, 0x206, protocol)
    struct.pack_into("<H", setup, 0x20E, 0x100)  # the version string, at 0x300
    setup[0x211] = 1
    struct.pack_into("<I", setup, 0x214, 0x100000)
    struct.pack_into("<I", setup, 0x22C, 0x7FFFFFFF)
    struct.pack_into("<IBBH", setup, 0x230, 0x200000, 1, 21, xloadflags)
    struct.pack_into("<I", setup, 0x238, 2047)
    if payload:
        struct.pack_into("<II", setup, 0x248, 0x1000, len(payload))
    struct.pack_into("<QII", setup, 0x258, 0x1000000, 0x3000000, handover)
    setup[0x300 : 0x300 + len(version) + 1] = version + b"\0"
    for at, content in (patches or {}).items():
        setup[at : at + len(content)] = content
    return bytes(setup) + code


def elf_note(owner: bytes, kind: int, description: bytes, *, step: int = 4) -> bytes:
    """A note with its owner and description padded."""
    name = owner + b"\0"
    return (
        struct.pack("<III", len(name), len(description), kind)
        + name.ljust(-(-(12 + len(name)) // step) * step - 12, b"\0")
        + description.ljust(-(-len(description) // step) * step, b"\0")
    )


def build_elf(
    segments: Sequence[tuple[int, int, bytes, int]],
    *,
    entry: int,
    notes: bytes = b"",
    wide: bool = True,
    machine: int = 62,
    sections: Sequence[tuple[bytes, int, bytes, int, int]] = (),
) -> bytes:
    """An ELF executable. `segments` are (virtual, physical, content, size in memory); `sections` (name, type, content,
    link, entry size), numbered from 1 on, with the section of names behind them.
    """
    count = len(segments) + bool(notes)
    header_size, row_size = (64, 56) if wide else (52, 32)
    at = header_size + count * row_size
    at += -at % 64
    rows, body = b"", b""

    def place(content: bytes) -> int:
        nonlocal body
        body += b"\0" * (-len(body) % 64)
        offset = at + len(body)
        body += content
        return offset

    for virtual, physical, content, size in segments:
        offset = place(content)
        if wide:
            rows += struct.pack("<IIQQQQQQ", 1, 7, offset, virtual, physical, len(content), size, 0x1000)
        else:
            rows += struct.pack("<IIIIIIII", 1, offset, virtual, physical, len(content), size, 7, 0x1000)
    if notes:
        offset = place(notes)
        if wide:
            rows += struct.pack("<IIQQQQQQ", 4, 4, offset, 0, 0, len(notes), len(notes), 4)
        else:
            rows += struct.pack("<IIIIIIII", 4, offset, 0, 0, len(notes), len(notes), 4, 4)
    table, table_at, number = b"", 0, 0
    if sections:
        names = b"\0" + b"".join(name + b"\0" for name, *_ in sections) + b".shstrtab\0"
        layout = [(names.index(name + b"\0"), kind, content, link, size) for name, kind, content, link, size in sections]
        layout.append((names.index(b".shstrtab"), 3, names, 0, 0))
        table = b"\0" * (64 if wide else 40)
        form = "<IIQQQQIIQQ" if wide else "<IIIIIIIIII"
        for name_at, kind, content, link, size in layout:
            table += struct.pack(form, name_at, kind, 0, 0, place(content), len(content), link, 0, 1, size)
        table_at, number = place(table), len(layout) + 1
    ident = b"\x7fELF" + bytes([2 if wide else 1, 1, 1]) + b"\0" * 9
    form = "<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH"
    header = ident + struct.pack(
        form,
        2,
        machine,
        1,
        entry,
        header_size,
        table_at,
        0,
        header_size,
        row_size,
        count,
        64 if wide else 40,
        number,
        max(number - 1, 0),
    )
    return (header + rows).ljust(at, b"\0") + body


def pack_names(names: Sequence[str], merges: int = 40) -> tuple[list[bytes], list[bytes]]:
    """(tokens, packed names): byte-pair packing as scripts/kallsyms.c describes it at its head."""
    table: list[bytes] = [b""] * 256
    for name in names:
        for byte in name.encode():
            table[byte] = bytes([byte])
    packed = [list(name.encode()) for name in names]
    free = [index for index in range(255, -1, -1) if not table[index]]
    for index in free[:merges]:
        pairs = Counter(pair for codes in packed for pair in pairwise(codes))
        if not pairs:
            break
        # The most frequent pair, the smallest of several, so that the table does not depend on hashing.
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        table[index] = table[best[0]] + table[best[1]]
        for codes in packed:
            at = 0
            while at + 1 < len(codes):
                if (codes[at], codes[at + 1]) == best:
                    codes[at : at + 2] = [index]
                at += 1
    return table, [bytes(codes) for codes in packed]


def build_kallsyms(symbols: Sequence[tuple[str, int]], *, layout: str, place: int, base: int, percpu: bool = False) -> bytes:
    """The tables for (kind and name, address) in ascending order, as they lie from virtual address `place` on.

    `layout` is `old` (4.6 to 6.1), `seqs` (6.2 and 6.3), `new` (6.4 to 6.19), `place-relative` (7.0), `absolute`
    (before 4.6) or `xen`.
    """
    align = 4 if layout in {"place-relative", "xen"} else 8
    out = bytearray()

    def pad() -> None:
        out.extend(b"\0" * (-len(out) % align))

    def offset(address: int) -> int:
        if percpu:
            return address if address < 0x1000000 else base - 1 - address
        return address - base

    def addresses() -> None:
        pad()
        if layout == "absolute":
            out.extend(b"".join(struct.pack("<Q", address) for _, address in symbols))
        elif layout == "place-relative":
            at = place + len(out)
            out.extend(b"".join(struct.pack("<i", address - at - 4 * i) for i, (_, address) in enumerate(symbols)))
        else:
            form = "<i" if percpu else "<I"
            out.extend(b"".join(struct.pack(form, offset(address)) for _, address in symbols))
            if layout == "xen":
                return
            pad()
            out.extend(struct.pack("<Q", base))

    tokens, packed = pack_names([name for name, _ in symbols])
    markers, names = [], bytearray()
    for number, codes in enumerate(packed):
        if number % 256 == 0:
            markers.append(len(names))
        if len(codes) < 0x80:
            names += bytes([len(codes)]) + codes
        else:
            names += bytes([len(codes) & 0x7F | 0x80, len(codes) >> 7]) + codes
    seqs = b"".join(struct.pack(">I", number)[1:] for number in range(len(symbols)))
    if layout in {"old", "seqs", "absolute", "xen"}:
        addresses()
    pad()
    out += struct.pack("<I", len(symbols))
    pad()
    out += names
    pad()
    out += struct.pack(f"<{len(markers)}{'Q' if layout == 'absolute' else 'I'}", *markers)
    if layout == "seqs":
        pad()
        out += seqs
    pad()
    starts, table = [], b""
    for token in tokens:
        starts.append(len(table))
        table += token + b"\0"
    out += table
    pad()
    out += struct.pack("<256H", *starts)
    if layout in {"new", "place-relative"}:
        addresses()
        pad()
        out += seqs
    return bytes(out)


def linux_symbols(count: int = 1500, *, start: int = 0xFFFFFFFF81000000, percpu: bool = False) -> list[tuple[str, int]]:
    """Names and addresses that look like a kernel's, digits and all, in ascending order of addresses."""
    words = [
        "start",
        "kernel",
        "init",
        "acpi",
        "cpu",
        "irq",
        "x86_64",
        "page",
        "table",
        "efi",
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "7",
        "8",
        "9",
    ]
    symbols = [("Afixed_percpu_data", 0), ("Acpu_number", 0x1C000)] if percpu else []
    symbols.append(("Tstartup_64", start))
    for number in range(count):
        name = f"{words[number % 20]}_{words[number * 7 % 20]}_{number}"
        symbols.append(("tT"[number % 2] + name, start + 0x100 + 0x20 * number))
    symbols.append(("Tstart_kernel", start + 0x40 * count + 0x2000))
    long_name = "D" + "_".join(chr(ord("A") + i % 26) + chr(ord("a") + i * 5 % 26) + str(i) for i in range(90))
    symbols.append((long_name, start + 0x40 * count + 0x3000))
    symbols.append(("B_end", start + 0x40 * count + 0x4000))
    return symbols


def build_kernel_elf(layout: str = "new", *, percpu: bool = True, count: int = 1500, notes: bytes = b"") -> bytes:
    """A kernel's inner ELF: a text segment that carries kallsyms, a per-CPU segment linked at 0, a note with 0x1000850."""
    text, physical = 0xFFFFFFFF81000000, 0x1000000
    percpu = percpu and layout in {"old", "seqs", "new"}
    symbols = linux_symbols(count, percpu=percpu)
    code = bytes(range(256)) * 16 + b"0\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00 not a token table" + b"\xcc" * 967
    code += b"\xcc" * (-len(code) % 64)
    tables = build_kallsyms(symbols, layout=layout, place=text + len(code), base=text, percpu=percpu)
    content = code + tables
    size = max(len(content), symbols[-1][1] - text) + 0x1000
    segments = [(text, physical, content, size), (0, physical + size, b"\1" * 64, 0x1000)]
    notes = notes or elf_note(b"Xen", 18, struct.pack("<Q", 0x1000850)) + elf_note(b"GNU", 3, b"\xab" * 20)
    return build_elf(segments, entry=physical, notes=notes)


def build_deb(files: Mapping[str, bytes], *, suffix: str = ".xz", extra: Sequence[tarfile.TarInfo] = ()) -> bytes:
    """A Debian package with these files (`./boot/vmlinuz`), and further members without content."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in extra:
            tar.addfile(member)
    packers: dict[str, Callable[[bytes], bytes]] = {
        "": bytes,
        ".xz": lzma.compress,
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".zst": zstandard.ZstdCompressor().compress,
    }
    pack = packers.get(suffix, bytes)
    return b"!<arch>\n" + b"".join(
        ar_member(name, content)
        for name, content in (
            (b"debian-binary", b"2.0\n"),
            (b"control.tar", b"odd"),
            (b"data.tar" + suffix.encode(), pack(archive.getvalue())),
        )
    )


def ar_member(name: bytes, content: bytes) -> bytes:
    """A member of an ar archive: 60 bytes of header, padded to an even size."""
    header = b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name, 0, 0, 0, b"100644", len(content))
    return header + content + b"\n" * (len(content) % 2)
