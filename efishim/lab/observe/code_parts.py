"""Splits the code that ran into parts: guest shim, setup code, decompressor, EFI stub, kernel, userspace.

Blocks are folded to functions where there are symbols. A bzImage carries none for its own code, which is told apart by what is
known of its layout: the setup code ends where the header says, and the stub (libstub, linked behind everything else:
arch/x86/boot/compressed/Makefile) begins not later than the lowest place that is an EFI entry or called firmware.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec import UNSET, UnsetType

from efishim.lab import record as rec
from efishim.lab.observe.address_names import AddressNames
from efishim.lab.observe.code_ways import Notes, Rows, leads, vector_of
from efishim.lab.observe.image_code import ImageCode

SETUP, DECOMPRESSOR, STUB, KERNEL, USER, ELSEWHERE = "setup", "decompressor", "stub", "kernel", "user", "elsewhere"
SHIM, LOADER = "shim", "loader"
PARTS = (SHIM, LOADER, SETUP, DECOMPRESSOR, STUB, KERNEL, USER, ELSEWHERE)
TRACE_LIMIT = 4096
"""Blocks of the kernel proper whose order is kept: what runs until start_kernel needs a few hundred."""
USER_TOP = 1 << 47

Block = tuple[int, int, int]
"""(pc, bytes, instructions)."""


@dataclass(frozen=True, slots=True)
class CodeLayout:
    """Offsets in the image file that separate its parts, and indices in the order of blocks that separate phases."""

    setup_end: int = 0
    stub_start: int | None = None
    at_kernel: int | None = None
    """Number of blocks that had run when the kernel proper began; None when it did not."""
    at_userspace: int | None = None
    at_entry: int = 0
    """Number of blocks that a boot loader had run when it started the image."""


ROW_BITS = 32
"""Of an offset and a row in one number, which sorts by the offset: objects by the thousand would be looked through again and
again by Python's garbage collection.
"""


@dataclass
class _Function:
    number: int
    part: str
    rows: list[int] = field(default_factory=list)
    """Of each block its offset << ROW_BITS, and its row in the list of all."""
    insns: int = 0


def coverage(
    blocks: Sequence[Block],
    entered: dict[tuple[int, int], int],
    layout: CodeLayout,
    names: AddressNames,
    code: ImageCode,
    notes: Notes | None = None,
) -> rec.Coverage:
    """Every block that ran, folded. `entered` says how often each ran; instructions are counted by whole blocks.

    A block may come twice, where all translations were dropped in between; it counts where it comes first. So `entered` is
    used up on the way, not copied: it has a row for each of 65,000 blocks.
    """
    functions: dict[tuple[str, str], _Function] = {}
    trace: list[str] = []
    rows = Rows(blocks)
    first = rows.first
    known = names.kernel_functions(pc for pc, _, _ in blocks)
    for index, (pc, size, icount) in enumerate(blocks):
        kernel = known.get(pc)
        part, name, offset = _place(index, pc, layout, names, code) if kernel is None else (KERNEL, *kernel)
        function = functions.get((part, name))
        if function is None:
            function = functions[part, name] = _Function(len(functions), part)
            rows.names.append(name)
        rows.function.append(function.number)
        rows.offset.append(offset)
        function.insns += entered.pop((pc, size), 0) * icount
        if pc in first:
            rows.again[index] = first[pc]
            continue
        first[pc] = index
        function.rows.append(offset << ROW_BITS | index)
        if part == KERNEL and len(trace) < TRACE_LIMIT:
            trace.append(f"{name}+{offset:#x}")
    ordered = sorted(functions.items())
    for _, function in ordered:
        function.rows.sort()
    after: Sequence[str | UnsetType] = [UNSET] * len(ordered)
    if notes is not None:
        after = _after([function for _, function in ordered], rows, notes)
    return rec.Coverage(
        blocks=len(first),
        parts=_parts(functions.values()),
        functions=[
            rec.FunctionCoverage(
                name=name,
                part=part,
                blocks=len(function.rows),
                insns=function.insns,
                offsets=" ".join([f"{row >> ROW_BITS:x}" for row in function.rows]),
                after=text,
            )
            for ((part, name), function), text in zip(ordered, after, strict=True)
        ],
        trace=trace,
    )


def _after(functions: Sequence[_Function], rows: Rows, notes: Notes) -> list[str]:
    """`FunctionCoverage.after` of each."""
    places, found = [0] * len(rows.blocks), leads(rows, notes)
    numbers = [0] * len(functions)
    mask = (1 << ROW_BITS) - 1
    for number, function in enumerate(functions):
        numbers[function.number] = number
        for place, row in enumerate(function.rows):
            places[row & mask] = place
    texts = []
    for function in functions:
        words = []
        for place, row in enumerate(function.rows):
            lead = found[row & mask]
            if lead < 0:
                vector = vector_of(lead)
                words.append("?" if vector is None else f"!{vector:x}")
            elif (number := rows.function[lead]) == function.number:
                words.append(str(place - places[lead]))
            else:
                words.append(f"{numbers[number]}.{places[lead]}")
        texts.append(" ".join(words))
    return texts


def _parts(functions: Iterable[_Function]) -> list[rec.PartCoverage]:
    blocks, insns = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)
    for function in functions:
        blocks[function.part] += len(function.rows)
        insns[function.part] += function.insns
    return [rec.PartCoverage(name=name, blocks=blocks[name], insns=insns[name]) for name in PARTS if blocks[name]]


def _place(index: int, pc: int, layout: CodeLayout, names: AddressNames, code: ImageCode) -> tuple[str, str, int]:
    """(part, function, offset in it) of a block."""
    if index < layout.at_entry:
        return LOADER, LOADER, pc
    started = layout.at_kernel is not None and index >= layout.at_kernel
    if started or pc >= names.kernel_half:
        found = names.kernel_function(pc)
        if found is not None:
            return KERNEL, found[0], found[1]
        if layout.at_userspace is not None and index >= layout.at_userspace and pc < USER_TOP:
            return USER, USER, pc
        return ELSEWHERE, ELSEWHERE, pc
    shim = names.shim_function(pc)
    if shim is not None:
        return SHIM, shim[0].removeprefix("shim:"), shim[1]
    offset = code.offset(pc)
    if offset is None:
        return ELSEWHERE, ELSEWHERE, pc
    if offset < layout.setup_end:
        return SETUP, SETUP, offset
    part = STUB if layout.stub_start is not None and offset >= layout.stub_start else DECOMPRESSOR
    return part, part, offset
