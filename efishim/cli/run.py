"""`efishim run`: boot one kernel through one route."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click as plain_click
import rich_click as click
from click.core import ParameterSource

from efishim.cli import INTERRUPTED, complete
from efishim.cli.debug_options import DebugWords, debug_options
from efishim.cli.fault_option import fault_option
from efishim.cli.loader_options import loader_options, plan_of
from efishim.cli.out import document
from efishim.cli.outputs import STDOUT, check_writable, deliver
from efishim.cli.plugin_options import plugin_options
from efishim.cli.ramdisk_options import ramdisk_options
from efishim.cli.setup_data_option import setup_data_option
from efishim.cli.streams import Console, Unheard
from efishim.cli.with_items import made, with_option
from efishim.closest import suggestion
from efishim.errors import UsageError

if TYPE_CHECKING:
    from types import FrameType

    from efishim.cli.app import State
    from efishim.lab.plan.plan import Plan
    from efishim.lab.progress import Progress
    from efishim.lab.record import Record

EMULATOR_FAILED = 3
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals by which a user ends what goes on."""

LEFT_TO_DUMP = ("platform", "memory")
"""Options with a default that a dump decides about when they are not given."""

MILESTONES = ("loader", "entry", "exit_boot_services", "startup_64", "start_kernel", "init", "userspace", "shutdown")
"""As in efishim.lab.record, whose import would take a tenth of the time that --help has. A test compares."""


@click.command("run")
@click.argument("kernel", required=False, type=complete.KERNEL)
@click.option(
    *("-r", "--route"),
    metavar="PROVIDER/ENTRY[@PLATFORM]",
    shell_complete=complete.route,
    callback=complete.route_of_project,
    help="Boot through this route: -p, -e and --platform in one word.",
)
@click.option(
    *("-p", "--provider"),
    shell_complete=complete.provider,
    help="The producer of the boot information; see `efishim providers`. [default: the machine's own firmware]",
)
@click.option(
    *("-e", "--entry"),
    shell_complete=complete.entry,
    help="The entry point to start the kernel at; without -p, through the first provider that has it. "
    "[default: the provider's first]",
)
@click.option(
    *("--from", "from_dump"),
    metavar="DUMP",
    type=complete.FILE,
    help="Boot from the memory and registers in DUMP instead of through a provider; see docs/check-a-dump.md.",
)
@loader_options
@click.option(
    "--platform",
    envvar="EFISHIM_PLATFORM",
    default="pc",
    show_default=True,
    shell_complete=complete.platform,
    help="The machine to emulate; see `efishim platforms`.",
)
@click.option(
    *("-a", "--append", "--cmdline", "cmdline"),
    envvar="EFISHIM_APPEND",
    metavar="CMDLINE",
    help="Kernel command line; @FILE reads it from FILE. [default: console=ttyS0 for a kernel]",
)
@ramdisk_options
@click.option(
    "-m", "--memory", envvar="EFISHIM_MEMORY", default="512M", show_default=True, metavar="SIZE", help="Guest RAM, 64M to 64G."
)
@click.option(
    "--until",
    envvar="EFISHIM_UNTIL",
    type=click.Choice(MILESTONES),
    default=MILESTONES[-1],
    metavar="MILESTONE",
    show_default=True,
    help=f"Stop at this milestone and count it as success: {', '.join(MILESTONES)}.",
)
@click.option(
    "--max-insns",
    envvar="EFISHIM_MAX_INSNS",
    metavar="N",
    help="Stop after N guest instructions; takes suffixes, as in 500M. [default: 20G]",
)
@click.option(
    "--timeout",
    envvar="EFISHIM_TIMEOUT",
    type=float,
    metavar="SECONDS",
    help="Stop after this much host time, 0 for never. A record cut short by it is not reproducible. [default: 900]",
)
@click.option(
    "--seed",
    envvar="EFISHIM_SEED",
    type=int,
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of RDRAND and the EFI RNG protocol, and so of KASLR.",
)
@click.option(
    "--epoch",
    envvar="EFISHIM_EPOCH",
    type=int,
    metavar="SECONDS",
    help="Guest clock at power-on, in seconds since 1970. [default: 1460000000]",
)
@click.option(
    *("--option", "options"),
    metavar="GROUP.NAME=VALUE",
    multiple=True,
    shell_complete=complete.option,
    help="Set an option of the provider, shim or platform; see `efishim providers NAME` and `efishim platforms`.",
)
@click.option(
    "--system-map",
    metavar="FILE",
    type=complete.FILE,
    help="Take symbols from a System.map instead of the image.",
)
@click.option(
    "--profile",
    metavar="NAME|FILE",
    type=complete.FILE,
    shell_complete=complete.profile,
    help="Answer firmware calls as another firmware does; a TOML file or the name of a built-in profile.",
)
@click.option(
    "--without",
    metavar="ITEM[=ANSWER]",
    multiple=True,
    help="Remove a service, protocol, table, variable or field from the firmware, or make it return a status.",
)
@fault_option
@setup_data_option
@with_option
@click.option(
    "--shim",
    type=click.Choice(("host", "guest")),
    metavar="PLACE",
    help="Run the EFI shim of -p hvmlite -e efi outside the guest (host) or as guest code (guest). [default: host]",
)
@click.option(
    "--strict-abi",
    is_flag=True,
    help="Exit with status 1 if the handover violates an ABI rule or was not checked; see `efishim rules`.",
)
@click.option("--no-observers", is_flag=True, help="Record milestones only, without ledger and coverage.")
@click.option(
    "--save-profile",
    metavar="FILE",
    type=complete.FILE,
    help="Save the firmware as this run saw it, requests and answers, as a profile.",
)
@click.option(
    *("--record", "record_file"),
    metavar="FILE",
    type=complete.FILE,
    help="Write the record to FILE, even if the run is cut short; - is stdout, in place of the console.",
)
@click.option(
    *("--format", "form"),
    metavar="FORMAT",
    default="text",
    show_default=True,
    help="text streams the guest's console to stdout; json prints the record instead.",
)
@click.option(
    *("--console", "console_mode"),
    type=click.Choice(("raw", "safe")),
    help="Stream the console unchanged, or without control sequences. [default: safe on a terminal, raw elsewhere]",
)
@click.option("--no-cache", is_flag=True, help="Boot even if an identical run is cached, and do not cache this one.")
@click.option("-q", "--quiet", is_flag=True, help="Do not report progress or a summary on stderr.")
@debug_options
@plugin_options
@click.pass_obj
def command(
    state: State,
    /,
    kernel: str | None,
    debug: DebugWords,
    form: str,
    record_file: str | None,
    save_profile: str | None,
    console_mode: str | None,
    strict_abi: bool,
    no_cache: bool,
    taken: tuple[str, ...],
    quiet: bool,
    from_dump: str | None,
    **words: Any,
) -> int:
    """Boot KERNEL through one route and record the run.

    KERNEL is a path, or deb:PACKAGE for a Debian package to fetch with apt; the default is the embedded probe kernel. The
    guest's console goes to stdout, everything else to stderr.

    Before the first instruction of the image, the handover is checked against the specification of the entry. Violated rules
    are printed after the run, each with what was found and the section of the specification.

    --loader starts the kernel through a real boot loader on a disk that is made for the run; --disk starts what firmware would
    start from a disk image. The record is about the kernel from its first instruction on, at the entry that the loader used.

    --from DUMP continues from a dump of another machine that stands at the kernel's entry, and takes entry, command line,
    ramdisk and RAM size from it. Without KERNEL, the kernel's image is recovered from its memory.

    Exit status: 0 the milestone was reached, 1 it was not, 77 the route does not apply to the image.

    \b
        efishim run
        efishim run deb:linux-image-cloud-amd64
        efishim run vmlinuz -a "console=ttyS0 loglevel=7" -i initrd.img
        efishim run vmlinuz -r hvmlite/pvh@hvmlite
        efishim run vmlinuz --record run.json
        efishim run vmlinuz --until startup_64 --format json
        efishim run vmlinuz -p mine -e linux64 --strict-abi     check a provider's handover in CI
        efishim run vmlinuz --loader grub-efi     let GRUB start it
        efishim run --disk esp.img
        efishim run vmlinuz --from vm.core     boot what a VMM handed over
        efishim run vmlinuz --seed 7     another KASLR offset, and the same one every time
        efishim run vmlinuz --fail AllocatePages:2=EFI_OUT_OF_RESOURCES
        efishim run vmlinuz -r kexec/linux64 --setup-data SETUP_RNG_SEED=seed.bin
        efishim run vmlinuz -s -S     wait for gdb on port 1234
        efishim run vmlinuz -r hvmlite/pvh --with boot_params.efi_info@hvmlite/efi
        efishim run vmlinuz --break start_kernel --trace 100
    """
    from efishim.lab.record import encode
    from efishim.report.formats import formats
    from efishim.report.text import summary, verdict

    known = formats(state.registry)
    if form not in known:
        raise UsageError(f"there is no format {form!r}", hint=f"{suggestion(form, known)}there are: {', '.join(known)}")
    for path in (record_file, save_profile):
        if path:
            check_writable(path)
    to_stdout = (record_file, save_profile).count(STDOUT) + (form != "text")
    if to_stdout > 1:
        raise UsageError("only one result can go to stdout", hint="give the others a FILE, or leave out --format")
    streams = not to_stdout
    console = Console(state.streams, safe=sys.stdout.isatty() if console_mode is None else console_mode == "safe")
    # The console and a redrawn line would spoil each other on one terminal.
    moving = not (streams and sys.stdout.isatty())
    with state.talk.progress(quiet=quiet, moving=moving) as progress:
        if from_dump is not None and save_profile:
            raise UsageError("--save-profile has no meaning with --from: a dump has no firmware that is called")
        plan = _plan(state, from_dump, kernel, progress, words)
        if strict_abi and not plan.observers:
            raise UsageError("--strict-abi needs the observers, and --no-observers turns them off")
        if save_profile:
            from efishim.surface.offered import require_shim

            require_shim(state.registry, plan)
            if not plan.observers:
                raise UsageError("--save-profile needs to observe what is read, and --no-observers forbids it")
        with interruptible() as interruption, debug.request(state.talk) as looking:
            with _no_cycle_collection():
                record = made(
                    plan,
                    taken,
                    use_cache=not no_cache,
                    console=console if streams else None,
                    progress=progress,
                    interrupt=interruption if record_file or save_profile else Unheard(interruption, state.streams),
                    registry=state.registry,
                    debug=looking,
                )
            if record_file:
                deliver(record_file, encode(record))
            if save_profile:
                from efishim.firmware.profile_files import read_profile, write_profile
                from efishim.surface.usage import observed_profile

                data = write_profile(observed_profile(plan, record, state.registry))
                read_profile(data, name=save_profile)  # a guest that asks for too much makes a profile over the limits
                deliver(save_profile, data)
    if streams:
        console.end()
    elif form != "text":
        document(known[form].render(record), form)
    if not quiet:
        state.talk.summary(summary(record), verdict(record.outcome), good=record.outcome.met)
        if record_file and record_file != STDOUT:
            state.talk.line(f"record: {record_file}")
    if strict_abi and record.abi is None:
        state.talk.warning("the handover was not checked: the run did not reach the entry")
    return interruption.exit_status or exit_status(record) or (1 if strict_abi and record.abi != [] else 0)


def _plan(state: State, dump: str | None, kernel: str | None, progress: Progress, words: dict[str, Any]) -> Plan:
    """The plan; with a dump, options that were not given are left to it."""
    from efishim.cli.kernel import find_image
    from efishim.lab.plan.arguments import Words
    from efishim.lab.plan.from_dump import plan_dump
    from efishim.lab.plan.routes import route_words

    route = words.pop("route")
    if dump is None:
        chosen, note = route_words(state.registry, Words(**words), route)
        if note:
            progress.note(note)
        return plan_of(state, kernel, progress, chosen)
    if route is not None:
        raise UsageError(
            "-r has no meaning with --from, which continues from the dump", hint="-e ENTRY says at which entry the dump stands"
        )
    progress.phase("reading the dump")
    find = None if kernel is None else lambda: find_image(kernel, progress, state.registry)
    return plan_dump(state.registry, dump, find, Words(**{**words, **left_to_dump()}))


def left_to_dump() -> dict[str, Any]:
    """Those of LEFT_TO_DUMP that the current command was not given, as empty words."""
    source = plain_click.get_current_context().get_parameter_source
    return {name: "" for name in LEFT_TO_DUMP if source(name) is ParameterSource.DEFAULT}


def exit_status(record: Record) -> int:
    """0 the goal was reached, 1 it was not, 3 the emulator failed, 130 interrupted."""
    from efishim.lab.record import Reason

    if record.outcome.reason is Reason.INTERRUPTED:
        return INTERRUPTED
    if record.outcome.reason is Reason.EMULATOR:
        return EMULATOR_FAILED
    return 0 if record.outcome.met else 1


class Interruption:
    """Set by Ctrl-C, by SIGTERM, which is what `timeout` and CI systems send, and by the end of the terminal."""

    def __init__(self) -> None:
        self.exit_status = 0

    def is_set(self) -> bool:
        """Has a signal come?"""
        return self.exit_status != 0

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """The first signal asks the run to end with its record; the second gives up at once."""
        if self.is_set():
            raise KeyboardInterrupt
        self.exit_status = 128 + number


@contextmanager
def _no_cycle_collection() -> Iterator[None]:
    """One run and out: what it leaves in cycles ends with the process."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Signals end the run and not the program."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption  # signals go to the main thread, which is not ours
        return
    # Who starts efishim with nohup(1) wants it to go on without the terminal.
    numbers = [number for number in ENDING if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, interruption.handle) for number in numbers}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
