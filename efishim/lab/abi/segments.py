"""Requirements on segments and flags that most entries have in common."""

from __future__ import annotations

from efishim.lab.record import Descriptor, Segment
from efishim.provider.checking import Findings, Moment, Requirement
from efishim.wire.x86 import DESCRIPTOR_B, EFLAGS_IF

FLAT_LIMIT = 0xFFFF_FFFF
READABLE, WRITABLE = 1 << 9, 1 << 9
"""Bit 41 of a descriptor: a code segment may be read, a data segment be written (SDM volume 3, section 3.4.5.1)."""
BOOT_CS, BOOT_DS = 0x10, 0x18


def told(segment: Segment | Descriptor) -> str:
    """A segment in a sentence."""
    if isinstance(segment, Segment) and segment.problem:
        return segment.problem
    return f"base {segment.base:#x}, limit {segment.limit:#x}, {segment.kind or 'nothing'}"


def flat_code(segment: Segment | Descriptor, kind: str) -> bool:
    """A present code segment over 4 GiB that may be executed and read. In 64-bit code, base and limit mean nothing to the
    processor, but those who ask for a flat segment ask for them.
    """
    return (segment.kind, segment.base, segment.limit, segment.present) == (kind, 0, FLAT_LIMIT, True) and bool(
        segment.attributes & READABLE
    )


def flat_data(segment: Segment | Descriptor) -> bool:
    """A present data segment over 4 GiB that may be read and written."""
    return (segment.kind, segment.base, segment.limit, segment.present) == ("data", 0, FLAT_LIMIT, True)


def code_and_data(
    findings: Findings,
    moment: Moment,
    code: Requirement,
    data: Requirement,
    *,
    kind: str = "code32",
    registers: tuple[str, ...],
) -> None:
    """CS is a flat code segment, the others are flat 32-bit data segments."""
    cs = moment.cpu.segments.cs
    findings.demand(code, flat_code(cs, kind), f"CS is {told(cs)}")
    for name in registers:
        one = moment.cpu.segments.named(name)
        findings.demand(data, flat_data(one) and bool(one.attributes & DESCRIPTOR_B), f"{name.upper()} is {told(one)}")


def linux_segments(findings: Findings, moment: Moment, gdt: Requirement, selectors: Requirement, kind: str) -> None:
    """What the 32-bit and the 64-bit protocol of Linux both ask for: __BOOT_CS and __BOOT_DS in the GDT, and loaded."""
    entries = {entry.index * 8: entry.descriptor for entry in moment.cpu.gdt.entries}
    for selector, good in ((BOOT_CS, lambda one: flat_code(one, kind)), (BOOT_DS, flat_data)):
        found = entries.get(selector)
        words = f"the entry for {selector:#x} is {told(found) if found else 'missing'}"
        findings.demand(gdt, found is not None and good(found), words)
    for name, wanted in (("cs", BOOT_CS), ("ds", BOOT_DS), ("es", BOOT_DS), ("ss", BOOT_DS)):
        one = moment.cpu.segments.named(name)
        loaded = flat_code(one, kind) if name == "cs" else flat_data(one)
        findings.demand(selectors, one.selector == wanted and loaded, f"{name.upper()} is {one.selector:#x}: {told(one)}")


def interrupts_off(findings: Findings, moment: Moment, rule: Requirement) -> None:
    """EFLAGS.IF is clear."""
    flags = moment.cpu.registers.eflags
    findings.demand(rule, not flags & EFLAGS_IF, f"EFLAGS is {flags:#x}")
