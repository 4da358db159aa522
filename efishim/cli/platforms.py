"""`efishim platforms`: list the machines that efishim can emulate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from efishim.cli.app import State


@click.command("platforms")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Output format.")
@click.pass_obj
def command(state: State, form: str) -> None:
    """List the platforms, the machines that `--platform` can emulate, with their options."""
    from efishim.cli.out import option_rows, print_json, table
    from efishim.lab.plan.machine_options import MACHINE_GROUP, MACHINE_OPTIONS

    platforms = state.registry.platforms
    if form == "json":
        print_json(
            [
                {"name": one.name, "summary": one.summary, "options": option_rows("platform", one.options)}
                for one in platforms.values()
            ]
        )
        return
    table(("platform", "what it is"), [(one.name, one.summary) for one in platforms.values()])
    rows = [row for one in platforms.values() for row in option_rows("platform", one.options)]
    rows += option_rows(MACHINE_GROUP, MACHINE_OPTIONS)
    click.echo()
    table(("option", "default", "meaning"), [(row["option"], row["default"], row["help"]) for row in rows])
