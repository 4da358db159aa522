"""Code of one side is told by the branch that both came to, with what lies below it; what is not known is not told."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from efishim.compare.evidence import Difference
from efishim.compare.facts import Kind, did
from efishim.compare.pair import compare
from efishim.compare.roots import rooted
from efishim.compare.rules import Class
from efishim.lab.record import Coverage, FunctionCoverage, Record
from tests.records import a_record


def ran(functions: Mapping[str, str | tuple[str, str]], part: str = "kernel") -> Record:
    """Functions by name, in the order of a record: offsets and what led to them."""
    rows = []
    for name, blocks in sorted(functions.items()):
        offsets, after = blocks if isinstance(blocks, tuple) else (blocks, UNSET)
        rows.append(FunctionCoverage(name=name, part=part, blocks=1, insns=10, offsets=offsets, after=after))
    return a_record(coverage=Coverage(functions=rows))


def found(left: Record, right: Record) -> list[tuple[str, str]]:
    """Of the code that is not on both sides: path, and the value of the side that has it."""
    names = [{one.name for one in record.coverage.functions} for record in (left, right)]
    differences = [
        Difference(did(Kind.CODE, name), "ran" if name in names[0] else "", "" if name in names[0] else "ran")
        for name in sorted(names[0] ^ names[1])
    ]
    return [(one.path, (one.left and f"< {one.left}") or f"> {one.right}") for one in rooted(left, right, differences)]


BASE = {"a_start": ("0 10 20", "? 1 2"), "z_helper": ("0", "0.0")}
MORE = {
    "a_start": ("0 10 18 20", "? 1 1 2"),
    "c_probe": ("0 8", "0.2 1"),
    "d_read": ("0", "1.1"),
    "e_late": ("0", "1.1"),
    "z_helper": ("0", "0.0"),
}
"""A branch of a_start at 0x10 goes to 0x18 on one side, calls c_probe there, and that two others."""
ROOT = "ran from a_start+0x10: 3 functions, 30 instructions: c_probe, d_read, e_late"


def test_what_lies_below_a_branch_is_one_difference() -> None:
    assert found(ran(BASE), ran(MORE)) == [("code.a_start -> c_probe", f"> {ROOT}")]
    assert found(ran(MORE), ran(BASE)) == [("code.a_start -> c_probe", f"< {ROOT}")]
    (one,) = compare(ran(BASE), ran(MORE), ()).of(Class.UNEXPLAINED)
    assert [fact.path for fact in one.difference.also] == ["code.c_probe", "code.d_read", "code.e_late"]


def test_two_branches_are_two_differences() -> None:
    more = {**MORE, "e_late": ("0", "0.3")}
    assert [path for path, _ in found(ran(BASE), ran(more))] == ["code.a_start -> c_probe", "code.a_start -> e_late"]


def test_a_root_that_no_rule_knows_is_unexplained_whatever_lies_beside_it() -> None:
    """The shipped rules explain EFI's code when only one side was told of EFI; nothing explains what is planted next to it."""
    planted = {**MORE, "y_planted": ("0", "0.0")}
    paths = [one.difference.path for one in compare(ran(BASE), ran(planted)).of(Class.UNEXPLAINED)]
    assert "code.a_start -> y_planted" in paths


def test_an_interrupt_is_a_root() -> None:
    more = {**BASE, "b_tick": ("0", "!ec"), "c_timer": ("0", "1.0")}
    value = "> ran from interrupt 0xec: 2 functions, 20 instructions: b_tick, c_timer"
    assert found(ran(BASE), ran({**more, "z_helper": ("0", "0.0")})) == [("code.interrupt 0xec -> b_tick", value)]


def test_what_is_not_known_is_not_told() -> None:
    unknown = {**MORE, "c_probe": ("0 8", "? 1")}
    assert [path for path, _ in found(ran(BASE), ran(unknown))] == ["code.? -> c_probe"]
    old = {name: blocks[0] for name, blocks in MORE.items()}
    assert [path for path, _ in found(ran(BASE), ran(old))] == ["code.? -> c_probe", "code.? -> d_read", "code.? -> e_late"]


@pytest.mark.parametrize("after", ["9.9", "-7", "99999999999", "0.x", "x", ".", "1.0", "0", ""])
def test_what_a_file_makes_up_ends_somewhere(after: str) -> None:
    """A block that leads to itself, one that is not there, no number."""
    (one,) = found(ran({"a": ("0", "?")}), ran({"a": ("0", "?"), "b": ("0", after)}))
    assert one[0] == "code.? -> b"


def test_a_function_without_blocks_is_not_lost() -> None:
    (one,) = found(ran({"a": ("0", "?")}), ran({"a": ("0", "?"), "b": ("", "")}))
    assert one == ("code.? -> b", "> ran from ?: 1 function, 10 instructions: b")


def test_a_ring_of_blocks_ends() -> None:
    ring = {"a": ("0", "?"), "b": ("0", "2.0"), "c": ("0", "1.0")}
    assert {path.partition(" ")[0] for path, _ in found(ran({"a": ("0", "?")}), ran(ring))} == {"code.?"}


def test_of_another_image_functions_are_compared_and_not_blocks() -> None:
    left, right = ran(BASE), ran(MORE)
    right = replace(right, image=replace(right.image, sha256="1" * 64))
    (path, value) = found(left, right)[0]
    assert (path, value.partition(":")[0]) == ("code.a_start -> c_probe", "> ran from a_start+0x18")


def test_code_at_addresses_of_its_own_is_there_or_not() -> None:
    """Of userspace and of what has no name, the other side has other addresses."""
    one, other = ran({"user": ("400000", "?")}, "user"), ran({"b_handler": ("0", "1.0"), "user": ("500000", "?")}, "user")
    assert found(one, other)[0][0] == "code.user -> b_handler"
