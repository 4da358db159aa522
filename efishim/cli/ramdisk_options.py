"""`-i` and `--no-initrd`: the one that is given nearer to the user holds, as for an option that is given twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import rich_click as click
from click.core import ParameterSource

from efishim.cli import complete

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

WITHOUT: dict[str, Any] = {"initrds": (), "no_initrd": False}
"""The two parameters, and their values when neither is given."""

RANK = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)
"""The nearest first: the command line, EFISHIM_*, efishim.toml."""


def ramdisks_or_none(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """The value, or none where the other option is given nearer to the user. Both at one place stay, for the error."""
    name = str(parameter.name)
    (other,) = (one for one in WITHOUT if one != name)
    if not value or not context.params.get(other):
        return value
    mine, its = (_rank(context, one) for one in (name, other))
    if mine > its:
        return WITHOUT[name]
    if mine < its:
        context.params[other] = WITHOUT[other]
    return value


def _rank(context: click.Context, name: str) -> int:
    source = context.get_parameter_source(name)
    return RANK.index(source) if source in RANK else len(RANK)


def ramdisk_options(function: Decorated) -> Decorated:
    """Both options, in the order of the help."""
    function = click.option("--no-initrd", is_flag=True, callback=ramdisks_or_none, help="Boot without an initial ramdisk.")(
        function
    )
    return click.option(
        *("-i", "--initrd", "initrds"),
        metavar="FILE",
        multiple=True,
        type=complete.FILE,
        callback=ramdisks_or_none,
        help="Initial ramdisk; repeatable. [default: the embedded reporting init for a kernel]",
    )(function)
