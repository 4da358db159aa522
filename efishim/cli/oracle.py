"""`efishim oracle`: boot a kernel on QEMU with real firmware, and compare efishim with it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from efishim.cli import complete
from efishim.cli.outputs import check_writable
from efishim.cli.shared import options_of_run
from efishim.cli.terminable import terminable
from efishim.errors import EfishimError, RouteError, UsageError

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.compare.agreement import Agreement
    from efishim.lab.progress import Progress
    from efishim.lab.record import Record
    from efishim.oracle.boot_flows import BootFlow
    from efishim.oracle.dump import Request
    from efishim.report.agreements import Judgement

IMITATION = "pc-qemu"
"""The platform that imitates the machine of the oracle."""


@click.command("oracle")
@click.argument("kernels", metavar="[KERNEL]...", nargs=-1, type=complete.FILE)
@click.option(
    *("-r", "--route", "routes"),
    metavar="ROUTE",
    multiple=True,
    help="Boot through this real boot flow; repeatable, see --list. [default: all that apply to the image]",
)
@click.option("--list", "list_flows", is_flag=True, help="List the boot flows and exit.")
@options_of_run("cmdline")
@click.option(
    *("-i", "--initrd", "initrds"),
    metavar="FILE",
    multiple=True,
    type=complete.FILE,
    help="Initial ramdisk; repeatable, the files are concatenated. [default: the embedded reporting init]",
)
@options_of_run("no_initrd")
@click.option("-m", "--memory", default="512M", show_default=True, metavar="SIZE", help="Guest RAM, 64M to 8G.")
@click.option(
    "--timeout",
    type=click.FloatRange(1.0, 86400.0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Stop each boot after this much host time.",
)
@click.option("--epoch", type=int, metavar="SECONDS", help="Guest clock at power-on, seconds since 1970. [default: 1460000000]")
@click.option(
    *("--record", "record_path"),
    metavar="PATH",
    type=complete.FILE,
    help="Write the record to PATH; with several boot flows or kernels, a directory with a file for each.",
)
@click.option(
    "--platform",
    default=IMITATION,
    show_default=True,
    metavar="NAME",
    help="The platform that efishim boots on; the default imitates QEMU's machine.",
)
@click.option("--faults", is_flag=True, help="Corrupt the handover on purpose, and compare how the kernel fails.")
@click.option(
    "--dump",
    metavar="FILE",
    type=complete.FILE,
    help="Save memory and registers at the entry to FILE, an ELF core, and compare `efishim run --from FILE` with QEMU, too; "
    "one route and one kernel only. See `efishim check`.",
)
@click.option("--alone", is_flag=True, help="Boot on QEMU only; do not run efishim and compare.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown"]),
    default="text",
    show_default=True,
    help="Output format; markdown prints one table per kernel with a column per boot flow.",
)
@click.option("--differences", is_flag=True, help="Also list every difference side by side.")
@click.option("--reasons", is_flag=True, help="Also print the reason for each explained difference.")
@click.option("-q", "--quiet", is_flag=True, help="Do not report progress on stderr.")
@click.pass_obj
def command(
    state: State,
    /,
    kernels: tuple[str, ...],
    routes: tuple[str, ...],
    list_flows: bool,
    record_path: str | None,
    platform: str,
    faults: bool,
    dump: str | None,
    alone: bool,
    form: str,
    differences: bool,
    reasons: bool,
    quiet: bool,
    **words: Any,
) -> int:
    """Boot each KERNEL on QEMU with real firmware and boot loaders, and compare the runs with efishim's own.

    QEMU runs as `qemu-system-x86_64` without KVM; SeaBIOS, OVMF and GRUB come from the system's packages. Missing packages
    are named. The runs are recorded in efishim's schema; what QEMU does not expose (instruction counts, hardware accesses,
    coverage) stays empty.

    A table counts the fields that are identical, explained (see --reasons and --differences) and unexplained, and the
    unexplained ones are listed.

    --faults boots each kernel with some twenty corrupted handovers (docs/bad-handovers.md) and compares how it fails on
    QEMU and in efishim. Boot flows and command line are then fixed.

    Exit status: 0 every boot powered off and no difference is unexplained, 1 otherwise, 77 a boot flow does not apply to
    the image.

    \b
        efishim oracle vmlinuz
        efishim oracle vmlinuz -r firmware/efi --record ovmf.json
        efishim oracle deb:linux-image-cloud-amd64 -r grub/linux32 -r hvmlite/pvh
        efishim oracle vmlinuz-6.1 vmlinuz-6.12 --format markdown
        efishim oracle vmlinuz --faults
        efishim oracle vmlinuz -r hvmlite/pvh --dump pvh.core --alone
        efishim oracle --list
    """
    from efishim.cli import out
    from efishim.cli.bad_handovers import show_faults
    from efishim.cli.oracle_tables import print_agreement, print_boots
    from efishim.oracle.boot_flows import BOOT_FLOWS
    from efishim.report.agreements import Judgement, markdown

    if list_flows:
        out.table(("route", "what"), ((flow.name, flow.help) for flow in BOOT_FLOWS))
        return 0
    state.registry.platform(platform)
    if faults and (
        routes or record_path or dump or alone or words["no_initrd"] or words["initrds"] or words["cmdline"] is not None
    ):
        raise UsageError("--faults uses routes, a ramdisk and a command line of its own, and writes no records and no dumps")
    if dump is not None:
        _require_one(dump, kernels, routes)
    judgements: list[Judgement] = []
    good = True
    shown = out.table if form == "text" else None
    with state.talk.progress(quiet=quiet, moving=True) as progress, terminable():
        for kernel in kernels or (None,):
            request = _request(state, kernel, progress, **words)
            if faults:
                good = show_faults(request, platform, progress) and good
                continue
            if dump is not None:
                request = replace(request, core=str(Path(dump).absolute()))
            flows = _flows(request, routes)
            several = len(flows) > 1 or len(kernels) > 1
            if record_path:
                _check(record_path, several=several)
            judgement = Judgement(request.image.version or request.image.path)
            judgements.append(judgement)
            for flow in flows:
                record = _boot(state, request, flow, progress, wanted=bool(routes))
                if record is None:
                    continue
                judgement.records[flow.name] = record
                if record_path:
                    _write(record_path, flow, record, kernel=judgement.kernel if len(kernels) > 1 else "", several=several)
                if not alone and record.outcome.met:
                    judgement.found[flow.name] = _compare(state, request, flow, record, progress, platform)
                    if dump is not None and (same := _compare_dump(state, request, dump, record, progress, platform)):
                        judgement.found[f"{flow.name}, from the dump"] = same
            if shown is not None:
                print_boots(judgement, named=len(kernels) > 1)
                if not alone:
                    for sentence in judgement.unfinished:
                        out.paragraph(sentence)
                if judgement.found:
                    print_agreement(judgement.found, differences=differences, reasons=reasons)
    if form == "markdown" and not faults:
        out.document(markdown(judgements, reasons=reasons) + "\n", form)
    return 0 if good and all(judgement.good for judgement in judgements) else 1


def _compare(
    state: State, request: Request, flow: BootFlow, real: Record, progress: Progress, platform: str = IMITATION
) -> Agreement:
    """The same route in efishim, with everything that was given alike."""
    from efishim.compare.agreement import agreement
    from efishim.lab.plan.arguments import find_profile
    from efishim.lab.plan.plan import Plan
    from efishim.lab.run import run_plan

    progress.phase(f"{flow.name} in efishim")
    plan = Plan(
        image=request.blob,
        provider=flow.provider,
        entry=flow.entry.value,
        platform=platform,
        cmdline=request.cmdline + (flow.adds if request.initrds else b""),
        initrds=request.initrds,
        memory=request.memory,
        epoch=request.epoch,
        options=flow.options,
        profile=find_profile(flow.profile, state.registry.profiles) if flow.profile and platform == IMITATION else None,
    )
    return agreement(run_plan(plan, progress=progress, registry=state.registry), real)


def _compare_dump(
    state: State, request: Request, dump: str, real: Record, progress: Progress, platform: str
) -> Agreement | None:
    """What QEMU handed over, taken over by efishim: what differs then is not the provider's doing. None for entries of which a
    dump cannot be booted.
    """
    from efishim.compare.agreement import agreement
    from efishim.lab.plan.arguments import Words
    from efishim.lab.plan.from_dump import plan_dump
    from efishim.lab.run import run_plan

    progress.phase("the dump in efishim")
    words = Words(platform=platform, memory="", epoch=request.epoch)
    try:
        plan = plan_dump(state.registry, dump, lambda: request.blob, words)
    except RouteError as error:
        progress.note(f"the dump: {error.sentence}")
        return None
    return agreement(run_plan(plan, progress=progress, registry=state.registry), real)


def _boot(state: State, request: Request, flow: BootFlow, progress: Progress, *, wanted: bool) -> Record | None:
    """One boot; None if the route does not apply and was not asked for by name."""
    from efishim.oracle.dump import oracle_record

    try:
        return oracle_record(request, flow, progress, state.registry)
    except RouteError as error:
        if wanted:
            raise
        progress.note(f"{flow.name}: {error.sentence}")
        return None


def _request(
    state: State,
    kernel: str | None,
    progress: Progress,
    *,
    cmdline: str | None,
    initrds: tuple[str, ...],
    no_initrd: bool,
    memory: str,
    timeout: float,
    epoch: int | None,
) -> Request:
    import os

    from efishim.cli.kernel import find_image
    from efishim.image.cachedir import cache_directory
    from efishim.image.facts import KernelCache
    from efishim.image.opened import open_image
    from efishim.lab.plan import plan as plans
    from efishim.lab.plan.default_ramdisk import ramdisk_for
    from efishim.oracle.boot_flows import MEMORY_LIMIT
    from efishim.oracle.dump import Request

    if no_initrd and initrds:
        raise UsageError("--no-initrd and -i contradict each other")
    size = plans.parse_memory(memory)
    if size > MEMORY_LIMIT:
        raise UsageError(f"the reference machine takes at most {MEMORY_LIMIT >> 30} GiB of memory, not {memory}")
    if epoch is not None and not 0 <= epoch < 1 << 32:
        raise UsageError(f"the epoch must be a number of seconds from 0 to 2**32-1, not {epoch}")
    ramdisks = tuple(plans.Blob.from_file(path, what="ramdisk") for path in initrds)
    line = plans.DEFAULT_CMDLINE if cmdline is None else plans.parse_cmdline(cmdline)
    blob = find_image(kernel, progress, state.registry)
    progress.phase("opening the image")
    image = open_image(blob.read(), path=blob.label, cache=KernelCache(cache_directory(os.environ)))
    if not ramdisks and not no_initrd:
        ramdisks = (ramdisk_for(image),)
    return Request(
        image=image,
        blob=blob,
        cmdline=line,
        initrds=ramdisks,
        memory=size,
        timeout=timeout,
        epoch=plans.DEFAULT_EPOCH if epoch is None else epoch,
    )


def _flows(request: Request, routes: tuple[str, ...]) -> list[BootFlow]:
    from efishim.oracle import boot_flows

    boot_flows.require_wide(request.image)
    chosen = [boot_flows.find_boot_flow(name) for name in dict.fromkeys(routes)] or boot_flows.applicable(request.image)
    if not chosen:
        raise RouteError(f"{request.image.path} has no entry that real firmware or a loader supported here would use")
    return chosen


def _require_one(dump: str, kernels: tuple[str, ...], routes: tuple[str, ...]) -> None:
    if len(kernels) > 1 or len(routes) != 1:
        raise UsageError("a dump is of one kernel on one route", hint="--dump FILE goes with one KERNEL and one -r ROUTE")
    check_writable(dump)


def _check(path: str, *, several: bool) -> None:
    """A boot of minutes whose record cannot be kept is a waste: say so before."""
    place = Path(path)
    if several and place.exists() and not place.is_dir():
        raise UsageError(f"{path} is a file; several routes need a folder for their records")
    if not several and place.is_dir():
        raise UsageError(f"{path} is a directory, not a file for the record")
    if not place.absolute().parent.is_dir():
        raise UsageError(f"the directory of {path} does not exist")


def _write(path: str, flow: BootFlow, record: Record, *, kernel: str, several: bool) -> None:
    from efishim.lab.record import encode
    from efishim.report.figures import release
    from efishim.report.files import write_atomically

    place = Path(path)
    if several:
        try:
            place.mkdir(exist_ok=True)
        except OSError as error:
            raise EfishimError(f"{path} cannot be made: {error.strerror}") from error
        words = [re.sub(r"[^\w.-]", "-", word) for word in (release(kernel), flow.name) if word]
        place /= "-".join(words) + ".json"
    write_atomically(str(place), encode(record))
