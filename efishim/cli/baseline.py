"""`efishim baseline`: record what each route hands to a kernel and what the kernel does, and check it in CI."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from efishim.cli import complete
from efishim.cli.out import document
from efishim.cli.outputs import check_directory, check_writable
from efishim.cli.shared import PLAN_OPTIONS, no_cache_option, on_option, routes_option

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.cli.talk import Talk
    from efishim.compare.baseline import Check
    from efishim.compare.model import Skipped
    from efishim.lab.record import Record
    from efishim.report.junit import Case

SUFFIX = ".txt"
"""What the names of all files end with; the first file of each baseline is FILES's first."""


@click.group("baseline")
def command() -> None:
    """Save the behaviour of routes as text files, and check kernels against them.

    \b
        efishim baseline save vmlinuz -o baselines/
        efishim baseline check vmlinuz baselines/
        efishim baseline check vmlinuz baselines/ --sections told,calls,hardware
        efishim baseline check vmlinuz baselines/ --update
    """


def _sections(_context: click.Context, _parameter: click.Parameter, given: str | None) -> tuple[str, ...]:
    """Sections by their names, with commas between them; all without the option."""
    from efishim.closest import suggestion
    from efishim.compare.baseline import SECTIONS
    from efishim.errors import UsageError

    names = SECTIONS if given is None else tuple(one.strip() for one in given.split(","))
    for name in names:
        if name not in SECTIONS:
            hint = f"{suggestion(name, SECTIONS)}there are: {', '.join(SECTIONS)}"
            raise UsageError(f"a baseline has no section {name!r}", hint=hint)
    return names


sections_option = click.option(
    "--sections",
    metavar="NAME[,NAME...]",
    callback=_sections,
    help="Only these sections: run, milestones, told, calls, hardware, log, userspace, code. [default: all]",
)
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
    help="Write the files to DIR, up to three per route.",
)
@sections_option
@routes_option
@jobs_option
@quiet_option
@no_cache_option
@on_option
@PLAN_OPTIONS
@click.pass_obj
def save(
    state: State,
    /,
    kernel: str | None,
    directory: str,
    sections: tuple[str, ...],
    routes: tuple[str, ...],
    jobs: int | None,
    quiet: bool,
    no_cache: bool,
    on: str | None,
    **words: Any,
) -> int:
    """Boot KERNEL through the routes and save a baseline of each.

    ROUTE@PLATFORM.txt has what was told, called and touched, and is small enough to be reviewed; .log.txt has what the kernel
    and the init printed, .code.txt the functions that ran. Nothing in them depends on time, KASLR or who built the kernel.

    A route that misses its goal is saved all the same, and the exit status is 1.
    """
    from efishim.cli.matrix import run_routes

    check_directory(directory)
    outcome = run_routes(state, kernel, routes, jobs=jobs, quiet=quiet, words=words, no_cache=no_cache, on=on)
    place = _directory(directory, make=True)
    lines = []
    for record in outcome.records:
        _write(place, record, sections)
        how = "" if record.outcome.met else "did not reach its goal: "
        lines.append(f"{_file(place, record)}  {how}{record.outcome.reason.value}\n")
    document("".join(lines), "text")
    _tell_skipped(state.talk, outcome.skipped)
    good = all(record.outcome.met for record in outcome.records) and not any(one.failed for one in outcome.skipped)
    return outcome.interrupted or (0 if good and outcome.records else 1)


@command.command("check")
@click.argument("subjects", metavar="[KERNEL] DIR", nargs=-1, required=True, type=complete.KERNEL)
@sections_option
@routes_option
@jobs_option
@quiet_option
@click.option("--update", is_flag=True, help="Accept the changes: rewrite the baselines that differ.")
@click.option(
    *("--format", "form"), type=click.Choice(("text", "junit")), default="text", show_default=True, help="Output format."
)
@click.option("-o", "--output", metavar="FILE", type=complete.FILE, help="Write to FILE instead of stdout.")
@no_cache_option
@on_option
@PLAN_OPTIONS
@click.pass_obj
def check(
    state: State,
    /,
    subjects: tuple[str, ...],
    sections: tuple[str, ...],
    routes: tuple[str, ...],
    jobs: int | None,
    quiet: bool,
    no_cache: bool,
    on: str | None,
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
    wanted = {_route(path): path for path in sorted(place.glob(f"*{SUFFIX}")) if not _is_part(path)}
    chosen = routes or tuple(wanted)
    if not chosen:
        raise UsageError(f"{directory} has no baselines", hint="`efishim baseline save` creates them")
    outcome = run_routes(state, kernel, chosen, jobs=jobs, quiet=quiet, words=words, no_cache=no_cache, on=on)
    results = [(record, _checks(place, record, sections)) for record in outcome.records]
    changed = [(record, found) for record, found in results if any(one.diff for one in found)]
    text = _junit(results, outcome.skipped) if form == "junit" else _text(results)
    if update:
        for record, _ in changed:
            _write(place, record, sections)
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


def _write(place: Path, record: Record, names: Sequence[str]) -> None:
    """The files that have these sections. Other sections that are there stay as they are."""
    from efishim.compare.baseline import FILES, LIMIT, SECTIONS, BaselineError, parse, text, written
    from efishim.report.files import write_atomically

    first = _file(place, record)
    before = _saved(first) if set(names) != set(SECTIONS) else {}
    new = parse(text(record, names))
    for suffix, within in FILES.items():
        path = _part(first, suffix)
        content = {name: new.get(name, before.get(name, [])) for name in within if name in new or name in before}
        # The first file is always there: it says that the route has a baseline.
        if suffix != SUFFIX and not content:
            continue
        data = written(content).encode("utf-8")
        if len(data) > LIMIT:
            raise BaselineError(f"{path} would be larger than {LIMIT >> 20} MiB, and could not be read")
        write_atomically(path, data)


def _part(first: Path, suffix: str) -> Path:
    """Another file of a baseline."""
    return first.with_name(first.name.removesuffix(SUFFIX) + suffix)


def _is_part(path: Path) -> bool:
    """Is it one of the further files of a baseline?"""
    from efishim.compare.baseline import FILES

    return any(path.name.endswith(suffix) for suffix in FILES if suffix != SUFFIX)


def _saved(first: Path) -> dict[str, list[str]]:
    """The sections in all files of a baseline."""
    from efishim.compare.baseline import FILES, parse

    found: dict[str, list[str]] = {}
    for suffix in FILES:
        path = _part(first, suffix)
        if path.exists():
            found |= parse(_read(path))
    return found


def _checks(place: Path, record: Record, names: Sequence[str]) -> list[Check]:
    from efishim.compare.baseline import SECTIONS, Check, checks, written

    path = _file(place, record)
    if not path.exists():
        return [Check("run", (f"+there is no baseline {path.name}",))]
    saved = _saved(path)
    # What was not saved is not compared, unless it is asked for.
    asked = names if set(names) != set(SECTIONS) else tuple(name for name in SECTIONS if name in saved)
    if not asked:
        return [Check("run", (f"+{path.name} has no sections",))]
    return checks(written(saved), record, asked)


def _tell_skipped(talk: Talk, skipped: list[Skipped]) -> None:
    for one in skipped:
        talk.line(f"{one.route}: {one.reason}")


def _text(results: list[tuple[Record, list[Check]]]) -> str:
    from efishim.compare.baseline import SECTIONS, summary

    lines = []
    for record, found in results:
        name = f"{record.route.provider}/{record.route.entry}@{record.route.platform}"
        different = [one for one in found if one.diff]
        changed = f"differs from its baseline: {summary(found)}" if different else "matches its baseline"
        left = [section for section in SECTIONS if section not in {one.section for one in found}]
        changed += f" (not compared: {', '.join(left)})" if left else ""
        lines.append(f"{name}: {changed}")
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
