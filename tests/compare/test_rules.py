"""The file of rules: what it may say, what a rule explains, and that each says why and who says so."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from efishim.compare.evidence import Difference, Ground, Seen, Shown
from efishim.compare.facts import Facts, read_fact
from efishim.compare.rules import DIFFERS, Class, Judge, Traits, head, parse_rules, pattern, read_rules, shipped_rules
from efishim.errors import UsageError
from efishim.lab.observe.code_parts import PARTS
from tests.records import a_record

RULE = """
[name]
class = "by design"
paths = ["code.efi_*"]
differs = ["route"]
reason = "it is so"
source = "a file"
"""


NOTHING_SEEN = Seen(a_record(), Facts({}, {}, {}))
"""Rules with predicates explain nothing then: they ask what the runs were told."""

BOTH = (NOTHING_SEEN, NOTHING_SEEN)


def judged(text: str, left: set[str], right: set[str], difference: Difference, changed: set[str] | None = None) -> Class:
    words = frozenset(changed or {"route"})
    judge = Judge(parse_rules(text, "test"), Traits(frozenset(left)), Traits(frozenset(right)), words, BOTH)
    return judge.judge(difference).kind


def differs(path: str, left: str, right: str) -> Difference:
    return Difference(read_fact(path), left, right)


RAN = differs("code.efi_init", "ran", "")


def test_a_rule_explains_what_its_paths_match() -> None:
    assert judged(RULE, set(), set(), RAN) is Class.BY_DESIGN
    assert judged(RULE, set(), set(), differs("code.start_kernel", "ran", "")) is Class.UNEXPLAINED


def test_a_rule_is_silent_when_nothing_was_chosen_differently() -> None:
    assert judged(RULE, set(), set(), RAN, {"seed"}) is Class.UNEXPLAINED


@pytest.mark.parametrize(
    ("left", "right", "difference", "kind"),
    [
        ({"efi"}, set(), RAN, Class.BY_DESIGN),
        (set(), {"efi"}, RAN, Class.UNEXPLAINED),  # the side without EFI ran it: that is a defect
        (set(), {"efi"}, differs("code.efi_init", "", "ran"), Class.BY_DESIGN),
        ({"efi"}, {"efi"}, RAN, Class.UNEXPLAINED),
        (set(), set(), RAN, Class.UNEXPLAINED),
        ({"efi"}, set(), differs("code.efi_init", "ran", "said"), Class.UNEXPLAINED),
    ],
)
def test_only_holds_the_fact_to_the_run_with_the_word(
    left: set[str], right: set[str], difference: Difference, kind: Class
) -> None:
    assert judged(RULE + 'only = "efi"\n', left, right, difference) is kind


def test_without_is_the_other_way_round() -> None:
    text = RULE + 'without = "efi"\n'
    assert judged(text, set(), {"efi"}, RAN) is Class.BY_DESIGN
    assert judged(text, {"efi"}, set(), RAN) is Class.UNEXPLAINED


def test_one_asks_for_a_word_that_only_one_run_has_and_both_for_one_that_both_have() -> None:
    assert judged(RULE + 'one = ["a", "b"]\n', {"a"}, set(), RAN) is Class.BY_DESIGN
    assert judged(RULE + 'one = ["a", "b"]\n', {"a"}, {"a"}, RAN) is Class.UNEXPLAINED
    assert judged(RULE + 'both = ["a", "b"]\n', {"a", "b"}, {"a", "b"}, RAN) is Class.BY_DESIGN
    assert judged(RULE + 'both = ["a", "b"]\n', {"a", "b"}, {"a"}, RAN) is Class.UNEXPLAINED


def test_values_are_matched_in_either_order_and_can_refer_to_each_other() -> None:
    text = RULE.replace("code.efi_*", "startup_64.command_line") + r"values = 'BOOT_IMAGE=\S+ (?P<rest>.*)\n(?P=rest)'" + "\n"
    assert judged(text, set(), set(), differs("startup_64.command_line", "BOOT_IMAGE=/x quiet", "quiet")) is Class.BY_DESIGN
    assert judged(text, set(), set(), differs("startup_64.command_line", "quiet", "BOOT_IMAGE=/x quiet")) is Class.BY_DESIGN
    assert judged(text, set(), set(), differs("startup_64.command_line", "BOOT_IMAGE=/x quiet", "debug")) is Class.UNEXPLAINED


def test_endless_values_are_not_matched() -> None:
    text = RULE.replace("code.efi_*", "startup_64.command_line") + "values = '.*\\n.*'\n"
    assert judged(text, set(), set(), differs("startup_64.command_line", "a" * 5000, "b")) is Class.UNEXPLAINED


def test_a_rule_that_explains_nothing_is_named() -> None:
    judge = Judge(parse_rules(RULE, "test"), Traits(frozenset()), Traits(frozenset()), frozenset({"route"}), BOTH)
    assert judge.unused() == ("name",)
    judge.judge(RAN)
    assert judge.unused() == ()


def test_only_a_star_is_special_in_a_path() -> None:
    assert pattern("e820[0x9f*").fullmatch("e820[0x9fc00-0xa0000]")
    assert not pattern("a.b").fullmatch("axb")
    assert pattern("*@").fullmatch("startup_64.initrd@")


def test_a_path_that_a_rule_names_begins_like_the_rules() -> None:
    for path, begins in {
        "e820[0x9f*": "e820[0x9f",
        "a.b": "a.b",
        "*@": "",
        "log.*": "log.",
        "a\\.*b": "a\\.",
        "call.f(\n*": "call.f(\n",
        "code.? -> *": "code.? -> ",
    }.items():
        assert head(pattern(path)) == begins
    assert all(head(one) for rule in shipped_rules() for one in rule.paths if not one.pattern.startswith(".*"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[", "is not TOML"),
        ("a = " + "9" * 5000, "is not TOML"),
        ("[" * 50_000, "is not TOML"),
        (RULE + "present = 0x" + "f" * 20_000 + "\n", "64 are the most"),
        (RULE + "present = 1\n", "present is true or false"),
        (RULE.replace('"by design"', "0x" + "f" * 20_000), "64 are the most"),
        ("name = 1", "outside of its rules"),
        (RULE.replace('reason = "it is so"', ""), "reason is missing"),
        (RULE.replace('differs = ["route"]', ""), "differs is missing"),
        (RULE + "colour = 'red'\n", "colour is unknown"),
        (RULE.replace("by design", "unexplained"), "a class is"),
        (RULE.replace('["route"]', '["weather"]'), "nothing called weather"),
        # What follows from a difference licenses no rule.
        (RULE.replace('["route"]', '["told"]'), "nothing called told"),
        (RULE + "accepts = ['all-is-well']\n", "no predicate all-is-well"),
        (RULE + "counter = [{left = 'a'}]\n", "counter must be a list of tables"),
        (RULE + "counter = [{path = 7}]\n", "path must be a string"),
        (RULE + "values = '('\n", "rule name of test"),
        (RULE.replace('["code.efi_*"]', "7"), "paths must be a string or a list of strings"),
        (RULE.replace('"it is so"', "7"), "reason must be a string"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        parse_rules(text, "test")


def test_a_file_that_is_not_there_is_a_mistake_of_the_user(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none does not exist"):
        read_rules(str(tmp_path / "none"))


PLACE = re.compile(
    # file, and what in it: a function, a label, a field, a section of a document
    r"(?:GRUB, |LILO, |Xen, )?[\w./-]+\.(?:c|h|S|rst|pandoc)(?: \(6\.\d+\))?"
    r"(?: and [\w./-]+\.(?:c|h|S)(?: \(6\.\d+\))?)?, [\w(].*"
    r"|Xen, tools/libacpi/Makefile, dsdt_pvh\.asl"
    r"|(?:UEFI|ACPI|SMBIOS|Multiboot2?) \d\S* sections? \d+(?:\.\d+)*(?: and \d+(?:\.\d+)*)?(?:, .+)?"
)
"""One part of a source: where to look, down to the function or the section."""


def test_each_shipped_rule_has_a_reason_and_sources_that_say_where_to_look() -> None:
    assert [rule.name for rule in shipped_rules() if not rule.reason.endswith(".")] == []
    parts = [(rule.name, part) for rule in shipped_rules() for part in rule.source.split("; ")]
    assert [(name, part) for name, part in parts if not PLACE.fullmatch(part)] == []


KERNELS = tuple(Path(tree) for tree in os.environ.get("EFISHIM_KERNEL_SOURCES", "").split(":") if tree)
"""Kernel trees whose files the sources name, as `/src/linux-6.1:/src/linux-6.12`; the directory's name ends in the version."""

NAMED = re.compile(
    r"(?P<file>(?:arch|Documentation|drivers|fs|include|init|kernel|lib|mm|security)/[\w./-]+)(?: \((?P<only>6\.\d+)\))?"
)
FUNCTION = re.compile(r"(?P<name>\w+)\(\)(?: \((?P<only>6\.\d+)\))?")


def missing(tree: Path, source: str) -> Iterator[str]:
    """What a kernel tree does not have of the files and functions that a source names."""

    def meant(match: re.Match[str]) -> bool:
        return match["only"] is None or tree.name.endswith(match["only"])

    for part in source.split("; "):
        if part.startswith(("GRUB", "LILO", "Xen")):
            continue
        files = [match["file"] for match in NAMED.finditer(part) if meant(match)]
        paths = [tree / name for name in files]
        # 6.1 has them in Documentation/x86.
        paths = [path if path.exists() else tree / str(path.relative_to(tree)).replace("/arch/x86", "/x86") for path in paths]
        yield from (f"{path}" for path in paths if not path.is_file())
        text = "".join(path.read_text(errors="replace") for path in paths if path.is_file())
        functions = [match["name"] for match in FUNCTION.finditer(part) if meant(match)]
        yield from (f"{name}() in {part}" for name in functions if files and not re.search(rf"\b{name}\b", text))


def test_what_a_tree_lacks_is_named(tmp_path: Path) -> None:
    tree = tmp_path / "linux-6.1"
    (tree / "init").mkdir(parents=True)
    (tree / "init" / "main.c").write_text("void start_kernel(void) {}")
    assert list(missing(tree, "init/main.c, start_kernel() and other() (6.12)")) == []
    assert list(missing(tree, "init/main.c and init/new.c (6.12), start_kernel()")) == []
    assert list(missing(tree, "init/main.c, other()")) == ["other() in init/main.c, other()"]
    assert list(missing(tree, "UEFI 2.10 section 7.2; init/new.c, something")) == [f"{tree}/init/new.c"]


@pytest.mark.skipif(not KERNELS, reason="EFISHIM_KERNEL_SOURCES names no kernel trees")
def test_the_kernels_have_the_files_and_functions_that_sources_name() -> None:
    assert [(rule.name, one) for rule in shipped_rules() for tree in KERNELS for one in missing(tree, rule.source)] == []


EFI, PVH = {"efi-told", "efi64", "stub", "compressed", "hvmlite"}, {"pvh", "hvmlite"}
ON_XEN = {"@hvmlite"}
"""A machine, which is something else than a way in that a provider of the same name drives."""


@pytest.mark.parametrize(
    ("left", "right", "difference", "rule"),
    [
        # arch/x86/kernel/head_64.S keeps CR4.MCE and nothing else that may differ between two ways in.
        (EFI, PVH, differs("start_kernel.cpu.cr4", "0xe0", "0xa0"), "machine check bit that stays"),
        (EFI, PVH, differs("start_kernel.cpu.cr4", "0xb0", "0xf0"), "machine check bit that stays"),
        (EFI, PVH, differs("start_kernel.cpu.cr4", "0xa0", "0x10e0"), None),
        (EFI, PVH, differs("start_kernel.cpu.cr4", "0xa0", "0x20"), None),
        # What a BIOS reserves is no accident of allocation.
        (
            EFI,
            EFI | {"rom-reserved"},
            differs("startup_64.e820[0x9f000-0xa0000]", "RAM", "RESERVED (EfiReservedMemoryType)"),
            "extended BIOS data area",
        ),
        (
            EFI,
            EFI | {"rom-reserved"},
            differs("startup_64.efi.memory_map[0x9f000-0xa0000]", "EfiConventionalMemory", "EfiReservedMemoryType"),
            "BIOS areas in the EFI memory map",
        ),
        (EFI, PVH, differs("startup_64.e820[0x9f000-0xa0000]", "RAM", "NVS"), None),
        # drivers/firmware/efi/reboot.c powers off, kernel/reboot.c halts; not the other way round.
        (
            EFI | ON_XEN,
            PVH | ON_XEN,
            differs("log.reboot: Power down", "said", ""),
            "power off by EFI where ACPI has no S5",
        ),
        (EFI | ON_XEN, PVH | ON_XEN, differs("log.reboot: Power down", "", "said"), None),
        (EFI, PVH, differs("log.reboot: Power down", "said", ""), None),
        (
            EFI | ON_XEN,
            PVH | ON_XEN,
            differs("log.reboot: System halted", "", "said"),
            "halt where nothing can power off",
        ),
        (EFI | ON_XEN, PVH | ON_XEN, differs("log.reboot: System halted", "said", ""), None),
        (EFI, PVH, differs("log.reboot: System halted", "", "said"), None),
        # arch/x86/kernel/setup.c keeps EFI from the VGA console.
        (EFI, PVH, differs("code.do_take_over_console -> vgacon_startup", "", "ran"), "VGA console that EFI forbids"),
        (EFI, PVH, differs("code.do_take_over_console -> vgacon_startup", "ran", ""), None),
        # Devices are not the memory map.
        (EFI, PVH, differs("userspace./proc/iomem.PCI Bus 0000:00", "", "said"), None),
        # Only with a decompressor or a first kernel that knew is there an address; GRUB and the stub leave 0.
        (EFI | {"header"}, EFI, differs("startup_64.boot_params.acpi_rsdp_addr", "0xf0000", ""), None),
        (EFI, PVH | {"rsdp-told"}, differs("startup_64.boot_params.acpi_rsdp_addr", "", "0xf0000"), None),
    ],
)
def test_a_shipped_rule_goes_as_far_as_the_kernel_and_no_further(
    left: set[str], right: set[str], difference: Difference, rule: str | None
) -> None:
    words = frozenset({"route", "provider", "entry"})
    verdict = Judge(shipped_rules(), Traits(frozenset(left)), Traits(frozenset(right)), words, BOTH).judge(difference)
    assert (verdict.rule.name if verdict.rule is not None else None) == rule


def test_no_shipped_rule_explains_everything() -> None:
    """A rule names a kind of fact at least, and never the outcome of a run."""
    for rule in shipped_rules():
        for path in rule.paths:
            assert not path.fullmatch("outcome"), rule.name
            assert not path.fullmatch("milestone.userspace"), rule.name
            assert not path.fullmatch("log.BUG: something"), rule.name
            assert not path.fullmatch("startup_64.command_line.x"), rule.name
            assert not path.fullmatch("code.start_kernel"), rule.name
            shown = rule.follows or rule.control
            assert shown or not path.fullmatch("code.start_kernel -> something"), rule.name
            assert shown or not path.fullmatch("code.? -> something"), rule.name


def test_code_follows_only_from_a_ground() -> None:
    (rule,) = (one for one in shipped_rules() if one.follows)
    judge = Judge((rule,), Traits(frozenset()), Traits(frozenset()), frozenset({"route"}), BOTH)
    for path in ("code.start_kernel -> something", "code.? -> something", "code.setup_arch -> efi_init"):
        assert judge.judge(differs(path, "ran", "")).rule is None
        assert judge.judge(dataclasses.replace(differs(path, "ran", ""), ground=Ground((), ("the entry",)))).rule is rule


def test_code_depends_on_timing_only_where_a_control_run_says_so() -> None:
    (rule,) = (one for one in shipped_rules() if one.control)
    judge = Judge((rule,), Traits(frozenset()), Traits(frozenset()), frozenset({"route"}), BOTH)
    for path in ("code.start_kernel -> something", "code.? -> something", "code.interrupt 0xec -> something"):
        assert judge.judge(differs(path, "ran", "")).rule is None
        assert judge.judge(dataclasses.replace(differs(path, "ran", ""), shown=Shown(1, "without KASLR", True))).rule is rule


MOST_ROOTS = {False: 19, True: 129}
"""Paths of code in the rules between routes, and in those between machines, that lead to a function and not to a part such as
the decompressor; but those of the rules that need the image or a control run to say so, which name no code. The first were 160
when each function that ran on one side only needed one, 111 when nothing was derived from the image, and 79 before there were
control runs."""


@pytest.mark.parametrize("machines", [False, True])
def test_code_is_explained_by_its_root_only(machines: bool) -> None:
    """What lies below a root needs no rule. Their number only falls."""
    rules = [rule for rule in shipped_rules() if ("machine" in rule.both) is machines and not (rule.follows or rule.control)]
    code = [path.pattern for rule in rules for path in rule.paths if path.pattern.startswith("code")]
    assert [path for path in code if re.escape(" -> ") not in path] == []
    functions = [path for path in code if path.rpartition("\\ ")[2] not in (*PARTS, "image")]
    assert len(functions) <= MOST_ROOTS[machines]


@pytest.mark.slow
def test_a_planted_root_is_explained_by_no_rule() -> None:
    """Below any branch, on any pair of routes: its name is nobody's."""
    branches = ["start_kernel", "setup_arch", "rcu_do_batch", "efisubsys_init", "dmi_setup", "path_init", "interrupt 0xec", "?"]
    words = [set(one.both) | {one.only or one.without} | set(one.one) for one in shipped_rules()]
    for one in words:
        judge = Judge(shipped_rules(), Traits(frozenset(one)), Traits(frozenset()), DIFFERS, BOTH)
        for branch in branches:
            assert judge.judge(differs(f"code.{branch} -> planted", "ran", "")).kind is Class.UNEXPLAINED
