"""The options of `run` about what is loaded besides the kernel: a boot loader in front of it, and modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from efishim.cli import complete

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.lab.plan.arguments import Words
    from efishim.lab.plan.plan import Plan
    from efishim.lab.progress import Progress

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


module_option = click.option(
    "--module",
    "modules",
    metavar="FILE[=CMDLINE]",
    multiple=True,
    type=complete.FILE,
    help="Module with a command line of its own, for multiboot, multiboot2 and pvh; repeatable, in place of -i.",
)


def loader_options(function: Decorated) -> Decorated:
    """Add the options."""
    for option in (
        click.option(
            "--disk",
            metavar="IMAGE",
            type=complete.FILE,
            help="Boot from this disk image (GPT, MBR or FAT) as firmware does; without KERNEL, look for the kernel there.",
        ),
        click.option(
            "--loader",
            metavar="LOADER[:WAY]",
            shell_complete=complete.loader,
            help="Let a real boot loader start the kernel, from a disk made for this run; see docs/loaders.md.",
        ),
        module_option,
    ):
        function = option(function)
    return function


def plan_of(state: State, kernel: str | None, progress: Progress, words: Words) -> Plan:
    """The plan of a run that does not begin with a dump."""
    from efishim.cli.kernel import find_image
    from efishim.lab.plan.arguments import make_plan
    from efishim.lab.plan.loader_plan import image_of_disk

    disk = words.disk
    if disk is not None and kernel is None:
        return make_plan(state.registry, lambda: image_of_disk(disk), words)
    return make_plan(state.registry, lambda: find_image(kernel, progress, state.registry), words)
