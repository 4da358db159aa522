"""What entries and startup_64 ask of the processor."""

from __future__ import annotations

from collections.abc import Mapping

from efishim.compare.evidence import Evidence
from efishim.compare.facts import Kind, Stage
from efishim.compare.predicates.values import Value, in_memory

_MODES: Mapping[str, str] = {
    "efi-handover": "long64",
    "efi-mixed": "protected32",
    "linux64": "long64",
    "linux16": "real16",
    "pvh": "protected32",
    "linux32": "protected32",
    "multiboot": "protected32",
    "multiboot2": "protected32",
}
PE, PG, PAE, LONG, IF, TRAPS = 1, 1 << 31, 1 << 5, (1 << 10) | (1 << 8), 1 << 9, (1 << 8) | (1 << 10) | (1 << 17)
KERNEL_TOP = 0xFFFF_8000_0000_0000
"""The kernel's half of the address space: where a first kernel has its task state."""

_SEGMENTS = frozenset({"cs", "ds", "es", "ss"})


def _mode(value: Value) -> str:
    view = value.seen.record.boot_view
    # Firmware enters an image in the mode of the image, which is the kernel's own (UEFI 2.10 section 2.3).
    if value.fact.stage is not Stage.ENTRY or value.entry == "efi":
        return view.cpu.mode if view is not None else "long64"
    return _MODES.get(value.entry, "")


def _base(value: Value) -> bool:
    """Where a table or a segment lies: nowhere when there is none."""
    register, mode = value.fact.field[-1], _mode(value)
    if register == "page_table" and mode != "long64":
        return value.number == 0 or in_memory(value)
    unneeded = register == "idt" or (register == "gdt" and mode != "long64")
    return in_memory(value) or value.number >= KERNEL_TOP or (unneeded and value.number == 0)


def _state(value: Value) -> bool:
    if value.fact.kind is Kind.ADDRESS:
        return _base(value)
    register, mode, bits = value.fact.field[-1], _mode(value), value.number
    long = mode == "long64"
    match register:
        case "mode":
            return value.text == mode
        case "cr0":
            # Firmware of 32 bits may page; other entries of 32 bits must not.
            paged = long or (value.entry in ("efi", "efi-mixed") and bool(bits & PG)) or value.fact.stage is not Stage.ENTRY
            return bool(bits & PE) == (mode != "real16") and (not long or bool(bits & PG)) and (paged or not bits & PG)
        case "cr4":
            return not long or bool(bits & PAE)
        case "efer":
            return bits & LONG == (LONG if long else 0) or not long
        case "eflags":
            return bool(bits & 2) and not bits & TRAPS and (not bits & IF or value.entry.startswith("efi"))
        case "page_table":
            return not long or value.text.startswith(("0x4 levels", "0x5 levels"))
        case "rip":
            return value.number >= 0
        case "cr2":
            return value.number < KERNEL_TOP  # faults of the decompressor are on addresses that it maps to themselves
        case "rsi" if value.entry in ("linux32", "linux64") and value.fact.stage is Stage.ENTRY:
            return value.text == "&boot_params"
        case "rbx" if value.entry == "pvh" and value.fact.stage is Stage.ENTRY:
            return value.text == "&hvm_start_info"
    if register in _SEGMENTS:
        return _segment(value, mode)
    return True


def _segment(value: Value, mode: str) -> bool:
    if mode == "real16":
        return "limit 0xffff " in value.text
    kind = {"long64": "code64", "protected32": "code32"}.get(mode, "")
    if value.fact.field[-1] == "cs":
        return f" {kind} limit 0xffffffff" in value.text and "not present" not in value.text
    return " null" in value.text if long_null(value, mode) else " data limit 0xffffffff" in value.text


def long_null(value: Value, mode: str) -> bool:
    """In 64-bit mode a data segment may be null (Intel SDM volume 3, 3.2.4)."""
    return mode == "long64" and value.text.endswith("null")


def state_of_the_mode(evidence: Evidence) -> bool:
    """Each processor is in the state that its entry, or startup_64, asks for: mode, paging, interrupts, flat segments."""
    return all(_state(Value(evidence.fact, value, seen)) for value, seen in evidence.told())
