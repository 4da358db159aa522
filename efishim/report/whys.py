"""The output formats of an answer to "why"."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from efishim.canonical import canonical
from efishim.report.figures import size
from efishim.report.why_html import html, read_by
from efishim.why.model import Answer, Cause, Effect, ItemAnswer

FORMATS = ("text", "json", "html")
SHOWN = 8
"""Differences of one group that are listed without `verbose`."""


def renderers() -> Mapping[str, Callable[[Answer, bool], str]]:
    """By name, in the order of the help text."""
    return {"text": text, "json": lambda answer, _verbose: json(answer), "html": lambda answer, _verbose: html(answer)}


def json(answer: Answer) -> str:
    """For programs."""
    return canonical(answer).decode("utf-8")


def text(answer: Answer, verbose: bool = False) -> str:
    """For people: in words first, then what each item does."""
    return (
        "\n".join(
            [*_words(answer), *_active(answer, verbose), *_idle(answer), *_rest(answer, verbose), *_runs(answer, verbose)]
        )
        + "\n"
    )


def counted(number: int, what: str) -> str:
    """`1 item`, `2,000 items`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def conclusion(answer: Answer) -> str:
    """One sentence."""
    left = len(answer.unexplained)
    active = [item for item in answer.items if not item.idle]
    if not answer.sound:
        return "The machine has hidden state: with all items taken over the run is not the other side's. Nothing is attributed."
    explained = len(answer.effects) - left
    return (
        f"The machines differ in {counted(len(answer.items), 'item')}, of which {len(active)} have an effect; "
        f"{explained:,} of {counted(len(answer.effects), 'difference')} have a cause, {left:,} have none."
    )


def _words(answer: Answer) -> Iterator[str]:
    one, other = answer.routes
    yield f"Why {answer.version or answer.image} ends differently through {one} and {other}"
    yield ""
    yield f"The routes converge at startup_64. Both go on at instruction {answer.insns:,} and {answer.virtual_ns:,} ns."
    for check in answer.sanity:
        if check.same:
            yield f"Sanity: {check.into} with every item of {check.of} does what {check.of} does, to the byte of the record."
        else:
            yield f"DEFECT: {check.into} with every item of {check.of} does not do what {check.of} does:"
            yield from (f"  {defect}" for defect in check.defects)
    yield conclusion(answer)


def _active(answer: Answer, verbose: bool) -> Iterator[str]:
    for item in answer.items:
        if item.idle or not item.switches:
            continue
        yield ""
        yield f"{item.name}{_values(item)}"
        yield from _ends(answer, item)
        yield from _effects([one for one in answer.effects if one.fact in item.switches], verbose)
    groups: dict[tuple[str, ...], list[Effect]] = {}
    for effect in answer.effects:
        if effect.causes and all(len(cause.items) > 1 for cause in effect.causes):
            groups.setdefault(effect.causes[0].items, []).append(effect)
    for names, effects in groups.items():
        yield ""
        yield f"only together: {' and '.join(names)}"
        yield from _effects(effects, verbose)


def _ends(answer: Answer, item: ItemAnswer) -> Iterator[str]:
    """Where taking it over alone makes the run end otherwise."""
    own = dict(zip(answer.routes, answer.outcomes, strict=True))
    for trial in answer.trials:
        if trial.taken == (item.name,) and trial.outcome != own[trial.base]:
            ended = f"the run ends with {trial.outcome!r}, and {trial.other:,} facts are as on neither side"
            yield f"  alone in {trial.base}: {ended}"


def _values(item: ItemAnswer) -> str:
    one, other = item.values
    return f": {one}, {other}" if one or other else f": {size(item.size)}"


def _effects(effects: Sequence[Effect], verbose: bool) -> Iterator[str]:
    kinds: dict[str, list[Effect]] = {}
    for effect in effects:
        kinds.setdefault(effect.kind, []).append(effect)
    for kind, found in kinds.items():
        yield f"  {kind}: {counted(len(found), 'difference')}"
        rows = [f"{_mark(one)} {one.fact}{_one_way(one.causes)}" for one in found if not one.root]
        rows += _roots([one for one in found if one.root], verbose)
        shown = rows if verbose else rows[:SHOWN]
        yield from (f"    {row}" for row in shown)
        if len(rows) > len(shown):
            yield f"    and {len(rows) - len(shown):,} more"


def _roots(effects: Sequence[Effect], verbose: bool) -> list[str]:
    """Functions by the branch behind which they ran."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for one in effects:
        way = _mark(one), one.root, _one_way(one.causes)
        found.setdefault(way, []).append(one.fact.removeprefix(f"{one.kind}."))
    rows = []
    for (mark, root, one_way), names in found.items():
        more = 0 if verbose else len(names) - SHOWN
        named = ", ".join(names if more <= 0 else names[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")
        rows.append(f"{mark} code.{root}: {counted(len(names), 'function')}: {named}{one_way}")
    return rows


def _mark(effect: Effect) -> str:
    one, other = effect.values
    return "-" if not other else "+" if not one else "~"


def _one_way(causes: Sequence[Cause]) -> str:
    into = dict.fromkeys(cause.into for cause in causes)
    return f"  (when taken over into {next(iter(into))} only)" if len(into) == 1 else ""


def _idle(answer: Answer) -> Iterator[str]:
    idle = [item for item in answer.items if item.idle]
    if idle:
        yield ""
        yield "of no consequence: taken over in either direction, together or alone, they change no fact; with *, no byte"
        yield from (f"  {item.name}{'*' if item.exact else ''}{_values(item)}{read_by(item)}" for item in idle)
    odd = [item for item in answer.items if not item.idle and not item.switches]
    if odd:
        yield ""
        yield "of consequence, but switching no difference alone"
        for item in odd:
            yield f"  {item.name}{_values(item)}"
            yield from (f"  {line}" for line in _ends(answer, item))


def _rest(answer: Answer, verbose: bool) -> Iterator[str]:
    left = answer.unexplained
    if left:
        yield ""
        yield "differences without a cause"
        yield from _effects(left, verbose)


def _runs(answer: Answer, verbose: bool) -> Iterator[str]:
    yield ""
    yield f"{counted(len(answer.trials), 'experiment')}, each a run from the meeting point on."
    if verbose:
        for trial in answer.trials:
            what = ", ".join(trial.taken) if len(trial.taken) <= SHOWN else f"{len(trial.taken)} items"
            done = "nothing changed" if trial.exact else f"{len(trial.switched):,} switched, {trial.other:,} as on neither side"
            yield f"  {trial.base} with {what}: {trial.outcome}, {done}"
