"""`efishim plugins`: list the plugins, what each one registers, and why one failed to load."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from efishim.cli.app import State


@click.command("plugins")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Output format.")
@click.pass_obj
def command(state: State, form: str) -> int:
    """List the plugins in the entry-point group efishim_v1 and what each one registers.

    All providers and platforms are plugins, the built-in ones included. A plugin that fails to load is listed with the
    reason and does not affect the others; the exit status is then 3.
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
