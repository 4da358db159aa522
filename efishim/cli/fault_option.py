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
        help="Make the N-th call of SERVICE fail, with + also each later one; repeatable. SERVICE is a firmware service as in "
        "the call log, a BIOS call such as `int 15h/E820`, a hypercall such as memory_op.9, a device such as `device CMOS`, "
        "or memory for all allocations. "
        "[default N: 1]",
    )
    return option(function)
