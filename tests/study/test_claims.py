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
    BootView,
    CodeRef,
    Consumed,
    Coverage,
    EfiMemoryMapView,
    EfiMemoryView,
    EfiView,
    Hex,
    LedgerEntry,
    LedgerKind,
    LegacyUse,
    PartCoverage,
    Record,
)
from efishim.study import summary
from efishim.study.claims import (
    EXPERIMENTS,
    agnostic,
    cpuid_early,
    dead_code,
    efi_huge,
    guest_kind,
    guest_shim,
    kaslr,
    minimum,
    native_mode,
    ramdisk,
    same_code,
    shared_path,
    stub_does_more,
    subarch,
)
from efishim.study.experiment import Experiment
from efishim.study.meeting import NOBODY, MeetingFacts
from efishim.study.model import Verdict
from efishim.study.objections import OBJECTIONS
from efishim.study.runs import Need, Runs, Subject
from efishim.study.surfaces import SurfaceFacts
from tests.study.made import call, cpuid, made, report, runs, subject, touch, used
from tests.views import boot_view, machine_view

YES, NOT, UNTESTED = Verdict.SUPPORTED, Verdict.REFUTED, Verdict.UNTESTED
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


def says(kind: str, interrupts: int) -> str:
    """Two lines of the kernel's log."""
    first = "" if not kind else f"[    0.1] Booting paravirtualized kernel on {kind}\n"
    return f"{first}[    0.2] NR_IRQS: 524544, nr_irqs: 32, preallocated irqs: {interrupts}\n"


def measured(need: Need, *, memory: int, insns: int) -> Mapping[str, Any]:
    """Reports of memory, with `memory` KiB less behind the firmware in the guest, and a firmware that ran so long."""
    guest = need == guest_shim.GUEST
    text = (
        f"efishim-init: begin\nefishim-init: [/proc/meminfo]\n| MemTotal:  {400_000 - memory * guest} kB\nefishim-init: end\n"
    )
    parts = [PartCoverage(name="shim", blocks=1, insns=insns)] if guest else []
    return {"console": text, "coverage": Coverage(parts=parts)}


CASES: list[tuple[str, Experiment, str, Change, Verdict]] = [
    ("all meet at startup_64", same_code.EXPERIMENT, "same-code", lambda _: {}, YES),
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
    ("the PVH entry runs the same blocks", same_code.EXPERIMENT, "skips-setup", lambda _: {}, YES),
    (
        "the PVH entry leaves out half of the blocks",
        same_code.EXPERIMENT,
        "skips-setup",
        lambda need: {"trace": ("startup_64+0x0", "start_kernel+0x0")} if need == same_code.PVH_ON_PC else {},
        NOT,
    ),
    ("a kernel without symbols", same_code.EXPERIMENT, "skips-setup", lambda _: {"trace": ()}, UNTESTED),
    ("made behind the entry", shared_path.EXPERIMENT, "creates-bootparams", lambda _: {}, YES),
    (
        "made before the entry",
        shared_path.EXPERIMENT,
        "creates-bootparams",
        lambda need: {"entry_structures": ("boot_params",)} if need == same_code.PVH else {},
        NOT,
    ),
    ("both fill the same field", shared_path.EXPERIMENT, "share-paths", lambda _: {}, YES),
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
        YES,
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
    ("userspace behind the firmware in the guest", guest_shim.EXPERIMENT, "emulate-in-hypervisor", lambda _: {}, NOT),
    (
        "no userspace behind the firmware in the guest",
        guest_shim.EXPERIMENT,
        "emulate-in-hypervisor",
        lambda need: {"comes": need != guest_shim.GUEST},
        YES,
    ),
    (
        "the machines differ",
        guest_shim.EXPERIMENT,
        "emulate-in-hypervisor",
        lambda need: {"machine": msgspec.structs.replace(machine_view(), features={need.route: 1})},
        UNTESTED,
    ),
    (
        "little less memory, and a short firmware",
        guest_shim.EXPERIMENT,
        "megabyte-and-second",
        lambda need: measured(need, memory=28, insns=4_000_000),
        NOT,
    ),
    (
        "a megabyte less memory",
        guest_shim.EXPERIMENT,
        "megabyte-and-second",
        lambda need: measured(need, memory=1024, insns=4_000_000),
        YES,
    ),
    (
        "a firmware that runs for a second",
        guest_shim.EXPERIMENT,
        "megabyte-and-second",
        lambda need: measured(need, memory=28, insns=guest_shim.SECOND),
        YES,
    ),
    ("no report of memory", guest_shim.EXPERIMENT, "megabyte-and-second", lambda _: {}, UNTESTED),
    ("the kernel sees the same", guest_shim.EXPERIMENT, "same-behind-guest-shim", lambda _: {}, YES),
    (
        "the kernel sees another command line",
        guest_shim.EXPERIMENT,
        "same-behind-guest-shim",
        lambda need: {"console": report(command_line=f"seen by={need.shim}")},
        NOT,
    ),
    (
        "a PVH guest through the EFI entry",
        guest_kind.EXPERIMENT,
        "pvh-by-entry",
        lambda need: {"console": report() + says("Xen HVM" if need.options else "Xen PVH", 0)},
        NOT,
    ),
    (
        "no PVH guest through the EFI entry",
        guest_kind.EXPERIMENT,
        "pvh-by-entry",
        lambda need: {"console": report() + says("Xen HVM" if need.entry == "efi" else "Xen PVH", 0)},
        YES,
    ),
    ("a kernel that does not say", guest_kind.EXPERIMENT, "pvh-by-entry", lambda _: {}, UNTESTED),
    (
        "no interrupts where there are no controllers",
        guest_kind.EXPERIMENT,
        "nr-legacy-irqs",
        lambda need: {"console": report() + says("Xen PVH", 16 if need.platform == "pc" else 0)},
        YES,
    ),
    (
        "interrupts where there are no controllers",
        guest_kind.EXPERIMENT,
        "nr-legacy-irqs",
        lambda _: {"console": report() + says("Xen PVH", 16)},
        NOT,
    ),
    (
        "no interrupts anywhere",
        guest_kind.EXPERIMENT,
        "nr-legacy-irqs",
        lambda _: {"console": report() + says("", 0)},
        UNTESTED,
    ),
    ("userspace from 32-bit firmware", native_mode.EXPERIMENT, "native-mode", lambda _: {}, NOT),
    (
        "no userspace from 32-bit firmware",
        native_mode.EXPERIMENT,
        "native-mode",
        lambda need: {"comes": need != native_mode.MIXED},
        YES,
    ),
    (
        "no userspace from any firmware",
        native_mode.EXPERIMENT,
        "native-mode",
        lambda need: {"comes": need.provider != "firmware"},
        UNTESTED,
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
        YES,
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
    ("no CPUID", cpuid_early.EXPERIMENT, "cpuid-early", lambda _: {}, UNTESTED),
    (
        "the type is read and changes something",
        subarch.EXPERIMENT,
        "hypervisor-type",
        lambda need: {
            "consumed": used("boot_params of the kernel", subarch.TYPE_FIELD, "quirks"),
            "ran": ("i8042_init",) if need == subarch.BASE else (),
        },
        YES,
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
        YES,
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
        YES,
    ),
    ("init runs", ramdisk.EXPERIMENT, "ramdisk", lambda _: {}, YES),
    ("init does not run on one", ramdisk.EXPERIMENT, "ramdisk", lambda need: {"comes": need != ramdisk.PVH}, NOT),
    ("no second file", ramdisk.EXPERIMENT, "multiple-ramdisks", lambda _: {}, NOT),
    (
        "the second file",
        ramdisk.EXPERIMENT,
        "multiple-ramdisks",
        lambda _: {"console": report(root=("init size=1", "second size=5"))},
        YES,
    ),
    ("the command line", ramdisk.EXPERIMENT, "command-line", lambda _: {}, YES),
    (
        "the command line behind a loader's words",
        ramdisk.EXPERIMENT,
        "command-line",
        lambda _: {"console": report(command_line="BOOT_IMAGE=/vmlinuz console=ttyS0")},
        YES,
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
    ("an absent PIC is touched", dead_code.EXPERIMENT, "dead-code", lambda _: {"ledger": [touch("PIC", reads=1)]}, YES),
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
        lambda need: {"ledger": [] if dead_code.NO_MTRR in need.options else [touch("MTRR", reads=1, device="MTRR")]},
        NOT,
    ),
    ("absent registers are read", dead_code.EXPERIMENT, "only-reads", lambda _: {"ledger": [touch("PIC", reads=1)]}, YES),
    ("absent registers are written", dead_code.EXPERIMENT, "only-reads", lambda _: {"ledger": [touch("PIC", writes=1)]}, NOT),
    ("no userspace", dead_code.EXPERIMENT, "only-reads", lambda _: {"ledger": [touch("PIC", reads=1)], "comes": False}, NOT),
    (
        "the flag keeps it off",
        dead_code.EXPERIMENT,
        "acpi-fadt-no-vga",
        lambda need: {"ledger": [touch("VGA", reads=1)] if "platform.fadt_no_vga=0" in need.options else []},
        YES,
    ),
    ("the flag is ignored", dead_code.EXPERIMENT, "acpi-fadt-no-vga", lambda _: {"ledger": [touch("VGA", reads=1)]}, NOT),
    (
        "the flag is ignored on one way in only",
        dead_code.EXPERIMENT,
        "acpi-fadt-no-vga",
        lambda need: {"ledger": [touch("VGA", reads=1)] if need.route == "grub/linux64" else []},
        NOT,
    ),
    ("nobody touches VGA, flag or no flag", dead_code.EXPERIMENT, "acpi-fadt-no-vga", lambda _: {}, UNTESTED),
    (
        "another way in touches VGA although there is none",
        dead_code.EXPERIMENT,
        "dead-code",
        lambda need: {"ledger": [touch("VGA", reads=1)] if need.route == "grub/linux64" else []},
        YES,
    ),
    (
        "placed by the seed",
        kaslr.EXPERIMENT,
        "kaslr-hvmlite",
        lambda need: {"boot_view": boot_view(rip=0x1000000 + 0x200000 * need.seed)},
        YES,
    ),
    (
        "placed by the seed on other routes only",
        kaslr.EXPERIMENT,
        "kaslr-hvmlite",
        lambda need: {"boot_view": boot_view(rip=0x1000000 + 0x200000 * need.seed * (need.route != "hvmlite/pvh"))},
        NOT,
    ),
    ("never placed by the seed", kaslr.EXPERIMENT, "kaslr-hvmlite", lambda _: {}, UNTESTED),
]


@pytest.mark.parametrize(
    ("experiment", "key", "change", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_verdict_follows_the_runs(experiment: Experiment, key: str, change: Change, expected: Verdict) -> None:
    one = subject()
    assert verdict(experiment, key, runs(every(experiment, one, change)), one) is expected


TWO = tuple(sorted(minimum.TWO))


def test_the_two_alone_that_do_not_suffice_are_not_the_minimum() -> None:
    one = subject()
    found = runs(every(minimum.EXPERIMENT, one, lambda need: {"comes": need != minimum.ALONE}))
    assert verdict(minimum.EXPERIMENT, "minimum", found, one) is NOT


SURFACES = [
    ("these two", minimum.EXPERIMENT, "minimum", TWO, YES),
    ("these two and a field", minimum.EXPERIMENT, "minimum", (*TWO, "SystemTable.BootServices"), YES),
    ("these two and a protocol", minimum.EXPERIMENT, "minimum", (*TWO, "protocol:EFI_LOADED_IMAGE_PROTOCOL_GUID"), NOT),
    ("one more", minimum.EXPERIMENT, "minimum", (*TWO, "BootServices.AllocatePages"), NOT),
    ("one of them only", minimum.EXPERIMENT, "minimum", TWO[:1], NOT),
    ("none of the four", minimum.EXPERIMENT, "stubs-not-needed", TWO, YES),
    ("one of the four", minimum.EXPERIMENT, "stubs-not-needed", (*TWO, "RuntimeServices.ResetSystem"), NOT),
]


@pytest.mark.parametrize(
    ("experiment", "key", "needed", "expected"), [case[1:] for case in SURFACES], ids=[case[0] for case in SURFACES]
)
def test_the_verdict_follows_the_surface(experiment: Experiment, key: str, needed: tuple[str, ...], expected: Verdict) -> None:
    one = subject()
    found = runs(every(experiment, one), SurfaceFacts(route="firmware/efi@pc", needed=needed, command="efishim surface"))
    assert verdict(experiment, key, found, one) is expected


@pytest.mark.parametrize(
    ("experiment", "key"),
    [(efi_huge.EXPERIMENT, "extra-work"), (minimum.EXPERIMENT, "minimum"), (minimum.EXPERIMENT, "stubs-not-needed")],
)
def test_without_a_surface_it_cannot_be_told_and_says_why(experiment: Experiment, key: str) -> None:
    one = subject()
    many = [call(f"BootServices.S{number}") for number in range(30)]
    told = experiment.find(one, runs(every(experiment, one, lambda _: {"firmware_calls": many}))).rulings[key]
    assert told.verdict is UNTESTED
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
        ("deb:mach", True, "GNU Mach", YES),
        ("deb:mach", True, "", NOT),
        ("deb:mach", False, "GNU Mach", NOT),
        (agnostic.PROBE, True, "probe", UNTESTED),
    ],
)
def test_other_kernels(label: str, reads: bool, says: str, expected: Verdict) -> None:
    for door, key, else_key in (
        ("pvh", "os-agnostic", "os-agnostic-multiboot"),
        ("multiboot2", "os-agnostic-multiboot", "os-agnostic"),
    ):
        one, found = other(label, reads=reads, says=says, door=door)
        assert verdict(agnostic.EXPERIMENT, key, found, one) is expected
        assert verdict(agnostic.EXPERIMENT, else_key, found, one) is UNTESTED, "nothing with that door was tried"


def test_a_kernel_that_prints_its_command_line_has_read_it() -> None:
    one, found = other("deb:xen", reads=False, says="(XEN) Command line: console=ttyS0")
    assert verdict(agnostic.EXPERIMENT, "os-agnostic", found, one) is YES


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda one: one.key)
def test_without_any_run_nothing_is_claimed(experiment: Experiment) -> None:
    told = experiment.find(subject(entries={}), runs({})).rulings
    assert {one.key for one in experiment.statements} == set(told)
    assert {one.verdict for one in told.values()} == {UNTESTED}


def test_every_statement_has_a_control_for_each_side() -> None:
    seen: dict[str, set[Verdict]] = {}
    for _, _, key, _, expected in CASES:
        seen.setdefault(key, set()).add(expected)
    for _, _, key, _, expected in SURFACES:
        seen.setdefault(key, set()).add(expected)
    seen["only-zero-page"] = {YES, NOT}
    seen["os-agnostic"] = seen["os-agnostic-multiboot"] = {YES, NOT}
    statements = {one.key for experiment in EXPERIMENTS for one in experiment.statements if one.decidable}
    assert {key for key in statements if {YES, NOT} <= seen.get(key, set())} == statements


@pytest.mark.parametrize(
    ("meeting", "expected"),
    [
        (MeetingFacts(("e820", "boot_params.hdr.version"), "efishim why"), YES),
        (MeetingFacts(("e820", "kernel variable xen_pvh"), "efishim why"), NOT),
        (NOBODY, UNTESTED),
    ],
)
def test_what_the_pvh_entry_sets_besides(meeting: MeetingFacts, expected: Verdict) -> None:
    one = subject()
    found = replace(runs(every(shared_path.EXPERIMENT, one)), meeting=meeting)
    assert verdict(shared_path.EXPERIMENT, "only-zero-page", found, one) is expected


@pytest.mark.parametrize("change", [lambda _: {}, lambda _: {"comes": False}], ids=["userspace", "no userspace"])
def test_what_names_no_number_gets_no_verdict(change: Change) -> None:
    one = subject()
    for experiment in EXPERIMENTS:
        for statement in experiment.statements:
            if not statement.decidable:
                assert verdict(experiment, statement.key, runs(every(experiment, one, change)), one) is UNTESTED


def test_words_have_an_author_and_a_link_or_are_a_paraphrase() -> None:
    every_source = [one.source for experiment in EXPERIMENTS for one in experiment.statements]
    every_source += [one.source for one in OBJECTIONS]
    for source in every_source:
        assert source.text
        if source.verbatim:
            assert source.link.startswith("https://")
            assert source.author
            assert f"“{source.text}”" == summary.quoted(source)
        else:
            assert (source.author, source.attribution) == ("", "paraphrase")
            assert "“" not in summary.quoted(source)


def test_every_objection_leads_to_a_statement() -> None:
    statements = {one.key: one for experiment in EXPERIMENTS for one in experiment.statements}
    for objection in OBJECTIONS:
        open_one = objection.answer.startswith("not answerable here: ")
        assert objection.statement in statements, objection
        assert not (open_one and statements[objection.statement].decidable), objection


def test_a_missing_run_is_told_by_its_name() -> None:
    one = subject()
    records = every(dead_code.EXPERIMENT, one)
    gone = next(need for need in records if "platform.mtrr=0" in need.options)
    finding = dead_code.EXPERIMENT.find(one, runs({need: record for need, record in records.items() if need != gone}))
    assert {told.verdict for told in finding.rulings.values()} == {UNTESTED}
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


def memory_map_view(pages: Mapping[str, int]) -> BootView:
    """A view with an EFI memory map of so many pages of each type."""
    zero = Hex(0)
    descriptors = tuple(EfiMemoryView(zero, name, zero, zero, Hex(count), zero, ()) for name, count in pages.items())
    efi = EfiView("EL64", memory_map=EfiMemoryMapView(zero, zero, Hex(48), Hex(1), descriptors))
    return msgspec.structs.replace(boot_view(), efi=efi)


def test_what_the_stub_keeps_is_not_the_firmwares() -> None:
    pages = {"EfiRuntimeServicesCode": 3, "EfiACPIReclaimMemory": 2, "EfiBootServicesData": 9}
    record = made(guest_shim.GUEST, boot_view=memory_map_view(pages))
    assert guest_shim.kept_by_firmware(record) == 12
    assert efi_huge.kept(record) == 20
