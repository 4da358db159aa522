"""`efishim compare OLD NEW -r ROUTE`: two versions of a kernel through the same route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from efishim.cli.out import document
from efishim.errors import RouteError, UsageError

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.lab.record import Record


def are_versions(records: Sequence[Record]) -> bool:
    """Are these two kernels on one route?"""
    if len(records) != 2:
        return False
    old, new = records
    return old.route == new.route and old.image.sha256 != new.image.sha256


def boot_versions(
    state: State,
    kernels: Sequence[str],
    routes: tuple[str, ...],
    *,
    jobs: int | None,
    keep: str | None,
    quiet: bool,
    words: Mapping[str, Any],
    no_cache: bool,
    on: str | None,
) -> tuple[list[tuple[Record, Record]], int]:
    """Both kernels through each route, and the exit status of an interruption. Raises RouteError when no route gave a record of
    both.
    """
    from efishim.cli.matrix import run_routes

    if not routes:
        raise UsageError("two kernels are compared on routes that you name", hint="give -r PROVIDER/ENTRY; repeatable")
    found: list[dict[str, Record]] = []
    reasons: list[str] = []
    interrupted = 0
    for number, kernel in enumerate(kernels):
        outcome = run_routes(state, kernel, routes, jobs=jobs, quiet=quiet, words=dict(words), no_cache=no_cache, on=on)
        if keep:
            outcome.keep(f"{keep}/{('old', 'new')[number]}")
        interrupted = interrupted or outcome.interrupted
        found.append({_route(record): record for record in outcome.records})
        reasons += [f"{kernel}, {one.route}: {one.reason}" for one in outcome.skipped]
    for reason in reasons:
        state.talk.line(reason)
    old, new = found
    pairs = [(old[name], new[name]) for name in old if name in new]
    if not pairs and not interrupted:
        raise RouteError(f"no route gave a record of both kernels: {'; '.join(reasons)}")
    return pairs, interrupted


def tell_versions(pairs: Sequence[tuple[Record, Record]], form: str, output: str | None, *, verbose: bool) -> int:
    """Print the comparison; 0 when the same is told, called and touched, and both got there."""
    from efishim.compare.versions import versions
    from efishim.report.versions import render

    found = [versions(old, new) for old, new in pairs]
    document(render(found, form, verbose=verbose), form, output)
    return 0 if found and all(one.same for one in found) else 1


def require_form(form: str) -> None:
    """Raises UsageError for a format that two kernels have no report in."""
    from efishim.report.versions import FORMATS

    if form not in FORMATS:
        raise UsageError(f"the comparison of two kernels has no format {form!r}", hint=f"it has: {', '.join(FORMATS)}")


def _route(record: Record) -> str:
    return f"{record.route.provider}/{record.route.entry}@{record.route.platform}"
