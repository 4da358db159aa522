"""Return addresses on a stack, by the calls in front of them."""

from __future__ import annotations

import struct

import pytest

from efishim.lab.snapshot.backtrace import follows_a_call, return_addresses

CODE = 0x1000
CALLS = {
    "call rel32": b"\xe8\1\2\3\4",
    "call rax": b"\xff\xd0",
    "call [rax+8]": b"\xff\x50\x08",
    "call [rsp+8]": b"\xff\x54\x24\x08",
    "call [rip+x]": b"\xff\x15\1\2\3\4",
    "call [rsp+x]": b"\xff\x94\x24\1\2\3\4",
}
OTHERS = {"jmp rel32": b"\xe9\1\2\3\4", "jmp rax": b"\xff\xe0", "inc [rax+8]": b"\xff\x40\x08", "nothing": b"\x90"}


def memory(code: bytes) -> bytes:
    return (b"\x90" * 16 + code).ljust(64, b"\x90")


def reader(data: bytes, address: int, size: int) -> bytes:
    return data[address - CODE : address - CODE + size] if CODE <= address < CODE + len(data) else b""


@pytest.mark.parametrize("name", [*CALLS, *OTHERS])
def test_only_a_call_leaves_a_return_address(name: str) -> None:
    code = (CALLS | OTHERS)[name]
    data = memory(code)
    assert follows_a_call(lambda at, size: reader(data, at, size), CODE + 16 + len(code)) == (name in CALLS)


def test_where_no_code_is_there_was_no_call() -> None:
    assert not follows_a_call(lambda *_: b"", CODE)


@pytest.mark.parametrize(("width", "form"), [(8, "<4Q"), (4, "<4I")])
def test_a_stack_is_searched_from_its_top(width: int, form: str) -> None:
    data = memory(CALLS["call rel32"])
    good, beside = CODE + 21, CODE + 22
    stack = struct.pack(form, 5, good, beside, good) + b"odd"

    def read(at: int, size: int) -> bytes:
        return reader(data, at, size)

    assert return_addresses(stack, width, lambda at: at >= CODE, read, 10) == [good, good]
    assert return_addresses(stack, width, lambda at: at >= CODE, read, 1) == [good]
    assert return_addresses(stack, width, lambda _: False, read, 10) == []
