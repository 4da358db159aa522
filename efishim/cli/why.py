"""`efishim why`: which of what was told makes which difference, shown by runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import rich_click as click

from efishim.cli import complete
from efishim.cli.out import document
from efishim.cli.shared import PLAN_OPTIONS
from efishim.cli.talk import moved
from efishim.errors import RouteError, UsageError

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.cli.talk import Talk
    from efishim.lab.plan.plan import Blob, Plan

FORMATS = ("text", "json", "html")
"""As in efishim.report.whys, whose import would take a while. A test compares."""
HEARTBEAT = 10.0
"""Seconds between lines where no line can be redrawn."""
SUFFIX = ".json"


@click.command("why")
@click.argument("subjects", metavar="[KERNEL] ROUTE ROUTE | A.json B.json", nargs=-1, type=complete.FILE)
@click.option("--of", metavar="DIFFERENCE", help="Explain this one difference only, for example code:vgacon_startup.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Run up to N experiments in parallel. [default: one per processor]",
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="Output format.")
@click.option("-o", "--output", metavar="FILE", type=complete.FILE, help="Write to FILE instead of stdout.")
@click.option("-v", "--verbose", is_flag=True, help="List every difference of every group, and every run.")
@click.option("-q", "--quiet", is_flag=True, help="Do not report progress on stderr.")
@PLAN_OPTIONS
@click.pass_obj
def command(
    state: State,
    /,
    subjects: tuple[str, ...],
    of: str | None,
    jobs: int | None,
    form: str,
    output: str | None,
    verbose: bool,
    quiet: bool,
    **words: Any,
) -> int:
    """Find out by experiment why KERNEL ends differently through two routes.

    Both routes are booted to the convergence, startup_64 of the kernel proper, where both machines get the same clock. The
    whole difference of state is listed as named items: fields of boot_params, kernel variables, tables, registers, devices.
    Then items are taken over from one side to the other, alone and in groups, and the kernel runs on: what it then does
    differently is caused by these items. A first run shows that one side with all items of the other gives the other's
    record, to the byte.

    KASLR is off (nokaslr is added to the command line), so that the kernel lies at one place. Given two records, the runs
    that made them are repeated.

    Exit status: 0 every difference has a cause, 1 one has none or the machine has hidden state.

    \b
        efishim why vmlinuz hvmlite/efi hvmlite/pvh
        efishim why vmlinuz grub/linux64 hvmlite/pvh --of code:vgacon_startup
        efishim why efi.json pvh.json --format html -o why.html
    """
    from efishim.cli.outputs import check_writable
    from efishim.cli.run import interruptible
    from efishim.lab.observe.limits import Interrupted
    from efishim.report.whys import renderers
    from efishim.why.build import answer

    if output:
        check_writable(output)
    plans = _plans(state, subjects, words, quiet=quiet)
    with interruptible() as interruption, _progress(state.talk, quiet=quiet) as say:
        try:
            found = answer(plans, state.registry, of=of, jobs=jobs or os.cpu_count() or 1, say=say, interrupt=interruption)
        except (Interrupted, RouteError):
            if not interruption.is_set():
                raise
            state.talk.error("interrupted: an unfinished search has no answer")
            return interruption.exit_status
    document(renderers()[form](found, verbose), form, output)
    return 0 if found.sound and not found.unexplained else 1


def _plans(state: State, subjects: tuple[str, ...], words: dict[str, Any], *, quiet: bool) -> tuple[Plan, Plan]:
    from efishim.cli.kernel import find_image
    from efishim.lab.plan.arguments import Words, make_plan
    from efishim.lab.plan.routes import split_route

    if len(subjects) == 2 and all(subject.endswith(SUFFIX) for subject in subjects):
        one, other = (_of_record(state, subject) for subject in subjects)
        return one, other
    if len(subjects) not in (2, 3):
        raise UsageError("why needs a kernel and two routes", hint="efishim why vmlinuz hvmlite/efi hvmlite/pvh")
    *kernel, first, second = subjects
    plans = []
    blob: Blob | None = None
    with state.talk.progress(quiet=quiet, moving=True) as progress:
        for route in (first, second):
            provider, entry, platform = split_route(state.registry, route, words["platform"])

            def find() -> Blob:
                nonlocal blob
                blob = blob or find_image(kernel[0] if kernel else None, progress, state.registry)
                return blob

            chosen = Words(**{**words, "provider": provider, "entry": entry, "platform": platform})
            plans.append(make_plan(state.registry, find, chosen))
    return plans[0], plans[1]


def _of_record(state: State, path: str) -> Plan:
    """The plan that a record was made from."""
    from efishim.cli.kernel import find_image
    from efishim.lab.plan.from_record import NotRepeatable, plan_of
    from efishim.lab.progress import NoProgress
    from efishim.lab.record import read_record

    def find(name: str | None) -> Blob:
        return find_image(name, NoProgress(), state.registry)

    try:
        return plan_of(read_record(path), state.registry, find)
    except NotRepeatable as error:
        hint = "give the kernel and two routes: efishim why vmlinuz hvmlite/efi hvmlite/pvh"
        raise UsageError(f"why cannot repeat the run of {path}: {error}", hint=hint) from error


@contextmanager
def _progress(talk: Talk, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    if quiet:
        yield lambda _text: None
    elif talk.console.is_terminal:
        with talk.moving("") as status:
            yield lambda text: status.update(moved(text))
    else:
        told = -HEARTBEAT

        def line(text: str) -> None:
            nonlocal told
            if time.monotonic() - told >= HEARTBEAT:
                told = time.monotonic()
                talk.line(f"efishim: {text}", "dim")

        yield line
