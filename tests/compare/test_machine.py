"""The machine built again from a record, and what differs between two of them."""

from __future__ import annotations

from functools import cache

import pytest

from efishim.compare.pair import compare
from efishim.compare.predicates.machine import LARGEST, chosen
from efishim.compare.rules import Class
from efishim.compare.traits import traits
from efishim.lab.record import Hex, Record
from efishim.testing.running import run
from tests.compare.changes import CHANGES, Change, at

PLATFORMS = ("pc", "kvm", "hvmlite", "pc-qemu")


@cache
def on(platform: str, *options: str) -> Record:
    """The probe kernel at its entry, on a machine."""
    return run(provider="hvmlite", entry="pvh", until="entry", platform=platform, options=options)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_machine_can_be_built_again_from_its_record(platform: str) -> None:
    record = on(platform)
    machine = chosen(record)
    assert machine is not None
    assert machine.view == record.machine


@pytest.mark.parametrize(
    ("platform", "words"),
    [
        ("pc", {"#PCI", "#PIC", "#PIT", "#CMOS", "#MADT 1", "#SMBIOS", "#S5", "#timer frequency", "#NVS", "#no ASPM"}),
        ("kvm", {"#PCI", "#KVM", "#hypervisor", "#S5", "#MADT 1", "#invariant TSC"}),
        ("hvmlite", {"#Xen", "#hypervisor", "#RAM in the ISA hole"}),
    ],
)
def test_words_say_what_a_machine_has(platform: str, words: set[str]) -> None:
    found = traits(on(platform)).words
    assert words <= found
    assert ("#Xen" in found) == (platform == "hvmlite")
    assert ("#PCI" in found) == (platform != "hvmlite")


@pytest.mark.parametrize(
    "change",
    [
        at("machine", lambda _: None),
        at("route/platform", lambda _: "elsewhere"),
        at("options/memory", lambda _: Hex(LARGEST + 1)),
        at("machine/features/pci", lambda _: 77),
    ],
)
def test_what_no_platform_builds_is_no_machine(change: Change) -> None:
    record = change(on("pc"))
    assert chosen(record) is None
    assert not any(word.startswith("#") for word in traits(record).words)


@pytest.mark.parametrize("platform", ["kvm", "hvmlite"])
def test_two_machines_are_explained_by_what_they_have(platform: str) -> None:
    pair = compare(on("pc"), on(platform))
    assert pair.judged
    assert pair.of(Class.UNEXPLAINED) == ()


def test_a_device_that_the_user_switched_off_is_explained() -> None:
    pair = compare(on("pc"), on("pc", "platform.pci=0", "platform.rtc=0"))
    assert {one.difference.path for one in pair.judged} >= {"machine.feature.pci", "machine.feature.rtc", "machine.acpi.DSDT"}
    assert pair.of(Class.UNEXPLAINED) == ()


@pytest.mark.parametrize("platform", ["kvm", "hvmlite"])
@pytest.mark.parametrize("name", ["CPUID", "a leaf more", "MSR", "ACPI table", "ACPI table gone", "machine memory", "feature"])
def test_a_machine_that_its_platform_does_not_build_is_named(platform: str, name: str) -> None:
    changed = CHANGES[name](on(platform))
    assert any(one.difference.path.startswith("machine.") for one in compare(on("pc"), changed).of(Class.UNEXPLAINED))
