"""`efishim compare`: boot one kernel through several routes, or read records, and diff them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from efishim.cli import INTERRUPTED, complete
from efishim.cli.controls import Controls
from efishim.cli.loader_options import module_option
from efishim.cli.out import document
from efishim.cli.outputs import check_directory, check_writable
from efishim.cli.run import left_to_dump
from efishim.cli.shared import FORMATS, PLAN_OPTIONS, no_cache_option, on_option, routes_option
from efishim.cli.versions import are_versions, boot_versions, require_form, tell_versions
from efishim.errors import UsageError

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.cli.project import Comparison
    from efishim.compare.model import Skipped
    from efishim.lab.plan.plan import Plan
    from efishim.lab.record import Record

RECORD_SUFFIX = ".json"


def _use(context: click.Context, _parameter: click.Parameter, name: str | None) -> Comparison | None:
    """Its options become defaults, before the other options are looked at."""
    if name is None:
        return None
    state: State = context.obj
    found = state.project.comparison(name)
    context.default_map = {**(context.default_map or {}), **found.options}
    return found


@click.command("compare")
@click.argument("subjects", metavar="[KERNEL | OLD NEW | A.json B.json... | DUMP ROUTE...]", nargs=-1, type=complete.KERNEL)
@routes_option
@click.option(
    *("--from", "from_dump"),
    metavar="DUMP",
    type=complete.FILE,
    help="Boot DUMP too, and compare it with routes that use its command line, ramdisk and RAM size; see docs/check-a-dump.md.",
)
@click.option(
    "--use",
    metavar="NAME",
    is_eager=True,
    callback=_use,
    help="Kernel, routes and options of a comparison in efishim.toml; see docs/project-file.md.",
)
@click.option("-e", "--entry", metavar="ENTRY", help="The entry that DUMP was taken at. [default: detected]")
@click.option("--all", "everything", is_flag=True, help="Select every route, and list those that do not apply. Same as no -r.")
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Run up to N routes in parallel. [default: one per processor]",
)
@click.option(
    *("--rules", "rules_file"),
    metavar="FILE",
    type=complete.FILE,
    help="Classify differences by the rules in FILE instead of the built-in ones and those of plugins.",
)
@click.option("--records", "keep", metavar="DIR", type=complete.FILE, help="Save the record of each run in DIR.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True, help="Output format.")
@click.option("-o", "--output", metavar="FILE", type=complete.FILE, help="Write to FILE instead of stdout.")
@click.option("--rules-used", is_flag=True, help="Instead of the report, list the rules that explain differences, with counts.")
@click.option(
    "--controls/--no-controls",
    default=True,
    help="Repeat routes at other speeds of the processor if code is all that is unexplained, and explain what depends on the "
    "timer alone. [default: --controls]",
)
@click.option("-v", "--verbose", is_flag=True, help="List every difference of every group, and the rules that matched nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Do not report progress on stderr.")
@module_option
@no_cache_option
@on_option
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
    from_dump: str | None,
    use: Comparison | None,
    entry: str | None,
    rules_used: bool,
    controls: bool,
    verbose: bool,
    quiet: bool,
    no_cache: bool,
    on: str | None,
    **words: Any,
) -> int:
    """Boot KERNEL through several routes, show how the runs differ, and explain why.

    Without -r, all routes that apply to the image are run. The first route is the reference for the others. Given two or
    more records (.json files from `efishim run --record`), compare boots nothing and diffs those.

    Given two kernels, OLD and NEW, and -r, compare shows what changed on that route between the versions: what the kernel is
    told, calls, touches, prints and runs; functions are matched by name. It does the same for two records of two kernels.

    With --from DUMP, or with a dump and routes as arguments, compare boots the dump as well (`efishim run --from`) and compares
    it with the routes, by default with the one that drives the entry of the dump. Kernel, platform, RAM size, command line and
    ramdisk of the routes are those of the dump, if not given.

    Exit status: 0 every run reached its goal and every difference is explained, 1 otherwise. Of two kernels: 0 both reached the
    goal, the same is told, called and touched, and nothing new is complained of.

    \b
        efishim compare vmlinuz -r hvmlite/efi -r hvmlite/pvh
        efishim compare deb:linux-image-cloud-amd64
        efishim compare vmlinuz -r firmware/efi -r hvmlite/pvh@hvmlite
        efishim compare xen -r multiboot/multiboot -r multiboot2/multiboot2 --module vmlinuz=console=hvc0 --module initrd.img
        efishim compare old.json new.json
        efishim compare vm.core hvmlite/pvh
        efishim compare vmlinuz --from vm.core -r hvmlite/pvh -r hvmlite/efi
        efishim compare vmlinuz --format junit -o compare.xml
        efishim compare vmlinuz-6.1 vmlinuz-6.12 -r hvmlite/pvh     what changed at this entry
    """
    from efishim.compare.added import hold_to_counter_cases, rules_of
    from efishim.compare.build import build, not_followed
    from efishim.compare.rules import read_rules
    from efishim.report.comparison_text import rules_used as used
    from efishim.report.comparisons import renderers

    if output:
        check_writable(output)
    if keep:
        check_directory(keep)
    if use is not None:
        subjects = subjects or ((use.kernel,) if use.kernel else ())
        routes = routes or state.project.expanded(use.routes)
    rules = read_rules(rules_file) if rules_file else rules_of(state.registry)
    subjects, routes, dump = _dump_of(state, subjects, routes, from_dump)
    if dump is not None:
        words |= {**left_to_dump(), "entry": entry}
        if everything:
            raise UsageError("--all has no meaning with a dump", hint="name the routes, or none")
    elif entry is not None:
        raise UsageError("--entry has no meaning without a dump", hint="-r PROVIDER/ENTRY names a route")
    if len(subjects) == 2 and dump is None and not all(one.endswith(RECORD_SUFFIX) for one in subjects):
        require_form(form)
        pairs, status = boot_versions(
            state, subjects, routes, jobs=jobs, keep=keep, quiet=quiet, words=words, no_cache=no_cache, on=on
        )
        return status or tell_versions(pairs, form, output, verbose=verbose)
    records, plans, skipped, status = _records(
        state, subjects, routes, everything, jobs, keep, quiet, words, dump, (no_cache, on)
    )
    if subjects and are_versions(records):
        require_form(form)
        return tell_versions([(records[0], records[1])], form, output, verbose=verbose)
    if status and not no_cache:
        state.talk.line("finished runs are kept: repeat the command to make the others")
    if not rules_file:
        hold_to_counter_cases(rules, records)
    repeated = Controls(state, records, plans, jobs, quiet, no_cache, on)
    comparison = build(records, skipped, rules, repeated.repeat if controls and not status else None)
    status = status or repeated.interrupted
    for path in not_followed(comparison, records):
        state.talk.warning(f"branches in the code of {path} were not followed: the image was not found, or has no symbols")
    if rules_used:
        document(used(comparison), "text", output)
    else:
        document(renderers()[form](comparison, records, verbose), form, output)
    return status or (0 if comparison.clean else 1)


def _dump_of(
    state: State, subjects: tuple[str, ...], routes: tuple[str, ...], dump: str | None
) -> tuple[tuple[str, ...], tuple[str, ...], str | None]:
    """Kernel or records, routes, and the dump: `DUMP ROUTE...` as arguments means `--from DUMP -r ROUTE...`."""
    first, *others = subjects or ("",)
    if dump is None and others and all(_is_route(state, one) for one in others):
        return (), (*others, *routes), first
    return subjects, routes, dump


def _is_route(state: State, text: str) -> bool:
    """A provider's name, a slash and an entry; a file of that name is a file."""
    provider, slash, _ = text.partition("/")
    return bool(slash) and provider in state.registry.providers and not Path(text).exists()


def _records(
    state: State,
    subjects: tuple[str, ...],
    routes: tuple[str, ...],
    everything: bool,
    jobs: int | None,
    keep: str | None,
    quiet: bool,
    words: dict[str, Any],
    dump: str | None,
    where: tuple[bool, str | None],
) -> tuple[list[Record], list[Plan | None], list[Skipped], int]:
    """Records from files or from runs, the plans of those from runs, routes without one, and the exit status of an
    interruption. `where` are --no-cache and --on.
    """
    if routes and everything:
        raise UsageError("--all and -r contradict each other: --all already selects every route")
    if subjects and dump is None and all(subject.endswith(RECORD_SUFFIX) for subject in subjects):
        if len(subjects) < 2:
            raise UsageError("one record has nothing to be compared with", hint="give two or more")
        if routes:
            raise UsageError("-r has no meaning with records: nothing is booted")
        from efishim.lab.record import read_record

        return [read_record(subject) for subject in subjects], [None] * len(subjects), [], 0
    if len(routes) == 1 and dump is None:
        from efishim.lab.plan.routes import split_route

        split_route(state.registry, routes[0], words["platform"])  # a wrong name is the better reason
        raise UsageError(f"{routes[0]} alone has nothing to be compared with", hint="give -r twice or more, or not at all")
    if len(subjects) > 1:
        raise UsageError("compare takes one kernel, or two to compare with each other", hint="or give records, FILE.json")
    from efishim.cli.matrix import run_routes

    kernel, (no_cache, on) = subjects[0] if subjects else None, where
    outcome = run_routes(state, kernel, routes, jobs=jobs, quiet=quiet, words=words, dump=dump, no_cache=no_cache, on=on)
    if keep:
        outcome.keep(keep)
    if not outcome.records:
        if outcome.interrupted:
            return [], [], outcome.skipped, INTERRUPTED
        reasons = "; ".join(f"{one.route}: {one.reason}" for one in outcome.skipped)
        raise UsageError(f"no route gave a record: {reasons}")
    return outcome.records, list(outcome.plans), outcome.skipped, outcome.interrupted
