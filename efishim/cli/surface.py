"""`efishim surface`: find the smallest firmware that a kernel boots on."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import rich_click as click
from click.core import ParameterSource

from efishim.cli import complete
from efishim.cli.out import document
from efishim.cli.shared import PLAN_OPTIONS, no_cache_option
from efishim.cli.talk import moved
from efishim.errors import UsageError
from efishim.surface import CMDLINE

if TYPE_CHECKING:
    from rich.status import Status

    from efishim.cli.app import State
    from efishim.cli.talk import Talk
    from efishim.firmware.profile import Item
    from efishim.lab.cache.records import RecordCache
    from efishim.lab.plan.plan import Plan
    from efishim.surface.trials import SurfaceProgress

FORMATS = ("text", "json", "markdown", "html")
"""As in efishim.report.surfaces, whose import would take a while. A test compares."""

HEARTBEAT = 10.0
"""Seconds between lines where no line can be redrawn."""


@click.command("surface")
@click.argument("kernel", required=False, type=complete.KERNEL)
@click.option(
    *("-r", "--route"),
    metavar="PROVIDER/ENTRY[@PLATFORM]",
    shell_complete=complete.route,
    callback=complete.route_of_project,
    help="A route through the EFI shim. [default: that of the machine's own firmware]",
)
@click.option(
    "--profile",
    metavar="NAME|FILE",
    type=complete.FILE,
    shell_complete=complete.profile,
    help="Start from this firmware; a TOML file or the name of a built-in profile.",
)
@click.option(
    "--without",
    metavar="ITEM[=ANSWER]",
    multiple=True,
    help="Start without this service, protocol, table, variable or field, or with it returning a status.",
)
@click.option(
    "--save-profile",
    metavar="FILE",
    type=complete.FILE,
    help="Save the smallest firmware found as a profile for `efishim run --profile`.",
)
@click.option(
    "--faults", "failing", is_flag=True, help="Make each call of the boot fail once instead, and report what KERNEL does."
)
@click.option(
    "--resume",
    metavar="FILE",
    type=complete.FILE,
    help="Resume an interrupted --faults search from the JSON document that it wrote.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Run up to N trials in parallel. [default: one per processor]",
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="Output format.")
@click.option("-o", "--output", metavar="FILE", type=complete.FILE, help="Write to FILE instead of stdout.")
@click.option("-q", "--quiet", is_flag=True, help="Do not report progress on stderr.")
@no_cache_option
@PLAN_OPTIONS
@click.pass_context
def command(
    context: click.Context,
    /,
    kernel: str | None,
    route: str | None,
    save_profile: str | None,
    failing: bool,
    resume: str | None,
    jobs: int | None,
    form: str,
    output: str | None,
    quiet: bool,
    no_cache: bool,
    **words: Any,
) -> int:
    """Find the firmware services that KERNEL needs to reach userspace, and what it does without each of them.

    Services, protocols, configuration tables, variables and fields of the system table are removed, or made to return an
    error, one by one and together, until nothing more can be removed. The result is verified: it boots, and removing anything
    else stops the boot. Ctrl-C prints what is known so far.

    With --faults nothing is removed. One call at a time fails with a status from its specification, then all allocations from
    a given one on, then hypercalls; the report says whether KERNEL goes on, says so, or dies silently.

    The default KERNEL is the embedded probe kernel, which has no userspace: its goal is shutdown. The default command
    line is console=ttyS0 cryptomgr.notests, because every trial is a boot and Linux spends most of it on crypto self-tests.

    \b
        efishim surface vmlinuz
        efishim surface deb:linux-image-cloud-amd64 --format markdown -o surface.md
        efishim surface vmlinuz -r hvmlite/efi --save-profile least.toml
        efishim surface vmlinuz --profile rust-hypervisor-firmware
        efishim surface vmlinuz --faults
    """
    from efishim.cli.outputs import check_writable
    from efishim.cli.run import interruptible
    from efishim.firmware.profile import ProfileError
    from efishim.lab.cache.records import own_records
    from efishim.report.files import write_atomically
    from efishim.report.surfaces import renderers
    from efishim.surface.surface import SurfaceError, surface

    state: State = context.obj
    if failing and save_profile:
        raise UsageError("--save-profile has no meaning with --faults, which removes nothing")
    if resume is not None and not failing:
        raise UsageError("--resume needs --faults")
    if failing and form == "html":
        raise UsageError("the report of --faults has no format 'html'", hint="it has: text, json, markdown")
    for path in (save_profile, output):
        if path:
            check_writable(path)
    if words.pop("no_observers"):
        raise ProfileError("the search relies on the observers, so --no-observers has no meaning here")
    if context.get_parameter_source("until") is ParameterSource.DEFAULT:
        words["until"] = "userspace" if kernel is not None else "shutdown"
    if words["cmdline"] is None:
        words["cmdline"] = CMDLINE
    jobs = jobs or os.cpu_count() or 1
    cache = None if no_cache else own_records()
    if failing:
        return _faults(state, (kernel, route, words), resume, (form, output), jobs=jobs, quiet=quiet, cache=cache)
    plan = _plan(state, kernel, route, words, quiet=quiet)
    with interruptible() as interruption, _progress(state.talk, quiet=quiet) as progress:
        try:
            found = surface(plan, registry=state.registry, jobs=jobs, progress=progress, interrupt=interruption, cache=cache)
        except SurfaceError as error:
            if not interruption.is_set():
                raise
            state.talk.error(error.sentence)
            return interruption.exit_status
    if save_profile and found.profile:
        write_atomically(save_profile, found.profile.encode("utf-8"))
    document(renderers()[form](found), form, output)
    return interruption.exit_status


def _faults(
    state: State,
    wanted: tuple[str | None, str | None, dict[str, Any]],
    resume: str | None,
    result: tuple[str, str | None],
    *,
    jobs: int,
    quiet: bool,
    cache: RecordCache | None,
) -> int:
    """`wanted` are kernel, route and the other words, `result` the format and the file."""
    from efishim.cli.run import interruptible
    from efishim.report.faults import renderers
    from efishim.surface.fault_model import read
    from efishim.surface.faults import faults
    from efishim.surface.surface import SurfaceError

    earlier = read(resume) if resume is not None else None
    kernel, route, words = wanted
    plan = _plan(state, kernel, route, words, quiet=quiet)
    with interruptible() as interruption, _progress(state.talk, quiet=quiet) as progress:
        try:
            found = faults(
                plan,
                registry=state.registry,
                jobs=jobs,
                progress=progress,
                interrupt=interruption,
                cache=cache,
                earlier=earlier,
            )
        except SurfaceError as error:
            if not interruption.is_set():
                raise
            state.talk.error(error.sentence)
            return interruption.exit_status
    form, output = result
    document(renderers()[form](found), form, output)
    return interruption.exit_status


def _plan(state: State, kernel: str | None, route: str | None, words: Mapping[str, Any], *, quiet: bool) -> Plan:
    from efishim.cli.kernel import find_image
    from efishim.lab.plan.arguments import Words, make_plan
    from efishim.lab.plan.routes import split_route

    chosen = Words(**words)
    if route is not None:
        from dataclasses import replace

        provider, entry, platform = split_route(state.registry, route, chosen.platform)
        chosen = replace(chosen, provider=provider, entry=entry, platform=platform)
    with state.talk.progress(quiet=quiet, moving=True) as progress:
        return make_plan(state.registry, lambda: find_image(kernel, progress, state.registry), chosen)


@contextmanager
def _progress(talk: Talk, *, quiet: bool) -> Iterator[SurfaceProgress]:
    from efishim.surface.trials import NoSurfaceProgress

    if quiet:
        yield NoSurfaceProgress()
    elif talk.console.is_terminal:
        with talk.moving("") as status:
            yield _Moving(talk, status)
    else:
        yield _Lines(talk)


class _Lines:
    """Where no line can be redrawn: a line for each phase, and one from time to time."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._text = ""
        self._done = self._trials = 0
        self._told = time.monotonic()

    def phase(self, text: str, trials: int) -> None:
        """A line."""
        self._text, self._done, self._trials = text, 0, trials
        self._say(f"{text}: {trials} {'run' if trials == 1 else 'runs'}")

    def trial(self, changes: Mapping[Item, str], *, boots: bool) -> None:
        """Not too often."""
        self._done += 1
        if time.monotonic() - self._told >= HEARTBEAT:
            self._say(self._state(changes, boots=boots))

    def _state(self, changes: Mapping[Item, str], *, boots: bool) -> str:
        count = f"{self._done} of {self._trials}" if self._done <= self._trials else str(self._done)
        named = ", ".join(f"{one.text}={answer}" for one, answer in changes.items()) if 0 < len(changes) <= 2 else ""
        last = f", {named}: {'boots' if boots else 'does not boot'}" if named else ""
        return f"{self._text}: {count} runs{last}"

    def _say(self, text: str) -> None:
        self._told = time.monotonic()
        self._talk.line(f"efishim: {text}", "dim")


class _Moving(_Lines):
    """On a terminal: phases stay, trials are redrawn."""

    def __init__(self, talk: Talk, status: Status) -> None:
        super().__init__(talk)
        self._status = status

    def trial(self, changes: Mapping[Item, str], *, boots: bool) -> None:
        """Redrawn."""
        self._done += 1
        self._status.update(moved(self._state(changes, boots=boots)))
