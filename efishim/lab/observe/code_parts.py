"""Splits the code that ran into parts: guest shim, setup code, decompressor, EFI stub, kernel, userspace.

Blocks are folded to functions where there are symbols. A bzImage carries none for its own code, which is told apart by what is
known of its layout: the setup code ends where the header says, and the stub (libstub, linked behind everything else:
arch/x86/boot/compressed/Makefile) begins not later than the lowest place that is an EFI entry or called firmware.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from efishim.lab import record as rec
from efishim.lab.observe.address_names import AddressNames
from efishim.lab.observe.image_code import ImageCode

SETUP, DECOMPRESSOR, STUB, KERNEL, USER, ELSEWHERE = "setup", "decompressor", "stub", "kernel", "user", "elsewhere"
SHIM = "shim"
PARTS = (SHIM, SETUP, DECOMPRESSOR, STUB, KERNEL, USER, ELSEWHERE)
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


@dataclass
class _Function:
    part: str
    offsets: list[int] = field(default_factory=list)
    insns: int = 0


def coverage(
    blocks: Sequence[Block], entered: dict[tuple[int, int], int], layout: CodeLayout, names: AddressNames, code: ImageCode
) -> rec.Coverage:
    """Every block that ran, folded. `entered` says how often each ran; instructions are counted by whole blocks.

    A block may come twice, where all translations were dropped in between; it counts where it comes first. So `entered` is
    used up on the way, not copied: it has a row for each of 65,000 blocks.
    """
    functions: dict[tuple[str, str], _Function] = {}
    trace: list[str] = []
    seen: set[int] = set()
    known = names.kernel_functions(pc for pc, _, _ in blocks)
    for index, (pc, size, icount) in enumerate(blocks):
        kernel = known.get(pc)
        part, name, offset = _place(index, pc, layout, names, code) if kernel is None else (KERNEL, *kernel)
        function = functions.setdefault((part, name), _Function(part))
        function.insns += entered.pop((pc, size), 0) * icount
        if pc in seen:
            continue
        seen.add(pc)
        function.offsets.append(offset)
        if part == KERNEL and len(trace) < TRACE_LIMIT:
            trace.append(f"{name}+{offset:#x}")
    return rec.Coverage(
        blocks=len(seen),
        parts=_parts(functions.values()),
        functions=[
            rec.FunctionCoverage(
                name=name,
                part=part,
                blocks=len(function.offsets),
                insns=function.insns,
                offsets=" ".join(f"{offset:x}" for offset in sorted(function.offsets)),
            )
            for (part, name), function in sorted(functions.items())
        ],
        trace=trace,
    )


def _parts(functions: Iterable[_Function]) -> list[rec.PartCoverage]:
    blocks, insns = dict.fromkeys(PARTS, 0), dict.fromkeys(PARTS, 0)
    for function in functions:
        blocks[function.part] += len(function.offsets)
        insns[function.part] += function.insns
    return [rec.PartCoverage(name=name, blocks=blocks[name], insns=insns[name]) for name in PARTS if blocks[name]]


def _place(index: int, pc: int, layout: CodeLayout, names: AddressNames, code: ImageCode) -> tuple[str, str, int]:
    """(part, function, offset in it) of a block."""
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
