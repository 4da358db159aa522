"""The rules about real boot loaders are as strict as efishim's own, and explain what they say and nothing beside."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from efishim.compare.added import laxities, rules_of
from efishim.compare.counter_cases import with_value
from efishim.compare.evidence import Difference, Evidence, Seen
from efishim.compare.facts import Area, Fact, Kind, Stage, did, given
from efishim.compare.predicates import Predicate, originals
from efishim.compare.predicates.memory import EFI_MAP
from efishim.compare.predicates.values import Value
from efishim.compare.rules import Rule, Traits
from efishim.plugins import load_plugins
from tests.compare.counter_cases import seen


@pytest.fixture(scope="module")
def rules() -> dict[str, Rule]:
    registry = load_plugins()
    found = {rule.name.partition(":")[2]: rule for rule in rules_of(registry) if rule.name.startswith("efishim:")}
    assert registry.problems == ()
    return found


def test_they_are_there_and_as_strict_as_the_shipped_ones(rules: dict[str, Rule]) -> None:
    assert len(rules) == 15
    for rule in rules.values():
        assert laxities(rule) == []


@pytest.mark.parametrize(
    ("left", "right", "explained"),
    [
        ("console=ttyS0", "console=ttyS0 initrd=\\initrd.img", True),
        ("console=ttyS0", "initrd=\\initrd.img console=ttyS0", True),
        ("console=ttyS0", "console=ttyS0 quiet", False),
        ("console=ttyS0 quiet", "console=ttyS0 initrd=\\initrd.img", False),
        ("console=ttyS0", "initrd=\\initrd.img quiet console=ttyS0", False),
        ("console=ttyS0 initrd=\\initrd.img", "console=ttyS0 initrd=\\initrd.img", False),
    ],
)
def test_only_initrd_is_what_a_loader_may_add(rules: dict[str, Rule], left: str, right: str, explained: bool) -> None:
    rule = rules["initrd= of a boot loader"]
    assert rule.accepts == ("users-words-and-ramdisks",)
    evidence = put(given(Stage.STARTUP_64, "command_line"), left, right)
    evidence = replace(evidence, left=of_user(evidence.left), right=of_user(evidence.right))
    assert rule.matches(evidence, Traits(frozenset())) is explained


def of_user(seen: Seen) -> Seen:
    record = seen.record
    options = structs.replace(record.options, cmdline="console=ttyS0")
    return replace(seen, record=structs.replace(record, options=options))


def put(fact: Fact, left: str, right: str) -> Evidence:
    """A difference between two runs of the probe kernel."""
    one = seen("firmware/efi")
    return Evidence(Difference(fact, left, right), with_value(one, fact, left), with_value(one, fact, right))


SCRATCH = given(Stage.STARTUP_64, "boot_params", "scratch")
ALIGNMENT = given(Stage.ENTRY, "boot_params", "hdr", "kernel_alignment")


@pytest.mark.parametrize(
    ("fact", "predicate", "moved", "far"),
    [
        (SCRATCH, originals.scratch_of_the_place, (0x100_000D, 0x360_000D), (0x100_000D, 0x360_000E)),
        (ALIGNMENT, originals.alignment_of_the_place, (0x20_0000, 0x10_0000), (0x20_0000, 0x20_0000)),
    ],
)
def test_what_follows_from_another_place_is_held_to_it(
    fact: Fact, predicate: Predicate, moved: tuple[int, int], far: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run has the kernel at its preferred address, the second at 0x3600000."""
    evidence = put(fact, f"{moved[0]:#x}", f"{moved[1]:#x}")
    places = {id(evidence.left): 0x100_0000, id(evidence.right): 0x360_0000}

    def header(value: Value, name: str) -> int:
        return 0x100_0000 if name == "pref_address" else places[id(value.seen)]

    monkeypatch.setattr(originals, "header", header)
    assert predicate(evidence)
    changed = Difference(fact, f"{far[0]:#x}", f"{far[1]:#x}")
    assert not predicate(replace(evidence, difference=changed))
    assert not predicate(replace(evidence, difference=Difference(fact, f"{moved[0]:#x}", "")))


def test_grubs_map_is_that_of_the_firmware() -> None:
    code = Area(0x1000_0000, 0x1010_0000, "EfiRuntimeServicesCode RUNTIME")
    data = Area(0x1010_0000, 0x1020_0000, "EfiRuntimeServicesData RUNTIME")
    piece = given(Stage.ENTRY, "memory_map", "0x10080000-0x10100000", kind=Kind.RANGE)

    def with_map(one: Seen, *areas: Area) -> Seen:
        return replace(one, facts=replace(one.facts, maps={**one.facts.maps, EFI_MAP: areas}))

    evidence = put(piece, "type 0x14", "RESERVED")
    moved = (replace(code, end=0x1008_0000), replace(data, start=0x1008_0000))
    evidence = replace(evidence, left=with_map(evidence.left, code, data), right=with_map(evidence.right, *moved))
    assert originals.grub_tells_efis_map(evidence)
    assert not originals.grub_tells_efis_map(replace(evidence, difference=Difference(piece, "RESERVED", "type 0x14")))
    assert not originals.grub_tells_efis_map(replace(evidence, difference=Difference(piece, "type 0x14", "RAM")))


def test_a_ramdisk_that_nobody_offered_is_not_explained() -> None:
    fact = did(Kind.CALL, "LoadFile2.LoadFile", "end, FALSE", "EFI_SUCCESS")
    evidence = put(fact, "called", "")
    size, digest = (given(Stage.STARTUP_64, "initrd", what) for what in ("size", "sha256"))
    offered = did(Kind.CALL, "BootServices.LocateDevicePath", originals.OFFERED.field[0], "EFI_SUCCESS")

    def told(one: Seen, sha256: str) -> Seen:
        return with_value(with_value(with_value(one, size, "0x10"), digest, sha256), offered, "called")

    same = replace(evidence, left=told(evidence.left, "aa"), right=told(evidence.right, "aa"))
    assert originals.ramdisk_by_load_file2(same)
    assert not originals.ramdisk_by_load_file2(replace(same, right=told(same.right, "bb")))
    assert not originals.ramdisk_by_load_file2(replace(same, right=with_value(same.right, offered, "")))
    neither = replace(same, left=with_value(same.left, size, ""), right=with_value(same.right, size, ""))
    assert not originals.ramdisk_by_load_file2(neither), "a ramdisk that is absent on both sides is not the same one"
