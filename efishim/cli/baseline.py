"""`efishim baseline`: record what each route hands to a kernel and what the kernel does, and check it in CI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from efishim.cli import complete
from efishim.cli.out import document
from efishim.cli.outputs import check_directory, check_writable
from efishim.cli.shared import PLAN_OPTIONS, no_cache_option, routes_option

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.cli.talk import Talk
    from efishim.compare.baseline import Check
    from efishim.compare.model import Skipped
    from efishim.lab.record import Record
    from efishim.report.junit import Case

SUFFIX = ".txt"


@click.group("baseline")
def command() -> None:
    """Save the behaviour of routes as text files, and check kernels against them.

    \b
        efishim baseline save vmlinuz -o baselines/
        efishim baseline check vmlinuz baselines/
        efishim baseline check vmlinuz baselines/ --update
    """


jobs_option = click.option(
    *("-j", "--jobs"),
    type=click.IntRange(1, 256),
    metavar="N",
    help="Run up to N routes in parallel. [default: one per processor]",
)
quiet_option = click.option("-q", "--quiet", is_flag=True, help="Do not report progress on stderr.")


@command.command("save")
@click.argument("kernel", required=False, type=complete.KERNEL)
@click.option(
    *("-o", "--output", "directory"),
    required=True,
    metavar="DIR",
    type=complete.FILE,
    help="Write the files to DIR, one per route.",
)
@routes_option
@jobs_option
@quiet_option
@no_cache_option
@PLAN_OPTIONS
@click.pass_obj
def save(
    state: State,
    /,
    kernel: str | None,
    directory: str,
    routes: tuple[str, ...],
    jobs: int | None,
    quiet: bool,
    no_cache: bool,
    **words: Any,
) -> int:
    """Boot KERNEL through the routes and save a baseline of each.

    A route that misses its goal is saved all the same, and the exit status is 1.
    """
    from efishim.cli.matrix import run_routes

    check_directory(directory)
    outcome = run_routes(state, kernel, routes, jobs=jobs, quiet=quiet, words=words, no_cache=no_cache)
    place = _directory(directory, make=True)
    lines = []
    for record in outcome.records:
        _write(place, record)
        how = "" if record.outcome.met else "did not reach its goal: "
        lines.append(f"{_file(place, record)}  {how}{record.outcome.reason.value}\n")
    document("".join(lines), "text")
    _tell_skipped(state.talk, outcome.skipped)
    good = all(record.outcome.met for record in outcome.records) and not any(one.failed for one in outcome.skipped)
    return outcome.interrupted or (0 if good and outcome.records else 1)


@command.command("check")
@click.argument("subjects", metavar="[KERNEL] DIR", nargs=-1, required=True, type=complete.KERNEL)
@routes_option
@jobs_option
@quiet_option
@click.option("--update", is_flag=True, help="Accept the changes: rewrite the baselines that differ.")
@click.option(
    *("--format", "form"), type=click.Choice(("text", "junit")), default="text", show_default=True, help="Output format."
)
@click.option("-o", "--output", metavar="FILE", type=complete.FILE, help="Write to FILE instead of stdout.")
@no_cache_option
@PLAN_OPTIONS
@click.pass_obj
def check(
    state: State,
    /,
    subjects: tuple[str, ...],
    routes: tuple[str, ...],
    jobs: int | None,
    quiet: bool,
    no_cache: bool,
    update: bool,
    form: str,
    output: str | None,
    **words: Any,
) -> int:
    """Boot KERNEL through the routes that have a baseline in DIR, and show what changed.

    Give the options that `save` was given. Exit status: 0 nothing changed, 1 something did, with --update too.
    """
    from efishim.cli.matrix import run_routes
    from efishim.errors import UsageError

    if output:
        check_writable(output)
    if len(subjects) > 2:
        raise UsageError("`check` takes one kernel and one directory")
    *kernels, directory = subjects
    kernel = kernels[0] if kernels else None
    place = _directory(directory, make=False)
    wanted = {_route(path): path for path in sorted(place.glob(f"*{SUFFIX}"))}
    chosen = routes or tuple(wanted)
    if not chosen:
        raise UsageError(f"{directory} has no baselines", hint="`efishim baseline save` creates them")
    outcome = run_routes(state, kernel, chosen, jobs=jobs, quiet=quiet, words=words, no_cache=no_cache)
    results = [(record, _checks(place, record)) for record in outcome.records]
    changed = [(record, found) for record, found in results if any(one.diff for one in found)]
    text = _junit(results, outcome.skipped) if form == "junit" else _text(results)
    if update:
        for record, _ in changed:
            _write(place, record)
    document(text, form, output)
    _tell_skipped(state.talk, outcome.skipped)
    return outcome.interrupted or (1 if changed or outcome.skipped else 0)


def _directory(name: str, *, make: bool) -> Path:
    from efishim.errors import UsageError
    from efishim.report.files import OutputError

    place = Path(name)
    if make:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{name} cannot be made: {error.strerror or error}") from error
    if not place.is_dir():
        raise UsageError(f"{name} is not a directory of baselines")
    return place


def _file(place: Path, record: Record) -> Path:
    route = record.route
    return place / f"{route.provider}-{route.entry}@{route.platform}{SUFFIX}"


def _route(path: Path) -> str:
    """The route that a file is of. Providers have no `-` before their entries: the name says it, the file confirms it."""
    from efishim.compare.baseline import parse

    for line in parse(_read(path)).get("run", []):
        if line.startswith("route = "):
            return line.removeprefix("route = ")
    return path.stem.replace("-", "/", 1)


def _read(path: Path) -> str:
    from efishim.compare.baseline import LIMIT, BaselineError
    from efishim.reading import read_file

    data = read_file(path, LIMIT, "baseline", BaselineError)
    return data.decode("utf-8", "backslashreplace")


def _write(place: Path, record: Record) -> None:
    from efishim.compare.baseline import LIMIT, BaselineError, text
    from efishim.report.files import write_atomically

    path, data = _file(place, record), text(record).encode("utf-8")
    if len(data) > LIMIT:
        raise BaselineError(f"{path} would be larger than {LIMIT >> 20} MiB, and could not be read")
    write_atomically(path, data)


def _checks(place: Path, record: Record) -> list[Check]:
    from efishim.compare.baseline import Check, checks

    path = _file(place, record)
    if not path.exists():
        return [Check("run", (f"+there is no baseline {path.name}",))]
    return checks(_read(path), record)


def _tell_skipped(talk: Talk, skipped: list[Skipped]) -> None:
    for one in skipped:
        talk.line(f"{one.route}: {one.reason}")


def _text(results: list[tuple[Record, list[Check]]]) -> str:
    lines = []
    for record, found in results:
        name = f"{record.route.provider}/{record.route.entry}@{record.route.platform}"
        different = [one for one in found if one.diff]
        lines.append(f"{name}: {'matches its baseline' if not different else 'differs from its baseline'}")
        for one in different:
            lines += [f"  {one.section}", *(f"    {line}" for line in one.diff)]
    return "".join(f"{line}\n" for line in lines)


def _junit(results: list[tuple[Record, list[Check]]], skipped: list[Skipped]) -> str:
    from efishim.report.junit import Case, render

    cases: list[Case] = []
    for record, found in results:
        name = f"{record.route.provider}/{record.route.entry}@{record.route.platform}"
        for one in found:
            count = sum(line.startswith(("+", "-")) for line in one.diff)
            sentence = f"{count} lines differ from the baseline" if one.diff else ""
            cases.append(Case(name, one.section, sentence, "\n".join(one.diff)))
    cases += [Case(one.route, "runs", failure=one.reason, details=one.hint) for one in skipped]
    return render("efishim.baseline", cases)
