"""`efishim show`: look at one record."""

from __future__ import annotations

import rich_click as click

from efishim.cli import complete
from efishim.cli.out import document
from efishim.cli.outputs import STDOUT, check_writable

PARTS = ("milestones", "told", "calls", "hardware", "code", "console")
"""As in efishim.report.record_parts. A test compares."""


@click.command("show")
@click.argument("record", metavar="RECORD", type=complete.FILE)
@click.argument("part", required=False, metavar="[PART]", type=click.Choice(PARTS))
@click.option(
    *("--format", "form"), type=click.Choice(("text", "html")), default="text", show_default=True, help="Output format."
)
@click.option("-o", "--output", metavar="FILE", type=complete.FILE, help="Write to FILE instead of stdout; - is stdout.")
def command(record: str, part: str | None, form: str, output: str | None) -> None:
    """Show RECORD, a file that `efishim run --record` wrote, or one PART of it.

    PART is milestones, told (the boot information), calls (into firmware), hardware (the accesses), code (the functions that
    ran) or console. Without PART, text has an overview and HTML has everything.

    \b
        efishim show run.json
        efishim show run.json told
        efishim show run.json hardware | grep -i pic
        efishim show run.json --format html -o run.html
    """
    from efishim.lab.record import read_record
    from efishim.report.record_shown import page, text

    if output and output != STDOUT:
        check_writable(output)
    names = () if part is None else (part,)
    found = read_record(record)
    document(page(found, names) if form == "html" else text(found, names), form, output)
