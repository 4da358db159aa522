"""Controls: for every statement a set of runs for which the verdict is one thing, and one for which it is the other.

The expected verdict follows from the criterion that is printed beside the statement, not from any kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from efishim.lab.record import (
    CodeRef,
    Consumed,
    Hex,
    LedgerEntry,
    LedgerKind,
    LegacyUse,
    Record,
)
from efishim.study.claims import (
    EXPERIMENTS,
    agnostic,
    cpuid_early,
    dead_code,
    efi_huge,
    kaslr,
    minimum,
    ramdisk,
    same_code,
    shared_path,
    stub_does_more,
    subarch,
)
from efishim.study.experiment import Experiment
from efishim.study.model import Verdict
from efishim.study.runs import Need, Runs, Subject
from efishim.study.surfaces import SurfaceFacts
from tests.study.made import call, cpuid, made, report, runs, subject, touch, used
from tests.views import boot_view, machine_view

HOLDS, NOT, UNTOLD = Verdict.HOLDS, Verdict.DOES_NOT_HOLD, Verdict.UNTOLD
Change = Callable[[Need], Mapping[str, Any]]


def every(experiment: Experiment, one: Subject, change: Change = lambda _: {}) -> dict[Need, Record]:
    """A record for each need, as `change` wants it."""
    return {need: made(need, **change(need)) for need in experiment.needs(one)}


def verdict(experiment: Experiment, key: str, found: Runs, one: Subject | None = None) -> Verdict:
    """Of one statement."""
    return experiment.find(one or subject(), found).rulings[key].verdict


def searched(group: str, name: str) -> LegacyUse:
    """An area of the BIOS that a function read."""
    return LegacyUse(
        group=group,
        start=Hex(0x400),
        size=2,
        reads=2,
        writes=0,
        places=2,
        first_insns=1,
        last_insns=2,
        first=CodeRef(address=Hex(1)),
        functions=[name],
    )


CASES: list[tuple[str, Experiment, str, Change, Verdict]] = [
    ("all meet at startup_64", same_code.EXPERIMENT, "same-code", lambda _: {}, HOLDS),
    (
        "the PVH entry meets them elsewhere",
        same_code.EXPERIMENT,
        "same-code",
        lambda need: {"meets": "elsewhere+0x0"} if need == same_code.PVH else {},
        NOT,
    ),
    (
        "one does not come to start_kernel",
        same_code.EXPERIMENT,
        "same-code",
        lambda need: {"comes": need != same_code.EFI},
        NOT,
    ),
    ("the PVH entry runs the same blocks", same_code.EXPERIMENT, "skips-setup", lambda _: {}, HOLDS),
    (
        "the PVH entry leaves out half of the blocks",
        same_code.EXPERIMENT,
        "skips-setup",
        lambda need: {"trace": ("startup_64+0x0", "start_kernel+0x0")} if need == same_code.PVH_ON_PC else {},
        NOT,
    ),
    ("a kernel without symbols", same_code.EXPERIMENT, "skips-setup", lambda _: {"trace": ()}, UNTOLD),
    ("made behind the entry", shared_path.EXPERIMENT, "creates-bootparams", lambda _: {}, HOLDS),
    (
        "made before the entry",
        shared_path.EXPERIMENT,
        "creates-bootparams",
        lambda need: {"entry_structures": ("boot_params",)} if need == same_code.PVH else {},
        NOT,
    ),
    ("both fill the same field", shared_path.EXPERIMENT, "share-paths", lambda _: {}, HOLDS),
    (
        "each fills a field of its own",
        shared_path.EXPERIMENT,
        "share-paths",
        lambda need: {"boot_view": boot_view(params={need.route: 1})},
        NOT,
    ),
    (
        "the stub runs more and calls",
        stub_does_more.EXPERIMENT,
        "stub-does-more",
        lambda need: (
            {"image": {"decompressor": "1 2", "stub": "3 4 5"}, "firmware_calls": [call("BootServices.FreePool")]}
            if need == same_code.STUB
            else {"image": {"decompressor": "1 2 6"}}
        ),
        HOLDS,
    ),
    (
        "GRUB's entry runs more",
        stub_does_more.EXPERIMENT,
        "stub-does-more",
        lambda need: (
            {"image": {"decompressor": "1 2", "stub": "3"}, "firmware_calls": [call("BootServices.FreePool")]}
            if need == same_code.STUB
            else {"image": {"decompressor": "1 2 6 7 8"}}
        ),
        NOT,
    ),
    ("userspace through the shim", efi_huge.EXPERIMENT, "emulate-in-hypervisor", lambda _: {}, NOT),
    (
        "no userspace through the shim",
        efi_huge.EXPERIMENT,
        "emulate-in-hypervisor",
        lambda need: {"comes": need != efi_huge.EFI},
        HOLDS,
    ),
    (
        "the machines differ",
        efi_huge.EXPERIMENT,
        "emulate-in-hypervisor",
        lambda need: {"machine": msgspec.structs.replace(machine_view(), features={need.route: 1})},
        UNTOLD,
    ),
    (
        "CPUID with no table at all",
        cpuid_early.EXPERIMENT,
        "cpuid-early",
        lambda _: {"ledger": [cpuid("0x0", 10, "xen_prepare_pvh+0x1")], "trace": ("xen_prepare_pvh+0x0", "startup_64+0x0")},
        NOT,
    ),
    (
        "CPUID in assembly",
        cpuid_early.EXPERIMENT,
        "cpuid-early",
        lambda _: {"ledger": [cpuid("0x0", 1500, "verify_cpu+0x4")]},
        NOT,
    ),
    (
        "CPUID in C behind the table",
        cpuid_early.EXPERIMENT,
        "cpuid-early",
        lambda _: {
            "ledger": [cpuid("0x0", 1500, "early_cpu_init+0x4")],
            "trace": ("startup_64+0x0", "startup_64_setup_env+0x0", "early_cpu_init+0x0", "start_kernel+0x0"),
        },
        HOLDS,
    ),
    (
        "CPUID in C before the table",
        cpuid_early.EXPERIMENT,
        "cpuid-early",
        lambda _: {
            "ledger": [cpuid("0x0", 1500, "early_cpu_init+0x4")],
            "trace": ("startup_64+0x0", "early_cpu_init+0x0", "startup_64_setup_env+0x0", "start_kernel+0x0"),
        },
        NOT,
    ),
    ("no CPUID", cpuid_early.EXPERIMENT, "cpuid-early", lambda _: {}, UNTOLD),
    (
        "the type is read and changes something",
        subarch.EXPERIMENT,
        "hypervisor-type",
        lambda need: {
            "consumed": used("boot_params of the kernel", subarch.TYPE_FIELD, "quirks"),
            "ran": ("i8042_init",) if need == subarch.BASE else (),
        },
        HOLDS,
    ),
    (
        "the type is read and changes nothing",
        subarch.EXPERIMENT,
        "hypervisor-type",
        lambda _: {"consumed": used("boot_params of the kernel", subarch.TYPE_FIELD, "quirks")},
        NOT,
    ),
    (
        "the type is read and an area of the BIOS is left alone",
        subarch.EXPERIMENT,
        "hypervisor-type",
        lambda need: {
            "consumed": Consumed(
                structures=used("boot_params", subarch.TYPE_FIELD, "quirks").structures,
                legacy=[searched("BDA", "reserve_bios_regions")] if need == subarch.BASE else [],
            )
        },
        HOLDS,
    ),
    (
        "the type is read and only an amount in the log differs",
        subarch.EXPERIMENT,
        "hypervisor-type",
        lambda need: {
            "consumed": used("boot_params of the kernel", subarch.TYPE_FIELD, "quirks"),
            "console": f"[    0.100000] Memory: {7 if need == subarch.BASE else 9}K available\n{report()}",
        },
        NOT,
    ),
    ("nobody reads the pointer", subarch.EXPERIMENT, "custom-data-pointer", lambda _: {}, NOT),
    (
        "the pointer is read and changes something",
        subarch.EXPERIMENT,
        "custom-data-pointer",
        lambda need: {
            "consumed": used("boot_params", subarch.DATA_FIELD, "reader"),
            "ran": ("follower",) if need == subarch.DATA else (),
        },
        HOLDS,
    ),
    ("init runs", ramdisk.EXPERIMENT, "ramdisk", lambda _: {}, HOLDS),
    ("init does not run on one", ramdisk.EXPERIMENT, "ramdisk", lambda need: {"comes": need != ramdisk.PVH}, NOT),
    ("no second file", ramdisk.EXPERIMENT, "multiple-ramdisks", lambda _: {}, NOT),
    (
        "the second file",
        ramdisk.EXPERIMENT,
        "multiple-ramdisks",
        lambda _: {"console": report(root=("init size=1", "second size=5"))},
        HOLDS,
    ),
    ("the command line", ramdisk.EXPERIMENT, "command-line", lambda _: {}, HOLDS),
    (
        "the command line behind a loader's words",
        ramdisk.EXPERIMENT,
        "command-line",
        lambda _: {"console": report(command_line="BOOT_IMAGE=/vmlinuz console=ttyS0")},
        HOLDS,
    ),
    (
        "a command line cut short",
        ramdisk.EXPERIMENT,
        "command-line",
        lambda _: {"console": report(command_line="console=t")},
        NOT,
    ),
    ("nothing absent is touched", dead_code.EXPERIMENT, "dead-code", lambda _: {}, NOT),
    (
        "a device that is there is touched",
        dead_code.EXPERIMENT,
        "dead-code",
        lambda _: {"ledger": [touch("PIC", reads=1, device="PIC")]},
        NOT,
    ),
    ("an absent PIC is touched", dead_code.EXPERIMENT, "dead-code", lambda _: {"ledger": [touch("PIC", reads=1)]}, HOLDS),
    (
        "the PAT, which goes by the name of MTRR, is read",
        dead_code.EXPERIMENT,
        "dead-code",
        lambda _: {"ledger": [LedgerEntry(kind=LedgerKind.MSR, what="0x277", group="MTRR", reads=1)]},
        NOT,
    ),
    (
        "MTRRs are touched, but only where there are some",
        dead_code.EXPERIMENT,
        "dead-code",
        lambda need: {"ledger": [] if dead_code.NO_MTRR in need.options else [touch("MTRR", reads=1)]},
        NOT,
    ),
    ("absent registers are read", dead_code.EXPERIMENT, "only-reads", lambda _: {"ledger": [touch("PIC", reads=1)]}, HOLDS),
    ("absent registers are written", dead_code.EXPERIMENT, "only-reads", lambda _: {"ledger": [touch("PIC", writes=1)]}, NOT),
    ("no userspace", dead_code.EXPERIMENT, "only-reads", lambda _: {"ledger": [touch("PIC", reads=1)], "comes": False}, NOT),
    (
        "the flag keeps it off",
        dead_code.EXPERIMENT,
        "acpi-fadt-no-vga",
        lambda need: {"ledger": [touch("VGA", reads=1)] if "platform.fadt_no_vga=0" in need.options else []},
        HOLDS,
    ),
    ("the flag is ignored", dead_code.EXPERIMENT, "acpi-fadt-no-vga", lambda _: {"ledger": [touch("VGA", reads=1)]}, NOT),
    ("the flag makes no difference", dead_code.EXPERIMENT, "acpi-fadt-no-vga", lambda _: {}, NOT),
    (
        "placed by the seed",
        kaslr.EXPERIMENT,
        "kaslr-hvmlite",
        lambda need: {"boot_view": boot_view(rip=0x1000000 + 0x200000 * need.seed)},
        HOLDS,
    ),
    (
        "placed by the seed on other routes only",
        kaslr.EXPERIMENT,
        "kaslr-hvmlite",
        lambda need: {"boot_view": boot_view(rip=0x1000000 + 0x200000 * need.seed * (need.route != "hvmlite/pvh"))},
        NOT,
    ),
    ("never placed by the seed", kaslr.EXPERIMENT, "kaslr-hvmlite", lambda _: {}, UNTOLD),
]


@pytest.mark.parametrize(
    ("experiment", "key", "change", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_verdict_follows_the_runs(experiment: Experiment, key: str, change: Change, expected: Verdict) -> None:
    one = subject()
    assert verdict(experiment, key, runs(every(experiment, one, change)), one) is expected


TWO = tuple(sorted(minimum.TWO))


def test_few_calls_are_no_huge_firmware_even_without_a_surface() -> None:
    one = subject()
    few = [call(f"BootServices.S{number}") for number in range(9)]
    found = runs(every(efi_huge.EXPERIMENT, one, lambda _: {"firmware_calls": few}))
    assert verdict(efi_huge.EXPERIMENT, "efi-is-huge", found, one) is NOT


def test_the_two_alone_that_do_not_suffice_are_not_the_minimum() -> None:
    one = subject()
    found = runs(every(minimum.EXPERIMENT, one, lambda need: {"comes": need != minimum.ALONE}))
    assert verdict(minimum.EXPERIMENT, "minimum", found, one) is NOT


SURFACES = [
    ("few services", efi_huge.EXPERIMENT, "efi-is-huge", TWO, NOT),
    ("many services", efi_huge.EXPERIMENT, "efi-is-huge", tuple(f"BootServices.S{number}" for number in range(30)), HOLDS),
    ("these two", minimum.EXPERIMENT, "minimum", TWO, HOLDS),
    ("these two and a field", minimum.EXPERIMENT, "minimum", (*TWO, "SystemTable.BootServices"), HOLDS),
    ("these two and a protocol", minimum.EXPERIMENT, "minimum", (*TWO, "protocol:EFI_LOADED_IMAGE_PROTOCOL_GUID"), NOT),
    ("one more", minimum.EXPERIMENT, "minimum", (*TWO, "BootServices.AllocatePages"), NOT),
    ("one of them only", minimum.EXPERIMENT, "minimum", TWO[:1], NOT),
]


@pytest.mark.parametrize(
    ("experiment", "key", "needed", "expected"), [case[1:] for case in SURFACES], ids=[case[0] for case in SURFACES]
)
def test_the_verdict_follows_the_surface(experiment: Experiment, key: str, needed: tuple[str, ...], expected: Verdict) -> None:
    one = subject()
    found = runs(every(experiment, one), SurfaceFacts(route="firmware/efi@pc", needed=needed, command="efishim surface"))
    assert verdict(experiment, key, found, one) is expected


@pytest.mark.parametrize(("experiment", "key"), [(efi_huge.EXPERIMENT, "efi-is-huge"), (minimum.EXPERIMENT, "minimum")])
def test_without_a_surface_it_cannot_be_told_and_says_why(experiment: Experiment, key: str) -> None:
    one = subject()
    many = [call(f"BootServices.S{number}") for number in range(30)]
    told = experiment.find(one, runs(every(experiment, one, lambda _: {"firmware_calls": many}))).rulings[key]
    assert told.verdict is UNTOLD
    assert "nobody looked for it" in told.because


def other(label: str, *, reads: bool, says: str, door: str = "pvh") -> tuple[Subject, Runs]:
    """One image that is no Linux, by one door."""
    one = subject(others=((label, ""),), other_entries={label: frozenset({door})})
    (need,) = agnostic.EXPERIMENT.needs(one)
    consumed = used("hvm_start_info", "magic", *(["main"] if reads else []))
    record = made(need, console=says, consumed=consumed, entry_structures=("hvm_start_info",))
    return one, runs({need: record})


@pytest.mark.parametrize(
    ("label", "reads", "says", "expected"),
    [
        ("deb:mach", True, "GNU Mach", HOLDS),
        ("deb:mach", True, "", NOT),
        ("deb:mach", False, "GNU Mach", NOT),
        (agnostic.PROBE, True, "probe", UNTOLD),
    ],
)
def test_other_kernels(label: str, reads: bool, says: str, expected: Verdict) -> None:
    for door, key, else_key in (
        ("pvh", "os-agnostic", "os-agnostic-multiboot"),
        ("multiboot2", "os-agnostic-multiboot", "os-agnostic"),
    ):
        one, found = other(label, reads=reads, says=says, door=door)
        assert verdict(agnostic.EXPERIMENT, key, found, one) is expected
        assert verdict(agnostic.EXPERIMENT, else_key, found, one) is UNTOLD, "nothing with that door was tried"


def test_a_kernel_that_prints_its_command_line_has_read_it() -> None:
    one, found = other("deb:xen", reads=False, says="(XEN) Command line: console=ttyS0")
    assert verdict(agnostic.EXPERIMENT, "os-agnostic", found, one) is HOLDS


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda one: one.key)
def test_without_any_run_nothing_is_claimed(experiment: Experiment) -> None:
    told = experiment.find(subject(entries={}), runs({})).rulings
    assert {one.key for one in experiment.statements} == set(told)
    assert {one.verdict for one in told.values()} == {UNTOLD}


def test_every_statement_has_a_control_for_each_side() -> None:
    seen: dict[str, set[Verdict]] = {}
    for _, _, key, _, expected in CASES:
        seen.setdefault(key, set()).add(expected)
    for _, _, key, _, expected in SURFACES:
        seen.setdefault(key, set()).add(expected)
    seen["os-agnostic"] = seen["os-agnostic-multiboot"] = {HOLDS, NOT}
    statements = {one.key for experiment in EXPERIMENTS for one in experiment.statements}
    assert {key for key in statements if {HOLDS, NOT} <= seen.get(key, set())} == statements


def test_a_missing_run_is_told_by_its_name() -> None:
    one = subject()
    records = every(dead_code.EXPERIMENT, one)
    gone = next(need for need in records if "platform.mtrr=0" in need.options)
    finding = dead_code.EXPERIMENT.find(one, runs({need: record for need, record in records.items() if need != gone}))
    assert {told.verdict for told in finding.rulings.values()} == {UNTOLD}
    assert all("platform.mtrr=0" in told.because for told in finding.rulings.values())


def test_a_route_is_told_from_the_same_on_another_platform() -> None:
    one = subject()
    told = kaslr.EXPERIMENT.find(one, runs(every(kaslr.EXPERIMENT, one, place_by_seed))).rulings["kaslr-hvmlite"]
    assert "hvmlite/pvh@hvmlite, hvmlite/pvh@pc" in told.because
    assert "grub/linux64," in told.because


def place_by_seed(need: Need) -> Mapping[str, Any]:
    """KASLR on every entry but HVMLite's own."""
    return {"boot_view": boot_view(rip=0x1000000 + 0x200000 * need.seed * (need.route != "hvmlite/pvh"))}


def test_assembly_that_asks_after_the_decompressor_counts_on_every_route() -> None:
    one = subject()
    ledgers = {True: [cpuid("0x0", 1500, "verify_cpu+0x4")], False: [cpuid("0x0", 10, "image+0x4")]}
    found = runs(every(cpuid_early.EXPERIMENT, one, lambda need: {"ledger": ledgers[need == same_code.PVH]}))
    told = cpuid_early.EXPERIMENT.find(one, found).rulings["cpuid-early"]
    assert "verify_cpu on every route" in told.because


def test_two_runs_that_differ_in_the_seed_are_two() -> None:
    need = Need("hvmlite/pvh", "hvmlite")
    assert replace(need, seed=1) != need
