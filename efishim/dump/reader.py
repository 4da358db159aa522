"""Reads the native structure in a dump, with the provider that drives the same entry."""

from __future__ import annotations

from collections.abc import Mapping

from efishim.dump.entry import pointer
from efishim.dump.model import Dump
from efishim.image.entries import Entry
from efishim.provider import Handover, Provider

LOW = 0xFFFF_FFFF


def handover_of(dump: Dump, entry: Entry) -> Handover:
    """Where the native structure is, and the magic number beside it."""
    return Handover(pointer(dump, entry), magic=dump.registers["rax"] & LOW)


def reader_of(providers: Mapping[str, Provider], entry: Entry) -> Provider | None:
    """The first provider that can start a kernel at this entry, None without one."""
    for provider in providers.values():
        if any(one.name == entry and not one.through_shim for one in provider.entries):
            return provider
    return None
