"""`efishim providers [NAME]`: list the producers of boot information."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from efishim.cli import complete

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.provider import Provider


@click.command("providers")
@click.argument("name", required=False, shell_complete=complete.provider)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Output format.")
@click.pass_obj
def command(state: State, name: str | None, form: str) -> None:
    """List the providers, or describe one: its entries, specifications, limits and options.

    \b
        efishim providers
        efishim providers firmware
    """
    from efishim.cli.out import print_json, table

    registry = state.registry
    chosen = [registry.provider(name)] if name else list(registry.providers.values())
    if form == "json":
        print_json([_described(one) for one in chosen])
    elif name:
        _tell(chosen[0])
    else:
        rows = [(one.name, ", ".join(entry.name for entry in one.entries), one.summary) for one in chosen]
        table(("provider", "entries", "what it is"), rows)


def _options(provider: Provider) -> list[dict[str, str]]:
    """Its own options, and the shim's where it feeds the shim."""
    from efishim.cli.out import option_rows
    from efishim.lab.plan.shim_options import SHIM_GROUP, SHIM_OPTIONS

    rows = option_rows(provider.name, provider.options)
    if any(entry.through_shim for entry in provider.entries):
        rows += option_rows(SHIM_GROUP, SHIM_OPTIONS)
    return rows


def _described(provider: Provider) -> dict[str, Any]:
    return {
        "name": provider.name,
        "summary": provider.summary,
        "structure": provider.structure,
        "specifications": [{"title": one.title, "link": one.link} for one in provider.specifications],
        "limits": list(provider.limits),
        "entries": [{"name": one.name, "summary": one.summary, "through_shim": one.through_shim} for one in provider.entries],
        "options": _options(provider),
    }


def _tell(provider: Provider) -> None:
    from efishim.cli.out import heading, paragraph, table

    heading(provider.name, provider.summary)
    paragraph(f"native structure: {provider.structure}")
    heading("entries")
    way = {True: "through the EFI shim", False: "native"}
    table(("entry", "way", "what it is"), [(one.name, way[one.through_shim], one.summary) for one in provider.entries])
    heading("specifications")
    for specification in provider.specifications:
        paragraph(f"{specification.title}  {specification.link}")
    heading("limits")
    for limit in provider.limits:
        paragraph(limit)
    rows = _options(provider)
    if rows:
        heading("options")
        table(("option", "default", "meaning"), [(row["option"], row["default"], row["help"]) for row in rows])
