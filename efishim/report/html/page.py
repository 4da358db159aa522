"""Assembles the page from templates. The same records give the same bytes."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from efishim.compare.model import Comparison, Question, RunView
from efishim.lab.record import Record
from efishim.report.comparison_text import clean, conclusion
from efishim.report.figures import amount, release
from efishim.report.html.call_table import calls
from efishim.report.html.code import code
from efishim.report.html.hardware import hardware, legacy
from efishim.report.html.limits import SIZE_LIMIT, Limits, cut
from efishim.report.html.marks import MARKS, counts, pair_of
from efishim.report.html.matrix import matrix
from efishim.report.html.memory import memory
from efishim.report.html.structures import structures
from efishim.report.html.timeline import parts, timeline
from efishim.report.sources import cited

VALUE_LIMIT = 600
"""Characters of one value or name; more are never shown."""

ATTEMPTS = 8


def render(comparison: Comparison, records: Sequence[Record]) -> str:
    """The whole file. `records` are those of the comparison's runs, in their order."""
    limits, templates = Limits(), environment()
    for _ in range(ATTEMPTS):
        text = _page(templates, comparison, records, limits)
        if len(text.encode("utf-8")) < SIZE_LIMIT:
            break
        limits = limits.halved()
    return text


def _page(templates: Environment, comparison: Comparison, records: Sequence[Record], limits: Limits) -> str:
    style, script = template_file("style.css"), template_file("script.js")
    values: dict[str, Any] = {
        "comparison": comparison,
        "runs": comparison.runs,
        "conclusion": conclusion(comparison),
        "convergences": [pair.answer(Question.CONVERGENCE) for pair in comparison.pairs],
        "known": [pair.answer(Question.INPUTS) for pair in comparison.pairs],
        "overview": [(run, pair_of(comparison, run.name)) for run in comparison.runs],
        "images": list(dict.fromkeys((run.image, run.version, run.image_sha256) for run in comparison.runs)),
        "abi": [(run, cut(record.abi or [], limits.notes)) for run, record in zip(comparison.runs, records, strict=True)],
        "notes": [(run, cut(run.notes, limits.notes)) for run in comparison.runs],
        "matrix": matrix(comparison, limits),
        "timeline": timeline(comparison, records),
        "parts": parts(comparison, records),
        "memory": memory(comparison, records, limits),
        "hardware": hardware(comparison, records, limits),
        "legacy": legacy(comparison, records),
        "calls": [calls(records[0], record, limits) for record in records[1:]],
        "services": sorted({service for run in comparison.runs for service in run.calls}),
        "code": code(comparison, records, limits),
        "structures": structures(comparison, records, limits),
        "limits": limits,
        "marks": MARKS,
        "style": Markup(style),  # noqa: S704 - a file of this package
        "script": Markup(script),  # noqa: S704
        "policy": policy(style, script),
    }
    return templates.get_template("page.html").render(values)


def policy(style: str, script: str) -> str:
    """Nothing may be loaded from anywhere, and nothing runs but what is in this file (CSP level 3)."""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode("utf-8")).digest()).decode("ascii")


def template_file(name: str) -> str:
    """The text of a file beside the templates."""
    return (resources.files("efishim.report.html") / "templates" / name).read_text(encoding="utf-8")


def environment() -> Environment:
    """Templates in which everything is escaped, and no control characters come out of values."""
    found = Environment(
        loader=PackageLoader("efishim.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    found.filters.update(
        amount=amount,
        thousands="{:,}".format,
        brief=_brief,
        counts=counts,
        cited=cited,
        anchor=anchor,
        first_screen=_first_screen,
        release=release,
    )
    found.globals.update(total=_total)
    return found


def _shown(value: object) -> object:
    """What a template writes of a value: texts come from hostile guests."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    text = value if len(value) <= VALUE_LIMIT else value[:VALUE_LIMIT] + "…"
    return text if text.isprintable() else clean(text)


def anchor(path: str) -> str:
    """The id of a fact's row. It stays the same as long as the fact does: links to it can be kept."""
    return f"f-{sha256(path.encode('utf-8', 'backslashreplace')).hexdigest()[:10]}"


def _brief(text: str, width: int = 90) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _first_screen(runs: Sequence[RunView]) -> str:
    """Did each route get where it should?"""
    short = [run.name for run in runs if not run.met]
    goals = sorted({run.goal for run in runs})
    goal = goals[0] if len(goals) == 1 else "its goal"
    if not short:
        who = {1: "The one run", 2: "Both runs"}.get(len(runs), f"All {len(runs)} runs")
        return f"{who} reached {goal}."
    return f"{len(runs) - len(short)} of {len(runs)} runs reached {goal}; {', '.join(short)} did not."


def _total(numbers: Mapping[str, int]) -> int:
    return sum(numbers.values())
