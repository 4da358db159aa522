"""A comparison as Markdown, for a pull request comment or a job summary."""

from __future__ import annotations

from collections.abc import Iterator

from efishim.compare.model import Comparison, DifferenceView, PairView
from efishim.report.comparison_text import cells, clean, conclusion, given_rows, short
from efishim.report.figures import amount

ROW_LIMIT = 100


def render(comparison: Comparison, *, verbose: bool = False) -> str:
    """The whole document, with its last newline."""
    lines = ["# Comparison of boot routes", "", conclusion(comparison), "", *_runs(comparison)]
    if comparison.skipped:
        lines.append("")
    for one in comparison.skipped:
        word = "failed" if one.failed else "does not apply"
        lines += [f"* `{_code(one.route)}` {word}: {_text(one.reason)}"]
    for pair in comparison.pairs:
        lines += ["", *_pair(pair, verbose=verbose)]
    if len(comparison.pairs) > 1:
        lines += ["", *_table(comparison, verbose=verbose)]
    return "\n".join(lines) + "\n"


def _runs(comparison: Comparison) -> Iterator[str]:
    yield "| | route | platform | reached | to startup_64 | in all | firmware calls | unexplained |"
    yield "|---|---|---|---|---:|---:|---:|---:|"
    for run in comparison.runs:
        points = {point.name: point.insns for point in run.milestones}
        pair = next((one for one in comparison.pairs if one.right == run.name), None)
        start = amount(points["startup_64"]) if "startup_64" in points else "-"
        reached = run.reached if run.met else f"**{run.reached or 'nothing'}**"
        unexplained = "reference" if pair is None else str(len(pair.unexplained))
        yield (
            f"| {run.key} | `{_code(run.name)}` | {_text(run.platform)} | {reached} | {start} | {amount(run.insns)} "
            f"| {sum(run.calls.values())} | {unexplained} |"
        )


def _pair(pair: PairView, *, verbose: bool) -> Iterator[str]:
    yield f"## `{_code(pair.left)}` and `{_code(pair.right)}`"
    yield ""
    for answer in pair.answers:
        yield f"**{_text(answer.question)}**"
        yield ""
        yield from (f"* {_text(line)}" for line in answer.lines)
        yield ""
    if pair.unexplained:
        yield f"### Unexplained: {len(pair.unexplained)}"
        yield ""
        yield from _differences(pair.unexplained)
        yield ""
    yield f"<details><summary>Explained: {pair.explained}</summary>"
    yield ""
    for group in pair.groups:
        yield f"**{_text(group.rule)}** ({len(group.differences)}, {group.kind}): {_text(group.reason)}"
        yield ""
        yield f"Source: {_text(group.source)}"
        yield ""
        yield from _differences(group.differences if verbose else group.differences[:5])
        yield ""
    yield "</details>"


def _differences(differences: list[DifferenceView]) -> Iterator[str]:
    yield "| fact | left | right |"
    yield "|---|---|---|"
    for one in differences:
        yield f"| `{_code(one.path)}` | `{_code(short(one.left))}` | `{_code(short(one.right))}` |"


def _table(comparison: Comparison, *, verbose: bool) -> Iterator[str]:
    told = given_rows(comparison)
    yield "## Boot information"
    yield ""
    yield "`.` as the first route, `-` without it, a letter another value."
    yield ""
    yield "| fact | " + " | ".join(run.key for run in comparison.runs) + " |"
    yield "|---|" + "---|" * len(comparison.runs)
    shown = told if verbose else told[:ROW_LIMIT]
    for row in shown:
        yield f"| `{_code(row.path)}` | " + " | ".join(cells(row).split(" ")) + " |"
    if len(shown) < len(told):
        yield ""
        yield f"{len(told) - len(shown)} more facts differ."


def _text(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\`*_[]<>|#" else char for char in clean(text))


def _code(text: str) -> str:
    return clean(text).replace("`", "'").replace("|", "\\|")
