"""The answer on the first page, both ways: it must follow the runs, and say so when they came out otherwise.

What a run must look like for an answer follows from the question, not from any kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from efishim.lab.record import Coverage, PartCoverage
from efishim.study import readings, summary
from efishim.study.answer import RANDOM_PLACE, reuse
from efishim.study.build import all_needs
from efishim.study.claims import efi_huge, same_code
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
    first, *rest = summary.answer([one()])
    assert "For these kernels: yes." in first
    assert "On 1 of 1" in first
    assert len(rest) == 1


def test_the_efi_entry_does_not_come_up() -> None:
    (text,) = summary.answer([one(only(efi_huge.EFI, comes=False))])
    assert "For these kernels: no." in text
    assert "On 0 of 1" in text
    assert "Not with 6.1, which comes through the EFI entry" in text


def test_only_some_come_up() -> None:
    bad = one(only(efi_huge.EFI, comes=False), name="6.12")
    first, cost = summary.answer([one(), bad])
    assert "For these kernels: for some of them. On 1 of 2" in first
    assert "Not with 6.12" in first
    assert "Not with 6.1," not in first
    assert "What it costs" in cost


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
    assert "yes" not in text
    first, _ = summary.answer([one(name="other"), found])
    assert "On 1 of 1" in first
    assert why in first.partition("Nothing can be told of 6.1: ")[2]


@pytest.mark.slow
def test_the_cost_is_that_of_the_runs() -> None:
    unpacking, calls, services = 300, 7, 4
    parts = Coverage(parts=[PartCoverage(name="decompressor", blocks=9, insns=unpacking)])
    change = only(efi_huge.EFI, firmware_calls=[call(f"BootServices.S{number}") for number in range(calls)], coverage=parts)
    needed = tuple(f"BootServices.S{number}" for number in range(services))
    found = one(
        change, surface=SurfaceFacts(route="firmware/efi@pc", needed=(*needed, "SystemTable.ConOut"), refusing=needed[:1])
    )
    _, text = summary.answer([found])
    assert f"{START - unpacking} instructions against {START:,} on the PVH entry" in text
    assert f"{unpacking} for decompression" in text
    assert f"{calls} firmware calls" in text
    assert f"{services - 1} that have to work and 1 that have to be there" in text
    _, several = summary.answer([found, one(name="6.12")])
    assert f"0 to {calls} firmware calls" in several
    assert "looked for on firmware/efi@pc with 6.1)" in several
    assert "looked for on firmware/efi@pc)" in text
    assert "was not looked for" in summary.answer([one()])[1]


def test_what_the_kernel_has_in_the_end() -> None:
    def change(need: Need) -> Mapping[str, Any]:
        if need == efi_huge.EFI:
            return {"console": report() + ACPI + EFI_ONLY}
        if need == efi_huge.PVH:
            return {"console": report() + NO_EFI}
        return {"boot_view": boot_view(rip=0x1000000 + need.seed)} if need.route == same_code.EFI.route else {}

    text = summary.answer([one(change)])[1]
    both, efi, pvh = (part.split(";")[0] for part in text.partition("by both ways ")[2].split("alone", 2))
    assert "the command line" in both
    assert "the ACPI tables" in efi
    assert "EFI's runtime services" in efi
    assert "a way to switch the machine off" in efi
    assert RANDOM_PLACE in efi
    assert pvh.strip().startswith("nothing")


def test_what_only_the_pvh_entry_brings_is_said() -> None:
    text = summary.answer([one(only(efi_huge.PVH, console=report() + ACPI))])[1]
    assert "through the PVH entry alone the ACPI tables" in text
    assert RANDOM_PLACE not in text


def test_without_the_runs_on_placement_nothing_is_said_of_it() -> None:
    kernel = subject()
    records = {need: made(need) for need in (efi_huge.EFI, efi_huge.PVH)}
    assert RANDOM_PLACE not in [known.what for known in reuse("6.1", kernel, runs(records)).knows]


def test_the_number_of_services_is_one() -> None:
    assert summary.SERVICES == efi_huge.DEFINED


def test_a_route_is_named_with_its_platform_where_it_is_on_two() -> None:
    here, there, other = Need("hvmlite/pvh", "hvmlite"), Need("hvmlite/pvh"), Need("grub/linux64")
    assert readings.route_names([here, other], [here, there, other]) == ["hvmlite/pvh@hvmlite", "grub/linux64"]
    assert readings.route_names([here, other], [here, other]) == ["hvmlite/pvh", "grub/linux64"]
