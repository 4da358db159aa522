"""Boots a kernel through several routes for the commands: route selection, plans and progress. And `efishim matrix`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from efishim.cli import complete
from efishim.cli.run import Interruption, interruptible
from efishim.cli.runs_progress import route_name, shown_progress
from efishim.cli.shared import PLAN_WORDS, no_cache_option, on_option, options_of_run, routes_option

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.compare.model import Skipped
    from efishim.image.opened import Image
    from efishim.lab.matrix import Result
    from efishim.lab.plan.plan import Blob, Plan
    from efishim.lab.record import Record

NOT_APPLICABLE = 77
FORMATS = ("text", "markdown", "json")


@click.command("matrix")
@click.argument("kernels", metavar="[KERNEL...]", nargs=-1, type=complete.KERNEL)
@routes_option
@click.option(
    "--platform",
    "platforms",
    envvar="EFISHIM_PLATFORM",
    multiple=True,
    default=("pc",),
    show_default=True,
    shell_complete=complete.platform,
    help="The machine to emulate on routes that name none; repeatable.",
)
@click.option(
    *("-o", "--output", "folder"),
    metavar="DIR",
    default="matrix",
    show_default=True,
    type=complete.FILE,
    help="Write the records to DIR, and resume a matrix that is already there.",
)
@click.option("--parquet", is_flag=True, help="Also write the records as tables for DuckDB, Polars and others.")
@click.option(
    "-j", "--jobs", type=click.IntRange(1, 256), metavar="N", help="Run up to N boots in parallel. [default: one per processor]"
)
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="Format of the table.")
@click.option("-q", "--quiet", is_flag=True, help="Do not report progress on stderr.")
@no_cache_option
@on_option
@options_of_run(*(word for word in PLAN_WORDS if word != "platform"))
@click.pass_obj
def command(
    state: State,
    /,
    kernels: tuple[str, ...],
    routes: tuple[str, ...],
    platforms: tuple[str, ...],
    folder: str,
    parquet: bool,
    jobs: int | None,
    form: str,
    quiet: bool,
    no_cache: bool,
    on: str | None,
    **words: Any,
) -> int:
    """Boot each KERNEL through each route on each platform, and save the records and a summary table in a folder.

    Repeat the command to resume a matrix that was cut short: runs whose intact records are in the folder are not repeated.
    The folder has the records (records/KERNEL/PROVIDER-ENTRY-PLATFORM.json), an index (matrix.json) and the report (matrix.md).

    Exit status: 0 every run reached its goal, 1 otherwise. Routes that do not apply to a kernel do not count.

    \b
        efishim matrix vmlinuz-6.1 vmlinuz-6.12 -r hvmlite/efi -r hvmlite/pvh --platform pc --platform hvmlite
        efishim matrix deb:linux-image-cloud-amd64 --parquet -o records
        efishim matrix vmlinuz* --on dask://scheduler:8786
    """
    from efishim.cli.fill import Wanted, fill
    from efishim.cli.out import print_json, table
    from efishim.lab.cache.records import own_records
    from efishim.lab.plan.plan import shell_word
    from efishim.report.files import OutputError
    from efishim.report.matrix_folder import MatrixFolder
    from efishim.report.matrix_table import grid, markdown

    if parquet:
        from efishim.report.parquet import require, write

        require()
    place = MatrixFolder(folder)
    wanted = Wanted(
        kernels=kernels,
        routes=routes,
        platforms=tuple(dict.fromkeys(platforms)),
        words=words,
        jobs=jobs or os.cpu_count() or 1,
        quiet=quiet,
        cache=None if no_cache else own_records(),
        on=on,
    )
    found = fill(state, wanted, place)
    report = markdown(found.cells, " ".join(("efishim matrix", *(shell_word(kernel) for kernel in kernels))))
    place.write("matrix.md", report.encode())
    if parquet:
        try:
            write(place.path, found.records)
        except OSError as error:
            raise OutputError(f"the tables in {folder} cannot be written: {error.strerror or error}") from error
    if form == "json":
        print_json([cell.row() for cell in found.cells])
    elif form == "markdown":
        print(report, end="")
    else:
        table(*grid(found.cells))
    if not quiet:
        state.talk.line(f"{len(found.records)} records in {folder}, {found.made} of them made now")
    return found.interrupted or (0 if all(cell.good for cell in found.cells) else 1)


@dataclass
class Outcome:
    """The results of the routes. `interrupted` is an exit status, 0 if the command was not interrupted."""

    records: list[Record] = field(default_factory=list)
    plans: list[Plan] = field(default_factory=list)
    """Of the records."""
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
    names = [route_name(plan) for plan in plans]
    with interruptible() as interruption, shown_progress(state.talk, names, quiet=quiet) as progress:
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


def _outcome(results: list[Result], skipped: list[Skipped], interruption: Interruption) -> Outcome:
    from efishim.compare.model import Skipped

    outcome = Outcome(skipped=list(skipped), interrupted=interruption.exit_status)
    for result in results:
        name = route_name(result.plan)
        if result.record is not None:
            outcome.records.append(result.record)
            outcome.plans.append(result.plan)
        elif result.failure is not None:
            failed = result.failure.exit_status != NOT_APPLICABLE
            outcome.skipped.append(Skipped(route=name, reason=result.failure.sentence, hint=result.failure.hint, failed=failed))
        else:
            outcome.skipped.append(Skipped(route=name, reason="interrupted before it began", failed=True))
    return outcome
