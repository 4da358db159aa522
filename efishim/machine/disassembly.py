"""Where instructions begin. The disassembler is imported when first needed: it costs 20 ms."""

from __future__ import annotations


def starts(code: bytes, address: int, mode: int) -> list[int]:
    """Addresses of the instructions in `code`, which begins with one. `mode` is 16, 32 or 64 (bits)."""
    import capstone  # noqa: PLC0415 - see above

    flag = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}[mode]
    engine = capstone.Cs(capstone.CS_ARCH_X86, flag)  # type: ignore[no-untyped-call]
    engine.skipdata = True
    return [where for where, *_ in engine.disasm_lite(code, address)]  # type: ignore[no-untyped-call]
