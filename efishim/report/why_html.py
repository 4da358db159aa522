"""An answer to "why" as one HTML file: a picture of items and effects that can be clicked, and the tables behind it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from efishim.report.plain import plain_line
from efishim.why.model import Answer, Effect, ItemAnswer

READERS = 4
"""Functions that are named as readers of an item."""
ROW, WIDTH, LEFT, RIGHT = 26, 900, 330, 560
STYLE = """body{font:15px/1.45 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222;background:#fff}
svg{width:100%;height:auto}svg a:hover text,svg a:focus text{text-decoration:underline}svg path{stroke:#7a9cc6;fill:none}
text{font-size:13px;fill:#222}table{border-collapse:collapse}td,th{text-align:left;padding:2px 12px 2px 0;vertical-align:top}
code{overflow-wrap:anywhere}.bad{color:#a00}:target{background:#fff3c4}
@media(prefers-color-scheme:dark){body{background:#181a1d;color:#ddd}text{fill:#ddd}:target{background:#4a3f10}.bad{color:#f88}}"""


def html(answer: Answer) -> str:
    """The page. Everything in it that comes from a guest is text."""
    title = f"Why {answer.version or answer.image}: {answer.routes[0]} and {answer.routes[1]}"
    active = [item for item in answer.items if item.switches]
    body = [f"<h1>{_text(title)}</h1>", *_sanity(answer), _picture(answer)]
    for number, item in enumerate(active):
        one, other = item.values
        values = f"<p>{_text(one)}, {_text(other)}</p>" if one or other else f"<p>{item.size:,} bytes</p>"
        effects = [effect for effect in answer.effects if effect.fact in item.switches]
        body.append(f"<h2 id=item{number}>{_text(item.name)}</h2>{values}{_table(effects)}")
    together = [effect for effect in answer.effects if effect.causes and all(len(cause.items) > 1 for cause in effect.causes)]
    body.append(f"<h2 id=together>Only together</h2>{_table(together, sets=True)}")
    idle = "".join(f"<li>{_text(item.name + read_by(item))}</li>" for item in answer.items if item.idle)
    body.append(f"<h2 id=idle>Of no consequence</h2><ul>{idle}</ul>")
    body.append(f"<h2 id=left>Without a cause</h2>{_table(answer.unexplained)}")
    head = f"<meta charset=utf-8><title>{_text(title)}</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang=en>{head}{''.join(body)}</html>\n"


def read_by(item: ItemAnswer) -> str:
    """Who reads it, for what is a part of boot_params."""
    if item.readers is None:
        return ""
    shown = ", ".join(item.readers[:READERS])
    more = f" and {len(item.readers) - READERS} more" if len(item.readers) > READERS else ""
    return f"; read by {shown}{more}" if shown else "; never read"


def _text(value: str) -> str:
    return escape(plain_line(value))


def _sanity(answer: Answer) -> list[str]:
    found = []
    for check in answer.sanity:
        sides = f"{_text(check.into)} with every item of {_text(check.of)}"
        if check.same:
            found.append(f"<p>{sides} does what that does, to the byte of the record.</p>")
        else:
            defects = "".join(f"<li>{_text(defect)}</li>" for defect in check.defects)
            found.append(f"<p class=bad>{sides} does something else:</p><ul>{defects}</ul>")
    return found


def _picture(answer: Answer) -> str:
    """Items on the left, kinds of effects on the right, a line for each pair, as wide as there are effects."""
    active = [item for item in answer.items if item.switches]
    kind_of = {effect.fact: effect.kind for effect in answer.effects}
    kinds = list(dict.fromkeys(effect.kind for effect in answer.effects))
    height = ROW * (max(len(active), len(kinds)) + 1)
    rows = []
    for number, item in enumerate(active):
        y = ROW * (number + 1)
        for place, kind in enumerate(kinds):
            count = sum(kind_of.get(fact) == kind for fact in item.switches)
            if count:
                other = ROW * (place + 1)
                width = min(1 + count.bit_length(), 12)
                line = f"M{LEFT} {y - 4}C{LEFT + 110} {y - 4} {RIGHT - 110} {other - 4} {RIGHT - 10} {other - 4}"
                rows.append(f'<path d="{line}" stroke-width="{width}"><title>{_text(item.name)}: {count} {kind}</title></path>')
        rows.append(
            f'<a href="#item{number}"><text x="{LEFT - 8}" y="{y}" text-anchor="end">{_text(item.name[:48])}</text></a>'
        )
    for place, kind in enumerate(kinds):
        count = sum(effect.kind == kind for effect in answer.effects)
        rows.append(f'<text x="{RIGHT}" y="{ROW * (place + 1)}">{_text(kind)}: {count:,}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="items and what they do">{"".join(rows)}</svg>'


def _table(effects: Sequence[Effect], *, sets: bool = False) -> str:
    rows = []
    for effect in effects:
        more = f"<td>{_text(' and '.join(effect.causes[0].items))}</td>" if sets else ""
        rows.append(
            f"<tr><td><code>{_text(effect.fact)}</code></td><td>{_text(effect.values[0])}</td><td>{_text(effect.values[1])}</td>{more}</tr>"
        )
    return f"<table>{''.join(rows)}</table>" if rows else "<p>None.</p>"
