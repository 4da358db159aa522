"""The option of `run` that adds nodes of setup_data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import rich_click as click

from efishim.cli.complete import FILE

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def setup_data_option(function: Decorated) -> Decorated:
    """Add the option; the command gets it as `setup_data`."""
    option = click.option(
        "--setup-data",
        metavar="TYPE=FILE[@PLACE]",
        type=FILE,
        multiple=True,
        help="Add a node to the setup_data chain of the Linux boot protocol; repeatable. TYPE is a number or a name such as "
        "SETUP_RNG_SEED; PLACE is an address such as 0x1000000, or `kernel` for behind the kernel's file.",
    )
    return option(function)
