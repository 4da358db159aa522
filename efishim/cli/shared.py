"""Options shared by several commands. They are those of `efishim run` itself, so that they cannot drift apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import rich_click as click

from efishim.cli import complete
from efishim.cli.run import command as run

PLAN_WORDS = (
    *("platform", "cmdline", "initrds", "no_initrd", "memory", "until", "max_insns", "timeout", "seed", "epoch", "options"),
    *("system_map", "no_observers"),
)
"""Those that decide a run on any route; the names are fields of efishim.lab.plan.arguments.Words."""

FORMATS = ("text", "json", "markdown", "html", "junit")
"""As in efishim.report.comparisons, whose import would take a while. A test compares."""

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def options_of_run(*names: str) -> Callable[[Decorated], Decorated]:
    """These options of `run`, in this order."""
    known = {param.name: param for param in run.params}

    def decorate(function: Decorated) -> Decorated:
        params: list[click.Parameter] = function.__dict__.setdefault("__click_params__", [])
        params.extend(known[name] for name in reversed(names))
        return function

    return decorate


PLAN_OPTIONS = options_of_run(*PLAN_WORDS)
"""The options of `run` that a plan is made of."""


no_cache_option = options_of_run("no_cache")

on_option = click.option(
    "--on",
    metavar="dask://HOST:PORT",
    help="Run on the workers of this Dask cluster instead of this machine; needs efishim[dask].",
)

routes_option = click.option(
    *("-r", "--route", "routes"),
    metavar="PROVIDER/ENTRY[@PLATFORM]",
    multiple=True,
    shell_complete=complete.route,
    callback=complete.routes_of_project,
    help="Boot through this route; repeatable. [default: all that apply to the image]",
)
