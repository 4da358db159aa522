"""Who read the fields of boot_params that an item differs in; a run that was lost is not one in which nobody read them."""

from __future__ import annotations

import pytest

from efishim.why.laboratory import Laboratory
from efishim.why.pieces import Item, Piece, Place
from efishim.why.readers import Readers, readers_of
from efishim.why.side import meet
from tests.why import told

AT, SIZE = told.FIELDS["hdr.root_flags"]
FLAGS = Item("boot_params.hdr.root_flags", (Piece(Place.BOOT_PARAMS, AT, SIZE),))
REGISTER = Item("register rax", (Piece(Place.PROCESSOR, 0, 8),))


def test_readers_on_either_side() -> None:
    sides: list[Readers] = [{"hdr.root_flags": ("f", "g"), "hdr.vid_mode": ("x",)}, {"hdr.root_flags": ("g", "h")}]
    assert readers_of(FLAGS, sides) == ("f", "g", "h")
    assert readers_of(FLAGS, [{}, {}]) == ()
    assert readers_of(REGISTER, sides) is None
    assert readers_of(FLAGS, []) is None


@pytest.mark.slow
@pytest.mark.parametrize("lost", [False, True])
def test_a_lost_run_says_nothing(monkeypatch: pytest.MonkeyPatch, lost: bool) -> None:
    one, other = told.side(), told.side()
    laboratory = Laboratory(one, other, [], meet(one, other), 1)
    quiet: Readers = {}
    monkeypatch.setattr("efishim.why.laboratory.in_forks", lambda _work, _jobs, none, *_: [quiet, none if lost else quiet])
    assert laboratory.readers() == ([] if lost else [{}, {}])
