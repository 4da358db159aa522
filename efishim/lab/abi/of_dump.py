"""Checks the handover in a dump against the specification of its entry."""

from __future__ import annotations

from dataclasses import dataclass

from efishim.dump.entry import Place, linked_place, place_of, pointer
from efishim.dump.found import image_in, pvh_notes
from efishim.dump.model import Dump
from efishim.dump.source import DumpError
from efishim.image.entries import Entry
from efishim.image.loading import Piece
from efishim.image.opened import Image, open_image
from efishim.lab.abi import CHECKERS, Violation, check_entry, checkers, image, pvh
from efishim.lab.plan.doors import require_door
from efishim.lab.snapshot.processor import capture_cpu
from efishim.machine.host_work import TooMuchWork
from efishim.provider import EntryKind, Loaded

NEEDS_IMAGE = "needs the image, KERNEL"
PAGES = 1 << 12
"""The host works as much for a dump as for an action of a guest with so many pages: a second or two."""


@dataclass(frozen=True)
class DumpCheck:
    """What came of it."""

    entry: str
    violations: tuple[Violation, ...]
    checked: tuple[str, ...]
    """The rules that could be violated."""
    unchecked: tuple[tuple[str, str], ...]
    """(rule, why it could not be checked)."""


def check_dump(dump: Dump, entry: Entry | EntryKind, given: Image | None = None) -> DumpCheck:
    """Check a dump against the specification of an entry, one of efishim's own or a plugin's; `given` is the image that was
    loaded, if the user has it.

    Raises DumpError, ImageError for an image that has no such entry, and PluginError.
    """
    name, known = (entry.value, CHECKERS) if isinstance(entry, Entry) else (entry.name, checkers([entry]))
    if isinstance(entry, Entry):
        pointer(dump, entry)
    unchecked: dict[str, str] = {}
    pieces: tuple[Piece, ...] = ()
    try:
        with dump.memory.work.bounded(PAGES):
            if given is not None:
                place = _place(dump, entry, given)
                loaded, pieces = place.loaded, place.pieces
            elif isinstance(entry, Entry):
                loaded = _loaded(dump, entry, unchecked)
            else:
                hint = "give it as KERNEL"
                raise DumpError(f"the entry {name} of {dump.path} is only checked with the image that was loaded", hint=hint)
            # The floating-point unit is in no dump, so nothing is said about it.
            state = capture_cpu(dump.cpu, dump.memory)
            found = check_entry(name, state, dump.memory, loaded, pieces=pieces, known=known)
    except TooMuchWork as error:
        raise DumpError(
            f"{dump.path} takes more work to check than a handover gives reason to: its tables or ranges have no end"
        ) from error
    rules = tuple(dict.fromkeys(one.id for one in known[name].requirements))
    return DumpCheck(name, found, tuple(rule for rule in rules if rule not in unchecked), tuple(unchecked.items()))


def _place(dump: Dump, entry: Entry | EntryKind, given: Image) -> Place:
    if isinstance(entry, Entry):
        return place_of(dump, entry, given)
    require_door(given, entry.name, {entry.name: entry})
    return linked_place(lambda room: entry.load(given, room, high=False))


def _loaded(dump: Dump, entry: Entry, unchecked: dict[str, str]) -> Loaded:
    """The image's address if none was given."""
    unchecked[image.INTACT.id] = NEEDS_IMAGE
    raw = image_in(dump, entry) if entry is Entry.PVH else None
    if raw is not None:
        return place_of(dump, entry, open_image(raw, path="the dump's kernel")).loaded
    loaded = place_of(dump, entry, None).loaded
    if entry is Entry.PVH:
        notes = sorted(set(pvh_notes(dump)))
        if notes and loaded.entry_point not in notes:
            return Loaded(notes[0], 0, notes[0])
        unchecked |= {} if notes else {pvh.ENTRY.id: "no XEN_ELFNOTE_PHYS32_ENTRY is in the dump; needs the image, KERNEL"}
    return loaded
