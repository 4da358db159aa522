"""The processor state at one moment, as Intel SDM volume 3 and AMD APM volume 2 define it.

What could not be read is said in a `problem`: at an entry, the guest's tables are whatever was left there.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from efishim.lab.record.values import Hex, Name, Part, Text

MAX_GDT_ENTRIES = 64
"""As many are shown; kernels and firmware use at most 16 of the 8192 that a limit of 0xffff allows."""
VECTORS = 256
MAX_PAGE_TABLE_ENTRIES = 1024
"""A page directory of 32-bit paging has most (SDM volume 3, 4.3)."""


class Registers(Part, frozen=True):
    """The general registers (SDM volume 1, 3.4)."""

    rax: Hex
    """RAX; 64 bits, as all that follow but EFLAGS."""
    rbx: Hex
    """RBX."""
    rcx: Hex
    """RCX."""
    rdx: Hex
    """RDX."""
    rsi: Hex
    """RSI: at `startup_64` the physical address of boot_params (boot.rst, "64-bit boot protocol")."""
    rdi: Hex
    """RDI."""
    rbp: Hex
    """RBP."""
    rsp: Hex
    """RSP."""
    r8: Hex
    """R8."""
    r9: Hex
    """R9."""
    r10: Hex
    """R10."""
    r11: Hex
    """R11."""
    r12: Hex
    """R12."""
    r13: Hex
    """R13."""
    r14: Hex
    """R14."""
    r15: Hex
    """R15."""
    rip: Hex
    """RIP: the instruction that runs next."""
    eflags: Hex
    """EFLAGS, 32 bits."""

    def named(self, name: str) -> int:
        """The register of that name. Raises AttributeError for any other."""
        value: int = getattr(self, name)
        return value


class ControlRegisters(Part, frozen=True):
    """Control registers (SDM volume 3, 2.5) and EFER (2.2.1)."""

    cr0: Hex
    """CR0: paging, protection, caches."""
    cr2: Hex
    """CR2: linear address of the last page fault."""
    cr3: Hex
    """CR3: physical address of the top-level page table, with its flags."""
    cr4: Hex
    """CR4: extensions, of paging for one."""
    cr8: Hex
    """CR8: task priority."""
    efer: Hex
    """IA32_EFER: long mode, execute-disable, SYSCALL."""


class Descriptor(Part, frozen=True):
    """A segment descriptor as it lies in a table (SDM volume 3, 3.4.5)."""

    value: Hex
    """The eight bytes as one number."""
    base: Hex
    """Linear address; of a system descriptor in long mode, its lower 32 bits."""
    limit: Hex
    """Offset of the last byte, granularity applied."""
    attributes: Hex
    """The upper four bytes without base and limit."""
    kind: Name
    """`code64`, `code32`, `code16`, `data`, `data-readonly`, or the system type of table 3-2."""
    dpl: Hex
    """Descriptor privilege level, 0 to 3."""
    present: bool
    """The P bit."""


class Segment(Part, frozen=True):
    """A segment register: with `hidden`, what the processor loaded and uses; else what the table says now at the selector,
    which need not be the same.
    """

    selector: Hex
    """The visible part."""
    base: Hex = field(default_factory=Hex)
    """Linear address."""
    limit: Hex = field(default_factory=Hex)
    """Offset of the last byte, granularity applied."""
    attributes: Hex = field(default_factory=Hex)
    """As in Descriptor."""
    kind: Name = ""
    """As in Descriptor; `null` for a null selector, `real` in real mode, empty where `problem` says why nothing is known."""
    dpl: Hex = field(default_factory=Hex)
    """Descriptor privilege level, 0 to 3."""
    present: bool = False
    """The P bit."""
    hidden: bool = False
    """Is it the processor's hidden part?"""
    problem: Text = ""
    """Why the descriptor could not be read."""


class Segments(Part, frozen=True):
    """The segment registers (SDM volume 3, 3.4.2), the task register and LDTR (2.4)."""

    cs: Segment
    """Code."""
    ds: Segment
    """Data."""
    es: Segment
    """Extra data."""
    fs: Segment
    """FS; in long mode with a base in an MSR."""
    gs: Segment
    """GS; in long mode with a base in an MSR."""
    ss: Segment
    """Stack."""
    tr: Segment
    """Task register."""
    ldtr: Segment
    """Local descriptor table register."""

    def named(self, name: str) -> Segment:
        """The register of that name. Raises AttributeError for any other."""
        segment: Segment = getattr(self, name)
        return segment


class GdtEntry(Part, frozen=True):
    """One entry of the global descriptor table that is not all zero."""

    index: Hex
    """Counted in units of 8 bytes."""
    descriptor: Descriptor
    """Its eight bytes, decoded."""


class DescriptorTable(Part, frozen=True):
    """GDTR and the table (SDM volume 3, 2.4.1)."""

    base: Hex
    """Linear address."""
    limit: Hex
    """Offset of the last byte."""
    entries: Annotated[tuple[GdtEntry, ...], Meta(max_length=MAX_GDT_ENTRIES)] = ()
    """The first entries that are not all zero."""
    problem: Text = ""
    """Why entries are missing."""


class InterruptTable(Part, frozen=True):
    """IDTR (SDM volume 3, 6.10)."""

    base: Hex
    """Linear address."""
    limit: Hex
    """Offset of the last byte."""
    present: Annotated[tuple[Hex, ...], Meta(max_length=VECTORS)] = ()
    """Vectors that have a present gate."""
    problem: Text = ""
    """Why gates are missing."""


class PageTableEntry(Part, frozen=True):
    """A present entry of the top-level page table (SDM volume 3, 4.5)."""

    index: Hex
    """Which entry."""
    address: Hex
    """Physical address of the next level, or of the page."""
    flags: Annotated[tuple[Name, ...], Meta(max_length=64)]
    """Names of the flags that are set."""


class PageTable(Part, frozen=True):
    """The top-level page table."""

    address: Hex
    """Physical address; CR3 as it is without paging."""
    levels: Hex
    """0 without paging, else 2 to 5."""
    entries: Annotated[tuple[PageTableEntry, ...], Meta(max_length=MAX_PAGE_TABLE_ENTRIES)] = ()
    """Those that are present."""
    problem: Text = ""
    """Why entries are missing."""


class ProcessorState(Part, frozen=True):
    """Everything about the processor that the entry contracts speak about."""

    mode: Name
    """`real16`, `virtual8086`, `protected16`, `protected32`, `long16`, `long32`, `long64`."""
    registers: Registers
    """General registers."""
    control: ControlRegisters
    """Control registers and EFER."""
    segments: Segments
    """Segment registers."""
    gdt: DescriptorTable
    """Global descriptor table."""
    idt: InterruptTable
    """Interrupt descriptor table."""
    page_table: PageTable
    """Top-level page table."""
