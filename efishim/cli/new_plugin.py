"""`efishim new-plugin NAME`: write a package with a plugin that works, its tests and a CI file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from efishim.cli import complete

if TYPE_CHECKING:
    from efishim.cli.app import State

KINDS = ("provider", "entry")


@click.command("new-plugin")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default="provider",
    show_default=True,
    help="Kind of the plugin: a provider, or an entry with its ABI checker and a provider that drives it.",
)
@click.option(
    *("-C", "--directory"), metavar="DIR", default=".", type=complete.FILE, help="Create the package in DIR. [default: here]"
)
@click.pass_obj
def command(state: State, /, name: str, kind: str, directory: str) -> None:
    """Write a package efishim-NAME with a plugin that works: replace its structure with your own, and keep the tests.

    The package has a pyproject.toml that registers the plugin, a module, tests that use the conformance kit
    (efishim.testing), and a workflow for CI. Existing files are not overwritten. Run pip in the environment that efishim is
    installed in.

    \b
        efishim new-plugin myvmm
        cd efishim-myvmm
        pip install -e '.[test]'
        pytest
        efishim run -p myvmm
    """
    from pathlib import Path

    from efishim.cli.skeleton import Names, write

    names = Names.of(name, state.registry)
    folder = write(names, kind, Path(directory))
    click.echo(f"{folder} is a package with the {kind} {names.name}. Next:")
    click.echo(f"    cd {folder}\n    pip install -e '.[test]'\n    pytest\n    efishim run -p {names.name}")
