"""Reports for the tests of the HTML form, and their elements."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser

import msgspec

from efishim.compare.build import build
from efishim.compare.model import Comparison, Skipped
from efishim.lab.record import (
    Argument,
    CodeRef,
    Coverage,
    E820View,
    Fields,
    FirmwareCall,
    FunctionCoverage,
    Hex,
    LedgerEntry,
    LedgerKind,
    Record,
)
from efishim.report.html import render
from efishim.testing import run

ROUTES = (("hvmlite", "efi"), ("hvmlite", "pvh"), ("grub", "linux64"), ("lilo", "linux16"))

ATTACK = "</code></style></script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
"""Markup that would run if it got out of any place of the page; both quotes, and the ends of all raw text elements."""

CONTROLS = "\x1b[31m\u202e\x00\x9b"
"""An escape sequence, a change of direction, NUL and a C1 control character."""

_EMPTY = frozenset({"meta", "link", "br", "input", "img", "hr"})


@cache
def records() -> tuple[Record, ...]:
    """The probe kernel through four doors."""
    return tuple(run(provider=provider, entry=entry, until="shutdown") for provider, entry in ROUTES)


@cache
def document(count: int = len(ROUTES)) -> Comparison:
    return build(records()[:count])


@cache
def report(count: int = len(ROUTES)) -> str:
    return render(document(count), records()[:count])


def hostile(record: Record, text: str = ATTACK + CONTROLS) -> Record:
    """A record in which everything that a guest, an image or a path decides is an attack."""
    replace = msgspec.structs.replace
    call = FirmwareCall(
        service=text, args=[Argument(name=text, value=text)], status=text, insns=1, caller=CodeRef(address=Hex(1), symbol=text)
    )
    touch = LedgerEntry(
        kind=LedgerKind.PORT, what=text, device=text, group=text, reads=1, code=CodeRef(address=Hex(1), symbol=text)
    )
    function = FunctionCoverage(name=text, part=text, blocks=1, insns=1, offsets=text)
    view = record.boot_view
    if view is not None:
        view = replace(
            view,
            boot_params=Fields.of({**view.boot_params, "hdr.header": text, text: text}),
            e820=(*view.e820, E820View(Hex(0x40000000), Hex(0x1000), Hex(0x63), text)),
        )
    return replace(
        record,
        image=replace(record.image, path=text, version=text),
        route=replace(record.route, provider=text, entry=text),
        outcome=replace(record.outcome, details=text, met=False, at=CodeRef(address=Hex(1), symbol=text)),
        milestones=[replace(point, at=CodeRef(address=Hex(0x1000), symbol=text)) for point in record.milestones],
        firmware_calls=[*record.firmware_calls, call],
        ledger=[*record.ledger, touch],
        coverage=Coverage(blocks=1, parts=record.coverage.parts, functions=[*record.coverage.functions, function]),
        notes=[text],
        boot_view=view,
        console=f"[    0.000000] {text}\n[    0.000000] Linux version <b>6.1</b>\n",
        reproduce=text,
    )


@cache
def hostile_report() -> str:
    """An honest reference and two attackers."""
    found = [records()[0], hostile(records()[0]), hostile(records()[1])]
    skipped = [Skipped(route=ATTACK, reason=ATTACK, hint=ATTACK, failed=True)]
    return render(build(found, skipped), found)


@dataclass
class Element:
    """A tag with its attributes, its own text, and what stands around it."""

    tag: str
    attributes: dict[str, str]
    parents: tuple[str, ...]
    text: str = ""


@dataclass
class Page(HTMLParser):
    """All elements of a page."""

    elements: list[Element] = field(default_factory=list)
    open: list[Element] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)
    """End tags that close nothing."""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, {name: value or "" for name, value in attrs}, tuple(one.tag for one in self.open))
        self.elements.append(element)
        if tag not in _EMPTY:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _EMPTY:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.open and self.open[-1].tag == tag:
            self.open.pop()
        else:
            self.strays.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open:
            self.open[-1].text += data

    def of(self, tag: str) -> list[Element]:
        return [one for one in self.elements if one.tag == tag]


@cache
def parsed(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    return page
