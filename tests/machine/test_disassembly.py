"""Both ways to the disassembler find the same instructions."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.machine import disassembly


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64), st.sampled_from([0, 0x7C00, 0xFFFF_FFFF, 0xFFFF_FFFF_8100_0000]), st.sampled_from([16, 32, 64]))
def test_any_bytes(code: bytes, address: int, mode: int) -> None:
    assert disassembly._library() is not None
    assert disassembly.starts(code, address, mode) == disassembly.with_package(code, address, mode)


def test_modes_and_data() -> None:
    code = bytes.fromhex("b8010000009006c3")  # mov eax, 1; nop; push es, which 64-bit mode does not have; ret
    assert disassembly.starts(code, 0x1000, 32) == [0x1000, 0x1005, 0x1006, 0x1007]
    assert disassembly.starts(code, 0x1000, 64) == [0x1000, 0x1005, 0x1006, 0x1007]
    assert disassembly.starts(code, 0x1000, 16) == [0x1000, 0x1003, 0x1005, 0x1006, 0x1007]


@pytest.mark.parametrize("change", [("_VERSION", 6), ("_MODES", {16: 2, 32: 4, 64: 1 << 20})])
def test_another_library_is_left_to_the_package(monkeypatch: pytest.MonkeyPatch, change: tuple[str, object]) -> None:
    usual = disassembly.starts(b"\x90\xc3", 0, 64)
    monkeypatch.setattr(disassembly, *change)
    disassembly._library.cache_clear()
    try:
        assert disassembly._library() is None
        assert disassembly.starts(b"\x90\xc3", 0, 64) == usual == [0, 1]
    finally:
        disassembly._library.cache_clear()
