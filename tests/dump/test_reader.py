"""The provider that reads a dump's structure: the one that drives the same entry natively."""

from __future__ import annotations

from efishim.dump.reader import reader_of
from efishim.image.entries import Entry
from efishim.plugins import load_plugins


def test_each_entry_of_dumps_has_a_reader_and_entries_behind_the_shim_have_none() -> None:
    providers = load_plugins().providers
    names = {entry: found.structure for entry in Entry if (found := reader_of(providers, entry)) is not None}
    assert names[Entry.PVH] == "hvm_start_info"
    assert names[Entry.LINUX64] == names[Entry.LINUX32] == "boot_params"
    assert {Entry.MULTIBOOT, Entry.MULTIBOOT2} <= names.keys()
    assert Entry.EFI not in names
    assert reader_of({}, Entry.PVH) is None
