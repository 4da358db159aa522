"""The output formats of a surface."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from efishim.report.comparison_text import clean, columns
from efishim.report.figures import amount, release
from efishim.report.record_parts import PartView, Table
from efishim.report.record_shown import page_of
from efishim.surface.model import Effect, Finding, Mark, Surface, encode

FORMATS = ("text", "json", "markdown", "html")

TITLES = (
    ("Needed", "each of these must work"),
    ("Needed, but may refuse", "each must be there to be called, and may answer with this status"),
    ("Used", "asked for and answered; the kernel gets along without"),
    ("Probed", "asked for, and not there"),
    ("Never touched", "taken away all at once, and nothing was missed"),
)
"""The groups, in their order, and what they mean."""


def renderers() -> Mapping[str, Callable[[Surface], str]]:
    """By name, in the order of the help text."""
    return {"text": text, "json": lambda surface: encode(surface).decode("utf-8"), "markdown": markdown, "html": page}


def page(surface: Surface) -> str:
    """One file of HTML: the conclusion, then a table for each group."""
    route, proof = surface.route, surface.proof
    views = [PartView("conclusion", "Conclusion", f"{proof.trials} runs", (conclusion(surface),))]
    for index, ((title, meaning), group) in enumerate(zip(TITLES, groups(surface), strict=True)):
        if group:
            rows = tuple((one.item.text, f"{one.calls:,}", one.minimum, _without(one)) for one in group)
            headers = ("item", "used", "enough", "without it")
            table = Table("", headers, rows, frozenset({1}))
            views.append(PartView(f"group-{index}", title, f"{len(group)}: {meaning}", (), (table,)))
    about = [
        ("image", f"{surface.image.path}  {release(surface.image.version)}".rstrip()),
        ("route", f"{route.provider}/{route.entry}@{route.platform}"),
        ("reproduce", surface.reproduce),
    ]
    good = surface.complete and proof.sufficient
    name = release(surface.image.version) or surface.image.path
    return page_of(f"What {name} needs of EFI firmware", "efishim", about, views, good=good)


def _without(one: Finding) -> str:
    return "; ".join([*(f"{effect.answer}: {effect.sentence}" for effect in one.effects), *_notes(one)])


def groups(surface: Surface) -> list[list[Finding]]:
    """The findings of each group of TITLES."""
    needed = surface.marked(Mark.NEEDED)
    return [
        [one for one in needed if not one.refusal],
        [one for one in needed if one.refusal],
        surface.marked(Mark.USED),
        surface.marked(Mark.PROBED),
        surface.marked(Mark.UNTOUCHED),
    ]


def conclusion(surface: Surface) -> str:
    """How many items are needed, and what was verified."""
    work, refuse, *_ = groups(surface)
    total = sum(len(group) for group in groups(surface)) - len(surface.marked(Mark.PROBED))
    goal = surface.options.until.value
    counted = f"{len(work) + len(refuse)} of {total} items are needed to reach {goal}"
    counted += f"; {len(refuse)} of them may refuse." if refuse else "."
    proof = surface.proof
    if not surface.complete:
        return f"{counted} The search was interrupted after {proof.trials} runs: this is what was known."
    alone = "The set alone suffices" if proof.sufficient else "The set alone does NOT suffice"
    return (
        f"{counted} {alone}, and each of the {proof.removals} further removals from it stops the boot; "
        f"verified by runs, {proof.trials} in all."
    )


def text(surface: Surface) -> str:
    """For people: the groups, and what each missing item makes the kernel do."""
    lines = list(_head(surface))
    for (title, meaning), group in zip(TITLES, groups(surface), strict=True):
        if not group:
            continue
        lines += ["", f"{title} ({len(group)}): {meaning}"]
        lines += _names(group) if group[0].mark is Mark.UNTOUCHED else _rows(group)
    lines += ["", conclusion(surface)]
    return "\n".join(clean(line).rstrip() for line in lines) + "\n"


def _head(surface: Surface) -> Iterator[str]:
    route = surface.route
    yield f"{surface.image.path}  {release(surface.image.version)}  sha256 {surface.image.sha256[:16]}"
    base = f", firmware {surface.base}" if surface.base else ""
    yield f"{route.provider}/{route.entry} on {route.platform}{base}"
    yield (
        f"The whole firmware: {surface.run.calls} calls, {amount(surface.run.insns)} instructions to "
        f"{surface.options.until.value}."
    )


def _rows(group: list[Finding]) -> Iterator[str]:
    rows = [(f"  {one.item.text}", _times(one), "") for one in group]
    for line, one in zip(columns(rows), group, strict=True):
        yield line + (f"  enough: {one.minimum}" if one.refusal else "")
        for effect in one.effects:
            yield f"      {effect.answer}: {effect.sentence}"
        yield from (f"      {note}" for note in _notes(one))


def _notes(one: Finding) -> Iterator[str]:
    if one.together:
        yield "needed all the same: not without it and others together"
    if one.conditional:
        yield "not needed all the same: it can go together with others that lead to it"


def _times(one: Finding) -> str:
    return f"{one.calls} {'time' if one.calls == 1 else 'times'}"


def _names(group: list[Finding], width: int = 118) -> Iterator[str]:
    line = " "
    for one in group:
        if len(line) + len(one.item.text) + 1 > width:
            yield line
            line = " "
        line += " " + one.item.text
    yield line


def markdown(surface: Surface) -> str:
    """For documents: a table for each group, and the minimal profile."""
    route = surface.route
    parts = [
        f"# What {_cell(release(surface.image.version) or surface.image.path)} needs of EFI firmware\n\n",
        f"Route {route.provider}/{route.entry} on {route.platform}. {conclusion(surface)}\n\n",
        f"    {clean(surface.reproduce)}\n",
    ]
    for (title, meaning), group in zip(TITLES, groups(surface), strict=True):
        if group:
            parts.append(f"\n## {title}\n\n{meaning[:1].upper()}{meaning[1:]}.\n\n")
            parts.append(_list(group) if group[0].mark is Mark.UNTOUCHED else _table(group))
    if surface.profile:
        parts.append(f"\n## The minimal profile\n\n```toml\n{surface.profile}```\n")
    return "".join(parts)


def _table(group: list[Finding]) -> str:
    rows = []
    for one in group:
        enough = f" (enough: `{one.minimum}`)" if one.refusal else ""
        effects = "<br>".join([*(_effect(effect) for effect in one.effects), *_notes(one)])
        rows.append(f"| `{_cell(one.item.text)}`{enough} | {one.calls} | {effects} |\n")
    return "| item | times | without it |\n|---|---|---|\n" + "".join(rows)


def _effect(effect: Effect) -> str:
    return f"{_cell(effect.answer)}: {_cell(effect.sentence)}"


def _list(group: list[Finding]) -> str:
    return ", ".join(f"`{_cell(one.item.text)}`" for one in group) + "\n"


def _cell(content: str) -> str:
    """Guests may not draw tables or tags."""
    return clean(content).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "'")
