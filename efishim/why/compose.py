"""A handover composed by hand: a run in which a kernel gets some items of the state that another route leaves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from efishim.errors import UsageError
from efishim.lab.observe.limits import Interrupt
from efishim.lab.plan.plan import Plan, shell_word
from efishim.lab.record import Record
from efishim.plugins import Registry
from efishim.why.behind import run_on
from efishim.why.build import plain_plan, require_comparable
from efishim.why.items import difference, group_of
from efishim.why.pieces import Item
from efishim.why.side import arrive, meet
from efishim.why.take import take

FIELD, VARIABLE, TOGETHER = "boot_params.", "kernel variable ", " + "


@dataclass(frozen=True)
class Taken:
    """Items by the names that users give them, and the route that they are from."""

    names: tuple[str, ...]
    route: str


def compose(
    plan: Plan,
    donor: Plan,
    taken: Taken,
    registry: Registry,
    *,
    console: Callable[[bytes], None] | None = None,
    interrupt: Interrupt | None = None,
) -> Record:
    """Run `plan`, whose machine gets the named items of the donor's at startup_64. The record begins there, and says what was
    changed. Raises UsageError for a name that is no difference, and what preparing a run raises.
    """
    mine, theirs = plain_plan(plan), plain_plan(donor)
    require_comparable(mine, theirs)
    recipient, giver = arrive(mine, registry, interrupt=interrupt), arrive(theirs, registry, interrupt=interrupt)
    start = meet(recipient, giver)
    items = difference(recipient, giver)
    chosen = [item for name in taken.names for item in named(name, items)]
    if giver.has_firmware and not recipient.has_firmware:
        # The kernel may call firmware that only the other machine has: it runs on that one, with everything else of this one.
        machine = giver
        take(giver, recipient, [item for item in items if item not in chosen], start)
    else:
        machine = recipient
        take(recipient, giver, chosen, start)
    machine.console.stream = console
    record = run_on(machine)
    machine.console.flush()
    told = ", ".join(dict.fromkeys(item.name for item in chosen))
    words = " ".join(f"--with {shell_word(f'{name}@{taken.route}')}" for name in taken.names)
    return msgspec.structs.replace(
        record,
        route=plan.route_name(),
        options=mine.record_options(),
        notes=[*mine.notes, f"the record begins at startup_64, where this was taken over from {taken.route}: {told}"],
        reproduce=f"{replace(mine, cmdline=plan.cmdline).reproduce()} {words}",
    )


def named(name: str, items: Sequence[Item]) -> list[Item]:
    """The items that a name means: the whole name, a field of boot_params, a variable. Raises UsageError when there is none."""
    short = name.removeprefix(FIELD)
    wanted = {name, short, FIELD + short, VARIABLE + name, group_of(short), group_of(short + ".")}
    found = [item for item in items if wanted & set(item.name.split(TOGETHER))]
    if not found:
        known = ", ".join(item.name for item in items)
        raise UsageError(f"the two routes do not differ in {name!r}", hint=f"they differ in: {known}" if known else "")
    return found
