"""A record as text: milestones, outcome and cost."""

from __future__ import annotations

from efishim.lab.record import Outcome, Record
from efishim.report.figures import amount
from efishim.report.last_moments import last_moments
from efishim.report.violations import violations


class Text:
    """`--format text`: the console, then the summary. `run` streams the console and prints the summary apart."""

    name = "text"
    summary = "the console and a summary"

    def render(self, record: Record) -> str:
        """Console and summary, with a line end between them."""
        console = record.console
        return (console if not console or console.endswith("\n") else console + "\n") + summary(record) + "\n"


def summary(record: Record) -> str:
    """The milestones as a table, the outcome as sentences, and what is wrong at the entry; no line end after the last."""
    lines = [f"{record.image.path} through {record.route.provider}/{record.route.entry} on {record.route.platform}", ""]
    seconds = record.outcome.seconds  # 0 where it is not known: a record in a file has no host time
    lines.append(f"  {'milestone':<20}{'instructions':>18}{'seconds' if seconds else '':>10}{'guest clock':>14}")
    for point in record.milestones:
        guest = f"{point.virtual_ns / 1e9:.3f} s"
        host = f"{point.seconds:.2f}" if seconds else ""
        lines.append(f"  {point.name.value:<20}{point.insns:>18,}{host:>10}{guest:>14}")
    if not record.milestones:
        lines.append("  none was passed")
    lines += ["", verdict(record.outcome)]
    calls = len(record.firmware_calls) + record.firmware_calls_dropped
    word = "call" if calls == 1 else "calls"
    spent = f" in {seconds:.2f} s" if seconds else ""
    lines.append(f"{calls:,} firmware {word}, {amount(record.outcome.insns)} instructions{spent}")
    if not record.outcome.reproducible:
        lines.append("The host ended this run, so the record is not reproducible.")
    lines += [f"note: {note}" for note in record.notes]
    # Rules that the hand-over violates are usually the cause of what came of it.
    for part in (violations(record), last_moments(record)):
        if part:
            lines += ["", *part]
    return "\n".join(lines)


def verdict(outcome: Outcome) -> str:
    """One or two sentences: was the goal reached, and why did it end."""
    where = ""
    if outcome.at is not None:
        where = f" at {outcome.at.shown}"
    detail = f": {outcome.details}" if outcome.details else ""
    if outcome.met:
        return f"{outcome.goal.value} reached{detail}"
    last = f"the last milestone was {outcome.reached.value}" if outcome.reached else "no milestone was passed"
    return f"{outcome.goal.value} not reached ({outcome.reason.value}{where}){detail}; {last}"
