"""The multiboot provider against Multiboot 0.6.96: the bytes that it writes, taken apart with the offsets of section 3.3."""

from __future__ import annotations

import struct
from dataclasses import replace

import efishim_firmware_stubs
import pytest
from efishim_plugins.multiboot.provider import Multiboot

from efishim.errors import ProviderError, UsageError
from efishim.provider import (
    Arena,
    BootRequest,
    CpuMode,
    Framebuffer,
    Handover,
    Loaded,
    MachineFirmware,
    MemoryKind,
    MemoryRange,
    Module,
)
from efishim.testing import Ram, check_provider, facts, run

MIB = 1 << 20
MULTIBOOT = Multiboot()
MODULES = (Module(32 * MIB, 0x1234), Module(33 * MIB, 0x10, b"second one"))
LOADED = Loaded(MIB, 0x10000, MIB + 0x40)
SCREEN = Framebuffer(0xC000_0000, 800, 600, 3200, 32, (16, 8), (8, 8), (0, 8))
MAGIC = 0x2BADB002


def request(**changes: object) -> BootRequest:
    whole = BootRequest(facts(), b"console=ttyS0", MODULES, b"", LOADED, {}, "multiboot")
    return replace(whole, **changes)  # type: ignore[arg-type]


def produced(wanted: BootRequest) -> tuple[Ram, Handover]:
    memory, arena = Ram(), Arena(wanted.facts.memory_map)
    handover = MULTIBOOT.produce(wanted, memory, arena)
    assert handover.magic == MAGIC
    return memory, handover


def words(memory: Ram, handover: Handover) -> tuple[int, ...]:
    """The structure as 29 words of 32 bits: word n is at offset 4n."""
    assert handover.address is not None
    return struct.unpack("<29I", memory.read(handover.address, 116))


def text(memory: Ram, address: int) -> bytes:
    return memory.read(address, 100).split(b"\0")[0]


def test_checker() -> None:
    assert check_provider(MULTIBOOT, efishim_firmware_stubs.probe_kernel()) == []


def test_the_structure() -> None:
    memory, handover = produced(request())
    word = words(memory, handover)
    assert word[0] == 1 << 0 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9, "flags"
    assert word[1] == 0x9F000 >> 10, "mem_lower"
    assert word[2] == 64 * 1024 - 1024 - 4, "mem_upper: up to the page of ACPI at the end"
    assert text(memory, word[4]) == b"console=ttyS0"
    assert text(memory, word[16]) == b"efishim"
    assert [word[n] for n in (3, 7, 8, 9, 10, 13, 14, 15, 17, 18, 19, 20, 21)] == [0] * 13, "nothing that is not announced"


def test_modules() -> None:
    memory, handover = produced(request())
    word = words(memory, handover)
    assert word[5] == 2
    first, second = struct.iter_unpack("<4I", memory.read(word[6], 32))
    assert (first[0], first[1], text(memory, first[2])) == (32 * MIB, 32 * MIB + 0x1234, b"")
    assert (second[0], second[1], text(memory, second[2])) == (33 * MIB, 33 * MIB + 0x10, b"second one")
    assert first[3] == second[3] == 0


def test_no_modules() -> None:
    memory, handover = produced(request(modules=()))
    word = words(memory, handover)
    assert (word[0] & 8, word[5], word[6]) == (8, 0, 0)


def test_memory_map() -> None:
    """Each entry begins with its size less four bytes; what 3.3 does not name is reserved."""
    kinds = tuple(MemoryRange((1 + n) * MIB, MIB, kind) for n, kind in enumerate(MemoryKind))
    memory, handover = produced(request(facts=replace(facts(), memory_map=(MemoryRange(0, 0x9F000, MemoryKind.RAM), *kinds))))
    word = words(memory, handover)
    rows = list(struct.iter_unpack("<IQQI", memory.read(word[12], word[11])))
    assert [row[0] for row in rows] == [20] * 8
    assert [(row[1], row[2]) for row in rows[1:]] == [((1 + n) * MIB, MIB) for n in range(7)]
    assert [row[3] for row in rows] == [1, 1, 2, 3, 4, 5, 2, 2]


@pytest.mark.parametrize(
    ("ranges", "amounts"),
    [
        ((), (0, 0)),
        (((0, 0xA0000), (0x100000, 0x100000)), (640, 1024)),
        (((0, 0x400000),), (640, 3072)),
        (((0x1000, 0x9F000), (0x200000, 0x100000)), (0, 0)),
        (((0, 0x80000), (0x80000, 0x10000), (0x100000, 0x100000), (0x200000, 0x1000), (0x202000, 0x1000)), (576, 1028)),
        (((0x100000, 1 << 44),), (0, 0xFFFFFFFF)),
    ],
)
def test_amounts_of_memory(ranges: tuple[tuple[int, int], ...], amounts: tuple[int, int]) -> None:
    """mem_lower is at most 640; mem_upper goes to the first hole, and neither is more than fits."""
    told = tuple(MemoryRange(start, size, MemoryKind.RAM) for start, size in ranges)
    memory = Ram()
    handover = MULTIBOOT.produce(request(facts=replace(facts(), memory_map=told)), memory, Arena(facts().memory_map))
    assert words(memory, handover)[1:3] == amounts


def test_framebuffer() -> None:
    memory, handover = produced(request(facts=replace(facts(), framebuffer=SCREEN)))
    assert words(memory, handover)[0] & 1 << 12
    assert handover.address is not None
    raw = memory.read(handover.address + 88, 28)
    assert struct.unpack("<QIIIBB6B", raw) == (0xC000_0000, 3200, 800, 600, 32, 1, 16, 8, 8, 8, 0, 8)
    assert MULTIBOOT.read_back(memory, handover).framebuffer == SCREEN


def test_a_wish_for_a_video_mode_without_a_display_is_noted() -> None:
    flags = 1 << 16 | 1 << 2
    header = struct.pack("<12I", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFFFFFF, *[0] * 5, 0, 1024, 768, 32)
    assert "asks for a video mode" in produced(request(image=header))[1].notes[0]
    assert produced(request(image=header, facts=replace(facts(), framebuffer=SCREEN)))[1].notes == ()
    assert produced(request(image=header, entry="efi"))[1].notes == (), "the shim is the kernel there"


@pytest.mark.parametrize("name", ["", "x" * 65, "tab\t", "naïve"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(UsageError, match=r"multiboot\.loader_name"):
        produced(request(options={"loader_name": name}))


def test_another_name() -> None:
    memory, handover = produced(request(options={"loader_name": "GRUB 2.06"}))
    assert text(memory, words(memory, handover)[16]) == b"GRUB 2.06"


def test_a_module_above_four_gib() -> None:
    with pytest.raises(ProviderError, match="32 bits"):
        produced(request(modules=(Module((1 << 32) - 0x1000, 0x1000),)))


def test_read_back() -> None:
    memory, handover = produced(request())
    told = MULTIBOOT.read_back(memory, handover)
    assert (told.memory_map, told.command_line, told.modules) == (facts().memory_map, b"console=ttyS0", MODULES)
    assert (told.rsdp, told.smbios, told.framebuffer) == (None, None, None)
    assert {item.field for item in told.provenance} == {"rsdp", "smbios", "framebuffer"}


def test_read_back_sees_guest_memory_and_nothing_else() -> None:
    memory, handover = produced(request())
    memory.write(words(memory, handover)[4], b"C")
    assert MULTIBOOT.read_back(memory, handover).command_line == b"Console=ttyS0"


def set_word(memory: Ram, handover: Handover, number: int, value: int) -> None:
    assert handover.address is not None
    memory.write(handover.address + 4 * number, struct.pack("<I", value))


def test_read_back_without_a_map_goes_by_the_amounts() -> None:
    memory, handover = produced(request())
    set_word(memory, handover, 0, 1)
    told = MULTIBOOT.read_back(memory, handover)
    assert [(one.start, one.size) for one in told.memory_map] == [(0, 0x9F000), (MIB, 63 * MIB - 0x1000)]
    assert (told.command_line, told.modules) == (b"", ())
    set_word(memory, handover, 0, 0)
    assert MULTIBOOT.read_back(memory, handover).memory_map == ()


def test_read_back_of_longer_entries() -> None:
    """`size` may be more than 20: then there is something behind the type that nobody here knows."""
    memory, handover = produced(request())
    rows = [(0, 0x9F000, 1), (MIB, MIB, 1)]
    memory.write(48 * MIB, b"".join(struct.pack("<IQQI8s", 28, *row, b"whatever") for row in rows))
    set_word(memory, handover, 11, 64)
    set_word(memory, handover, 12, 48 * MIB)
    assert [(one.start, one.size) for one in MULTIBOOT.read_back(memory, handover).memory_map] == [row[:2] for row in rows]


@pytest.mark.parametrize(
    ("number", "value", "complaint"),
    [(5, 1025, "announces 1025 modules"), (11, 1 << 20, "bytes of memory map"), (4, 8 * MIB, "does not end")],
)
def test_read_back_of_nonsense(number: int, value: int, complaint: str) -> None:
    memory, handover = produced(request())
    memory.write(8 * MIB, b"x" * 0x20000)
    set_word(memory, handover, number, value)
    with pytest.raises(ProviderError, match=complaint):
        MULTIBOOT.read_back(memory, handover)


@pytest.mark.parametrize(
    ("place", "raw", "complaint"),
    [
        (6, struct.pack("<II", 0x2000, 0x1000), "before it starts"),
        (12, struct.pack("<I", 19), "has 19 bytes, it needs 20"),
        (12, struct.pack("<IQQ", 20, 0x1000, (1 << 64) - 1), "has no end"),
    ],
)
def test_read_back_of_lists_that_make_no_sense(place: int, raw: bytes, complaint: str) -> None:
    memory, handover = produced(request())
    memory.write(words(memory, handover)[place], raw)
    with pytest.raises(ProviderError, match=complaint):
        MULTIBOOT.read_back(memory, handover)


@pytest.mark.parametrize("handover", [Handover(None, MAGIC), Handover(0x1000, 0x36D76289), Handover(0x1000)])
def test_nothing_to_read(handover: Handover) -> None:
    with pytest.raises(ProviderError, match="no Multiboot information"):
        MULTIBOOT.read_back(Ram(), handover)


def test_machine_state() -> None:
    """Section 3.2."""
    state = MULTIBOOT.cpu_state("multiboot", LOADED, Handover(0x10000, MAGIC))
    assert (state.mode, state.rip) == (CpuMode.PROTECTED, LOADED.entry_point)
    assert state.registers == {"rax": MAGIC, "rbx": 0x10000, "eflags": 2}
    assert set(state.segments) == {"cs", "ds", "es", "fs", "gs", "ss"}
    for name, segment in state.segments.items():
        assert (segment.base, segment.limit) == (0, 0xFFFFFFFF)
        assert segment.attributes & 0xF09F == (0xC09B if name == "cs" else 0xC093), "present, 32 bits, code or writable data"
    assert state.descriptors == ()
    with pytest.raises(ProviderError, match="no native entry"):
        MULTIBOOT.cpu_state("efi", LOADED, Handover(0x10000, MAGIC))


def test_it_runs_on_a_bios() -> None:
    assert MULTIBOOT.runs_on("multiboot", {}) is MULTIBOOT.runs_on("efi", {}) is MachineFirmware.BIOS


@pytest.mark.slow
def test_the_shim_finds_acpi_where_a_bios_leaves_it() -> None:
    """Multiboot 1 has no field for the RSDP, so it is not smuggled past it."""
    record = run(provider="multiboot", entry="efi", cmdline="some=thing")
    assert record.outcome.met
    assert any(note.startswith("rsdp: found at 0xf") and note.endswith("in the BIOS area") for note in record.notes)
    assert "efi.loaded_image.load_options=some=thing" in record.console
