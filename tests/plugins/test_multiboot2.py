"""The multiboot2 provider against Multiboot2 2.0: headers made by hand, tags taken apart by the numbers of 3.6."""

from __future__ import annotations

import struct
from dataclasses import replace

import efishim_firmware_stubs
import pytest
from efishim_plugins.multiboot2.provider import Multiboot2

from efishim.errors import ProviderError, RouteError, UsageError
from efishim.provider import (
    Arena,
    BootRequest,
    CpuMode,
    EfiFacts,
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
MULTIBOOT2 = Multiboot2()
MODULES = (Module(32 * MIB, 0x1234), Module(33 * MIB, 0x10, b"second one"))
LOADED = Loaded(4 * MIB, 0x10000, 4 * MIB + 0x40)
SCREEN = Framebuffer(0xC000_0000, 800, 600, 3200, 32, (16, 8), (8, 8), (0, 8))
MAGIC = 0x36D76289
END, CMDLINE, LOADER, MODULE, MEMINFO, MMAP, FRAMEBUFFER = 0, 1, 2, 3, 4, 6, 8
EFI64, SMBIOS, ACPI_OLD, ACPI_NEW, EFI_MMAP, LOAD_BASE = 12, 13, 14, 15, 17, 21
REQUEST, CONSOLE, SCREEN_WISH, MODULE_ALIGN, EFI_BS, ENTRY_EFI64, RELOCATABLE = 1, 4, 5, 6, 7, 9, 10
RELOCATION = (0, 0xFFFFFFFF, 1, 0)
EFI_MEMORY = b"".join(
    struct.pack("<IIQQQQQ", kind, 0, start, 0, pages, 0xF, 0)
    for kind, start, pages in ((7, 0, 0x9F), (4, MIB, 0x100), (2, 2 * MIB, 0x100), (6, 3 * MIB, 1), (9, 3 * MIB + 0x1000, 1))
)
EFI = EfiFacts(0x12345678, EFI_MEMORY, 48, 1)


def wish(kind: int, *words: int, optional: bool = False) -> bytes:
    """A header tag."""
    data = struct.pack(f"<HHI{len(words)}I", kind, int(optional), 8 + 4 * len(words), *words)
    return data.ljust(-(-len(data) // 8) * 8, b"\0")


def header(*tags: bytes) -> bytes:
    """An image that is a Multiboot2 header."""
    body = b"".join(tags) + wish(END)
    length = 16 + len(body)
    return struct.pack("<4I", 0xE85250D6, 0, length, -(0xE85250D6 + length) & 0xFFFFFFFF) + body


def request(**changes: object) -> BootRequest:
    whole = BootRequest(facts(), b"console=ttyS0", MODULES, b"", LOADED, {}, "multiboot2")
    return replace(whole, **changes)  # type: ignore[arg-type]


def produced(wanted: BootRequest, memory: Ram | None = None) -> tuple[Ram, Handover]:
    memory = memory or Ram()
    handover = MULTIBOOT2.produce(wanted, memory, Arena(wanted.facts.memory_map))
    assert handover.magic == MAGIC
    return memory, handover


def tags(memory: Ram, handover: Handover) -> list[tuple[int, bytes]]:
    """(type, contents) of the tags, by the rules of 3.6.2 and 3.6.3: from 8-byte boundaries on, up to type 0 with size 8."""
    at = handover.address
    assert at is not None
    assert at % 8 == 0
    total, reserved = struct.unpack("<II", memory.read(at, 8))
    assert reserved == 0
    found: list[tuple[int, bytes]] = []
    end = at + total
    at += 8
    while True:
        kind, size = struct.unpack("<II", memory.read(at, 8))
        assert size >= 8
        if kind == END:
            assert (size, at + size) == (8, end)
            return found
        found.append((kind, memory.read(at + 8, size - 8)))
        at += -(-size // 8) * 8


def told(wanted: BootRequest, memory: Ram | None = None) -> dict[int, bytes]:
    return dict(tags(*produced(wanted, memory)))


def machine(memory: Ram) -> Ram:
    """ACPI and SMBIOS anchors where facts() says that they are."""
    rsdp = b"RSD PTR " + bytes(1) + b"ABCDEF" + b"\2" + struct.pack("<IIQ", 1, 36, 2) + bytes(4)
    memory.write(0xE0000, rsdp)
    memory.write(0xF0000, b"_SM3_" + bytes((0, 24, 3, 4, 0, 1, 0)) + struct.pack("<IQ", 20, 0xF0100))
    memory.write(0xF0100, bytes(range(20)))
    return memory


def test_checker() -> None:
    assert check_provider(MULTIBOOT2, efishim_firmware_stubs.probe_kernel()) == []


def test_tags() -> None:
    memory, handover = produced(request())
    assert [kind for kind, _ in tags(memory, handover)] == [CMDLINE, LOADER, MODULE, MODULE, MEMINFO, MMAP]
    found = tags(memory, handover)
    assert found[0][1] == b"console=ttyS0\0"
    assert found[1][1] == b"efishim\0"
    assert found[2][1] == struct.pack("<II", 32 * MIB, 32 * MIB + 0x1234) + b"\0"
    assert found[3][1] == struct.pack("<II", 33 * MIB, 33 * MIB + 0x10) + b"second one\0"
    assert struct.unpack("<II", found[4][1]) == (0x9F000 >> 10, 63 * 1024 - 4)
    assert struct.unpack("<II", found[5][1][:8]) == (24, 0)
    rows = list(struct.iter_unpack("<QQII", found[5][1][8:]))
    assert rows == [
        (0, 0x9F000, 1, 0),
        (0x9F000, 0x61000, 2, 0),
        (MIB, 63 * MIB - 0x1000, 1, 0),
        (64 * MIB - 0x1000, 0x1000, 3, 0),
    ]


def test_copies_of_the_tables() -> None:
    memory = machine(Ram())
    found = told(request(), memory)
    assert found[ACPI_OLD] == memory.read(0xE0000, 20)
    assert found[ACPI_NEW] == memory.read(0xE0000, 36)
    assert found[SMBIOS] == bytes((3, 4)) + bytes(6) + bytes(range(20))


def test_tables_of_acpi_1() -> None:
    memory = machine(Ram())
    memory.write(0xE000F, b"\0")
    found = told(request(), memory)
    assert ACPI_OLD in found
    assert ACPI_NEW not in found


@pytest.mark.parametrize(("at", "raw"), [(0xE0000, b"X"), (0xF0000, b"X"), (0xF000C, bytes(4)), (0xF000C, b"\xff" * 4)])
def test_anchors_that_are_none(at: int, raw: bytes) -> None:
    memory = machine(Ram())
    memory.write(at, raw)
    found = told(request(), memory)
    assert (SMBIOS if at >= 0xF0000 else ACPI_OLD) not in found


def test_an_rsdp_that_says_it_is_huge() -> None:
    memory = machine(Ram())
    memory.write(0xE0014, struct.pack("<I", 0xFFFFFFFF))
    assert ACPI_NEW not in told(request(), memory)


def test_framebuffer() -> None:
    memory, handover = produced(request(facts=replace(facts(), framebuffer=SCREEN)))
    raw = dict(tags(memory, handover))[FRAMEBUFFER]
    assert struct.unpack("<QIIIBBH6B", raw) == (0xC000_0000, 3200, 800, 600, 32, 1, 0, 16, 8, 8, 8, 0, 8)
    assert MULTIBOOT2.read_back(memory, handover).framebuffer == SCREEN


def test_load_base_address_only_for_relocatable_images() -> None:
    assert LOAD_BASE not in told(request(image=header()))
    found = told(request(image=header(wish(RELOCATABLE, *RELOCATION))))
    assert found[LOAD_BASE] == struct.pack("<I", 4 * MIB)


def test_efi() -> None:
    """The system table, the map as EFI gave it, and the other one without the memory of runtime services."""
    found = told(request(facts=replace(facts(), efi=EFI)))
    assert found[EFI64] == struct.pack("<Q", 0x12345678)
    assert found[EFI_MMAP] == struct.pack("<II", 48, 1) + EFI_MEMORY
    assert list(struct.iter_unpack("<QQII", found[MMAP][8:])) == [
        (0, 0x9F000, 1, 0),
        (MIB, 2 * MIB, 1, 0),
        (3 * MIB, 0x1000, 2, 0),
        (3 * MIB + 0x1000, 0x1000, 3, 0),
    ]
    assert struct.unpack("<II", found[MEMINFO]) == (636, 2048)
    assert not set(found) & {11, 18, 19, 20}, "no 32-bit EFI; boot services are over, so no image handle"


# What the header asks


@pytest.mark.parametrize(
    "tag",
    [
        wish(REQUEST, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21),
        wish(REQUEST),
        wish(CONSOLE, 2),
        wish(SCREEN_WISH, 1024, 768, 32),
        wish(MODULE_ALIGN),
        wish(EFI_BS),
        wish(ENTRY_EFI64, 0x1000),
        wish(8, 0x1000),
        wish(REQUEST, 9),
        wish(RELOCATABLE, *RELOCATION),
    ],
)
def test_wishes_that_are_granted(tag: bytes) -> None:
    """3.1.4: what a boot loader knows and the machine does not have is just not told. 3.1.10: a screen is a recommendation."""
    assert produced(request(image=header(tag)))[1].notes == ()


@pytest.mark.parametrize(
    ("kind", "words", "reason"),
    [
        (REQUEST, (1, 22), "information about tag 22"),
        (REQUEST, (0xFFFFFFFF,), "information about tag 4294967295"),
        (11, (), "header tag 11"),
        (0xFFFF, (1, 2, 3), "header tag 65535"),
        (CONSOLE, (1,), "a console"),
        (CONSOLE, (3,), "a console"),
    ],
)
def test_wishes_that_cannot_be_granted(kind: int, words: tuple[int, ...], reason: str) -> None:
    """3.1.3: a tag that is not optional and cannot be honoured is a reason not to boot the image."""
    with pytest.raises(RouteError, match=reason) as failure:
        produced(request(image=header(wish(kind, *words))))
    assert failure.value.exit_status == 77
    notes = produced(request(image=header(wish(kind, *words, optional=True))))[1].notes
    assert len(notes) == 1
    assert reason in notes[0]
    assert produced(request(image=header(wish(kind, *words)), entry="efi"))[1].notes == (), "the shim is the kernel there"


def test_a_console_that_is_there() -> None:
    wanted = request(image=header(wish(CONSOLE, 1)), facts=replace(facts(), framebuffer=SCREEN))
    assert produced(wanted)[1].notes == ()


def test_an_entry_with_boot_services() -> None:
    """3.1.8: it counts with the tag that boot services may stay, and only then; optional or not is no matter."""
    both = wish(EFI_BS, optional=True), wish(ENTRY_EFI64, 0x1000)
    for tags, kept in ((both, True), (both[:1], False), (both[1:], False), ((), False)):
        wanted = request(image=header(*tags))
        assert MULTIBOOT2.keeps_boot_services(wanted) is kept
        assert produced(wanted)[1].notes == ()
    assert not MULTIBOOT2.keeps_boot_services(request(image=header(*both), entry="efi"))
    assert not MULTIBOOT2.keeps_boot_services(request(image=b"no header"))


def test_boot_services_that_stay() -> None:
    """3.6.20, 3.6.22, 3.6.14: that they do, and what ExitBootServices needs. A memory map would not stay true (3.6.8)."""
    alive = replace(EFI, memory_map=b"", image_handle=0x7654_3210)
    memory, handover = produced(request(facts=replace(facts(), efi=alive)))
    found = dict(tags(memory, handover))
    assert (found[18], found[EFI64], found[20]) == (b"", struct.pack("<Q", 0x12345678), struct.pack("<Q", 0x7654_3210))
    assert not set(found) & {MEMINFO, MMAP, EFI_MMAP, 11, 19}
    state = MULTIBOOT2.cpu_state("multiboot2", replace(LOADED, efi_entry=0x41_2340), handover)
    assert (state.rip, dict(state.registers)) == (0x41_2340, {"rax": MAGIC, "rbx": handover.address})
    with pytest.raises(ProviderError, match="no entry point for EFI"):
        MULTIBOOT2.cpu_state("multiboot2", LOADED, handover)


# Reading back


def test_read_back() -> None:
    memory, handover = produced(request(), machine(Ram()))
    information = MULTIBOOT2.read_back(memory, handover)
    assert (information.memory_map, information.command_line) == (facts().memory_map, b"console=ttyS0")
    assert information.modules == MODULES
    assert information.rsdp is not None
    assert memory.read(information.rsdp, 36) == memory.read(0xE0000, 36), "the copy, which is in guest memory too"
    why = {item.field: item.source for item in information.provenance}
    assert why["rsdp"] == "the copy in the ACPI new RSDP tag"
    assert "no entry point" in why["smbios"]
    assert information.smbios is None


def raw_information(*parts: tuple[int, bytes], end: bool = True, total: int | None = None) -> tuple[Ram, Handover]:
    body = b""
    for kind, data in parts:
        tag = struct.pack("<II", kind, 8 + len(data)) + data
        body += tag.ljust(-(-len(tag) // 8) * 8, b"\0")
    body += struct.pack("<II", 0, 8) if end else b""
    memory = Ram()
    memory.write(0x10000, struct.pack("<II", 8 + len(body) if total is None else total, 0) + body)
    return memory, Handover(0x10000, MAGIC)


def test_read_back_of_nothing() -> None:
    information = MULTIBOOT2.read_back(*raw_information())
    assert (information.memory_map, information.command_line, information.modules) == ((), b"", ())
    assert {item.field for item in information.provenance} == {"memory_map", "rsdp", "smbios", "framebuffer", "command_line"}


def test_read_back_by_the_amounts() -> None:
    information = MULTIBOOT2.read_back(*raw_information((MEMINFO, struct.pack("<II", 640, 1024))))
    assert information.memory_map == (MemoryRange(0, 0xA0000, MemoryKind.RAM), MemoryRange(MIB, MIB, MemoryKind.RAM))


def test_read_back_leaves_out_what_it_does_not_know() -> None:
    information = MULTIBOOT2.read_back(*raw_information((99, b"what"), (EFI64, b"short"), (CMDLINE, b"yes\0")))
    assert information.command_line == b"yes"


def test_the_newer_rsdp_counts_whatever_the_order() -> None:
    for order in ((ACPI_OLD, ACPI_NEW), (ACPI_NEW, ACPI_OLD)):
        information = MULTIBOOT2.read_back(*raw_information(*((kind, bytes([kind]) * 36) for kind in order)))
        assert information.rsdp == 0x10000 + 8 + 8 + (48 if order[0] == ACPI_OLD else 0)


def test_longer_rows_of_the_memory_map() -> None:
    rows = struct.pack("<QQII8s", MIB, MIB, 1, 0, b"whatever") + struct.pack("<QQII8s", 4 * MIB, MIB, 77, 0, b"")
    information = MULTIBOOT2.read_back(*raw_information((MMAP, struct.pack("<II", 32, 1) + rows)))
    assert information.memory_map == (
        MemoryRange(MIB, MIB, MemoryKind.RAM),
        MemoryRange(4 * MIB, MIB, MemoryKind.RESERVED),
    )


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ([(MODULE, struct.pack("<II", 2, 1))], "before it starts"),
        ([(MODULE, b"1234")], "MODULE tag has 12 bytes"),
        ([(MEMINFO, b"")], "BASIC_MEMINFO tag has 8 bytes"),
        ([(MMAP, b"1234")], "MMAP tag has 12 bytes"),
        ([(MMAP, struct.pack("<II", 0, 0) + bytes(48))], "have 0 bytes"),
        ([(MMAP, struct.pack("<II", 25, 0) + bytes(48))], "have 25 bytes"),
        ([(MMAP, struct.pack("<II", 24, 0) + bytes(24 * 1025))], "more than 1024 entries"),
        ([(MMAP, struct.pack("<IIQQII", 24, 0, 1 << 63, 1 << 63 | 1, 1, 0))], "has no end"),
        ([(MODULE, struct.pack("<II", 1, 2))] * 1025, "more than 1024 modules"),
        ([(FRAMEBUFFER, bytes(8))], "FRAMEBUFFER tag has 16 bytes"),
    ],
)
def test_read_back_of_nonsense(parts: list[tuple[int, bytes]], complaint: str) -> None:
    with pytest.raises(ProviderError, match=complaint):
        MULTIBOOT2.read_back(*raw_information(*parts))


@pytest.mark.parametrize(
    ("total", "complaint"),
    [(0, "announces 0"), (1 << 31, "announces"), (16, "does not fit"), (12, "no end tag"), (24, "no end tag")],
)
def test_read_back_of_absurd_sizes(total: int, complaint: str) -> None:
    with pytest.raises(ProviderError, match=complaint):
        MULTIBOOT2.read_back(*raw_information((CMDLINE, b"12345678"), end=False, total=total))


@pytest.mark.parametrize("size", [0, 7, 0x1000])
def test_a_tag_that_does_not_fit(size: int) -> None:
    memory, handover = raw_information((CMDLINE, b"\0"))
    memory.write(0x1000C, struct.pack("<I", size))
    with pytest.raises(ProviderError, match="does not fit"):
        MULTIBOOT2.read_back(memory, handover)


@pytest.mark.parametrize("handover", [Handover(None, MAGIC), Handover(0x1000, 0x2BADB002)])
def test_nothing_to_read(handover: Handover) -> None:
    with pytest.raises(ProviderError, match="no Multiboot2 information"):
        MULTIBOOT2.read_back(Ram(), handover)


# The processor, the machine, whole runs


def test_machine_state() -> None:
    """Section 3.3."""
    state = MULTIBOOT2.cpu_state("multiboot2", LOADED, Handover(0x10000, MAGIC))
    assert (state.mode, state.rip) == (CpuMode.PROTECTED, LOADED.entry_point)
    assert state.registers == {"rax": MAGIC, "rbx": 0x10000, "eflags": 2}
    assert {(segment.base, segment.limit) for segment in state.segments.values()} == {(0, 0xFFFFFFFF)}
    with pytest.raises(ProviderError, match="no native entry"):
        MULTIBOOT2.cpu_state("efi", LOADED, Handover(0x10000, MAGIC))


def test_on_what_it_runs() -> None:
    assert MULTIBOOT2.runs_on("multiboot2", {}) is MachineFirmware.BIOS
    assert MULTIBOOT2.runs_on("efi", {"platform": "pc"}) is MachineFirmware.BIOS
    assert MULTIBOOT2.runs_on("multiboot2", {"platform": "efi"}) is MachineFirmware.EFI
    with pytest.raises(UsageError, match="takes pc or efi"):
        MULTIBOOT2.runs_on("multiboot2", {"platform": "xbox"})
    with pytest.raises(UsageError, match="has no use for the entry efi"):
        MULTIBOOT2.runs_on("efi", {"platform": "efi"})


def test_a_module_above_four_gib() -> None:
    with pytest.raises(ProviderError, match="32 bits"):
        produced(request(modules=(Module((1 << 32) - 0x1000, 0x1000),)))


@pytest.mark.slow
def test_the_shim_has_the_rsdp_of_the_tag() -> None:
    record = run(provider="multiboot2", entry="efi", cmdline="some=thing")
    assert record.outcome.met
    assert "rsdp: the copy in the ACPI new RSDP tag" in record.notes
    assert any(note.startswith("smbios: found at 0xf") for note in record.notes)
    assert "efi.loaded_image.load_options=some=thing" in record.console
    assert "acpi.rsdp.sum=0x0" in record.console.replace("\r", "")


@pytest.mark.slow
def test_behind_efi() -> None:
    """The probe kernel has an entry for boot services that stay. It finds them there, and powers off by their means."""
    record = run(provider="multiboot2", entry="multiboot2", options=("multiboot2.platform=efi",))
    assert record.outcome.met
    said = record.console.replace("\r", "")
    assert "probe: begin entry=multiboot2-efi\n" in said
    assert "multiboot2.efi64_image_handle=0x" in said
    assert "multiboot2.efi_mmap" not in said
    assert said.endswith("probe: power off by efi\n")
    assert "exit_boot_services" in [point.name for point in record.milestones], "it ended them itself"


@pytest.mark.slow
def test_behind_efi_without_boot_services() -> None:
    """A header that does not ask for them: they are ended, and the 32-bit entry is taken."""
    header_at = (probe := efishim_firmware_stubs.probe_kernel()).index(struct.pack("<I", 0xE85250D6))
    at = probe.index(struct.pack("<HHI", EFI_BS, 1, 8), header_at)
    blind = probe[:at] + struct.pack("<HHI", MODULE_ALIGN, 1, 8) + probe[at + 8 :]
    record = run(provider="multiboot2", entry="multiboot2", image=blind, options=("multiboot2.platform=efi",))
    assert record.outcome.met
    said = record.console.replace("\r", "")
    assert "probe: begin entry=multiboot2\n" in said
    assert "multiboot2.efi_mmap.descriptor_size=0x30" in said
