"""The EFI stub compared with the 64-bit entry and GRUB 2's boot_params."""

from __future__ import annotations

from collections.abc import Mapping

from efishim.lab.record import FirmwareCall, Milestone, Record
from efishim.study import readings, sources
from efishim.study.claims.same_code import EFI, LOADER, PVH, STUB, early
from efishim.study.experiment import Experiment, Finding, Statement, commands, compare_command, decide, untested
from efishim.study.model import Table
from efishim.study.readings import amount
from efishim.study.runs import Need, Runs, Subject

OTHERS = (early("grub/linux32"), EFI, PVH)

MORE = Statement(
    "stub-does-more",
    sources.paraphrase("The entry of the EFI stub does more than that of GRUB 2."),
    "Up to startup_64, decompression apart, the EFI stub does more than the 64-bit entry with the boot_params that "
    "GRUB 2 makes on a BIOS.",
    "supported if, up to startup_64 and without the blocks of the image that both run (decompression), the stub runs more "
    "distinct blocks and calls more services of the firmware than that entry",
)


def needs(subject: Subject) -> tuple[Need, ...]:
    """The two, and others for scale."""
    return tuple(need for need in (STUB, LOADER, *OTHERS) if subject.has(need.entry))


def judge(subject: Subject, runs: Runs) -> Finding:
    """Count what only one of them runs."""
    records = runs.records(needs(subject))
    stub, loader = runs[STUB], runs[LOADER]
    shared = _code(stub) & _code(loader)
    apart = {need: len(_code(record) - shared) for need, record in records.items()}
    at = {need: readings.at_milestone(record, Milestone.STARTUP_64) for need, record in records.items()}
    one, other = at[STUB], at[LOADER]
    if one is None or other is None or not shared:
        told = untested("one of the two did not come to startup_64, or no code of the image is common to both")
    else:
        calls = _calls_before(stub), _calls_before(loader)
        difference = one - other
        told = decide(
            apart[STUB] > apart[LOADER] and len(calls[0]) > len(calls[1]),
            f"decompression apart, the stub's way runs {apart[STUB]} blocks of code and GRUB's {apart[LOADER]}, with "
            f"{_count(calls[0])} firmware calls against {_count(calls[1])}; counted in instructions, decompression included, "
            f"the stub's way to startup_64 has {amount(abs(difference))} {'more' if difference > 0 else 'less'} "
            f"({amount(one)} against {amount(other)})",
        )
    return Finding({MORE.key: told}, [_table(subject, records, apart)])


def _code(record: Record) -> frozenset[str]:
    return frozenset().union(*readings.image_blocks(record).values())


def _calls_before(record: Record) -> list[FirmwareCall]:
    end = readings.at_milestone(record, Milestone.STARTUP_64)
    return [call for call in record.firmware_calls if end is None or call.insns <= end]


def _count(calls: list[FirmwareCall]) -> int:
    return sum(max(call.repeats, 1) for call in calls)


def _pages(calls: list[FirmwareCall]) -> int:
    """Pages that were asked for of firmware and given."""
    wanted = [
        argument.value
        for call in calls
        if call.service == "BootServices.AllocatePages" and call.status == "EFI_SUCCESS"
        for argument in call.args
        if argument.name == "Pages"
    ]
    return sum(int(value, 16) for value in wanted)


def _table(subject: Subject, records: dict[Need, Record], apart: Mapping[Need, int]) -> Table:
    rows = []
    for need, record in records.items():
        calls = _calls_before(record)
        end = readings.at_milestone(record, Milestone.STARTUP_64)
        rows.append(
            [
                need.placed_route,
                "-" if end is None else amount(end),
                *(amount(readings.part(record, name)[1]) for name in ("setup", "stub", "decompressor")),
                str(apart[need]),
                str(len(readings.trace_before(record, "startup_64"))),
                str(_count(calls)),
                str(len({call.service for call in calls})),
                f"{_pages(calls) * 4} KiB",
            ]
        )
    columns = [
        "route",
        "instructions to startup_64",
        "in the whole run: setup",
        "stub",
        "decompressor",
        "blocks, decompression apart",
    ]
    return Table(
        title="What runs before startup_64",
        columns=[*columns, "blocks of the kernel proper", "firmware calls", "services", "pages asked of firmware"],
        rows=rows,
        bars=[1, 2, 3, 4],
        commands=[*commands(records), compare_command(subject, "firmware/efi", "grub/linux64")],
        notes=[
            "Decompression is what of the image's code both the stub and GRUB's entry run. The payload is the same, so the "
            "difference of the instructions is free of it; copying the compressed image out of the way counts an instruction "
            "for each unit that is copied.",
        ],
    )


EXPERIMENT = Experiment(
    "stub-does-more",
    "The EFI stub and the GRUB 2 entry",
    "What do the two do up to startup_64, decompression apart: instructions, code, services called, memory asked for?",
    (MORE,),
    needs,
    judge,
    (
        "GRUB's own work, which makes boot_params before the entry, is done by the provider outside the guest and is not "
        "counted. Nor is the work of the firmware's services.",
        "GRUB itself enters at the 32-bit entry on a BIOS, which is in the table; at the 64-bit one only its "
        "64-bit EFI build does, since 2.12.",
        "Code of the image has no symbols, so that the blocks are counted and not named.",
    ),
)
