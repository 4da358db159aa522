"""Debian's own kernels and other systems' images: what is read from them must agree with itself and with other readers."""

from __future__ import annotations

import io
import re
import struct
import time
from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from efishim.errors import ImageError
from efishim.image.bzimage import parse_bzimage
from efishim.image.elf import parse_elf, parse_notes, parse_sections
from efishim.image.entries import Entry
from efishim.image.facts import KernelCache
from efishim.image.kallsyms import find_kallsyms
from efishim.image.opened import Image, open_image, read_image_file
from efishim.image.pe import layout_pe
from tests.support.pace import slowness

pytestmark = pytest.mark.kernel

LINUX_DOORS = {Entry.EFI, Entry.EFI_HANDOVER, Entry.EFI_MIXED, Entry.PVH, Entry.LINUX64, Entry.LINUX32, Entry.LINUX16}


@pytest.fixture(scope="module")
def images() -> dict[Path, tuple[Image, bytes]]:
    """Opened kernels with their inner ELF files, so that each is unpacked once."""
    return {}


@pytest.fixture
def kernel(stock_kernel: Path, images: dict[Path, tuple[Image, bytes]]) -> tuple[Image, bytes]:
    if stock_kernel not in images:
        image = read_image_file(stock_kernel)
        images[stock_kernel] = image, image.source.unpack()
    return images[stock_kernel]


def test_opening_is_quick_and_finds_every_door(stock_kernel: Path) -> None:
    started = time.process_time()
    image = read_image_file(stock_kernel)
    assert time.process_time() - started < 0.1 * slowness()
    assert image.formats == ("bzImage", "pe")
    assert set(image.entries) == LINUX_DOORS


def test_the_version_is_the_one_that_the_kernel_prints(kernel: tuple[Image, bytes]) -> None:
    image, elf = kernel
    release, _, rest = image.version.partition(" ")
    banner = re.search(rb"Linux version ([^ ]+) [^\n]*(#1 [^\n]*)\n", elf)
    assert banner is not None
    assert banner[1].decode() == release
    assert rest.endswith(banner[2].decode())
    assert release in image.path


def test_the_inner_elf_agrees_with_pyelftools(kernel: tuple[Image, bytes]) -> None:
    image, data = kernel
    theirs = ELFFile(io.BytesIO(data))
    ours = parse_elf(data)
    expected = [s.header for s in theirs.iter_segments() if s.header["p_type"] == "PT_LOAD"]
    assert [(s.virtual, s.physical, s.file_size, s.memory_size) for s in ours.segments] == [
        (h["p_vaddr"], h["p_paddr"], h["p_filesz"], h["p_memsz"]) for h in expected
    ]
    assert [(s.name, s.address, s.size) for s in parse_sections(data, ours)] == [
        (s.name, s["sh_addr"], s["sh_size"]) for s in theirs.iter_sections()
    ]
    assert image.kernel.segments == ours.segments
    assert image.kernel.notes == parse_notes(data, ours)
    # alignment by the ELF file, size by the header: init_size is what the decompressor needs at least
    linux = image.parts.bzimage
    assert linux is not None
    start, end = ours.load_range
    assert start == linux.value("pref_address")
    assert end - start <= linux.value("init_size")


def test_symbols_agree_with_what_the_headers_say(kernel: tuple[Image, bytes]) -> None:
    """e_entry, the PVH note and the program headers come from the linker and know nothing of kallsyms."""
    image, data = kernel
    facts, symbols = image.kernel, image.symbols
    assert symbols is not None
    sections = {s.name: s for s in parse_sections(data, parse_elf(data))}
    address = {name: symbols.address_of(name) for name in ("_text", "startup_64", "pvh_start_xen", "_end", "start_kernel")}
    assert facts.physical_of(address["startup_64"] or 0) == facts.entry
    assert facts.physical_of(address["pvh_start_xen"] or 0) == facts.pvh_entry
    assert address["_text"] == sections[".text"].address
    assert address["_end"] == sections[".brk"].address + sections[".brk"].size
    init_text = sections[".init.text"]
    assert init_text.address <= (address["start_kernel"] or 0) < init_text.address + init_text.size
    assert facts.symbols == {name: symbols.address_of(name) for name in facts.symbols}
    assert {"start_kernel", "x86_64_start_kernel", "rest_init", "_stext"} <= set(facts.symbols)


def test_all_symbols_lie_in_the_kernel_in_order(kernel: tuple[Image, bytes]) -> None:
    image, data = kernel
    symbols = list(image.symbols or ())
    assert len(symbols) > 50_000
    assert all(a.address <= b.address for a, b in pairwise(symbols))
    assert len({s.kind for s in symbols}) > 6
    assert all(re.fullmatch(r"[\w.$]+", s.name) for s in symbols)
    elf = parse_elf(data)
    end = max(s.virtual + s.memory_size for s in elf.segments)
    percpu = next(s for s in elf.segments if s.virtual == 0)
    for symbol in symbols:
        assert symbol.address <= percpu.memory_size or elf.segments[0].virtual <= symbol.address <= end
    text = next(s for s in parse_sections(data, elf) if s.name == ".text")
    functions = [s for s in symbols if s.kind in "tT" and text.address <= s.address < text.address + text.size]
    assert len(functions) > 20_000


def test_symbols_agree_with_exported_symbols(kernel: tuple[Image, bytes]) -> None:
    """__ksymtab holds the address and the name of every exported symbol: an independent list of 10,000 pairs."""
    image, data = kernel
    known = {(s.name, s.address) for s in image.symbols or ()}
    sections = {s.name: s for s in parse_sections(data, parse_elf(data))}
    strings, exported = sections["__ksymtab_strings"], set()
    for table in (sections["__ksymtab"], sections["__ksymtab_gpl"]):
        # struct kernel_symbol with CONFIG_HAVE_ARCH_PREL32_RELOCATIONS: three offsets, each relative to itself
        for at in range(0, table.size - 11, 12):
            value, name, _ = struct.unpack_from("<iii", data, table.offset + at)
            name_at = table.address + at + 4 + name - strings.address + strings.offset
            label = data[name_at : data.index(b"\0", name_at)].decode()
            exported.add((label, (table.address + at + value) % (1 << 64)))
    assert len(exported) > 8000
    assert exported - known == set()


def test_call_targets_are_starts_of_functions(kernel: tuple[Image, bytes]) -> None:
    """The direct calls in start_kernel's first bytes go where kallsyms has a symbol."""
    image, data = kernel
    facts, symbols = image.kernel, image.symbols
    assert symbols is not None
    elf = parse_elf(data)
    start = facts.symbols["start_kernel"]
    offset = elf.offset_of_physical(facts.physical_of(start) or 0)
    assert offset is not None
    addresses = [s.address for s in symbols]
    hits = 0
    for at in range(0x600):
        if data[offset + at] == 0xE8:
            target = start + at + 5 + struct.unpack_from("<i", data, offset + at + 1)[0]
            index = bisect_right(addresses, target) - 1
            hits += addresses[index] == target and target >= facts.segments[0].virtual
    assert hits > 40


def test_decoding_all_names_is_quick(kernel: tuple[Image, bytes]) -> None:
    _, data = kernel
    elf = parse_elf(data)
    started = time.process_time()
    table = find_kallsyms(data, elf)
    assert table is not None
    few = table.find(["start_kernel"])
    middle = time.process_time()
    names = table.all_names()
    found = time.process_time()
    slow = slowness()
    assert found - middle < 0.4 * slow
    assert middle - started < 0.1 * slow
    assert few == {"start_kernel": table.address(names.index("Tstart_kernel"))}


def test_packed_lookup_agrees_with_decoding(kernel: tuple[Image, bytes]) -> None:
    """Every 397th name, packed as the kernel's build packed it, is found in packed form."""
    _, data = kernel
    table = find_kallsyms(data, parse_elf(data))
    assert table is not None
    first: dict[str, int] = {}
    for name, address in zip(table.all_names(), table.addresses(), strict=True):
        first.setdefault(name[1:], address)
    unique = [name for name in list(first)[::397] if name]
    found = table.find(unique)
    assert set(found) == set(unique)
    by_name: dict[str, list[int]] = {name: [] for name in unique}
    for name, address in zip(table.all_names(), table.addresses(), strict=True):
        if name[1:] in by_name:
            by_name[name[1:]].append(address)
    assert all(found[name] in by_name[name] for name in unique)


def test_the_loaded_pe_image_is_the_file_and_zeroes(kernel: tuple[Image, bytes]) -> None:
    image, _ = kernel
    layout = layout_pe(image.data)
    assert layout.relocations == ()
    assert layout.entry_rva < layout.size_of_image
    data_section = image.parts.pe and image.parts.pe.section(".data")
    assert data_section
    # the stub's BSS: section bytes that the file does not have
    tail = layout.read(data_section.virtual_address + data_section.size_of_raw_data, 0x1000)
    assert data_section.virtual_size > data_section.size_of_raw_data
    assert not any(tail)
    text = image.parts.pe and image.parts.pe.section(".text")
    assert text
    expected = image.data[text.pointer_to_raw_data : text.pointer_to_raw_data + text.size_of_raw_data]
    assert layout.read(text.virtual_address, text.size_of_raw_data) == expected


def test_a_second_run_unpacks_nothing(stock_kernel: Path, tmp_path: Path) -> None:
    first = read_image_file(stock_kernel, cache=KernelCache(tmp_path))
    facts, count = first.kernel, len(first.symbols or ())
    again = read_image_file(stock_kernel, cache=KernelCache(tmp_path))
    started = time.process_time()
    assert again.kernel == facts
    assert len(again.symbols or ()) == count
    assert time.process_time() - started < 0.15 * slowness()


def test_truncated_kernels_are_refused(cloud_kernel: Path) -> None:
    """At every section boundary, and one byte around it."""
    data = cloud_kernel.read_bytes()
    image = open_image(data, path="vmlinuz")
    assert image.parts.pe is not None
    ends = {s.pointer_to_raw_data for s in image.parts.pe.sections} | {parse_bzimage(data).setup_size}
    for end in sorted(ends):
        for size in (end - 1, end, end + 1):
            with pytest.raises(ImageError, match=r"truncated|empty|neither"):
                open_image(data[:size], path="vmlinuz")


# -- systems that are not Linux ----------------------------------------------------------------------------------------


def test_xen(debian_kernel: Callable[[str], Path]) -> None:
    image = read_image_file(debian_kernel("xen-hypervisor-4.17-amd64"))
    assert image.compression == "gzip"
    assert {Entry.MULTIBOOT, Entry.MULTIBOOT2} <= set(image.entries)
    header = image.parts.multiboot2
    assert header is not None
    # it can be entered with EFI boot services still up (xen/arch/x86/boot/head.S)
    assert {"EFI_BS", "ENTRY_ADDRESS_EFI64", "RELOCATABLE", "MODULE_ALIGN"} <= {tag.name for tag in header.tags}
    assert image.kernel.load_start == 0x200000
    symbols = image.symbols
    assert symbols is not None
    assert symbols.address_of("start") == image.kernel.entry
    application = read_image_file(debian_kernel("xen-hypervisor-4.17-amd64/boot/xen-4.17-amd64.efi"))
    assert Entry.EFI in application.entries
    layout = layout_pe(application.data)
    symbols = application.symbols
    assert symbols is not None
    assert symbols.address_of("efi_start") == layout.preferred_base + layout.entry_rva
    assert len(layout.relocations) > 1000
    moved = dict(layout.relocate(0x10000000))
    distance = 0x10000000 - layout.preferred_base
    for rva, content in moved.items():
        before = int.from_bytes(layout.read(rva, len(content)), "little")
        assert int.from_bytes(content, "little") == (before + distance) % (1 << 8 * len(content))


def test_gnu_mach(debian_kernel: Callable[[str], Path]) -> None:
    image = read_image_file(debian_kernel("gnumach-image-1.8-486"))
    assert image.entries == (Entry.MULTIBOOT,)
    assert image.kernel.entry == image.kernel.load_start


def test_memtest(debian_kernel: Callable[[str], Path]) -> None:
    image = read_image_file(debian_kernel("memtest86+"))
    assert {Entry.EFI, Entry.LINUX64, Entry.LINUX32} <= set(image.entries)
    assert image.version.startswith("Memtest86+")
    narrow = read_image_file(debian_kernel("memtest86+/boot/memtest86+ia32.efi"))
    assert {Entry.EFI, Entry.LINUX32} <= set(narrow.entries)
    assert Entry.LINUX64 not in narrow.entries
    assert "IA32" in next(door.where for door in narrow.doors if door.entry is Entry.EFI)


def test_systemd_boot(debian_kernel: Callable[[str], Path]) -> None:
    image = read_image_file(debian_kernel("systemd-boot-efi"))
    assert (image.formats, image.entries) == (("pe",), (Entry.EFI,))
    assert layout_pe(image.data).entry_rva
