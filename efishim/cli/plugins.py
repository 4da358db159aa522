"""`efishim plugins`: what was loaded, what each plugin gives, and what is wrong with those that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from efishim.cli.app import State


@click.command("plugins")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@click.pass_obj
def command(state: State, form: str) -> int:
    """List the plugins of the entry-point group efishim_v1.

    Every provider and platform comes through that group, also those that ship with efishim. A plugin that fails is
    named with its reason, the others go on, and the exit status is 3.
    """
    from efishim.cli.out import print_json, table
    from efishim.plugins import GROUP

    registry = state.registry
    gives = {plugin.name: registry.given_by(plugin.name) for plugin in registry.plugins}
    if form == "json":
        print_json(
            {
                "group": GROUP,
                "plugins": [
                    {"name": one.name, "module": one.module, "version": one.version, "gives": gives[one.name]}
                    for one in registry.plugins
                ],
                "problems": [{"plugin": one.plugin, "problem": one.sentence} for one in registry.problems],
            }
        )
    else:
        table(
            ("plugin", "version", "module", "gives"),
            [
                (plugin.name, plugin.version or "-", plugin.module, "; ".join(gives[plugin.name]) or "nothing")
                for plugin in registry.plugins
            ],
        )
    return 3 if registry.problems else 0
