"""What a provider says of itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

from efishim.errors import EfishimError, ProviderError
from efishim.lab.abi import interface as rules
from efishim.plugin_guard import PluginError
from efishim.provider import Entry, Handover, Loaded, Provider, Violation
from efishim.testing.memory import MIB
from efishim.testing.subject import Subject, finding

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
LOADED = Loaded(16 * MIB, MIB, 16 * MIB, 0x9_0000)


def description(subject: Subject) -> Iterator[Violation]:
    """Name, summary, specifications, limits, entries and options."""
    try:
        yield from (finding(rules.DESCRIPTION, words) for words in _words(subject))
    except PluginError as error:
        yield finding(rules.TYPES, error.sentence)


def _words(subject: Subject) -> Iterator[str]:
    yield from described(subject.guarded)
    if not subject.guarded.structure:
        yield "the native structure has no name"


def described(one: Provider) -> Iterator[str]:
    """What is wrong with what it says of itself, a clause each."""
    if not _NAME.fullmatch(one.name):
        yield f"the name is {one.name!r}"
    if not one.summary or "\n" in one.summary:
        yield "the summary is not one line"
    if not one.specifications:
        yield "there is no specification"
    yield from (f"the link of {it.title!r} is {it.link!r}" for it in one.specifications if not it.link.startswith("https://"))
    if not one.limits:
        yield "there are no limits, and every boot protocol has some"
    if not one.entries:
        yield "it drives no entry"
    for what, names in (("entry", [it.name for it in one.entries]), ("option", [it.name for it in one.options])):
        yield from (f"the {what} {name!r} is there twice" for name in sorted({n for n in names if names.count(n) > 1}))
        yield from (f"the {what} name {name!r} cannot be typed" for name in names if not _NAME.fullmatch(name))


def entries(subject: Subject) -> Iterator[Violation]:
    """Each entry is native, or behind the shim. An image with an entry of the kind is not needed."""
    for entry in subject.provider.entries:
        try:
            native = _native(subject, entry)
        except (PluginError, EfishimError) as error:
            yield finding(rules.TYPES, error.sentence)
            continue
        if native == entry.through_shim:
            words = "has a processor state and is" if native else "has no processor state and is not"
            yield finding(rules.ENTRIES, f"{entry.name!r} {words} behind the shim")


def _native(subject: Subject, entry: Entry) -> bool:
    """Is there a processor state? Raises PluginError."""
    if hasattr(subject.provider, "entry_state"):
        return not entry.through_shim  # it needs what produce wrote; runs show it
    try:
        subject.guarded.cpu_state(entry.name, LOADED, Handover(0x1000))
    except PluginError:
        raise
    except ProviderError:
        return False
    return True
