"""`efishim schema`: the JSON Schema of the record."""

from __future__ import annotations

import rich_click as click


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of the records that `run --record` writes.

    \b
        efishim schema > record.schema.json
    """
    import json

    from efishim.lab.record import json_schema

    click.echo(json.dumps(json_schema(), indent=2, sort_keys=True))
