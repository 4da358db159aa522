"""The output formats of a search for faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from efishim.report.comparison_text import clean, columns
from efishim.report.figures import amount, release
from efishim.surface.fault_model import Case, Ending, Faults, encode


def renderers() -> Mapping[str, Callable[[Faults], str]]:
    """By name, in the order of the help text."""
    return {"text": text, "json": lambda faults: encode(faults).decode("utf-8"), "markdown": markdown}


def conclusion(faults: Faults) -> str:
    """How many cases end how."""
    counted = ", ".join(f"{len(found)} {ending.value}" for ending in Ending if (found := faults.ending(ending)))
    ended = "" if faults.complete else " The search was interrupted: these are the first faults."
    return f"{len(faults.cases)} faults, each in a run of its own: {counted}.{ended}"


def text(faults: Faults) -> str:
    """For people: the cases by what they end in, the worst first."""
    lines = list(_head(faults))
    for ending in reversed(Ending):
        found = faults.ending(ending)
        if found:
            lines += ["", f"{ending.value[:1].upper()}{ending.value[1:]} ({len(found)})"]
            lines += _rows(found)
    lines += ["", conclusion(faults)]
    return "\n".join(clean(line).rstrip() for line in lines) + "\n"


def _head(faults: Faults) -> Iterator[str]:
    route = faults.route
    yield f"{faults.image.path}  {release(faults.image.version)}  sha256 {faults.image.sha256[:16]}"
    yield f"{route.provider}/{route.entry} on {route.platform}"
    yield (
        f"Without a fault: {faults.run.calls} calls, {amount(faults.run.insns)} instructions to {faults.options.until.value}."
    )


def _rows(cases: list[Case]) -> Iterator[str]:
    for line, case in zip(columns([(f"  {case.fault}", case.asked, "") for case in cases]), cases, strict=True):
        yield line
        yield f"      {case.effect.sentence}"


def markdown(faults: Faults) -> str:
    """For documents: a table in the order of the calls."""
    route = faults.route
    parts = [
        f"## {_cell(release(faults.image.version) or faults.image.path)}\n\n",
        f"Route {route.provider}/{route.entry} on {route.platform}. {conclusion(faults)}\n\n",
        f"    {clean(faults.reproduce)}\n\n",
        "| call | asked for | answers instead | the kernel | what happens |\n|---|---|---|---|---|\n",
    ]
    for case in faults.cases:
        number = f"{case.number}{'+' if '+=' in case.fault else ''}"
        before = f"{case.before} -> " if case.before else ""
        cells = (f"`{_cell(case.service)}:{number}`", case.asked, f"{before}{case.effect.answer}", case.ending.value)
        parts.append(f"| {cells[0]} | {' | '.join(map(_cell, cells[1:]))} | {_cell(case.effect.sentence)} |\n")
    return "".join(parts)


def _cell(content: str) -> str:
    """Guests may not draw tables or tags."""
    return clean(content).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("`", "'")
