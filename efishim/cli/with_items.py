"""The option `--with` of `efishim run`, and how such a run is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import rich_click as click

from efishim.errors import UsageError

if TYPE_CHECKING:
    from efishim.lab.debugger import DebugRequest
    from efishim.lab.observe.limits import Interrupt
    from efishim.lab.plan.plan import Plan
    from efishim.lab.progress import Progress
    from efishim.lab.record import Record
    from efishim.plugins import Registry

with_option = click.option(
    *("--with", "taken"),
    metavar="ITEM@ROUTE",
    multiple=True,
    help="Take ITEM over from ROUTE at startup_64, as if this boot path had set it; repeatable; see `efishim why`.",
)


def made(
    plan: Plan,
    taken: tuple[str, ...],
    *,
    use_cache: bool,
    console: Callable[[bytes], None] | None,
    progress: Progress,
    interrupt: Interrupt,
    registry: Registry,
    debug: DebugRequest | None,
) -> Record:
    """The record of the plan, with items of another route or without."""
    if not taken:
        from efishim.lab.cache.cached import run_cached
        from efishim.lab.cache.records import own_records

        cache = own_records() if use_cache else None
        return run_cached(
            plan, cache=cache, console=console, progress=progress, interrupt=interrupt, registry=registry, debug=debug
        )
    from dataclasses import replace

    from efishim.lab.plan.routes import split_route
    from efishim.why.compose import Taken, compose

    if debug is not None:
        raise UsageError("--with has no meaning with a debugger: most of such a run is made before it")
    names, routes = zip(*(_parted(one) for one in taken), strict=True)
    if len(set(routes)) > 1:
        raise UsageError("all items of --with must come from one route", hint=f"there are {' and '.join(sorted(set(routes)))}")
    provider, entry, platform = split_route(registry, routes[0], plan.platform)
    donor = replace(plan, provider=provider, entry=entry, platform=platform, options=_without_provider(plan))
    progress.phase("running")
    return compose(plan, donor, Taken(names, routes[0]), registry, console=console, interrupt=interrupt)


def _parted(text: str) -> tuple[str, str]:
    name, at, route = text.partition("@")
    if not name or not at or not route:
        raise UsageError(f"{text!r} is no item of a route", hint="write it like boot_params.efi_info@hvmlite/efi")
    return name, route


def _without_provider(plan: Plan) -> Any:
    """The options of the machine: those of a provider are for that one."""
    return tuple((name, value) for name, value in plan.options if name.startswith("platform."))
