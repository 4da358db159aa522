"""Options about plugins, of the program and of `run`: which are loaded, and what is printed of their failures."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import rich_click as click

from efishim.plugins import BLOCKED

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def plugin_options(function: Decorated) -> Decorated:
    """Add the options; what they say takes effect before anything is asked of a plugin."""
    for option in (
        click.option(
            "--traceback",
            is_flag=True,
            expose_value=False,
            callback=_traceback,
            help="If a plugin fails, print the traceback.",
        ),
        click.option(
            "--block-plugin",
            metavar="NAME",
            multiple=True,
            expose_value=False,
            callback=lambda _context, _option, names: _block(*names),
            help="Do not load this plugin; repeatable. NAME is as in `efishim plugins`, or DISTRIBUTION:NAME.",
        ),
        click.option(
            "--no-plugins",
            is_flag=True,
            expose_value=False,
            callback=lambda _context, _option, given: _block(*["*"] * bool(given)),
            help="Load only the plugins that come with efishim. The same as EFISHIM_BLOCK_PLUGINS=*.",
        ),
    ):
        function = option(function)
    return function


def _block(*names: str) -> None:
    """Worker processes load their plugins themselves, and find this in their environment."""
    if names:
        os.environ[BLOCKED] = ",".join(filter(None, (os.environ.get(BLOCKED), *names)))


def _traceback(context: click.Context, _option: click.Parameter, given: bool) -> None:
    if given:
        context.find_root().obj.traceback = True
