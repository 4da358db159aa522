"""Code of one side is followed to what was told differently, or to nothing."""

from __future__ import annotations

import pytest

from efishim.compare import pair
from efishim.compare.evidence import Ground, Way
from efishim.compare.facts import BOOT_PARAMS, Fact, Stage, given
from efishim.compare.grounds import ENTRY, Grounds
from efishim.compare.roots import UNTOLD, Ran
from efishim.compare.rules import Class, shipped_rules
from efishim.lab.record import Coverage, FunctionCoverage, Record, RouteName
from tests.records import a_record
from tests.support.small_kernel import ran, small_kernel

TOLD = given(Stage.STARTUP_64, BOOT_PARAMS, "efi_info", "efi_loader_signature")
ALWAYS = {"answer": ("0", "? "), "deeper": ("0 5", "? 1"), "efi_thing": ("0 e", "? 1"), "show": ("0", "?")}
WITHOUT = ran(**ALWAYS, setup_arch=("0 13", "? 1"))
WITH = ran(
    answer=("0", "?"),
    deeper=("0 5 9", "? 1 1"),
    efi_init=("0", "3.1"),
    efi_thing=("0 9 e", "? 1 2"),
    setup_arch=("0 c 13", "? 1 2"),
    show=("0", "?"),
    systab_show=("0", "5.0"),
)
"""setup_arch sets the flag, efi_thing calls efi_init because of it, efi_init hands the pointer on that show calls."""
FIRST_OF = {"efi_thing": (3, 1), "setup_arch": (4, 1), "systab_show": (6, 0), "deeper": (1, 2)}


def ground(
    name: str,
    told: frozenset[Fact] = frozenset({TOLD}),
    *,
    other: list[FunctionCoverage] = WITHOUT,
    goals: dict[Way, str] | None = None,
) -> Ground | None:
    block = FIRST_OF[name]
    branch = {"systab_show": (5, 0), "deeper": (1, 1)}.get(name, (block[0], block[1] - 1))
    return Grounds(small_kernel(), (Ran(WITH), Ran(other)), told, goals or {}, chosen=True).of((0, branch, block))


def test_a_branch_that_tests_what_was_told() -> None:
    assert ground("setup_arch") == Ground((TOLD,), ("boot_params.efi_info.efi_loader_signature",))


def test_a_variable_that_code_of_one_side_wrote() -> None:
    found = ground("efi_thing")
    assert found == Ground((TOLD,), ("flag, set in setup_arch+0xc", "boot_params.efi_info.efi_loader_signature"))
    assert found is not None
    assert found.said == "rests on flag, set in setup_arch+0xc; that on boot_params.efi_info.efi_loader_signature"


def test_a_function_whose_address_code_of_one_side_handed_on() -> None:
    found = ground("systab_show")
    assert found is not None
    assert found.facts == (TOLD,)
    assert found.steps[0] == "a pointer to systab_show, handed on in efi_init+0x0"


def test_what_was_told_alike_grounds_nothing() -> None:
    assert ground("setup_arch", frozenset()) is None
    assert ground("efi_thing", frozenset()) is None
    assert ground("efi_thing", frozenset({given(Stage.STARTUP_64, BOOT_PARAMS, "hdr", "loadflags")})) is None


def test_a_variable_that_both_sides_wrote_grounds_nothing() -> None:
    both = ran(**ALWAYS, setup_arch=("0 c 13", "? 1 2"))
    assert ground("efi_thing", other=both) is None


def test_a_result_of_a_function_that_ran_alike_grounds_nothing() -> None:
    assert ground("deeper") is None


def test_other_code_that_has_a_reason_is_a_ground() -> None:
    goal: Way = (0, (4, 0), (4, 1))
    assert ground("efi_thing", frozenset(), goals={goal: "a root"}) == Ground((), ("flag, set in setup_arch+0xc", "a root"))


def test_offsets_that_are_no_numbers_ground_nothing() -> None:
    broken = ran(efi_thing=("0 x e", "? 1 2"), setup_arch=("zz", "?"))
    way: Way = (0, (0, 0), (0, 1))
    assert Grounds(small_kernel(), (Ran(broken), Ran(WITHOUT)), {TOLD}, {}, chosen=True).of(way) is None


def setup(entry: str, part: str) -> Record:
    functions = [FunctionCoverage(name=part, part=part, blocks=1, insns=1, offsets="10", after="?")]
    route = RouteName(provider="grub", entry=entry, platform="pc")
    return a_record(route=route, coverage=Coverage(functions=functions))


@pytest.mark.parametrize(("entry", "kind"), [("linux32", Class.BY_DESIGN), ("linux16", Class.UNEXPLAINED)])
def test_the_entry_is_a_ground_where_it_was_chosen_differently(
    monkeypatch: pytest.MonkeyPatch, entry: str, kind: Class
) -> None:
    monkeypatch.setattr(pair, "kernel_of", lambda _record: small_kernel())
    rules = [rule for rule in shipped_rules() if rule.follows]
    found = pair.compare(setup("linux16", "setup"), setup(entry, "decompressor"), rules)
    code = [one for one in found.judged if one.difference.way is not None]
    assert [one.verdict.kind for one in code] == [kind, kind]
    assert all(
        (one.difference.left + one.difference.right).endswith(f"rests on {ENTRY}") is (kind is Class.BY_DESIGN) for one in code
    )
    assert code[0].difference.way == (1, UNTOLD, (0, 0))
