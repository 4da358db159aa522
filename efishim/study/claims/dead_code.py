"""Accesses to legacy PC hardware on a machine that reports none."""

from __future__ import annotations

from dataclasses import replace

from efishim.lab.record import LedgerKind, Record
from efishim.study import readings, sources
from efishim.study.experiment import Experiment, Finding, Ruling, Statement, commands, decide, untested
from efishim.study.model import Table
from efishim.study.runs import Need, NoRecordError, Runs, Subject

LEGACY = ("VGA", "PIC", "PIT", "MTRR", "i8042", "CMOS", "ROM", "DMA")
NAMED = ("VGA", "PIC", "MTRR", "i8042", "CMOS")
"""What the thread named; RTC is the clock in the CMOS."""
PVH = "hvmlite/pvh"
ROUTES = (PVH, "hvmlite/efi", "grub/linux64", "grub/linux32", "kexec/linux64")
"""Ways into the same machine: what a kernel is told of a display depends on who tells it. LILO's is left out: it goes through
a BIOS, which this machine has not.
"""
HOLE = "platform.bios_area=1"
"""Without it 0xa0000 is RAM, and a read of the display's memory would not be seen."""
NO_VGA_FLAG = "platform.fadt_no_vga=0"
NO_MTRR = "platform.mtrr=0"
"""Xen's PVH machine has them."""
SWITCHES = (
    (NO_VGA_FLAG, "VGA"),
    ("platform.fadt_no_8042=0", "i8042"),
    ("platform.fadt_no_rtc=0", "CMOS"),
    (NO_MTRR, "MTRR"),
)
UNRUN = (
    "pvh_",
    "xen_pvh",
    "xen_pv_",
    "xen_prepare_pvh",
    "i8042_",
    "vgacon_",
    "vga_",
    "mtrr_",
    "init_8259A",
    "legacy_pic_",
    "pit_",
)
"""Beginnings of the names of functions whose share that ran on no route is counted."""

DEAD = Statement(
    "dead-code",
    sources.ALL_SAFE,
    "Linux touches some of this hardware although the machine has none of it.",
    "supported if, on a machine without any of it, the kernel still touches hardware of one of these kinds that is not there",
)
WORST = Statement(
    "only-reads",
    sources.paraphrase("At worst, registers that do not exist are read."),
    "On such a machine Linux only reads registers that are not there, and boots.",
    "supported if the kernel reads registers that are not there but writes none, and userspace comes up",
)
NO_VGA = Statement(
    "acpi-fadt-no-vga",
    sources.FADT_NO_VGA,
    "This flag of an ACPI table keeps Linux off the display.",
    "supported if on some way into this machine VGA is touched with the flag clear, and on none with the flag set",
)


def needs(subject: Subject) -> tuple[Need, ...]:
    """With all flags, and each cleared alone."""
    found: list[Need] = []
    for route in ROUTES:
        base = Need(route, "hvmlite", (HOLE,))
        if subject.has(base.entry):
            found += [base, *(_cleared(base, option) for option, _ in SWITCHES if route == PVH or option == NO_VGA_FLAG)]
    return tuple(found)


def _cleared(base: Need, option: str) -> Need:
    return replace(base, options=tuple(sorted((HOLE, option))))


def judge(subject: Subject, runs: Runs) -> Finding:
    """Read the ledgers."""
    records = {need: runs[need] for need in needs(subject)}
    if not records:
        raise NoRecordError("the image has no PVH entry")
    base = {need: record for need, record in records.items() if need.options == (HOLE,)}
    bare = {need: record for need, record in records.items() if NO_MTRR in need.options}
    lacking = bare | {need: record for need, record in base.items() if need.route != PVH}
    touched = {need: list(readings.absent_hardware(record, LEGACY)) for need, record in records.items()}
    every = [one for need in lacking for one in touched[need]]
    named = [group for group in NAMED if group in {one.group for one in every}]
    others = [group for group in LEGACY if group not in NAMED and group in {one.group for one in every}]
    writes = {one.group for one in every if one.writes}
    reads, written = sum(one.reads for one in every), sum(one.writes for one in every)
    worst = f"registers of the absent {readings.listed(sorted(writes))} are written too; " if writes else ""
    up = all(readings.arrived(record) for record in lacking.values())
    told = {
        DEAD.key: decide(
            bool(named),
            f"absent and touched all the same: {readings.listed(named)}; left alone: "
            f"{readings.listed(group for group in NAMED if group not in named)}"
            f"; over {len(lacking)} ways into this machine"
            + (f"; of what the thread did not name, touched: {readings.listed(others)}" if others else ""),
        ),
        WORST.key: decide(
            up and not writes,
            worst + f"{reads:,} reads and {written:,} writes altogether of what is not there, "
            f"and userspace {'comes up' if up else 'does not come up'}",
        ),
        NO_VGA.key: _vga(records, base, touched),
    }
    return Finding(
        told,
        [
            _absent(lacking, touched),
            _display(base, records, touched),
            _switched(records, base, touched),
            _unrun(subject, records),
        ],
    )


def _vga(records: dict[Need, Record], base: dict[Need, Record], touched: dict[Need, list[readings.Touched]]) -> Ruling:
    ways = {need.route: (need, _cleared(need, NO_VGA_FLAG)) for need in base}
    counts = {route: tuple(_accesses(touched[one], "VGA") for one in pair) for route, pair in ways.items()}
    told = [f"{route} {with_flag} with the flag set and {clear} with it clear" for route, (with_flag, clear) in counts.items()]
    because = f"accesses to VGA: {'; '.join(told)}"
    if not any(clear for _, clear in counts.values()) and not any(one for one, _ in counts.values()):
        return untested(f"{because}: no way into this machine touches VGA, so that the flag had nothing to keep off")
    return decide(not any(with_flag for with_flag, _ in counts.values()), because)


def _display(base: dict[Need, Record], records: dict[Need, Record], touched: dict[Need, list[readings.Touched]]) -> Table:
    rows = []
    for need, record in base.items():
        clear = _cleared(need, NO_VGA_FLAG)
        rows.append(
            [
                need.route,
                readings.told_fields(record).get("screen_info.orig_video_isVGA", "nothing"),
                str(_accesses(touched[need], "VGA")),
                str(_accesses(touched[clear], "VGA")),
                _who(touched[need], "VGA"),
                readings.guest_kind(record),
                readings.guest_kind(records[clear]),
            ]
        )
    return Table(
        title="The display and ACPI_FADT_NO_VGA, by the way in",
        columns=[
            "route",
            "screen_info.orig_video_isVGA",
            "accesses to VGA, flag set",
            "flag clear",
            "by",
            "the kernel says, flag set",
            "flag clear",
        ],
        rows=rows,
        commands=commands({need: record for need, record in records.items() if not {NO_MTRR} & set(need.options)}),
        notes=[
            "Whether the console probes VGA depends on screen_info, which a boot loader fills in and the PVH entry does not "
            "(vgacon_startup in drivers/video/console/vgacon.c). The flag is read later, by acpi_parse_fadt in "
            "arch/x86/kernel/acpi/boot.c; by it and the flag about the CMOS clock a guest that came in by another way than "
            "the PVH entry becomes a PVH guest (xen_hvm_guest_late_init in arch/x86/xen/enlighten_hvm.c).",
        ],
    )


def _accesses(touched: list[readings.Touched], group: str) -> int:
    return sum(one.reads + one.writes for one in touched if one.group == group)


def _absent(bare: dict[Need, Record], touched: dict[Need, list[readings.Touched]]) -> Table:
    rows = [
        [need.route, one.group, f"{one.reads:,}", f"{one.writes:,}", readings.listed(one.code, 6)]
        for need in bare
        for one in touched[need]
    ]
    searched = [
        f"{need.route}: memory of the {use.group} was read {use.reads:,} times, by {', '.join(use.functions)}."
        for need, record in bare.items()
        for use in (record.consumed.legacy if record.consumed else [])
    ]
    return Table(
        title="Touched although the machine has none of it",
        columns=["route", "hardware", "reads", "writes", "by"],
        rows=rows,
        notes=[
            "The FADT says that there is no VGA, no 8042 and no CMOS clock, CPUID that there are no MTRRs. The MADT says "
            "PCAT_COMPAT, as if there were a pair of 8259A: so does that of Xen's guests (construct_madt in "
            "tools/libacpi/build.c). Of the PIT nothing says whether it is there; neither is.",
            *searched,
        ],
        commands=commands(bare),
    )


def _switched(records: dict[Need, Record], base: dict[Need, Record], touched: dict[Need, list[readings.Touched]]) -> Table:
    rows = []
    for need, record in base.items():
        for option, group in SWITCHES:
            other = _cleared(need, option)
            if other not in records:
                continue
            rows.append(
                [
                    need.route,
                    option,
                    group,
                    f"{_all(record, group):,}",
                    f"{_all(records[other], group):,}",
                    _who(touched[other], group),
                ]
            )
    return Table(
        title="Each declaration cleared alone",
        columns=["route", "option", "hardware", "accesses as it is", "accesses with the option", "absent hardware touched by"],
        rows=rows,
        commands=commands({need: record for need, record in records.items() if need not in base}),
        notes=[
            "The accesses as it is are those with every flag set and with MTRRs, which Xen's machine has. platform.mtrr=0 "
            "takes them away, and CPUID's bit for them; the other options only stop saying that the device is absent."
        ],
    )


def _all(record: Record, group: str) -> int:
    return sum(
        one.reads + one.writes for one in record.ledger if readings.hardware(one) == group and one.kind is not LedgerKind.CPUID
    )


def _who(touched: list[readings.Touched], group: str) -> str:
    return readings.listed((name for one in touched if one.group == group for name in one.code), 6)


def _unrun(subject: Subject, records: dict[Need, Record]) -> Table:
    ran = {one.name for record in records.values() for one in record.coverage.functions}
    rows = []
    for prefix in UNRUN:
        known = sorted(name for name in subject.functions if name.startswith(prefix))
        never = [name for name in known if name not in ran]
        if known:
            rows.append([f"{prefix}...", str(len(known)), str(len(never)), readings.listed(never, 6)])
    return Table(
        title="Functions that ran on none of these runs",
        columns=["names", "in the kernel", "never ran", "of them"],
        rows=rows,
        commands=commands(records),
        notes=["Functions that the compiler put into others do not appear by their names."],
    )


EXPERIMENT = Experiment(
    "dead-code",
    "Dead code and absent hardware",
    "Which legacy hardware is touched although it is absent, and by which code?",
    (DEAD, WORST, NO_VGA),
    needs,
    judge,
    (
        "Reads of absent ports give ones, as on a PC; a hypervisor that stops a guest for such an access would end here.",
        "That code did not run on these runs does not make it dead: other hardware, modules and command lines reach more of "
        "it.",
        "Of the MTRRs only the runs by the PVH entry say anything: on the others the machine has them, as Xen's does.",
        "The way of LILO, through a BIOS, is left out: this machine has none. What is done by the image is the decompressor's.",
        "No way in has a linear framebuffer here.",
    ),
)
