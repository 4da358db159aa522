"""Boots a kernel through several routes for the commands: route selection, plans and progress."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from efishim.cli.run import Interruption, interruptible
from efishim.report.figures import amount
from efishim.report.plain import plain_line

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.cli.talk import Talk
    from efishim.compare.model import Skipped
    from efishim.image.opened import Image
    from efishim.lab.matrix import MatrixProgress, Result
    from efishim.lab.plan.plan import Blob, Plan
    from efishim.lab.record import MilestonePoint, Record

NOT_APPLICABLE = 77


@dataclass
class Outcome:
    """What came of the routes. `interrupted` is an exit status, 0 when nobody interrupted."""

    records: list[Record] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    interrupted: int = 0

    def keep(self, directory: str) -> None:
        """Write the records as DIRECTORY/PROVIDER-ENTRY-PLATFORM.json."""
        from efishim.lab.record import encode
        from efishim.report.files import OutputError, write_atomically

        place = Path(directory)
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{directory} cannot be made: {error.strerror or error}") from error
        for record in self.records:
            route = record.route
            write_atomically(place / f"{route.provider}-{route.entry}-{route.platform}.json", encode(record))


def run_routes(
    state: State,
    kernel: str | None,
    routes: tuple[str, ...],
    *,
    jobs: int | None,
    quiet: bool,
    words: Mapping[str, Any],
    dump: str | None = None,
    no_cache: bool = False,
    on: str | None = None,
) -> Outcome:
    """Run a kernel through the routes that were named, or through all that apply; with a dump, from that as well. Of runs that
    were made before the records are taken, unless `no_cache` says otherwise.
    """
    from efishim.lab.cache.records import own_records
    from efishim.lab.matrix import run_matrix

    plans, skipped = _plans(state, kernel, routes, words, dump, quiet=quiet)
    names = [_name(plan) for plan in plans]
    with interruptible() as interruption, _progress(state.talk, names, quiet=quiet) as progress:
        results = run_matrix(
            plans,
            jobs=jobs or os.cpu_count() or 1,
            progress=progress,
            interrupt=interruption,
            registry=state.registry,
            cache=None if no_cache else own_records(),
            on=on,
        )
    return _outcome(results, skipped, interruption)


def _plans(
    state: State,
    kernel: str | None,
    routes: tuple[str, ...],
    words: Mapping[str, Any],
    dump: str | None,
    *,
    quiet: bool,
) -> tuple[list[Plan], list[Skipped]]:
    from efishim.cli.kernel import find_image
    from efishim.compare.model import Skipped
    from efishim.image.cachedir import cache_directory
    from efishim.image.facts import KernelCache
    from efishim.image.opened import open_image
    from efishim.lab.plan.arguments import Words
    from efishim.lab.plan.dump_routes import plan_dump_routes
    from efishim.lab.plan.routes import plan_routes

    def opened(blob: Blob) -> Image:
        """What is found out about the kernel inside goes to the cache, where the workers find it."""
        progress.phase("opening the image")
        return open_image(blob.read(), path=blob.label, cache=KernelCache(cache_directory(os.environ)))

    with state.talk.progress(quiet=quiet, moving=True) as progress:
        if dump is not None:
            progress.phase("reading the dump")
            find = None if kernel is None else lambda: find_image(kernel, progress, state.registry)
            plans, skipped = plan_dump_routes(state.registry, dump, find, opened, routes, Words(**words))
        else:
            blob = find_image(kernel, progress, state.registry)
            plans, skipped = plan_routes(state.registry, opened(blob), blob, routes, words)
    return plans, [Skipped(route=one.route, reason=one.reason, failed=one.failed) for one in skipped]


def _name(plan: Plan) -> str:
    return f"{plan.route}@{plan.platform}"


def _outcome(results: list[Result], skipped: list[Skipped], interruption: Interruption) -> Outcome:
    from efishim.compare.model import Skipped

    outcome = Outcome(skipped=list(skipped), interrupted=interruption.exit_status)
    for result in results:
        name = _name(result.plan)
        if result.record is not None:
            outcome.records.append(result.record)
        elif result.failure is not None:
            failed = result.failure.exit_status != NOT_APPLICABLE
            outcome.skipped.append(Skipped(route=name, reason=result.failure.sentence, hint=result.failure.hint, failed=failed))
        else:
            outcome.skipped.append(Skipped(route=name, reason="interrupted before it began", failed=True))
    return outcome


@contextmanager
def _progress(talk: Talk, names: list[str], *, quiet: bool) -> Iterator[MatrixProgress]:
    if quiet:
        yield Silent()
    elif talk.console.is_terminal:
        from rich.live import Live

        lines = Lines(names)
        with Live(get_renderable=lines.table, console=talk.console, refresh_per_second=5, transient=True):
            yield lines
    else:
        yield Plain(talk, names)


class Silent:
    """Says nothing."""

    def milestone(self, index: int, point: MilestonePoint) -> None:
        """Nothing."""

    def tick(self, index: int, insns: int, rate: float) -> None:
        """Nothing."""

    def finished(self, index: int, result: Result) -> None:
        """Nothing."""


class Plain(Silent):
    """Where no line can be redrawn: one line for each milestone of each run."""

    def __init__(self, talk: Talk, names: list[str]) -> None:
        self._talk = talk
        self._names = names

    def milestone(self, index: int, point: MilestonePoint) -> None:
        """A line."""
        self._talk.line(f"{self._names[index]}: {point.name.value} after {amount(point.insns)} instructions", "dim")

    def finished(self, index: int, result: Result) -> None:
        """A line."""
        if result.failure is not None:
            self._talk.line(f"{self._names[index]}: {result.failure.sentence}", "dim")
        elif result.record is not None:
            self._talk.line(f"{self._names[index]}: ended with {_ended(result.record, result)}", "dim")


def _ended(record: Record, result: Result) -> str:
    reason = record.outcome.reason.value
    return f"{reason}, made before" if result.cached else f"{reason} in {record.outcome.seconds:.1f} s"


@dataclass
class _Line:
    milestone: str = ""
    insns: int = 0
    rate: float = 0.0
    end: str = ""


class Lines(Silent):
    """On a terminal: a line for each route, redrawn."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._lines = [_Line() for _ in names]

    def milestone(self, index: int, point: MilestonePoint) -> None:
        """Redrawn with the next refresh."""
        self._lines[index].milestone, self._lines[index].insns = point.name.value, point.insns

    def tick(self, index: int, insns: int, rate: float) -> None:
        """Redrawn with the next refresh."""
        self._lines[index].insns, self._lines[index].rate = insns, rate

    def finished(self, index: int, result: Result) -> None:
        """The line stays as it is."""
        line = self._lines[index]
        if result.record is not None:
            line.end = _ended(result.record, result)
            line.insns = result.record.outcome.insns
        elif result.failure is not None:
            line.end = result.failure.sentence

    def table(self) -> Any:
        """The lines as they are now."""
        from rich.table import Table
        from rich.text import Text

        grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
        for name, line in zip(self._names, self._lines, strict=True):
            rate = f"{amount(int(line.rate))} a second" if line.rate and not line.end else line.end
            waiting = not line.milestone and not line.end
            cells = (name, "waiting" if waiting else line.milestone, amount(line.insns) if line.insns else "", rate)
            grid.add_row(*(Text(plain_line(cell), style="dim" if waiting else "") for cell in cells))
        return grid
