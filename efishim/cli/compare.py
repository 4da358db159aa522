"""`efishim compare`: the same kernel through several doors, or records, side by side."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

from efishim.cli import INTERRUPTED, complete
from efishim.cli.shared import FORMATS, PLAN_OPTIONS, routes_option

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.compare.model import Skipped
    from efishim.lab.record import Record

RECORD_SUFFIX = ".json"


@click.command("compare")
@click.argument("subjects", metavar="[KERNEL | A.json B.json...]", nargs=-1, type=complete.FILE)
@routes_option
@click.option("--all", "everything", is_flag=True, help="All routes, also those that do not apply; the same as no -r.")
@click.option("-j", "--jobs", type=click.IntRange(1, 256), metavar="N", help="Runs at a time. [default: one per processor]")
@click.option(
    *("--rules", "rules_file"),
    metavar="FILE",
    type=complete.FILE,
    help="Rules in place of those that come with efishim.",
)
@click.option("--records", "keep", metavar="DIR", type=complete.FILE, help="Keep the record of each run there.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="How to write it.")
@click.option("-o", "--output", metavar="FILE", type=complete.FILE, help="Write it there and not to stdout.")
@click.option("-v", "--verbose", is_flag=True, help="Every difference of every group, and rules that explained nothing.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
@PLAN_OPTIONS
@click.pass_obj
def command(
    state: State,
    /,
    subjects: tuple[str, ...],
    routes: tuple[str, ...],
    everything: bool,
    jobs: int | None,
    rules_file: str | None,
    keep: str | None,
    form: str,
    output: str | None,
    verbose: bool,
    quiet: bool,
    **words: Any,
) -> int:
    """Run KERNEL through several doors and say in what the ways differ, and why.

    Without -r all routes that apply are taken; the first is the one that the others are compared with. With two or more
    records (files that end in .json, as `efishim run --record` writes them) nothing runs.

    Exit status: 0 every difference is explained and every run reached its goal, 1 otherwise.

    \b
        efishim compare vmlinuz -r hvmlite/efi -r hvmlite/pvh
        efishim compare deb:linux-image-cloud-amd64
        efishim compare vmlinuz -r firmware/efi -r hvmlite/pvh@hvmlite
        efishim compare old.json new.json
        efishim compare vmlinuz --format junit -o compare.xml
    """
    from efishim.compare.build import build
    from efishim.compare.rules import read_rules
    from efishim.report.comparisons import renderers
    from efishim.report.files import write_atomically

    rules = read_rules(rules_file) if rules_file else None
    records, skipped, status = _records(state, subjects, routes, everything, jobs, keep, quiet, words)
    comparison = build(records, skipped, rules)
    text = renderers()[form](comparison, records, verbose)
    if output:
        write_atomically(output, text.encode("utf-8"))
    else:
        sys.stdout.write(text)
    return status or (0 if comparison.clean else 1)


def _records(
    state: State,
    subjects: tuple[str, ...],
    routes: tuple[str, ...],
    everything: bool,
    jobs: int | None,
    keep: str | None,
    quiet: bool,
    words: dict[str, Any],
) -> tuple[list[Record], list[Skipped], int]:
    """Records from files or from runs, routes without one, and the exit status of an interruption."""
    from efishim.errors import UsageError

    if routes and everything:
        raise UsageError("--all and -r contradict each other")
    if subjects and all(subject.endswith(RECORD_SUFFIX) for subject in subjects):
        if len(subjects) < 2:
            raise UsageError("one record has nothing to be compared with", hint="give two")
        if routes:
            raise UsageError("records are what they are: -r has no meaning with them")
        return [_read(subject) for subject in subjects], [], 0
    if len(subjects) > 1:
        raise UsageError("one kernel is compared with itself on several routes", hint="or give two records, FILE.json")
    from efishim.cli.matrix import run_routes

    outcome = run_routes(state, subjects[0] if subjects else None, routes, jobs=jobs, quiet=quiet, words=words)
    if keep:
        outcome.keep(keep)
    if not outcome.records:
        if outcome.interrupted:
            return [], outcome.skipped, INTERRUPTED
        reasons = "; ".join(f"{one.route}: {one.reason}" for one in outcome.skipped)
        raise UsageError(f"no route gave a record: {reasons}")
    return outcome.records, outcome.skipped, outcome.interrupted


def _read(path: str) -> Record:
    from efishim.lab.record import RECORD_LIMIT, RecordError, decode
    from efishim.reading import read_file

    data = read_file(path, RECORD_LIMIT, "record", RecordError)
    return decode(data, name=path)
