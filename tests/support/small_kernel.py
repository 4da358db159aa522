"""A kernel of seven small functions for those who look at what branches test, and runs of it."""

from __future__ import annotations

from collections.abc import Mapping

from efishim.image.elf import Segment
from efishim.image.facts import KernelFacts
from efishim.image.kernel_code import KernelCode
from efishim.image.symbols import Symbols
from efishim.lab.observe.code_parts import KERNEL
from efishim.lab.record import FunctionCoverage

BASE = 0xFFFF_FFFF_8100_0000
SPACING = 0x40
CODE = {
    # cmp dword [boot_params+0x1c0], "EL64"; jne +0x13; mov byte [flag], 1; ret
    "setup_arch": "813db6030000454c36347507c605b501000001c3",
    # cmp byte [flag], 0; je +0xe; call efi_init; ret
    "efi_thing": "803d81010000007405e832000000c3",
    "efi_init": "488d3d39010000c3",  # lea rdi, [attribute]; ret
    "show": "488b07ffd0c3",  # mov rax, [rdi]; call rax; ret
    "systab_show": "b801000000c3",
    # call answer; test eax, eax; je +0xe; call systab_show; ret
    "deeper": "e83b00000085c07405e8b2ffffffc3",
    "answer": "8b0542000000c3",  # mov eax, [flag]; ret
    "attribute": "00010081ffffffff",  # a pointer to systab_show
}
FLAG, BOOT_PARAMS, SIZE = 0x1C8, 0x200, 0x600


def small_kernel() -> KernelCode:
    """The kernel; every function begins 64 bytes behind the one before it."""
    code = {name: bytes.fromhex(text) for name, text in CODE.items()}
    return a_kernel(code, {"flag": BASE + FLAG, "boot_params": BASE + BOOT_PARAMS}, SIZE)


def a_kernel(code: Mapping[str, bytes], data: Mapping[str, int], size: int) -> KernelCode:
    """A kernel of these functions, 64 bytes apart, with variables at these addresses."""
    linked = b"".join(one.ljust(SPACING, b"\x90") for one in code.values())
    places = {name: BASE + at * SPACING for at, name in enumerate(code)} | dict(data)
    symbols = Symbols.build([f"T{name}" for name in places], list(places.values()), BASE, BASE + size)
    whole = Segment(0, BASE, 0x100_0000, size, size, 7)
    facts = KernelFacts("none", size, True, 62, 0x100_0000, 0x100_0000, 0x100_0000 + size, b"", (whole,), (), {})
    return KernelCode(linked.ljust(size, b"\0"), facts, symbols)


def ran(**blocks: tuple[str, str]) -> list[FunctionCoverage]:
    """Functions in the order of a record: offsets of blocks, and what led to each."""
    return [
        FunctionCoverage(name=name, part=KERNEL, blocks=len(offsets.split()), insns=10, offsets=offsets, after=after)
        for name, (offsets, after) in sorted(blocks.items())
    ]
