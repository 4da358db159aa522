"""The answer on the first page, both ways: it must follow the runs, and say so when they came out otherwise.

What a run must look like for an answer follows from the question, not from any kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from efishim.lab.record import Coverage, Milestone, Outcome, PartCoverage, Reason
from efishim.study import readings, summary
from efishim.study.answer import RANDOM_PLACE, reuse
from efishim.study.build import all_needs
from efishim.study.claims import efi_huge, guest_shim, same_code
from efishim.study.model import Reuse
from efishim.study.runs import Need
from efishim.study.surfaces import SurfaceFacts
from tests.study.made import START, call, made, report, runs, subject
from tests.views import boot_view

Change = Callable[[Need], Mapping[str, Any]]
ACPI = "efishim-init: begin\nefishim-init: [/sys/firmware/acpi/tables]\n| APIC size=52\nefishim-init: end\n"
EFI_ONLY = (
    "efishim-init: begin\nefishim-init: [/sys/firmware/efi]\n| runtime size=4096\nefishim-init: end\nreboot: Power down\n"
)
MEMORY = "efishim-init: begin\nefishim-init: [/proc/meminfo]\n| MemTotal: {} kB\nefishim-init: end\n"
NO_EFI = "efishim-init: begin\nefishim-init: [/sys/firmware/efi] error=-2\nefishim-init: end\n"


def one(change: Change = lambda _: {}, name: str = "6.1", surface: SurfaceFacts | None = None, **about: Any) -> Reuse:
    """What came of a kernel whose runs `change` makes."""
    kernel = subject(**about)
    records = {need: made(need, **change(need)) for need in all_needs(kernel)}
    return reuse(name, kernel, runs(records, surface) if surface is not None else runs(records))


def only(need: Need, **changes: Any) -> Change:
    """That for one run."""
    return lambda other: changes if other == need else {}


def test_both_come_up() -> None:
    sentences = summary.answer([one()])
    assert sentences[0].startswith("Yes: on 1 of 1 kernels")
    assert len(sentences) == 5, "the answer is five sentences"


def test_the_efi_entry_does_not_come_up() -> None:
    (text,) = summary.answer([one(only(guest_shim.GUEST, comes=False))])
    assert text.startswith("No: on 0 of 1 kernels")
    assert "not with 6.1, which comes through the EFI entry" in text


def test_only_some_come_up() -> None:
    bad = one(only(guest_shim.GUEST, comes=False), name="6.12")
    first, cost, *_ = summary.answer([one(), bad])
    assert first.startswith("For some of them: on 1 of 2 kernels")
    assert "not with 6.12" in first
    assert "not with 6.1," not in first
    assert "It takes" in cost


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (one(only(efi_huge.PVH, comes=False)), "does not come up through the PVH entry either"),
        (
            one(only(efi_huge.PVH, machine={"memory_map": [], "cpuid": {"0x0": "other"}})),
            "did not begin with the same structure",
        ),
        (one(only(efi_huge.PVH, entry_structures=("something else",))), "did not begin with the same structure"),
        (one(entries={"efi": "", "pvh": "no note"}), "the image has no PVH entry"),
        (reuse("6.1", subject(), runs({})), "it was not made"),
    ],
)
def test_what_cannot_be_told_is_not_answered(found: Reuse, why: str) -> None:
    (text,) = summary.answer([found])
    assert "These runs cannot tell" in text
    assert why in text
    assert "Yes" not in text
    first = summary.answer([one(name="other"), found])[0]
    assert "on 1 of 1" in first
    assert why in first.partition("nothing can be told of 6.1: ")[2]


@pytest.mark.slow
def test_the_cost_is_that_of_the_runs() -> None:
    unpacking, calls, services = 300, 7, 4
    parts = Coverage(parts=[PartCoverage(name="decompressor", blocks=9, insns=unpacking)])
    change = only(guest_shim.GUEST, firmware_calls=[call(f"BootServices.S{number}") for number in range(calls)], coverage=parts)
    needed = tuple(f"BootServices.S{number}" for number in range(services))
    found = one(
        change, surface=SurfaceFacts(route="firmware/efi@pc", needed=(*needed, "SystemTable.ConOut"), refusing=needed[:1])
    )
    text = " ".join(summary.answer([found]))
    assert f"up to startup_64 {START - unpacking} instructions" in text
    assert f"against {START:,} of the PVH entry" in text
    assert f"{unpacking} more to unpack" in text
    assert f"{calls} calls of it" in text
    assert f"{services - 1} have to work and 1 have to be there" in text
    several = " ".join(summary.answer([found, one(name="6.12")]))
    assert f"0 to {calls} calls" in several
    assert "looked for on firmware/efi@pc with 6.1)" in several
    assert "looked for on firmware/efi@pc)" in text
    assert "was not looked for" in " ".join(summary.answer([one()]))


def test_the_memory_that_the_kernel_lacks_is_said() -> None:
    def change(need: Need) -> Mapping[str, Any]:
        return {"console": report() + MEMORY.format(1000 - 28 * (need == guest_shim.GUEST))}

    assert "the kernel has 28 KiB less memory" in " ".join(summary.answer([one(change)]))
    assert "less memory" not in " ".join(summary.answer([one()])), "nobody reported it"


def test_what_the_kernel_has_in_the_end() -> None:
    def change(need: Need) -> Mapping[str, Any]:
        if need == guest_shim.GUEST:
            return {"console": report() + ACPI + EFI_ONLY}
        if need == efi_huge.PVH:
            return {"console": report() + NO_EFI}
        return {"boot_view": boot_view(rip=0x1000000 + need.seed)} if need.route == same_code.EFI.route else {}

    text = " ".join(summary.answer([one(change)]))
    efi, pvh = text.partition("through the EFI entry alone")[2].split("through the PVH entry alone", 1)
    assert "the command line" not in text
    assert "the ACPI tables" in efi
    assert "EFI's runtime services" in efi
    assert RANDOM_PLACE in efi
    assert pvh.strip().startswith("nothing")


def test_switching_off_is_told_by_how_the_run_ended() -> None:
    stuck = Outcome(reached=Milestone.USERSPACE, goal=Milestone.SHUTDOWN, met=False, reason=Reason.HALTED, insns=1, seconds=0.0)
    off = "a way to switch the machine off"
    assert off not in " ".join(summary.answer([one()])), "both end in shutdown, whatever the kernel prints"
    assert off in summary.answer([one(only(efi_huge.PVH, outcome=stuck))])[3]


def test_what_only_the_pvh_entry_brings_is_said() -> None:
    text = " ".join(summary.answer([one(only(efi_huge.PVH, console=report() + ACPI))]))
    assert "through the PVH entry alone the ACPI tables" in text
    assert RANDOM_PLACE not in text


def test_without_the_runs_on_placement_nothing_is_said_of_it() -> None:
    kernel = subject()
    records = {need: made(need) for need in (guest_shim.GUEST, efi_huge.EFI, efi_huge.PVH)}
    assert RANDOM_PLACE not in [known.what for known in reuse("6.1", kernel, runs(records)).knows]


def test_the_number_of_services_is_one() -> None:
    assert summary.SERVICES == efi_huge.DEFINED


def test_a_route_is_named_with_its_platform_where_it_is_on_two() -> None:
    here, there, other = Need("hvmlite/pvh", "hvmlite"), Need("hvmlite/pvh"), Need("grub/linux64")
    assert readings.route_names([here, other], [here, there, other]) == ["hvmlite/pvh@hvmlite", "grub/linux64"]
    assert readings.route_names([here, other], [here, other]) == ["hvmlite/pvh", "grub/linux64"]
