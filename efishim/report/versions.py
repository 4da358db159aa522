"""Renders the comparison of two versions of a kernel: as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from efishim.compare.versions import Section, Side, Versions, encode
from efishim.report.comparison_text import clean, columns, short
from efishim.report.figures import amount

SHOWN = 20
"""Lines of a section that are shown, unless all are asked for."""

FORMATS = ("text", "json")


def render(found: Sequence[Versions], form: str, *, verbose: bool) -> str:
    """In one of FORMATS."""
    if form == "json":
        return encode(found).decode("utf-8")
    return "\n".join("\n".join(clean(line).rstrip() for line in _lines(one, verbose=verbose)) + "\n" for one in found)


def _lines(found: Versions, *, verbose: bool) -> Iterator[str]:
    yield f"{found.old.version or found.old.image} and {found.new.version or found.new.image} through {found.route}"
    yield ""
    names = list(dict.fromkeys((*found.old.insns, *found.new.insns)))
    yield from columns([("kernel", "sha256", *names), _row("old", found.old, names), _row("new", found.new, names)])
    for word, side in (("old", found.old), ("new", found.new)):
        if not side.met:
            yield f"the {word} kernel did not reach its goal; its last milestone is {side.reached or 'none'}"
    yield ""
    yield from columns([("", "new", "gone", "changed", "in any other build"), *map(_counts, found.sections)])
    for section in found.sections:
        yield from _section(section, verbose=verbose)
    yield ""
    yield (
        "The same is told, called and touched, and nothing new is complained of."
        if found.same
        else "What is told, called, touched or complained of changed, or a goal was missed."
    )


def _row(word: str, side: Side, names: Sequence[str]) -> tuple[str, ...]:
    return (word, side.sha256[:16], *(amount(side.insns[name]) if name in side.insns else "-" for name in names))


def _counts(section: Section) -> tuple[str, ...]:
    noise = ", ".join(f"{count:,} {reason}" for reason, count in section.noise.items())
    return (section.name, *(f"{len(one):,}" for one in (section.new, section.gone, section.changed)), noise)


def _section(section: Section, *, verbose: bool) -> Iterator[str]:
    lines = [f"  {one.path}: {short(one.old)} | {short(one.new)}" for one in section.changed]
    lines += [f"  + {line}" for line in section.new]
    lines += [f"  - {line}" for line in section.gone]
    if not lines:
        return
    yield ""
    yield f"{section.name}:"
    shown = lines if verbose else lines[:SHOWN]
    yield from shown
    if len(shown) < len(lines):
        yield f"  ... and {len(lines) - len(shown):,} more (-v shows all)"
