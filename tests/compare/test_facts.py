"""Facts as values: parts, path, and the way back; and nobody else takes a path to pieces."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

import efishim
from efishim.compare.facts import Area, Fact, Kind, Side, Stage, did, given, is_numbered, members, read_fact, unnumbered
from efishim.compare.pair import facts_of
from efishim.testing import run

PATHS = (
    (given(Stage.MACHINE, "cpuid", "0x4", "0x1"), "machine.cpuid.0x4.0x1"),
    (given(Stage.ENTRY, "cpu", "gs", kind=Kind.ADDRESS), "entry.cpu.gs@"),
    (given(Stage.ENTRY, "hvm_start_info", "magic"), "entry.hvm_start_info.magic"),
    (given(Stage.STARTUP_64, "boot_params", *members("hdr.loadflags")), "startup_64.boot_params.hdr.loadflags"),
    (given(Stage.STARTUP_64, "e820", kind=Kind.MAP), "startup_64.e820"),
    (given(Stage.STARTUP_64, "efi", "memory_map", "0x0-0x1000", kind=Kind.RANGE), "startup_64.efi.memory_map[0x0-0x1000]"),
    (given(Stage.KERNEL, "physical_base", kind=Kind.ADDRESS), "kernel.physical_base@"),
    (did(Kind.MILESTONE, "userspace"), "milestone.userspace"),
    (did(Kind.OUTCOME), "outcome"),
    (did(Kind.VIOLATION, "linux64/mode"), "abi.linux64/mode"),
    (did(Kind.CALL, "BootServices.LocateProtocol", "GUID, NULL", "EFI_NOT_FOUND"),
     "call.BootServices.LocateProtocol(GUID, NULL) EFI_NOT_FOUND"),
    (did(Kind.CALL, "int 15h/E820", "", "CF=0"), "call.int 15h/E820() CF=0"),
    (did(Kind.HARDWARE, "PIC", "port 0x20"), "hardware.PIC.port 0x20"),
    (did(Kind.CODE, "start_kernel"), "code.start_kernel"),
    (did(Kind.LOG, "Linux version 6.1. (gcc)"), "log.Linux version 6.1. (gcc)"),
    (did(Kind.USERSPACE, "/proc/cmdline", "root=/dev/sda1 a.b"), "userspace./proc/cmdline.root=/dev/sda1 a.b"),
)  # fmt: skip


@pytest.mark.parametrize(("fact", "path"), PATHS)
def test_a_path_is_a_rendering_of_a_fact_and_leads_back_to_it(fact: Fact, path: str) -> None:
    assert (fact.path, str(fact)) == (path, path)
    assert read_fact(path) == fact
    assert fact.path == (f"{fact.word}.{fact.rest}" if fact.kind is not Kind.OUTCOME else fact.word)


@pytest.mark.slow
def test_all_facts_of_runs_are_read_back_and_have_paths_of_their_own() -> None:
    for provider, entry in (("hvmlite", "efi"), ("hvmlite", "pvh"), ("lilo", "linux16"), ("grub", "linux64")):
        facts = facts_of(run(provider=provider, entry=entry, until="shutdown"))
        for side in Side:
            found = facts.of(side)
            assert found, (provider, side)
            assert len({fact.path for fact in found}) == len(found)
            assert [fact.path for fact in found if read_fact(fact.path) != fact] == []
            assert {fact.side for fact in found} == {side}
        assert [whole for whole in facts.maps if read_fact(whole.path) != whole] == []


@pytest.mark.parametrize("path", ["", "elsewhere.x", "value.x", "range.x", "run.x"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError):
        read_fact(path)


def test_facts_are_equal_when_all_parts_are() -> None:
    one = given(Stage.ENTRY, "initrd", "size")
    assert one == given(Stage.ENTRY, "initrd", "size")
    assert hash(one) == hash(given(Stage.ENTRY, "initrd", "size"))
    others = (given(Stage.STARTUP_64, "initrd", "size"), given(Stage.ENTRY, "initrd", "sha256"), given(Stage.ENTRY, "initrd"),
              given(Stage.ENTRY, "initrd", "size", kind=Kind.ADDRESS), did(Kind.LOG, "initrd"))  # fmt: skip
    assert all(one != other for other in (*others, "entry.initrd.size"))
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError, match="does not change"):
        one.subject = "x"


def test_the_same_fact_at_two_stages_differs_only_in_its_stage() -> None:
    early, late = (given(stage, "boot_params", "hdr", "version") for stage in (Stage.STARTUP_64, Stage.START_KERNEL))
    assert early.stageless == late.stageless
    assert given(Stage.MACHINE, "msr", "0x1b").stageless != given(Stage.ENTRY, "msr", "0x1b").stageless


def test_what_a_fact_is_a_part_of() -> None:
    assert given(Stage.ENTRY, "hvm_start_info", "magic").parent == "entry.hvm_start_info"
    assert given(Stage.STARTUP_64, "efi", "memory_map", "0x0-0x1000", kind=Kind.RANGE).parent == "startup_64.efi"
    assert given(Stage.STARTUP_64, "e820", "0x0-0x1000", kind=Kind.RANGE).parent == "startup_64"


def test_within() -> None:
    fact = given(Stage.STARTUP_64, "efi", "system_table", "vendor")
    assert fact.within(Stage.STARTUP_64, "efi")
    assert fact.within(Stage.STARTUP_64, "efi", "system_table")
    assert not fact.within(Stage.STARTUP_64, "efi", "system")
    assert not fact.within(Stage.START_KERNEL, "efi", "system_table")


def test_names_without_their_numbers() -> None:
    assert [unnumbered(name) for name in ("e820_table[3]", "e820_table", "FACP[2]")] == ["e820_table", "e820_table", "FACP"]
    assert [is_numbered(name) for name in ("e820_table[3]", "e820_table", "e820_table[3]x")] == [True, False, False]


def test_an_area_that_firmware_took_says_so() -> None:
    assert Area(0, 1, "RESERVED").label == "RESERVED"
    assert Area(0, 1, "RESERVED", "EfiRuntimeServicesData").label == "RESERVED (EfiRuntimeServicesData)"


ROOMS = ("compare", "report", "study", "surface", "oracle", "cli")
IN_ONE_PLACE = {
    "compare/facts.py": "reads a path back",
    "compare/rules.py": "matches the paths that rules name",
    "study/shim_differences.py": "matches the paths that its reasons name, which are rules of the study's own",
}

_METHODS = frozenset(
    {"startswith", "endswith", "removeprefix", "removesuffix", "split", "rsplit", "partition", "rpartition", "find", "index"}
)
_EXPRESSIONS = frozenset({"match", "fullmatch", "search", "sub"})


def picked(text: str) -> Iterator[int]:
    """Lines in which a path of a fact is taken to pieces, or a question found by its words."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in _METHODS and _is_path(node.func.value):
                yield node.lineno
            if node.func.attr in _EXPRESSIONS and any(_is_path(one) for one in node.args):
                yield node.lineno
        if isinstance(node, ast.Subscript) and _is_path(node.value):
            yield node.lineno
        if isinstance(node, ast.Compare) and any(isinstance(operator, ast.In) for operator in node.ops):
            last = node.comparators[-1]
            if isinstance(node.left, ast.Constant) and isinstance(node.left.value, str) and _is_path(last):
                yield node.lineno


def _is_path(node: ast.expr) -> bool:
    """`fact.path`, `one.difference.path`, `str(fact)`, `fact.rest`, `answer.question`, or a name for one of them."""
    if isinstance(node, ast.Attribute):
        return node.attr in ("path", "rest", "question") and ast.unparse(node) != "sys.path"
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "str" and any(_is_path(one) for one in node.args)
    return isinstance(node, ast.Name) and node.id in ("path", "fact", "also", "question")


@pytest.mark.slow
def test_nobody_takes_a_path_to_pieces() -> None:
    core = Path(efishim.__file__).parent
    files = [path for room in ROOMS for path in sorted((core / room).rglob("*.py"))]
    found = {path.relative_to(core).as_posix(): list(picked(path.read_text(encoding="utf-8"))) for path in files}
    assert {name: lines for name, lines in found.items() if lines and name not in IN_ONE_PLACE} == {}
    assert all(found[name] for name in IN_ONE_PLACE), "an exception that nothing needs"


def test_no_template_takes_a_path_to_pieces() -> None:
    templates = Path(efishim.__file__).parent / "report" / "html" / "templates"
    texts = {path.name: path.read_text(encoding="utf-8") for path in templates.glob("*.html")}
    assert texts
    assert [name for name, text in texts.items() if "path." in text.replace("row.path ", "").replace("one.path ", "")] == []


@pytest.mark.parametrize(
    ("line", "bad"),
    [
        ("fact.path.startswith('machine.')", True),
        ("one.difference.path.endswith('@')", True),
        ("path.partition('.')[0]", True),
        ("str(fact.path).split('.')", True),
        ("PATTERN.fullmatch(row.path)", True),
        ("'[0x' in one.path", True),
        ("row.path[0]", True),
        ("answer.question.startswith('What does')", True),
        ("fact.rest.split('(')", True),
        ("fact.stage is Stage.ENTRY", False),
        ("line.startswith('| ')", False),
        ("found[fact.path]", False),
        ("row.path in odd", False),
    ],
)
def test_the_search_finds_what_it_is_for(line: str, bad: bool) -> None:
    assert bool(list(picked(line))) is bad
