"""A kernel of one route is told what another one tells it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from efishim.errors import UsageError
from efishim.plugins import load_plugins
from efishim.why.compose import Taken, compose, named
from efishim.why.pieces import Item
from tests.why import told

ITEMS = [Item("boot_params.hdr.version"), Item("command line"), Item("efi_info + gdt"), Item("kernel variable x86_init")]


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("hdr.version", 0),
        ("boot_params.hdr.version", 0),
        ("boot_params.hdr.cmd_line_ptr", 1),
        ("boot_params.efi_info", 2),
        ("efi_info.efi_systab", 2),
        ("x86_init", 3),
    ],
)
def test_items_have_names_that_people_type(name: str, item: int) -> None:
    assert named(name, ITEMS) == [ITEMS[item]]


def test_what_is_no_difference_is_refused() -> None:
    with pytest.raises(UsageError, match="do not differ in 'version'"):
        named("version", ITEMS)


@pytest.mark.measured
@pytest.mark.slow
def test_the_record_says_what_was_changed() -> None:
    plan = told.plan()
    donor = replace(plan, options=(("hvmlite.version", "0"),))
    record = compose(plan, donor, Taken(("structure hvm_start_info",), "hvmlite/pvh"), load_plugins())
    (note,) = record.notes
    assert note.startswith("the record begins at startup_64, where this was taken over from hvmlite/pvh: ")
    assert "structure hvm_start_info" in note
    assert record.reproduce.endswith("--with 'structure hvm_start_info@hvmlite/pvh'")
