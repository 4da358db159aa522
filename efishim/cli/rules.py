"""`efishim rules [RULE]`: list the ABI rules that are checked at entries, or explain some of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from efishim.errors import UsageError

if TYPE_CHECKING:
    from efishim.cli.app import State
    from efishim.provider import Requirement


@click.command("rules")
@click.argument("rule", required=False)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Output format.")
@click.pass_obj
def command(state: State, /, rule: str | None, form: str) -> None:
    """List the ABI rules, or explain RULE: what it demands, its specification, and the entries that it is checked at.

    RULE is the name of a rule, of a group of them (`boot_params`), or of an entry (`linux64`), which selects all rules that are
    checked there. `efishim run` checks them just before the first instruction of the image and prints those that are
    violated; with --strict-abi it then exits with status 1.

    \b
        efishim rules
        efishim rules pvh/start-info
        efishim rules linux64
    """
    from efishim.cli.out import print_json, table
    from efishim.lab.abi import all_rules, checkers

    known = all_rules(checkers(state.registry.entries.values()))
    chosen = {name: one for name, one in known.items() if rule is None or _selects(rule, name, one[1])}
    if not chosen:
        groups = dict.fromkeys(name.partition("/")[0] for name in known)
        raise UsageError(f"there is no rule {rule!r}", hint=f"there are groups of rules: {', '.join(groups)}")
    if form == "json":
        print_json([_described(*one) for one in chosen.values()])
    elif rule is None:
        table(("rule", "what it demands"), [(name, one.demand) for name, (one, _) in chosen.items()])
    else:
        for one, entries in chosen.values():
            _explain(one, entries)


def _selects(word: str, name: str, entries: tuple[str, ...]) -> bool:
    return name == word or name.startswith(f"{word}/") or word in entries


def _described(rule: Requirement, entries: tuple[str, ...]) -> dict[str, object]:
    return {"rule": rule.id, "demand": rule.demand, "specification": rule.reference, "entries": list(entries)}


def _explain(rule: Requirement, entries: tuple[str, ...]) -> None:
    from efishim.cli.out import heading, paragraph

    heading(rule.id)
    paragraph(f"{rule.demand}.")
    paragraph(f"specification: {rule.reference}")
    if entries:
        paragraph(f"checked at the entries: {', '.join(entries)}")
    else:
        paragraph("checked by the conformance kit for providers: efishim.testing")
