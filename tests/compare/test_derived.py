"""Variables that the kernel fills from boot_params are known as that, and others are not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from efishim.compare.derived import Copied, Derived
from efishim.compare.evidence import Ground
from efishim.compare.facts import BOOT_PARAMS, Fact, Stage, given
from efishim.compare.grounds import Grounds
from efishim.compare.roots import Ran
from efishim.image.kernel_code import KernelCode
from efishim.lab.record import FunctionCoverage
from tests.support.small_kernel import BASE, SPACING, a_kernel, ran

FUNCTIONS = ("setup_arch", "register_screen", "show", "probe", "release", "elsewhere", "vga_init")
PLACES = {name: BASE + number * SPACING for number, name in enumerate(FUNCTIONS)}
DATA = {
    "_sinittext": BASE,
    "_einittext": BASE + SPACING,
    "boot_params": BASE + 0x400,
    "screen": BASE + 0x1400,
    "loader": BASE + 0x1480,
    "screen_pointer": BASE + 0x1488,
    "untouched": BASE + 0x1490,
}
SIZE = 0x1800
LINES = given(Stage.STARTUP_64, BOOT_PARAMS, "screen_info", "orig_video_lines")
LOADER = given(Stage.STARTUP_64, BOOT_PARAMS, "hdr", "type_of_loader")
LOADER_OFFSET = 0x210
"""Of type_of_loader in boot_params (Documentation/arch/x86/boot.rst)."""


def address(name: str, offset: int = 0) -> bytes:
    """A constant of 32 bits that is extended."""
    return (DATA[name] + offset & 0xFFFF_FFFF).to_bytes(4, "little")


class Code:
    """Machine code of one function, as it grows."""

    def __init__(self, name: str) -> None:
        self.start, self.data = PLACES[name], b""

    def bytes(self, text: str) -> Code:
        self.data += bytes.fromhex(text)
        return self

    def relative(self, opcode: str, target: int, behind: int = 0) -> Code:
        """An instruction with a displacement at its end, before `behind` bytes."""
        self.data += bytes.fromhex(opcode)
        at = self.start + len(self.data) + 4 + behind
        self.data += (target - at).to_bytes(4, "little", signed=True)
        return self

    def constant(self, opcode: str, name: str, offset: int = 0) -> Code:
        self.data += bytes.fromhex(opcode) + address(name, offset)
        return self


def code() -> dict[str, bytes]:
    setup = Code("setup_arch")
    setup.constant("48c7c6", "boot_params").constant("48c7c7", "screen").bytes("b910000000 f3a5")  # rep movsd, 64 bytes
    setup.relative("0fb605", DATA["boot_params"] + LOADER_OFFSET)  # movzx eax, byte [...]
    setup.relative("8905", DATA["loader"])  # mov [loader], eax
    setup.constant("48c7c7", "screen").relative("e8", PLACES["register_screen"]).bytes("c3")
    register = Code("register_screen").relative("48893d", DATA["screen_pointer"]).bytes("c3")  # mov [screen_pointer], rdi
    # mov rax, [screen_pointer]; cmp byte [rax+0xe], 0; je to its end; call probe; ret
    show = Code("show").relative("488b05", DATA["screen_pointer"]).bytes("80780e00 7405").relative("e8", PLACES["probe"])
    probe = Code("probe").bytes("c3")
    # mov rdi, screen; call release; ret: outside of the kernel's initialisation
    vga = Code("vga_init").constant("48c7c7", "screen").relative("e8", PLACES["release"]).bytes("c3")
    # cmp byte [rdi+0xe], 0; je to its end; call probe; ret
    release = Code("release").bytes("807f0e00 7405").relative("e8", PLACES["probe"]).bytes("c3")
    elsewhere = Code("elsewhere").relative("e8", PLACES["release"]).bytes("c3")
    made = (setup, register, show.bytes("c3"), probe, release, elsewhere, vga)
    return {name: one.data for name, one in zip(FUNCTIONS, made, strict=True)}


ALWAYS = {"register_screen": ("0", "?"), "setup_arch": ("0", "?"), "vga_init": ("0", "?")}


def kernel() -> KernelCode:
    return a_kernel(code(), DATA, SIZE)


def test_what_is_copied_and_computed_is_known() -> None:
    derived = Derived(kernel(), Ran(ran(**ALWAYS)))
    assert list(derived.of(DATA["screen"] + 0xE, 1)) == [Copied(DATA["screen"], 64, 0, 64, "setup_arch")]
    loader = Copied(DATA["loader"], 4, LOADER_OFFSET, LOADER_OFFSET + 1, "setup_arch")
    assert list(derived.of(DATA["loader"], 4)) == [loader]
    assert list(derived.of(DATA["untouched"], 8)) == []


def test_code_that_did_not_run_fills_nothing() -> None:
    assert list(Derived(kernel(), Ran(ran(register_screen=("0", "?")))).of(DATA["screen"], 64)) == []


def test_a_pointer_to_what_was_copied_is_followed_into_a_function() -> None:
    derived = Derived(kernel(), Ran(ran(**ALWAYS)))
    assert [one.address for one in derived.of(DATA["screen_pointer"], 8)] == [DATA["screen"]]
    without = {name: blocks for name, blocks in ALWAYS.items() if name != "register_screen"}
    assert list(Derived(kernel(), Ran(ran(**without))).of(DATA["screen_pointer"], 8)) == []


def test_an_argument_is_known_where_all_that_call_pass_it() -> None:
    derived = Derived(kernel(), Ran(ran(**ALWAYS, release=("0", "?"))))
    assert [one.address for one in derived.passed_to(PLACES["release"])] == [DATA["screen"]]
    others = Derived(kernel(), Ran(ran(**ALWAYS, release=("0", "?"), elsewhere=("0", "?"))))
    assert list(others.passed_to(PLACES["release"])) == []
    assert list(derived.passed_to(PLACES["probe"])) == []


def ground(told: frozenset[Fact], name: str, more: Mapping[str, tuple[str, str]]) -> Ground | None:
    """Of `probe`, called behind a branch of `name` on one side; functions are by name, and `name` has its number there."""
    end = {"show": "d", "release": "6"}[name]
    behind = {"show": "12", "release": "b"}[name]
    both = ran(**ALWAYS, **more, **{name: (f"0 {behind}", "? 1")})
    alone: list[FunctionCoverage] = ran(**ALWAYS, **more, probe=("0", "?"), **{name: (f"0 {end} {behind}", "? 1 1")})
    number = [one.name for one in alone].index(name)
    return Grounds(kernel(), (Ran(alone), Ran(both)), told, {}, chosen=False).of((0, (number, 0), (number, 1)))


def test_a_branch_that_tests_a_copy_through_a_pointer() -> None:
    found = ground(frozenset({LINES}), "show", {})
    assert found == Ground((LINES,), ("screen_pointer, filled in setup_arch from boot_params.screen_info.orig_video_lines",))


def test_a_branch_that_tests_a_copy_that_it_is_passed() -> None:
    found = ground(frozenset({LINES}), "release", {})
    assert found is not None
    assert found.steps[0].startswith("what release gets a pointer to, filled in setup_arch from boot_params.screen_info")
    assert ground(frozenset({LINES}), "release", {"elsewhere": ("0", "?")}) is None, "others call it as well"


@pytest.mark.parametrize("told", [frozenset(), frozenset({LOADER})])
def test_what_was_told_alike_grounds_nothing(told: frozenset[Fact]) -> None:
    """Neither a copy of equal fields, nor one of other fields than those that differ."""
    assert ground(told, "show", {}) is None
    assert ground(told, "release", {}) is None


def test_offsets_that_are_no_numbers_fill_nothing() -> None:
    derived = Derived(kernel(), Ran(ran(setup_arch=("zz", "?"))))
    assert list(derived.of(DATA["screen"], 64)) == []


def test_a_function_that_runs_endlessly_and_names_without_end_cost_no_more_than_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Anybody may write a record: the same function again and again, of any length, in any order."""
    many = ran(**ALWAYS) * 1000
    derived = Derived(kernel(), Ran(many))
    assert list(derived.of(DATA["screen"], 64))
    for name, value in (("STEPS", 3), ("SCANNED", 10)):
        with monkeypatch.context() as patch:
            patch.setattr(f"efishim.compare.derived.{name}", value)
            short = Derived(kernel(), Ran(ran(**ALWAYS)))
            assert list(short.of(DATA["loader"], 4)) == [], name
            assert list(short.passed_to(PLACES["release"])) == [], name
