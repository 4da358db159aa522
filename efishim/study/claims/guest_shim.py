"""The firmware as code of the guest: what it costs, where it has to live, and what it asks of the hypervisor."""

from __future__ import annotations

import re
from collections.abc import Mapping

from efishim.lab.record import FunctionCoverage, LedgerKind, Milestone, Record
from efishim.study import readings, sources
from efishim.study.claims.efi_huge import EFI, GIVEN_BACK, PVH, kept, memory_by_type
from efishim.study.experiment import Experiment, Finding, Ruling, Statement, commands, decide, untested
from efishim.study.firmware_sizes import OTHER_FIRMWARE, shim_lines, shim_sections
from efishim.study.knowledge import memory_kib
from efishim.study.model import Command, Table
from efishim.study.readings import amount
from efishim.study.runs import Need, Runs, Subject
from efishim.study.shim_differences import unexplained_differences

GUEST = Need("hvmlite/efi", "hvmlite", shim="guest")
MEGABYTE = 1024
"""KiB."""
SECOND = 1_000_000_000
"""Instructions in a second of a slow processor of today: one in a nanosecond."""
IN_SERVICES = re.compile(r"instructions in its services until their return: ([0-9,]+)")

INSIDE = Statement(
    "emulate-in-hypervisor",
    sources.INSIDE_XEN,
    "Entering the kernel of a guest that is not dom0 through its EFI entry takes EFI emulation inside the hypervisor.",
    "refuted if, on the very machine on which the PVH entry comes to userspace, the EFI entry does so behind a firmware that "
    "is guest code; supported if it does not; what that firmware used of the machine stands beside it",
)
CHEAP = Statement(
    "megabyte-and-second",
    sources.OPEN_QUESTION,
    "A stripped-down EFI firmware costs a guest a megabyte of RAM or a second of boot time.",
    f"supported if /proc/meminfo has at least {MEGABYTE:,} KiB less than by the PVH entry, or the firmware runs for at least "
    f"{SECOND:,} instructions (a second at one in a nanosecond) up to power-off, decompression apart; refuted otherwise",
)
KERNEL_VIEW = Statement(
    "same-behind-guest-shim",
    sources.paraphrase("What is shown behind a firmware outside the guest need not be true behind one in it."),
    "A stripped-down firmware in the guest shows the kernel the same as the larger one outside it.",
    "supported if every difference between the two runs has its reason in the list below, and userspace comes up behind both",
)


def needs(subject: Subject) -> tuple[Need, ...]:
    """One machine: both places of the firmware, and the PVH entry."""
    return tuple(need for need in (GUEST, EFI, PVH) if subject.has(need.entry))


def judge(subject: Subject, runs: Runs) -> Finding:
    """Weigh the firmware in the guest."""
    guest, host, pvh = runs[GUEST], runs[EFI], runs[PVH]
    groups, rest = unexplained_differences(host, guest)
    same = decide(
        not rest and readings.arrived(host) and readings.arrived(guest),
        f"{sum(len(found) for _, found in groups)} differences have a reason, {len(rest)} have none"
        + (f" ({readings.listed(rest, 4)})" if rest else ""),
    )
    rulings = {INSIDE.key: _inside(guest, pvh), CHEAP.key: _cheap(guest, pvh), KERNEL_VIEW.key: same}
    differences = Table(
        title="What differs between the firmware outside and inside the guest",
        columns=["why", "differences", "of them"],
        rows=[
            *([reason, str(len(found)), readings.listed(found, 4)] for reason, found in groups if found),
            ["no reason known", str(len(rest)), readings.listed(rest, 8)],
        ],
        commands=[
            *commands({EFI: host, GUEST: guest}),
            Command(what="the comparison of the two records", command="efishim compare HOST.json GUEST.json"),
        ],
    )
    return Finding(rulings, [_cost(guest, pvh), _native(subject, pvh), _place(guest, pvh), _sizes(), _from(), differences])


def _inside(guest: Record, pvh: Record) -> Ruling:
    if guest.machine != pvh.machine:
        return untested("the two runs were not on the same machine")
    if not readings.arrived(pvh):
        return untested("userspace does not come up on the PVH entry either")
    asked = _asked(guest)
    return decide(
        not readings.arrived(guest),
        f"behind {amount(sum(shim_sections().values()))} bytes of firmware in the guest userspace "
        f"{'comes' if readings.arrived(guest) else 'does not come'} up, with {readings.called(guest)} calls that the guest "
        "answers itself; the machine is the same as behind the PVH entry, down to CPUID, MSRs and ACPI tables; the firmware "
        f"used {readings.listed(asked)}",
    )


def _asked(guest: Record) -> list[str]:
    """What the firmware touched of the machine."""
    names = {
        f"{one.kind.value} {one.group or one.what}" if one.kind is not LedgerKind.CPUID else "cpuid"
        for one in guest.ledger
        if one.code is not None and (one.code.symbol or "").startswith("shim:")
    }
    return sorted(names)


def _services(guest: Record) -> int:
    found = [match for note in guest.notes if (match := IN_SERVICES.search(note))]
    return int(found[0][1].replace(",", "")) if found else 0


def _cheap(guest: Record, pvh: Record) -> Ruling:
    memory = memory_kib(guest), memory_kib(pvh)
    ran = readings.part(guest, "shim")[1]
    if None in memory or not ran:
        return untested("one of the two runs did not report its memory, or the firmware's code was not counted")
    less = (memory[1] or 0) - (memory[0] or 0)
    unpacking = readings.part(guest, "decompressor")[1]
    return decide(
        less >= MEGABYTE or ran >= SECOND,
        f"{amount(less)} KiB less memory for the kernel's use, and {amount(ran)} instructions of the firmware, of them "
        f"{amount(_services(guest))} in services; the EFI entry besides unpacks the kernel in the guest, {amount(unpacking)} "
        "instructions that on the PVH entry are the toolstack's",
    )


def _cost(guest: Record, pvh: Record) -> Table:
    memory = memory_by_type(guest)
    entry = readings.at_milestone(guest, Milestone.ENTRY) or 0
    end = [readings.at_milestone(one, Milestone.STARTUP_64) for one in (guest, pvh)]
    total = [memory_kib(one) for one in (guest, pvh)]
    sizes = shim_sections()
    rows = [
        *([f"bytes of {name}", amount(size), "-"] for name, size in sizes.items()),
        ["lines of source", amount(shim_lines()), "-"],
        ["instructions to the kernel's entry", amount(entry), "0"],
        ["instructions in services", amount(_services(guest)), "0"],
        ["instructions of the stub", amount(readings.part(guest, "stub")[1]), "0"],
        ["instructions of the decompressor", amount(readings.part(guest, "decompressor")[1]), "0"],
        [
            "instructions to startup_64 (of those in services only the ones before it)",
            *("-" if one is None else amount(one) for one in end),
        ],
        ["calls", str(readings.called(guest)), "0"],
        ["memory while booting, KiB", str(sum(memory.get(kind, 0) for kind in GIVEN_BACK) // 1024), "0"],
        ["memory kept for good by the firmware, KiB", str(kept_by_firmware(guest)), "0"],
        ["memory kept for good by the stub for its tables, KiB", str(kept(guest) - kept_by_firmware(guest)), "0"],
        ["MemTotal, KiB", *("-" if one is None else amount(one) for one in total)],
    ]
    return Table(
        title="The cost of the firmware in the guest",
        columns=["what", "hvmlite/efi behind it", "hvmlite/pvh"],
        rows=rows,
        commands=commands({GUEST: guest, PVH: pvh}),
        notes=["A repetition of a string instruction counts as one instruction."],
    )


def kept_by_firmware(guest: Record) -> int:
    """KiB of runtime services' code and data. What else the EFI memory map withholds the stub asked for, for the memory
    map and the random seed that it hands on (efi_get_memory_map in mem.c, efi_random_get_seed in random.c of
    drivers/firmware/efi/libstub).
    """
    memory = memory_by_type(guest)
    return sum(memory.get(kind, 0) for kind in ("EfiRuntimeServicesCode", "EfiRuntimeServicesData")) // 1024


def _native(subject: Subject, pvh: Record) -> Table:
    """The PVH entry's own code, counted the same way."""
    names = readings.functions_of(readings.trace_before(pvh, "startup_64"))
    covered = {one.name: one for one in pvh.coverage.functions}
    rows = [[name, amount(subject.sizes[name]) if name in subject.sizes else "-", _blocks(covered, name)] for name in names]
    known = [subject.sizes[name] for name in names if name in subject.sizes]
    insns = readings.at_milestone(pvh, Milestone.STARTUP_64)
    rows.append(["together", amount(sum(known)), f"{'-' if insns is None else amount(insns)} instructions"])
    return Table(
        title="The PVH entry's own code: pvh_start_xen, xen_prepare_pvh and what they call before startup_64",
        columns=["function", "bytes", "of it ran"],
        rows=rows,
        commands=commands({PVH: pvh}),
        notes=[
            "The code is in the kernel whether it is entered there or not. Bytes are those up to the next symbol. Functions "
            "that the whole kernel uses (memcmp, for example) are counted with the rest.",
            "Besides boot_params it sets variables of the kernel: xen_pvh, xen_domain_type, xen_start_flags, "
            "x86_init.oem.arch_setup and .banner (xen_pvh_init in arch/x86/xen/enlighten_pvh.c), pvh_start_info and "
            "x86_init.acpi.get_root_pointer (arch/x86/platform/pvh/enlighten.c).",
        ],
    )


def _blocks(covered: Mapping[str, FunctionCoverage], name: str) -> str:
    one = covered.get(name)
    return "-" if one is None else f"{one.blocks} blocks"


def _place(guest: Record, pvh: Record) -> Table:
    def modules(record: Record) -> str:
        return str(sum(name.startswith("hvm_modlist_entry") for name in _named(record)))

    return Table(
        title="Where the firmware lives, and what the hypervisor's side still needs",
        columns=["what", "hvmlite/efi behind the firmware in the guest", "hvmlite/pvh"],
        rows=[
            ["the toolstack starts", "the firmware, an ELF file with a PVH note", "the kernel, an ELF file with a PVH note"],
            ["it has to unpack", "nothing", "the bzImage, whose payload is that ELF file"],
            ["modules in hvm_start_info", modules(guest), modules(pvh)],
            ["loader for PE files in hypervisor or toolstack", "none: the firmware loads the kernel (pe.c)", "none"],
            ["firmware services in the hypervisor", "none", "none"],
            ["switching off", _off(guest), _off(pvh)],
        ],
        notes=[
            "Reset and power-off are, on Xen, the hypercall SCHEDOP_shutdown, which the firmware makes for the kernel.",
            "QEMU's PVH loader starts the same file (docs/guest-shim.md). Xen itself was not tried.",
        ],
    )


def _named(record: Record) -> list[str]:
    return [] if record.entry_view is None else [one.name for one in record.entry_view.structures]


def _off(record: Record) -> str:
    return f"{record.outcome.reason.value} after userspace" if readings.arrived(record) else record.outcome.reason.value


def _sizes() -> Table:
    rows = [["the firmware of this study", amount(sum(shim_sections().values())), "shim.elf, loaded"]]
    return Table(
        title="Sizes of firmware",
        columns=["firmware", "bytes", "of what"],
        rows=[*rows, *([one.name, amount(one.size), one.what] for one in OTHER_FIRMWARE)],
    )


def _from() -> Table:
    return Table(
        title="What comes from where",
        columns=["what the kernel gets", "from the firmware outside the guest", "from the firmware in the guest"],
        rows=[
            ["memory map, command line, ramdisk, RSDP", "hvm_start_info", "hvm_start_info"],
            ["random seed", "the emulator, from the run's seed", "RDRAND, or none"],
            ["clock", "the emulator's", "CMOS, or EFI_UNSUPPORTED if the FADT has none"],
            ["ResetSystem", "the emulator", "SCHEDOP_shutdown on Xen, else what the FADT declares"],
            ["SecureBoot, SetupMode", "variables that the emulator presets", "none: EFI_NOT_FOUND"],
        ],
    )


EXPERIMENT = Experiment(
    "guest-shim",
    "The firmware in the guest",
    "What does an EFI firmware cost that is made of guest code, and what does it leave to the hypervisor?",
    (INSIDE, CHEAP, KERNEL_VIEW),
    needs,
    judge,
    (
        "The firmware has what the EFI stub of Linux calls, and no more: boot loaders do not run on it.",
        "A second is a number of instructions here. How fast a processor runs them, and how long Xen takes to build the guest, "
        "was not measured.",
        "The firmware is code that somebody has to maintain, wherever it lives. That is not measured in lines.",
        "A dom0 was not run. Xen builds it itself, unpacks its bzImage and passes one module (pvh_load_kernel in "
        "xen/arch/x86/hvm/dom0_build.c); the firmware takes a kernel and a ramdisk in one module, but that was tried on QEMU "
        "only.",
        "One processor was measured.",
    ),
)
