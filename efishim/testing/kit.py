"""The conformance kit as a function: everything that is wrong with a provider, by rule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from efishim_firmware_stubs import probe_kernel

from efishim.lab.abi import interface as rules
from efishim.provider import Entry, Violation
from efishim.testing import checks_description, checks_memory, checks_reading
from efishim.testing.entered import Entered, enter, guest
from efishim.testing.subject import NOTHING, Subject, finding

OF_ENTRY: Mapping[str, Callable[[Subject, Entry], Iterator[Violation]]] = {
    "determinism": checks_memory.determinism,
    "places": checks_memory.places,
    "symmetry": checks_reading.symmetry,
    "changed byte": checks_reading.changed_byte,
    "damage": checks_reading.damage,
    "hostile values": checks_reading.hostile,
}
"""Checks that need no emulator, in the order in which they say the most."""
FIRST, LAST = ("determinism", "places"), ("changed byte", "damage", "hostile values")


def conformance(subject: Subject, deviations: Mapping[str, str] = NOTHING) -> Iterator[Violation]:
    """Every rule that does not hold, the entries one after the other. `deviations` are rules of specifications that the
    provider is known to violate, each with its reason; that one of them holds is a finding, too.
    """
    yield from checks_description.description(subject)
    yield from checks_description.entries(subject)
    seen: set[str] = set()
    for entry in subject.entries:
        yield from (one for name in FIRST for one in OF_ENTRY[name](subject, entry))
        run = enter(subject, entry)
        yield from (one for one in run.violations if one.rule not in deviations)
        yield from run.found
        yield from OF_ENTRY["symmetry"](subject, entry)
        yield from guest(run, entry) if subject.image == probe_kernel() else ()
        yield from (one for name in LAST for one in OF_ENTRY[name](subject, entry))
        seen |= {one.rule for one in run.violations}
    for rule in deviations:
        if rule not in seen:
            yield finding(rules.DEVIATION, f"{rule} is not violated at any entry")


def told(found: Violation) -> str:
    """A finding in three lines, as `efishim run` prints them."""
    return f"{found.rule}: {found.demand}\n    found: {found.found}\n    specification: {found.reference}"


__all__ = ["Entered", "conformance", "told"]
