"""What the specifications ask of single values: of fields of the structures that loaders write, and of the processor."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from efishim.compare.evidence import Evidence, Seen
from efishim.compare.facts import BOOT_PARAMS, EFI, SETUP_DATA, Fact, Kind, Stage, given, unnumbered
from efishim.compare.inputs import ENTRY_MEMORY, INITRD, MACHINE_MEMORY
from efishim.compare.predicates import memory
from efishim.compare.predicates.natives import STRUCTURES, TAGS
from efishim.compare.predicates.values import (
    KIB,
    PARAGRAPH,
    SECTOR,
    Law,
    Value,
    anything,
    between,
    count,
    header,
    in_memory,
    mapped_acpi,
    named,
    nothing,
    null_or,
    one_of,
    text_of,
)
from efishim.errors import UsageError
from efishim.reading import parse_toml

MOST_SECTORS = 64
"""Of setup code (boot.rst, The Real-Mode Kernel Header)."""

SIGNATURES = 0x1_0000
"""A signed image has its signatures behind the payload; they are smaller."""


def _own(value: Value, name: str) -> int:
    """The value itself if it is this field, or another field of the same header."""
    return value.number if value.fact.field[-1] == name else header(value, name)


def _file_size(value: Value) -> bool:
    """Setup sectors and paragraphs add up to the file."""
    size = ((_own(value, "setup_sects") or 4) + 1) * SECTOR + _own(value, "syssize") * PARAGRAPH
    return 0 <= value.seen.record.image.size - size < SIGNATURES


def _payload(value: Value) -> bool:
    """The payload lies in the file."""
    end = _own(value, "payload_offset") + _own(value, "payload_length")
    return 0 < value.number <= end <= (header(value, "syssize") * PARAGRAPH or value.seen.record.image.size)


def _in_file(value: Value) -> bool:
    return 0 <= value.number < value.seen.record.image.size


def _power(value: Value) -> bool:
    return value.number >= memory.PAGE and value.number & (value.number - 1) == 0


def _aligned(value: Value) -> bool:
    align = header(value, "kernel_alignment")
    return value.number > 0 and (not align or value.number % align == 0)


def _initrd_size(value: Value) -> bool:
    return value.text == value.told.get(given(value.fact.stage, INITRD, "size"), "0x0")


def _start(value: Value) -> bool:
    """boot.rst, code32_start: 1 MiB, or where a relocatable kernel was loaded, in whole alignments."""
    return value.number == memory.MIB or (_aligned(value) and in_memory(value))


@cache
def _loaders() -> Mapping[str, Mapping[str, Any]]:
    """What loaders write of their own, by provider: loaders.toml."""
    text = (resources.files("efishim.compare.predicates") / "loaders.toml").read_text(encoding="utf-8")
    return parse_toml(text, "loaders.toml", UsageError)


def _loader(value: Value) -> Mapping[str, Any]:
    return _loader_of(value.seen)


def _loader_of(seen: Seen) -> Mapping[str, Any]:
    return _loaders().get(seen.record.route.provider, {})


_STUB, _NOBODY, _XEN, _HYPERVISOR = 0x21, 0xFF, 0x90, 0xB0


def loader_number(value: Value) -> bool:
    """The number that boot.rst gives this loader; 0xff for one without. The EFI stub writes its own, and the PVH entry that of
    the hypervisor (drivers/firmware/efi/libstub/x86-stub.c, efi_pe_entry(); arch/x86/platform/pvh/enlighten.c).
    """
    route = value.seen.record.route
    if value.fact.stage is not Stage.ENTRY and route.entry == "pvh":
        return value.number in (_XEN, _HYPERVISOR)
    by_efi = route.entry.startswith("efi") and value.fact.stage is not Stage.ENTRY
    if by_efi or route.entry == "efi-handover":
        return value.number == _STUB or (route.entry == "efi-handover" and value.number == _NOBODY)
    return value.number in _loader(value).get("type_of_loader", (_NOBODY,))


FLAGS = frozenset({0x00, 0x01, 0x02, 0x03, 0x81, 0x83, 0xA1, 0xA3})
"""loadflags: LOADED_HIGH, KASLR_FLAG, CAN_USE_HEAP, and QUIET_FLAG, which GRUB sets for the word quiet; no loader here
sets KEEP_SEGMENTS."""

HEADER: Mapping[str, Law] = {
    "setup_sects": _file_size,
    "syssize": _file_size,
    "root_flags": one_of(0, 1),
    "ram_size": nothing,
    "vid_mode": one_of(0xFFFF, 0xFFFE, 0xFFFD, 0),
    "root_dev": one_of(0, 0x100),
    "boot_flag": one_of(0xAA55),
    "jump": lambda value: value.number & 0xFF == 0xEB,
    "header": text_of("HdrS"),
    "version": between(0x206, 0x20F),
    "realmode_swtch": nothing,
    "start_sys_seg": one_of(0, 0x1000),
    "kernel_version": lambda value: 0 < value.number < (header(value, "setup_sects") or MOST_SECTORS) * SECTOR,
    "type_of_loader": loader_number,
    "loadflags": one_of(*FLAGS),
    "setup_move_size": one_of(0x8000),
    "code32_start": _start,
    "ramdisk_image": named("initrd"),
    "ramdisk_size": _initrd_size,
    "bootsect_kludge": nothing,
    "heap_end_ptr": between(0x200, 0xFE00),
    "ext_loader_ver": nothing,
    "ext_loader_type": nothing,
    "cmd_line_ptr": named("command_line"),
    "initrd_addr_max": one_of(0x37FF_FFFF, 0x7FFF_FFFF, 0xFFFF_FFFF),
    "kernel_alignment": _power,
    "relocatable_kernel": one_of(0, 1),
    "min_alignment": lambda value: value.number >= 12 and 1 << value.number <= max(header(value, "kernel_alignment"), 1),
    "xloadflags": between(0, 0xFF),
    "cmdline_size": between(0xFF, 0xFFF),
    "hardware_subarch": between(0, 4),
    "hardware_subarch_data": nothing,
    "payload_offset": _payload,
    "payload_length": _payload,
    "setup_data": null_or(in_memory),
    "pref_address": _aligned,
    "init_size": lambda value: value.number > 0 and value.number % memory.PAGE == 0,
    "handover_offset": _in_file,
    "kernel_info_offset": _in_file,
}
"""Of struct setup_header (Documentation/arch/x86/boot.rst, Details of Header Fields)."""


BY_STUB = 0x8000
"""drivers/firmware/efi/libstub/x86-stub.c, exit_boot(): what it says of memory behind 1 MiB, in KiB."""


def memory_size(value: Value) -> bool:
    """KiB behind 1 MiB up to the first hole, rounded as the BIOS does, or the constants of the EFI stub and of some loaders."""
    constant = BY_STUB if value.entry.startswith("efi") else _loader(value).get("memory_size")
    if constant is not None:
        return bool(value.number == constant)
    whole = ENTRY_MEMORY if ENTRY_MEMORY in value.seen.facts.maps else MACHINE_MEMORY
    areas = value.seen.facts.maps.get(whole, ())
    end = next((one.end for one in areas if one.kind == "RAM" and one.start <= memory.MIB < one.end), 0)
    real = max(end - memory.MIB, 0) // KIB
    if value.fact.field[-1] == "ext_mem_k":
        return 0 <= min(real, 0xFC00) - value.number <= 1  # kexec counts to the last byte
    return 0 <= real - value.number < 64


ROWS, COLUMNS = 25, 80
SCREEN: Mapping[str, Law] = {
    "orig_x": between(0, COLUMNS - 1),
    "orig_y": between(0, ROWS - 1),
    "ext_mem_k": memory_size,
    "orig_video_page": one_of(0),
    "orig_video_mode": one_of(3, 7),
    "orig_video_cols": one_of(COLUMNS),
    "orig_video_ega_bx": one_of(0, 0x10, 3),
    "orig_video_lines": one_of(ROWS),
    "orig_video_isVGA": one_of(0, 1),
    "orig_video_points": one_of(16),
    "cl_magic": one_of(0xA33F),
    "cl_offset": between(0x200, 0xFFFF),
}
"""Of struct screen_info, for a text screen: no loader here has another (include/uapi/linux/screen_info.h)."""


def _signature(value: Value) -> bool:
    """EL32 only for firmware of 32 bits: at the mixed entry, or under a kernel of 32 bits."""
    view = value.seen.record.boot_view
    narrow = value.entry == "efi-mixed" or (view is not None and view.cpu.mode == "protected32")
    return value.text == ("EL32" if narrow else "EL64")


EFI_INFO: Mapping[str, Law] = {
    "efi_loader_signature": _signature,
    "efi_systab": named("efi.system_table"),
    "efi_memdesc_size": between(0x28, 0x100),
    "efi_memdesc_version": one_of(1),
    "efi_memmap": named("efi.memory_map"),
    "efi_memmap_size": lambda value: value.number == _map_size(value),
    "efi_systab_hi": nothing,
    "efi_memmap_hi": nothing,
}


def _map_size(value: Value) -> int:
    view = value.seen.record.boot_view
    memory_map = view.efi.memory_map if view is not None and view.efi is not None else None
    return -1 if memory_map is None else len(memory_map.descriptors) * memory_map.descriptor_size


def _pages(value: Value) -> bool:
    """A count of pages, or of ranges: whether the map is whole is asked elsewhere."""
    return value.text.endswith((" pages", " ranges"))


EFI_TABLES: Mapping[tuple[str, ...], Law] = {
    ("system_table", "signature"): text_of("IBI SYST"),
    ("system_table", "revision"): between(0x2_0000, 0x2_00FF),
    ("system_table", "vendor"): lambda value: bool(value.text),
    ("memory_map", "descriptor_size"): between(0x28, 0x100),
}
"""UEFI 2.10 sections 4.2, 4.3 and 7.2."""


PARAMS: Mapping[str, Law] = {
    "acpi_rsdp_addr": mapped_acpi,
    "alt_mem_k": memory_size,
    "e820_entries": lambda value: value.number == min(_entries(value), 128),
    "secure_boot": one_of(1, 2),
    "scratch": in_memory,
    "kbd_status": between(0, 0xFF),
    # What a BIOS without a display, power management and disks answers (arch/x86/boot/main.c, video-vesa.c).
    "edid_info": lambda value: not value.text.replace("13", ""),
    "ist_info": one_of(0, 0x8680, 0x4753_4943),
    "apm_bios_info": one_of(0),
    "eddbuf_entries": one_of(0),
    "sentinel": one_of(0, 0xFF),
}


def _entries(value: Value) -> int:
    if value.fact.stage is Stage.ENTRY:
        return count(value.seen, "e820_table")
    view = value.seen.record.boot_view
    return 0 if view is None else len(view.e820)


def _law(fact: Fact) -> Law | None:
    subject, field = unnumbered(fact.subject), fact.field
    if fact.kind is Kind.ADDRESS:
        return in_memory
    if subject == EFI:
        pages = _pages if field[:1] == ("memory_map",) else None
        return EFI_TABLES.get(field, text_of("there") if field[:1] == ("configuration_table",) else pages)
    if subject == "EFI_memory_map" or subject.startswith((SETUP_DATA, "SETUP_")):
        return anything
    if subject == "boot_loader_name":
        return lambda value: value.text.isprintable()
    if not field:
        return None
    if subject == "setup_header":
        return HEADER.get(field[-1])
    if subject == BOOT_PARAMS:
        group = {"hdr": HEADER, "screen_info": SCREEN, "efi_info": EFI_INFO}.get(field[0])
        return group.get(field[-1]) if group is not None else PARAMS.get(field[0])
    found = STRUCTURES.get(subject, {}).get(field[-1])
    if found is None and subject.startswith("tag_"):
        of_tag: dict[str, Law] = {"type": one_of(TAGS.get(subject.removeprefix("tag_"), -1)), "size": between(8, 0x1000)}
        return of_tag.get(field[-1])
    return nothing if found is None and subject in STRUCTURES else found


def as_the_structure_asks(evidence: Evidence) -> bool:
    """Each value is one that the structure's specification allows there, held against what it counts or points to."""
    law = _law(evidence.fact)
    return law is not None and all(law(Value(evidence.fact, value, seen)) for value, seen in evidence.told())


def loaders_number(evidence: Evidence) -> bool:
    """type_of_loader is each loader's own number."""
    return all(loader_number(Value(evidence.fact, value, seen)) for value, seen in evidence.told())


def memory_behind_1_mib(evidence: Evidence) -> bool:
    """A size of memory is the map's, or the constant that this loader writes."""
    return all(memory_size(Value(evidence.fact, value, seen)) for value, seen in evidence.told())


def text_screen(evidence: Evidence) -> bool:
    """A text screen of 80 columns and 25 rows."""
    law = SCREEN.get(evidence.fact.field[-1])
    return law is not None and all(law(Value(evidence.fact, value, seen)) for value, seen in evidence.told())


_FRAMEBUFFER: Mapping[str, Law] = {
    "orig_video_isVGA": one_of(0, 1, 0x22, 0x23, 0x70),
    "orig_video_ega_bx": between(0, 0xFFFF),
    "lfb_width": between(320, 16384),
    "lfb_height": between(200, 16384),
    "lfb_depth": one_of(8, 15, 16, 24, 32),
    "lfb_linelength": between(320, 1 << 16),
    "lfb_size": between(1, 1 << 30),
    "lfb_base": lambda value: value.number >= memory.MIB,
    "pages": between(0, 0xFF),
    "capabilities": between(0, 3),
    **{f"{colour}_{what}": between(0, 32) for colour in ("red", "green", "blue", "rsvd") for what in ("size", "pos")},
}
"""Of struct screen_info, for a display (include/uapi/linux/screen_info.h)."""

_EDID = "00ffffffffffff00"


def display_of_the_machine(evidence: Evidence) -> bool:
    """efishim's machines have at most a text screen; a machine with a card may have a framebuffer, and a monitor."""
    for value, seen in evidence.told():
        one = Value(evidence.fact, value, seen)
        has_card = seen.record.machine is None
        if evidence.fact.field[-1] == "edid_info":
            if not (value.startswith(_EDID) if has_card else not value.replace("13", "")):
                return False
            continue
        law = (_FRAMEBUFFER.get(evidence.fact.field[-1]) if has_card else None) or SCREEN.get(evidence.fact.field[-1])
        if law is None or not law(one):
            return False
    return True


def users_command_line(evidence: Evidence) -> bool:
    """The user's command line, behind what the loader of that run puts in front of it, wherever it is told or shown."""
    fact = evidence.fact
    if fact.kind is Kind.ADDRESS:
        return all(in_memory(Value(fact, value, seen)) for value, seen in evidence.told())
    for value, seen in evidence.told():
        added = str(_loader_of(seen).get("adds", ""))
        if re.sub(added, "", _line(fact, value), count=1).strip() != seen.record.options.cmdline.strip():
            return False
    return True


def _line(fact: Fact, value: str) -> str:
    if fact.kind is Kind.LOG:
        return fact.subject.partition(": ")[2]
    return ".".join(fact.field) if fact.kind is Kind.USERSPACE else value
