"""Every rule can fail: each is broken by itself, and the checker names that rule and no other."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec
import pytest

from efishim.image.loading import Piece
from efishim.lab.abi import CHECKERS, all_rules, check_entry, interface
from efishim.provider import Loaded
from efishim.provider.checking import MAX_VIOLATIONS, Findings, Moment
from efishim.wire.bootparams import BootParams
from tests.lab.abi.good import (
    BASE,
    FOUR_GIB_PAGES,
    GOOD,
    INFORMATION,
    LINE,
    LIST,
    MAP,
    MODULE,
    SIZE,
    STACK,
    TABLE,
    information,
    tags,
)
from tests.lab.abi.moments import (
    RSDP,
    check,
    fill,
    with_control,
    with_mode,
    with_registers,
    with_segment,
    without_gdt_entry,
)

Change = Callable[[Moment], Moment]

NOWHERE = 0x3000_0000
"""No memory is there: the machine has 512 MiB."""


@dataclass(frozen=True)
class Break:
    """A change that breaks a rule at some entries."""

    entries: tuple[str, ...]
    rule: str
    change: Change
    also: tuple[str, ...] = ()
    """What cannot hold then either."""


def registers(**values: int) -> Change:
    return lambda one: with_registers(one, **values)


def control(**values: int) -> Change:
    return lambda one: with_control(one, **values)


def sets(name: str, **parts: object) -> Change:
    return lambda one: with_segment(one, name, **parts)


def adds(name: str, bits: int) -> Change:
    return lambda one: with_registers(one, **{name: one.cpu.registers.named(name) | bits})


def clears(name: str, bits: int) -> Change:
    return lambda one: with_registers(one, **{name: one.cpu.registers.named(name) & ~bits})


def writes(address: int, data: bytes) -> Change:
    def change(one: Moment) -> Moment:
        one.memory.write(address, data)
        return one

    return change


def params(**fields: int) -> Change:
    """Fields of boot_params; `__` stands for the dot."""

    def change(one: Moment) -> Moment:
        one_of = one.cpu.registers.named("rdx" if one.loaded.base == BASE else "rsi")
        address = one.loaded.setup or one_of
        raw = BootParams.parse(one.memory.read(address, BootParams.SIZE))
        fill(raw, {name.replace("__", "."): value for name, value in fields.items()})
        one.memory.write(address, raw.build())
        return one

    return change


def start_info(at: int, form: str, value: int) -> Change:
    return lambda one: writes(one.cpu.registers.rbx + at, struct.pack(form, value))(one)


def set_up_at(address: int) -> Change:
    """The real-mode part is said to lie elsewhere."""
    return lambda one: replace(one, loaded=Loaded(one.loaded.base, one.loaded.size, one.loaded.entry_point, address))


def information_moved(one: Moment) -> Moment:
    """The Multiboot2 information four bytes behind a multiple of 8."""
    one.memory.write(INFORMATION + 4, information(tags()))
    return with_registers(one, rbx=INFORMATION + 4)


def entered_elsewhere(one: Moment) -> Moment:
    return with_registers(one, rip=one.cpu.registers.rip + 1)


def e820(first: int, size: int, kind: int) -> Change:
    """Overwrite the first entry of the table."""
    return lambda one: writes(one.cpu.registers.rsi + 0x2D0, struct.pack("<QQI", first, size, kind))(one)


def tag(name: str, data: bytes) -> Change:
    """Another tag in the place of one of the Multiboot2 information; no data leaves it out."""
    parts = tags() | {name: data}
    return writes(INFORMATION, information({part: text for part, text in parts.items() if text}))


IF, TF, DF, VM = 1 << 9, 1 << 8, 1 << 10, 1 << 17
L64, L32, L16, ALL_LINUX = ("linux64",), ("linux32",), ("linux16",), ("linux64", "linux32")
PVH, EFI, HANDOVER, UEFI = ("pvh",), ("efi",), ("efi-handover",), ("efi", "efi-handover")
IA32, MIXED = ("efi-ia32",), ("efi-mixed",)
NARROW, ALL_UEFI = (*IA32, *MIXED), ("efi", "efi-handover", *IA32, *MIXED)
MB, MB2 = ("multiboot",), ("multiboot2",)
NO_LIMIT: dict[str, object] = {"limit": 0xFFFF}
READ_ONLY: dict[str, object] = {"kind": "data-readonly", "attributes": 0xC0_9100}
EXECUTE_ONLY: dict[str, object] = {"attributes": 0xC0_9900}

PROCESSOR = [
    Break(L64, "linux64/mode", lambda one: with_mode(one, "long32")),
    Break(L64, "linux64/entry-point", entered_elsewhere),
    Break(L64, "linux64/gdt", lambda one: without_gdt_entry(one, 2)),
    Break(L64, "linux64/gdt", lambda one: without_gdt_entry(one, 3)),
    Break(L64, "linux64/selectors", sets("cs", selector=8)),
    Break(L64, "linux64/selectors", sets("ss", selector=0x20)),
    Break(L64, "linux64/selectors", sets("es", **READ_ONLY)),
    Break(L64, "linux64/interrupts", adds("eflags", IF)),
    Break(L64, "linux64/identity-map", writes(FOUR_GIB_PAGES, bytes(8))),
    Break(L64, "linux64/identity-map", writes(FOUR_GIB_PAGES + 8 * (0x1C80_0000 >> 21), struct.pack("<Q", 0x83))),
    Break(L32, "linux32/mode", lambda one: with_mode(one, "protected16")),
    Break(L32, "linux32/paging", control(cr0=0x8000_0011)),
    Break(L32, "linux32/entry-point", entered_elsewhere),
    Break(L32, "linux32/gdt", lambda one: without_gdt_entry(one, 2)),
    Break(L32, "linux32/selectors", sets("cs", **EXECUTE_ONLY)),
    Break(L32, "linux32/selectors", sets("ds", base=0x10)),
    Break(L32, "linux32/interrupts", adds("eflags", IF)),
    *(Break(L32, "linux32/zero", registers(**{name: 1})) for name in ("rbp", "rdi", "rbx")),
    Break(L16, "linux16/mode", lambda one: with_mode(one, "protected16")),
    Break(L16, "linux16/entry-point", entered_elsewhere),
    Break(L16, "linux16/entry-point", sets("cs", selector=0x9000)),
    Break(L16, "linux16/data", sets("ss", selector=0x8000)),
    Break(L16, "linux16/data", sets("es", selector=0)),
    Break(L16, "linux16/fs-gs", sets("gs", selector=0)),
    Break(L16, "linux16/stack", registers(rsp=0x5200)),
    Break(L16, "linux16/interrupts", adds("eflags", IF)),
    Break(PVH, "pvh/cr0", control(cr0=0x33)),
    Break(PVH, "pvh/cr0", control(cr0=0x10)),
    Break(PVH, "pvh/cr4", control(cr4=0x20)),
    Break(PVH, "pvh/cs", sets("cs", **NO_LIMIT)),
    Break(PVH, "pvh/cs", sets("cs", **EXECUTE_ONLY)),
    Break(PVH, "pvh/data", sets("ss", **READ_ONLY)),
    Break(PVH, "pvh/data", sets("ds", base=4)),
    Break(PVH, "pvh/tr", sets("tr", kind="tss-available")),
    Break(PVH, "pvh/tr", sets("tr", base=0x1000)),
    *(Break(PVH, "pvh/eflags", adds("eflags", bit)) for bit in (IF, TF, VM)),
    Break(PVH, "pvh/entry-point", entered_elsewhere),
    Break(EFI, "efi/entry-point", entered_elsewhere),
    Break(EFI, "efi/handle", registers(rcx=0)),
    Break(EFI, "efi/return-address", writes(STACK, bytes(8))),
    Break(ALL_UEFI, "uefi/mode", lambda one: with_mode(one, "long32")),
    Break(IA32, "efi-ia32/entry-point", entered_elsewhere),
    Break(IA32, "efi-ia32/stack", writes(STACK + 4, bytes(4))),
    Break(IA32, "efi-ia32/stack", writes(STACK + 8, bytes(4))),
    Break(IA32, "efi-ia32/stack", registers(rsp=NOWHERE)),
    Break(MIXED, "efi-mixed/entry-point", entered_elsewhere),
    Break(MIXED, "efi-mixed/stack", writes(STACK + 4, bytes(4))),
    Break(MIXED, "efi-mixed/stack", writes(STACK + 8, bytes(4))),
    Break(MIXED, "efi-mixed/stack", registers(rsp=NOWHERE)),
    Break(NARROW, "uefi/fcw", lambda one: replace(one, floating={"fcw": 0x37F})),
    Break(NARROW, "uefi/cr0", control(cr0=0x19)),
    Break(ALL_UEFI, "uefi/segments", sets("gs", base=0x1000)),
    Break(ALL_UEFI, "uefi/interrupts", clears("eflags", IF)),
    Break(ALL_UEFI, "uefi/direction", adds("eflags", DF)),
    Break(UEFI, "uefi/cr0", control(cr0=0x8001_003B)),
    Break(UEFI, "uefi/cr0", control(cr0=0x8001_0037)),
    Break(UEFI, "uefi/fcw", lambda one: replace(one, floating={"fcw": 0x27F})),
    Break(ALL_UEFI, "uefi/mxcsr", lambda one: replace(one, floating={"mxcsr": 0x9F80})),
    Break(UEFI, "uefi/stack-alignment", registers(rsp=STACK - 8), ("efi/return-address",)),
    Break(UEFI, "uefi/stack", registers(rsp=0x1_0008), ("efi/return-address",)),
    Break(UEFI, "uefi/stack", writes(FOUR_GIB_PAGES + 8 * (STACK >> 21), struct.pack("<Q", STACK >> 21 << 21 | 0x81))),
    Break(EFI, "uefi/identity-map", writes(FOUR_GIB_PAGES + 8 * (0x1BC0_0000 >> 21), bytes(8))),
    Break(HANDOVER, "uefi/identity-map", writes(FOUR_GIB_PAGES + 8 * (BASE >> 21), bytes(8))),
    Break(HANDOVER, "efi-handover/entry-point", entered_elsewhere),
    Break(HANDOVER, "efi-handover/handle", registers(rdi=0)),
    *(
        Break((entry,), f"{entry}/{rule}", change)
        for entry in ("multiboot", "multiboot2")
        for rule, change in (
            ("entry-point", entered_elsewhere),
            ("eax", registers(rax=0)),
            ("cs", sets("cs", **NO_LIMIT)),
            ("data", sets("fs", **READ_ONLY)),
            ("cr0", control(cr0=0x8000_0011)),
            ("cr0", control(cr0=0x10)),
            ("eflags", adds("eflags", IF)),
            ("eflags", adds("eflags", VM)),
            ("information", registers(rbx=NOWHERE)),
        )
    ),
    Break(
        MB2,
        "multiboot2/information",
        information_moved,
    ),
]

STRUCTURES = [
    Break(ALL_LINUX, "boot_params/memory", registers(rsi=NOWHERE)),
    Break(ALL_LINUX, "boot_params/header", params(hdr__header=0)),
    Break(ALL_LINUX, "boot_params/sentinel", params(sentinel=0xFF)),
    Break(ALL_LINUX, "boot_params/loader", params(hdr__type_of_loader=0)),
    Break(ALL_LINUX, "boot_params/command-line", params(hdr__cmd_line_ptr=0)),
    Break(ALL_LINUX, "boot_params/command-line", params(hdr__cmdline_size=10)),
    Break(ALL_LINUX, "boot_params/command-line", params(hdr__cmd_line_ptr=NOWHERE)),
    Break(ALL_LINUX, "boot_params/alignment", params(hdr__kernel_alignment=0x300000), ("boot_params/kernel-in-ram",)),
    Break(ALL_LINUX, "boot_params/alignment", params(hdr__min_alignment=30)),
    Break(ALL_LINUX, "boot_params/e820", e820(0, 0, 1)),
    Break(ALL_LINUX, "boot_params/e820", e820(0, 0x9_FC00, 0)),
    Break(L32, "boot_params/e820", params(e820_entries=0), ("boot_params/kernel-in-ram", "ramdisk/ram")),
    Break(
        ALL_LINUX,
        "boot_params/kernel-in-ram",
        params(hdr__init_size=0x4000_0000),
        ("boot_params/apart", "linux64/identity-map"),
    ),
    Break(L32, "boot_params/apart", params(hdr__ramdisk_image=0x120_0000)),
    Break(L64, "boot_params/apart", params(hdr__cmd_line_ptr=0x9_8000)),
    Break(L64, "boot_params/setup-data", writes(0x9_91B0, struct.pack("<Q", 0x9_91B0))),
    Break(L64, "boot_params/setup-data", writes(0x9_91B8, struct.pack("<I", 99))),
    Break(L64, "boot_params/setup-data", params(hdr__setup_data=NOWHERE)),
    Break(ALL_LINUX, "boot_params/subarch", params(hdr__hardware_subarch=5)),
    Break(L64, "boot_params/efi-info", params(efi_info__efi_loader_signature=0x33334C45)),
    Break(L64, "boot_params/efi-info", params(efi_info__efi_memdesc_size=0x29)),
    Break(L64, "boot_params/efi-info", params(efi_info__efi_systab=0)),
    Break(L64, "boot_params/efi-info", params(hdr__xloadflags=0x7E)),
    Break(ALL_LINUX, "boot_params/rsdp", params(acpi_rsdp_addr=0x1000)),
    Break(L64, "boot_params/rsdp", writes(0x1F77_D014 + 35, b"\1")),
    Break((*ALL_LINUX, "linux16", "efi-handover"), "ramdisk/fields", params(hdr__ramdisk_size=0)),
    Break(L32, "ramdisk/ram", params(hdr__ramdisk_image=0x1FFF_0000)),
    Break((*ALL_LINUX, "linux16", "efi-handover"), "ramdisk/highest", params(hdr__initrd_addr_max=0xFFF_FFFF)),
    Break(L16, "linux16/setup", set_up_at(NOWHERE), ("linux16/entry-point", "linux16/data")),
    Break(L16, "linux16/header", params(hdr__boot_flag=0)),
    Break(L16, "linux16/loader", params(hdr__type_of_loader=0)),
    Break(L16, "linux16/loadflags", params(hdr__loadflags=0x80)),
    Break(L16, "linux16/code32-start", params(hdr__code32_start=0x1000)),
    Break(L16, "linux16/heap", params(hdr__heap_end_ptr=0xFF00), ("linux16/command-line",)),
    Break(L16, "linux16/heap", params(hdr__heap_end_ptr=0x1000)),
    Break(L16, "linux16/command-line", params(hdr__cmd_line_ptr=0x9_8F00)),
    Break(L16, "linux16/command-line", params(hdr__cmd_line_ptr=0xA_0000)),
    Break(
        L16,
        "linux16/old-command-line",
        lambda one: params(screen_info__cl_magic=0xA33F, screen_info__cl_offset=0xFFF0)(writes(0x9_FFF0, b"x" * 32)(one)),
    ),
    Break(PVH, "pvh/start-info", registers(rbx=NOWHERE)),
    Break(PVH, "pvh/magic", start_info(0, "<I", 0)),
    Break(PVH, "pvh/flags", start_info(8, "<I", 1 << 7)),
    Break(PVH, "pvh/below-4g", start_info(24, "<Q", 1 << 32), ("pvh/command-line",)),
    Break(PVH, "pvh/command-line", start_info(24, "<Q", NOWHERE)),
    Break(PVH, "pvh/modules", start_info(16, "<Q", NOWHERE)),
    Break(PVH, "pvh/modules", writes(0x21C0, struct.pack("<Q", NOWHERE)), ("pvh/ram",)),
    Break(PVH, "pvh/modules-apart", writes(0x21C0, struct.pack("<Q", 0x120_0000))),
    Break(PVH, "pvh/rsdp", start_info(32, "<Q", 0x1000)),
    Break(PVH, "pvh/rsdp", writes(0xF_59D9, b"X")),
    Break(PVH, "pvh/memory-map", start_info(40, "<Q", NOWHERE), ("pvh/ram",)),
    Break(PVH, "pvh/memory-map", writes(0x5A8 + 24 + 16, b"\x09")),
    Break(PVH, "pvh/memory-map-apart", writes(0x5A8 + 8, struct.pack("<Q", 0x9_FC01))),
    Break(PVH, "pvh/reserved", writes(0x5A8 + 20, b"\1")),
    Break(PVH, "pvh/reserved", start_info(52, "<I", 1)),
    Break(PVH, "pvh/reserved", writes(0x21C0 + 24, b"\1")),
    Break(PVH, "pvh/ram", writes(0x21C0, struct.pack("<Q", 0x9_0000))),
    Break(ALL_UEFI, "uefi/system-table", writes(TABLE, b"X")),
    Break(ALL_UEFI, "uefi/system-table", writes(TABLE + 24, b"X")),
    Break(ALL_UEFI, "uefi/boot-services", writes(TABLE + 0x1000 + 24, b"X")),
    Break(ALL_UEFI, "uefi/boot-services", writes(TABLE + 0x1000 + 12, b"\x10\0")),
    Break(ALL_UEFI, "uefi/runtime-services", writes(TABLE + 0x2000 + 20, b"X")),
    Break(NARROW, "uefi/configuration", writes(TABLE + 0x3000 + 16, bytes(4))),
    Break(UEFI, "uefi/configuration", writes(TABLE + 0x3000 + 16, bytes(8))),
    Break(ALL_UEFI, "uefi/acpi", writes(RSDP, b"X")),
    Break(HANDOVER, "efi-handover/boot-params", registers(rdx=NOWHERE)),
    Break(HANDOVER, "efi-handover/boot-params", params(hdr__header=0)),
    Break(HANDOVER, "efi-handover/command-line", params(hdr__cmd_line_ptr=0)),
    Break(HANDOVER, "efi-handover/command-line", writes(LINE, b"x" * 0x800)),
    Break(HANDOVER, "efi-handover/zero", params(screen_info__orig_video_isVGA=1)),
    Break(HANDOVER, "efi-handover/zero", params(edd_mbr_sig_buf_entries=1)),
    Break(MB, "multiboot/flags", writes(INFORMATION + 1, b"\x82")),
    Break(MB, "multiboot/flags", writes(INFORMATION, bytes([0x7D]))),
    Break(MB, "multiboot/mem-lower", writes(INFORMATION + 4, struct.pack("<I", 641))),
    Break(MB, "multiboot/strings", writes(INFORMATION + 16, struct.pack("<I", NOWHERE))),
    Break(MB, "multiboot/strings", writes(LIST + 8, struct.pack("<I", NOWHERE))),
    Break(MB, "multiboot/modules", writes(INFORMATION + 24, struct.pack("<I", NOWHERE))),
    Break(MB, "multiboot/modules", writes(LIST, struct.pack("<II", NOWHERE, NOWHERE + 1))),
    Break(MB, "multiboot/apart", writes(LIST, struct.pack("<II", BASE + SIZE - 0x1000, BASE + SIZE + 0x1000))),
    Break(MB, "multiboot/memory-map", writes(INFORMATION + 44, struct.pack("<I", 40))),
    Break(MB, "multiboot/memory-map", writes(MAP + 12, bytes(8))),
    Break(MB, "multiboot/page-align", writes(LIST, struct.pack("<II", MODULE + 0x10, MODULE + 0x20))),
    Break(MB, "multiboot/wanted", writes(INFORMATION, bytes([0x4C]))),
    Break(MB2, "multiboot2/reserved", writes(INFORMATION + 4, b"\1")),
    Break(MB2, "multiboot2/tags", tag("end", b"")),
    Break(MB2, "multiboot2/tags", tag("cmdline", struct.pack("<II", 1, 7)), ("multiboot2/requested",)),
    Break(MB2, "multiboot2/tags", tag("end", struct.pack("<II", 0, 16))),
    Break(MB2, "multiboot2/mem-lower", tag("meminfo", struct.pack("<IIII", 4, 16, 641, 0))),
    Break(MB2, "multiboot2/strings", tag("cmdline", struct.pack("<II", 1, 16) + b"8 bytes!")),
    Break(MB2, "multiboot2/modules", tag("module", struct.pack("<IIII", 3, 17, BASE, BASE + 0x1000) + b"\0")),
    Break(MB2, "multiboot2/modules", tag("module", struct.pack("<IIII", 3, 17, NOWHERE, NOWHERE + 1) + b"\0")),
    Break(MB2, "multiboot2/memory-map", tag("map", struct.pack("<IIII", 6, 16 + 20, 20, 0) + bytes(20))),
    Break(MB2, "multiboot2/acpi", tag("acpi", struct.pack("<II", 14, 28) + b"RSD PTR " + bytes(12))),
    Break(MB2, "multiboot2/module-align", tag("module", struct.pack("<IIII", 3, 17, MODULE + 8, MODULE + 16) + b"\0")),
    Break(MB2, "multiboot2/requested", tag("map", b"")),
]

LOADED_WITHOUT_FIRMWARE = (*ALL_LINUX, *L16, *PVH, *HANDOVER, *MB, *MB2)
CODE_AT = 0x1800_0000


def loaded(*pieces: tuple[int, bytes, int], then: tuple[int, bytes] = (CODE_AT, b"")) -> Change:
    """The image is put into memory, and then something else."""

    def change(one: Moment) -> Moment:
        for address, data, size in pieces:
            one.memory.write(address, data.ljust(size, b"\0"))
        one.memory.write(*then)
        return replace(one, pieces=tuple(Piece(address, data, size) for address, data, size in pieces))

    return change


IMAGE = [
    Break(LOADED_WITHOUT_FIRMWARE, "image/intact", loaded((CODE_AT, b"code", 4), then=(CODE_AT + 3, b"X"))),
    Break(LOADED_WITHOUT_FIRMWARE, "image/intact", loaded((CODE_AT, b"code", 0x2000), then=(CODE_AT + 0x1FFF, b"X"))),
    Break(PVH, "image/intact", loaded((CODE_AT, b"code" * 0x8_0000, 0x20_0001), then=(CODE_AT + 0x20_0000, b"X"))),
    Break(PVH, "image/intact", lambda one: replace(one, pieces=(Piece(NOWHERE, b"code", 4),))),
]

BREAKS = [*PROCESSOR, *STRUCTURES, *IMAGE]
CASES = [
    pytest.param(entry, case, id=f"{entry}-{case.rule}-{number}")
    for number, case in enumerate(BREAKS)
    for entry in case.entries
]


@pytest.mark.parametrize("entry", GOOD)
def test_nothing_is_wrong_with_what_is_right(entry: str) -> None:
    assert [one.sentence for one in check(entry, GOOD[entry]())] == []


@pytest.mark.parametrize(("entry", "case"), CASES)
def test_a_rule_that_is_broken_is_named(entry: str, case: Break) -> None:
    found = check(entry, case.change(GOOD[entry]()))
    rules = {one.rule for one in found}
    assert case.rule in rules
    assert rules <= {case.rule, *case.also}, [one.sentence for one in found]


@pytest.mark.parametrize("entry", CHECKERS)
def test_every_rule_was_broken(entry: str) -> None:
    rules = {rule.id for rule in CHECKERS[entry].requirements}
    broken = {case.rule for case in BREAKS if entry in case.entries}
    everywhere = {case.rule for case in BREAKS}
    assert rules <= everywhere
    assert {rule for rule in rules if rule.startswith(f"{entry}/")} <= broken
    assert broken <= rules


DOCUMENTS = (
    "boot.rst",
    "zero-page.rst",
    "pvh.pandoc",
    "start_info.h",
    "UEFI 2.10, section",
    "Multiboot 0.6.96",
    "Multiboot2 2.0",
)


@pytest.mark.parametrize("entry", CHECKERS)
def test_a_rule_says_what_it_demands_and_where_that_stands(entry: str) -> None:
    rules = CHECKERS[entry].requirements
    assert len({rule.id for rule in rules}) == len(rules)
    for rule in rules:
        assert not rule.demand.endswith(".")
        assert any(name in rule.reference for name in DOCUMENTS)


@pytest.mark.parametrize("entry", LOADED_WITHOUT_FIRMWARE)
def test_an_image_that_is_where_it_was_put_is_intact(entry: str) -> None:
    """Beside it, and in a header that is there to be filled, anything may stand."""
    around = loaded((CODE_AT, b"code", 0x1000), then=(CODE_AT + 0x1000, b"X"))
    assert check(entry, around(GOOD[entry]())) == ()
    setup = GOOD["linux16"]().loaded.setup
    if entry == "linux16" and setup is not None:
        one = replace(GOOD[entry](), pieces=(Piece(setup, b"as in the file", 0x400),))
        assert check(entry, one) == ()


def test_pieces_that_overlap_are_not_judged() -> None:
    """The later one is on top, rightly."""
    one = loaded((CODE_AT, b"first", 5), (CODE_AT + 2, b"second", 6))(GOOD["pvh"]())
    assert check("pvh", one) == ()


def test_all_rules_have_the_entries_that_they_are_checked_at() -> None:
    known = all_rules()
    assert known["pvh/magic"][1] == ("pvh",)
    assert {"linux32", "linux64"} <= set(known["boot_params/e820"][1])
    for name, (rule, entries) in known.items():
        assert name == rule.id
        assert all(rule in CHECKERS[entry].requirements for entry in entries)
    assert {rule.id for checker in CHECKERS.values() for rule in checker.requirements} == {
        name for name, (_, entries) in known.items() if entries
    }
    assert {name for name, (_, entries) in known.items() if not entries} == {rule.id for rule in interface.REQUIREMENTS}


def test_an_entry_that_nobody_knows_is_not_judged() -> None:
    one = GOOD["pvh"]()
    assert check_entry("by magic", one.cpu, one.memory, one.loaded) == ()


@pytest.mark.parametrize("entry", GOOD)
def test_garbage_in_the_structures_is_a_violation_and_no_exception(entry: str) -> None:
    """All ones wherever a register points to, and pointers to nowhere."""
    one = GOOD[entry]()
    pointers = [value for value in msgspec.structs.astuple(one.cpu.registers) if 0 < value < 0x1FF0_0000] + [
        one.loaded.setup or 0x9_0000
    ]
    for address in pointers:
        one.memory.write(address & ~0xFFF, b"\xff" * 0x4000)
    assert check(entry, one)
    wild = dict.fromkeys(("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rip"), 0xFFFF_FFFF_FFFF_FFF0)
    assert check(entry, with_registers(GOOD[entry](), **wild))


def test_what_is_wrong_a_thousand_times_is_said_often_enough() -> None:
    findings = Findings()
    rule = CHECKERS["pvh"].requirements[0]
    for _ in range(1000):
        assert not findings.demand(rule, False, "it is not")
    assert len(findings.violations) == MAX_VIOLATIONS


def test_ramdisks_above_4_gib_are_for_kernels_that_take_them() -> None:
    """XLF_CAN_BE_LOADED_ABOVE_4G also speaks for the ramdisk (boot.rst, "xloadflags")."""
    high = params(ext_ramdisk_image=1, hdr__ramdisk_image=0)
    rules = {one.rule for one in check("linux64", high(GOOD["linux64"]()))}
    assert rules == {"ramdisk/ram"}
    old = params(ext_ramdisk_image=1, hdr__ramdisk_image=0, hdr__xloadflags=1)
    assert {one.rule for one in check("linux64", old(GOOD["linux64"]()))} == {"ramdisk/ram", "ramdisk/highest"}


def test_kernels_that_cannot_move_need_the_place_that_they_are_linked_to() -> None:
    """boot.rst, "pref_address": a kernel that is not relocatable moves itself there, whatever the loader did."""
    fixed = params(hdr__relocatable_kernel=0, hdr__pref_address=0x1F40_0000)
    assert "boot_params/kernel-in-ram" in {one.rule for one in check("linux32", fixed(GOOD["linux32"]()))}


def test_a_pvh_guest_without_a_memory_map_asks_for_it() -> None:
    """Version 0, and version 1 without entries, which start_info.h allows."""
    for change in (start_info(4, "<I", 0), start_info(48, "<I", 0)):
        assert check("pvh", change(GOOD["pvh"]())) == ()


def test_a_multiboot_kernel_in_a_file_without_header_is_not_asked_for_what_it_wants() -> None:
    one = writes(BASE + 0x40, bytes(12))(GOOD["multiboot"]())
    assert check("multiboot", writes(LIST, struct.pack("<II", MODULE + 0x10, MODULE + 0x20))(one)) == ()
