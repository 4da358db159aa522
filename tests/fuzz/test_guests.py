"""The slices of hostile guests: each guest is made of its numbers, and what is found is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.fuzz import guests

pytestmark = [pytest.mark.slow, pytest.mark.unmeasured]


def slice_of(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["guests", *words])
    return guests.main()


def test_a_guest_is_made_of_its_numbers() -> None:
    some = [guests.guest(1, number) for number in range(40)]
    assert some == [guests.guest(1, number) for number in range(40)]
    assert len({image for _, image in some}) == 40
    assert len({route for route, _ in some}) > 15
    assert guests.guest(2, 3) != some[3]


def test_two_slices_are_one_of_both_sizes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for _ in range(2):
        assert slice_of(monkeypatch, "--count", "4", "--state", str(tmp_path / "two")) == 0
    assert slice_of(monkeypatch, "--count", "8", "--state", str(tmp_path / "one")) == 0
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert sum(json.loads((tmp_path / "one").read_bytes())["ends"].values()) == 8
    assert slice_of(monkeypatch, "--seed", "1", "--state", str(tmp_path / "one")) == 2, "another seed has other guests"


@pytest.mark.parametrize("kind", ["exception", "end"])
def test_what_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("odd")

    if kind == "exception":
        monkeypatch.setattr(guests, "run_plan", broken)
    else:
        monkeypatch.setattr(guests, "DEFINED", frozenset())
    assert slice_of(monkeypatch, "--first", "3", "--count", "3") == 1
    out = capsys.readouterr().out
    assert ("ZeroDivisionError" if kind == "exception" else "an end without a name") in out
    assert "--seed 0 --first 3 --count 1" in out or "--seed 0 --first 4 --count 1" in out
