"""Doors of images: efishim's own, those of plugins, and what is said of one that nobody knows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from efishim_firmware_stubs import probe_kernel

from efishim.errors import ImageError, RouteError, UsageError
from efishim.image.entries import Door, Entry
from efishim.image.opened import Image, open_image
from efishim.lab.plan.doors import all_doors, find_door, require_door
from efishim.plugin_guard import Guarded, PluginError

PROBE = open_image(probe_kernel(), path="probe")


def kind(find: Any) -> Any:
    return Guarded("efishim_entries", "mine", "theirs", SimpleNamespace(find=find))


def no_image(_: Image) -> Door:
    raise ImageError("the payload is damaged")


def bug(_: Image) -> Door:
    raise KeyError("oh")


def test_an_entry_of_a_plugin_stands_behind_our_own() -> None:
    kinds = {"mine": kind(lambda _: Door("another name", where="here"))}
    assert [door.entry for door in all_doors(PROBE, kinds)] == [*Entry, "mine"]
    assert find_door(PROBE, "mine", kinds) == Door("mine", where="here")
    require_door(PROBE, "mine", kinds)
    require_door(PROBE, "pvh", {})


def test_why_it_is_not_there() -> None:
    lacking, damaged = {"mine": kind(lambda _: Door("mine", reason="there is none"))}, {"mine": kind(no_image)}
    for kinds, words in ((lacking, "there is none"), (damaged, "the payload is damaged")):
        with pytest.raises(RouteError, match=f"probe has no mine entry: {words}"):
            require_door(PROBE, "mine", kinds)
    with pytest.raises(UsageError, match="no image has an entry called 'yours'") as caught:
        require_door(PROBE, "yours", lacking)
    assert "efi-handover" in caught.value.hint
    assert caught.value.hint.endswith("mine")
    assert find_door(PROBE, "yours", lacking) is None


@pytest.mark.parametrize("find", [bug, lambda _: None, lambda _: "a word"])
def test_a_plugin_that_fails_is_named_and_the_others_are_listed(find: Any) -> None:
    kinds = {"mine": kind(find)}
    with pytest.raises(PluginError, match="the plugin theirs"):
        require_door(PROBE, "mine", kinds)
    last = all_doors(PROBE, kinds)[-1]
    assert not last.applies
    assert "the plugin theirs" in last.reason
