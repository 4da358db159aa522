"""A comparison as text: answers first, then the unexplained and the explained differences, and the table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from efishim.compare.baseline import moved_by_kaslr
from efishim.compare.facts import Kind, Side
from efishim.compare.model import Comparison, DifferenceView, Group, PairView, Question, Row, RunView, Skipped
from efishim.report.figures import amount, release
from efishim.report.plain import plain_line

VALUE_WIDTH = 60
"""Longer values are cut in text; JSON has them whole."""

EXAMPLES = 3
"""Differences shown of a group that is explained, unless all are asked for."""

HEADERS = ("", "route", "platform", "reached", "startup_64", "start_kernel", "end", "calls", "unexplained")

ROW_LIMIT = 100
"""Rows of the table that are shown, unless all are asked for."""


def render(comparison: Comparison, *, verbose: bool = False) -> str:
    """The whole text, with its last newline."""
    lines = [*_overview(comparison), ""]
    lines += _skipped(comparison.skipped)
    if len(comparison.pairs) == 1:
        lines += _deep(comparison, comparison.pairs[0], verbose=verbose)
    elif comparison.pairs:
        lines += _matrix(comparison, verbose=verbose)
        for pair in comparison.pairs:
            lines += _shallow(comparison, pair, verbose=verbose)
    lines.append(conclusion(comparison))
    return "\n".join(clean(line).rstrip() for line in lines) + "\n"


def rules_used(comparison: Comparison) -> str:
    """Each rule with the number of differences that it explains, and in how many pairs; what is unexplained comes last."""
    counts: dict[str, list[int]] = {}
    for pair in comparison.pairs:
        for group in pair.groups:
            held = counts.setdefault(group.rule, [0, 0])
            held[0] += len(group.differences)
            held[1] += 1
    rows = [("differences", "pairs", "rule")]
    rows += [
        (str(count), str(pairs), name) for name, (count, pairs) in sorted(counts.items(), key=lambda row: (-row[1][0], row[0]))
    ]
    unexplained = sum(1 for pair in comparison.pairs if pair.unexplained)
    rows.append((str(comparison.unexplained), str(unexplained), "(unexplained)"))
    return "\n".join(columns(rows)) + "\n"


def clean(text: str) -> str:
    """No control characters: texts come from hostile guests, and a terminal obeys them."""
    return plain_line(text)


def conclusion(comparison: Comparison) -> str:
    """The last line: is everything as it should be."""
    short = [run.name for run in comparison.runs if not run.met]
    failed = [one.route for one in comparison.skipped if one.failed]
    parts = []
    if short:
        parts.append(f"not every run reached its goal: {', '.join(short)}")
    if failed:
        parts.append(f"no record of {', '.join(failed)}")
    count = comparison.unexplained
    if count:
        parts.append(f"{count} {'difference is' if count == 1 else 'differences are'} unexplained")
    if not comparison.pairs:
        parts.append("there is nothing to compare with")
    elif not count:
        parts.append("every difference is explained")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _overview(comparison: Comparison) -> Iterator[str]:
    images = list(dict.fromkeys((run.image, run.version, run.image_sha256) for run in comparison.runs))
    for path, version, digest in images:
        yield f"{path}  {release(version)}  sha256 {digest[:16]}"
    yield ""
    rows: list[tuple[str, ...]] = [HEADERS]
    for run in comparison.runs:
        rows.append(_overview_row(comparison, run))
    yield from columns(rows)


def _overview_row(comparison: Comparison, run: RunView) -> tuple[str, ...]:
    points = {point.name: point.insns for point in run.milestones}
    pair = next((one for one in comparison.pairs if one.right == run.name), None)
    unexplained = "reference" if pair is None else str(len(pair.unexplained))
    reached = run.reached + ("" if run.met else " (not the goal)")
    shown = (amount(points[name]) if name in points else "-" for name in ("startup_64", "start_kernel"))
    return (run.key, run.name, run.platform, reached, *shown, amount(run.insns), str(sum(run.calls.values())), unexplained)


def columns(rows: Sequence[Sequence[str]], gap: str = "  ") -> list[str]:
    """Cells under each other; the last column is not padded."""
    widths = [max(len(clean(row[i])) for row in rows) for i in range(len(rows[0]))]
    return [gap.join(clean(cell).ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _skipped(skipped: Iterable[Skipped]) -> list[str]:
    lines = []
    for one in skipped:
        word = "failed" if one.failed else "does not apply"
        lines.append(f"{one.route} {word}: {one.reason}" + (f" ({one.hint})" if one.hint else ""))
    return [*lines, ""] if lines else []


def _deep(comparison: Comparison, pair: PairView, *, verbose: bool) -> Iterator[str]:
    for answer in pair.answers:
        yield answer.question
        yield from (f"  {line}" for line in answer.lines)
        yield ""
    yield from _unexplained(pair, verbose=True)
    yield from _explained(pair, verbose=verbose)


def _shallow(comparison: Comparison, pair: PairView, *, verbose: bool) -> Iterator[str]:
    yield f"{pair.left} and {pair.right}: {_counts(pair)}"
    yield from (f"  {line}" for line in pair.answer(Question.INPUTS))
    yield from _unexplained(pair, verbose=verbose)
    if verbose:
        yield from _explained(pair, verbose=True)
    yield ""


def _counts(pair: PairView) -> str:
    kinds: dict[str, int] = {}
    for group in pair.groups:
        kinds[group.kind] = kinds.get(group.kind, 0) + len(group.differences)
    parts = [f"{pair.identical:,} facts are the same"]
    parts += [f"{count:,} differ {'by ' if kind == 'placement' else ''}{kind}" for kind, count in kinds.items()]
    parts.append(f"{len(pair.unexplained):,} unexplained")
    return ", ".join(parts)


UNEXPLAINED_SHOWN = 12
"""In a comparison of many; two runs have all of theirs shown."""


def _unexplained(pair: PairView, *, verbose: bool) -> Iterator[str]:
    if not pair.unexplained:
        return
    yield f"unexplained: {len(pair.unexplained)}"
    shown = pair.unexplained if verbose else pair.unexplained[:UNEXPLAINED_SHOWN]
    for one in shown:
        yield from _difference(one)
    if len(shown) < len(pair.unexplained):
        yield f"  ... and {len(pair.unexplained) - len(shown)} more (-v shows all)"
    yield ""


def _difference(one: DifferenceView) -> Iterator[str]:
    if one.side is Side.BEHAVIOUR and not (one.left and one.right):
        # What ran behind a branch is more than that it did.
        said = f": {one.left or one.right}" if one.fact.kind is Kind.CODE else ""
        yield f"  {'<' if one.left else '>'} {one.path}{said}"
        return
    also = f"   also at {', '.join(one.stages)}" if one.also else ""
    yield f"  {one.path}: {short(one.left)} | {short(one.right)}{also}"


def short(value: str) -> str:
    """A value that fits; `-` for a fact that is not there."""
    if not value:
        return "-"
    return value if len(value) <= VALUE_WIDTH else value[: VALUE_WIDTH - 3] + "..."


def _explained(pair: PairView, *, verbose: bool) -> Iterator[str]:
    yield f"explained: {pair.explained}; {pair.identical:,} facts are the same"
    for group in pair.groups:
        yield from _group(group, verbose=verbose)
    if verbose and pair.unused:
        yield "rules that apply to this pair and matched nothing: " + ", ".join(pair.unused)
    yield ""


def _group(group: Group, *, verbose: bool) -> Iterator[str]:
    yield f"  {group.rule}: {len(group.differences)} {group.kind}"
    yield f"    {group.reason}"
    yield f"    source: {group.source}"
    shown = group.differences if verbose else group.differences[:EXAMPLES]
    for one in shown:
        yield from (f"  {line}" for line in _difference(one))
    if len(shown) < len(group.differences):
        yield f"    ... and {len(group.differences) - len(shown)} more"


def _matrix(comparison: Comparison, *, verbose: bool) -> Iterator[str]:
    """Routes against facts: `.` is the reference's value, `-` no such fact, a letter one of the values at the line's end."""
    yield "Facts that differ between routes: . is the value of the first, - is none, a letter is a value listed at the end."
    told = [row for row in given_rows(comparison) if verbose or not moved_by_kaslr(row.fact)]
    done = [row for row in comparison.rows if row.side is Side.BEHAVIOUR]
    head = " ".join(run.key for run in comparison.runs)
    lines = [(_cut(row.path), cells(row), _values(row)) for row in told] if verbose else _structures_folded(told)
    shown = lines if verbose else lines[:ROW_LIMIT]
    yield from columns([("boot information", head, ""), *shown])
    if len(shown) < len(lines):
        yield f"... and {len(lines) - len(shown)} more (-v shows all)"
    yield ""
    yield from columns([("behaviour", head, ""), *_folded(done)])
    yield ""


def given_rows(comparison: Comparison) -> list[Row]:
    """The inputs of the table, without addresses."""
    return [row for row in comparison.rows if row.side is Side.INPUTS and row.fact.kind is not Kind.ADDRESS]


def _structures_folded(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """The rows, with the fields of a structure that some routes have and others have not drawn together in one."""
    groups: dict[tuple[str, tuple[int, ...]], list[Row]] = {}
    for row in rows:
        alone = len(row.values) > 1 or -1 not in row.cells
        key = row.path if alone else row.fact.parent
        groups.setdefault((key, tuple(row.cells)), []).append(row)
    found = []
    for (key, _), members in groups.items():
        if len(members) > EXAMPLES:
            found.append((_cut(f"{key}: {len(members)} facts"), cells(members[0]), ""))
        else:
            found += [(_cut(row.path), cells(row), _values(row)) for row in members]
    return found


PATH_WIDTH = 64


def _cut(text: str) -> str:
    return text if len(text) <= PATH_WIDTH else text[: PATH_WIDTH - 3] + "..."


def cells(row: Row) -> str:
    """One character for each run."""
    reference = row.cells[0]
    letters = {-1: "-"}
    for index in row.cells:
        if index >= 0 and index != reference:
            letters.setdefault(index, chr(ord("a") + min(len(letters) - 1, 25)))
    return " ".join("-" if cell < 0 else "." if cell == reference else letters[cell] for cell in row.cells)


def _values(row: Row) -> str:
    reference = row.cells[0]
    order = list(dict.fromkeys(cell for cell in row.cells if cell >= 0 and cell != reference))
    texts = [f". {_brief(row.values[reference])}"] if reference >= 0 else []
    texts += [f"{chr(ord('a') + min(n, 25))} {_brief(row.values[cell])}" for n, cell in enumerate(order)]
    return "  ".join(texts)


def _brief(value: str) -> str:
    return value if len(value) <= 24 else value[:21] + "..."


def _folded(rows: Iterable[Row]) -> list[tuple[str, str, str]]:
    """Things done, by kind and by who did them: hundreds of functions become a line each pattern."""
    groups: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        pattern = " ".join("-" if cell < 0 else "x" for cell in row.cells)
        if "-" not in pattern:
            pattern = cells(row)
        groups.setdefault((row.fact.word, pattern), []).append(row.fact.rest)
    found = []
    for (kind, pattern), names in sorted(groups.items(), key=lambda item: (item[0][0], -len(item[1]), item[0][1])):
        rest = f", and {len(names) - EXAMPLES} more" if len(names) > EXAMPLES else ""
        found.append((f"{kind} ({len(names)})", pattern, ", ".join(_brief(name) for name in names[:EXAMPLES]) + rest))
    return found
