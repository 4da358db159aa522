"""The option of `run` that makes calls fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import rich_click as click

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def fault_option(function: Decorated) -> Decorated:
    """Add the option; the command gets it as `fail`."""
    option = click.option(
        "--fail",
        metavar="SERVICE[:N[+]]=STATUS",
        multiple=True,
        help="Make the N-th call of a firmware service fail, with + each later one, too; repeatable. SERVICE is as in the call "
        "log, an `int 15h/E820` of a BIOS, a hypercall such as memory_op.9, or memory for all allocations. [default N: 1]",
    )
    return option(function)
