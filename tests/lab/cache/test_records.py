"""Kept records: given again for the same plan, and for nothing else; damaged and strange files are removed."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from efishim.errors import UsageError
from efishim.lab.cache.records import DEFAULT_SIZE, RecordCache, belongs, key_in, place, records_of, repeatable
from efishim.lab.cache.store import Store
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Milestone, Outcome, Reason, Record, encode
from efishim.lab.salvage import FAILED
from efishim.plugins import load_plugins
from tests.lab.cache.test_software import registry
from tests.records import a_record

REGISTRY = load_plugins()
PLAN = Plan(image=Blob.embedded("embedded:probe", b"image"), provider="firmware", entry="efi", platform="pc")
replace = msgspec.structs.replace


def record_of(plan: Plan, **changes: Any) -> Record:
    """A record that says it is of this plan."""
    image = replace(a_record().image, path=plan.image.label, sha256=plan.image.sha256)
    outcome = replace(a_record().outcome, seconds=4.75)
    whole = {
        "outcome": outcome,
        "image": image,
        "route": plan.route_name(),
        "options": plan.record_options(),
        "reproduce": plan.reproduce(),
    }
    return a_record(**{**whole, **changes})


@pytest.fixture
def cache(tmp_path: Path) -> RecordCache:
    return RecordCache(Store(tmp_path / "records", 1 << 20))


def the_file(cache: RecordCache) -> Path:
    (path,) = cache.store.folder.glob("*.json")
    return path


def test_a_kept_record_is_given_again_with_its_times(cache: RecordCache) -> None:
    record = record_of(PLAN)
    assert cache.find(PLAN, REGISTRY) is None
    assert cache.keep(PLAN, record, REGISTRY)
    found = cache.find(PLAN, REGISTRY)
    assert found == record
    assert found.outcome.seconds == record.outcome.seconds > 0
    assert encode(found) == encode(record)


def test_another_plan_finds_nothing(cache: RecordCache) -> None:
    cache.keep(PLAN, record_of(PLAN), REGISTRY)
    assert cache.find(dataclasses.replace(PLAN, seed=1), REGISTRY) is None
    assert cache.find(PLAN, REGISTRY) is not None


def test_a_record_of_something_else_is_not_kept(cache: RecordCache) -> None:
    assert not cache.keep(dataclasses.replace(PLAN, seed=1), record_of(PLAN), REGISTRY)
    assert not belongs(a_record(), PLAN)
    for changes in ({"seed": 1}, {"provider": "hvmlite"}, {"image": Blob.embedded("embedded:probe", b"other")}):
        assert not belongs(record_of(PLAN), dataclasses.replace(PLAN, **changes))


@pytest.mark.parametrize("reason", list(Reason))
def test_what_the_host_or_a_fault_ended_is_not_kept(cache: RecordCache, reason: Reason) -> None:
    record = record_of(PLAN, outcome=Outcome(reached=None, goal=Milestone.SHUTDOWN, met=False, reason=reason))
    unkept = {Reason.INTERRUPTED, Reason.TIMEOUT, Reason.EMULATOR}
    assert cache.keep(PLAN, record, REGISTRY) == (reason not in unkept)


def test_a_record_with_a_part_that_failed_is_not_kept() -> None:
    assert repeatable(record_of(PLAN, notes=["the guest asked for a TPM"]))
    assert not repeatable(record_of(PLAN, notes=[f"ledger is missing: {FAILED}: KeyError"]))
    assert not repeatable(record_of(PLAN, outcome=replace(a_record().outcome, reproducible=False)))


def _cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _flipped(data: bytes) -> bytes:
    """Still a record: one digit of a count is another."""
    return data.replace(b"1234567890", b"1234567891")


def _other_key(data: bytes) -> bytes:
    head, _, body = data.partition(b"\n")
    return json.dumps({**json.loads(head), "key": "0" * 64}).encode() + b"\n" + body


def _of_another_plan(data: bytes) -> bytes:
    """Whole, under the right key, and a record: that of another route."""
    head, _, body = data.partition(b"\n")
    body = body.replace(b'"provider":"firmware"', b'"provider":"hvmlite"')
    return json.dumps({**json.loads(head), "sha256": hashlib.sha256(body).hexdigest()}).encode() + b"\n" + body


def _of_another_format(data: bytes) -> bytes:
    head, _, body = data.partition(b"\n")
    return json.dumps({**json.loads(head), "efishim": 99}).encode() + b"\n" + body


SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": _cut,
    "flipped": _flipped,
    "other key": _other_key,
    "other plan": _of_another_plan,
    "other format": _of_another_format,
    "no JSON": lambda _: b"\xff" * 100,
    "nested": lambda _: b"[" * 100_000,
    "a pickle": lambda _: b"\x80\x04K\x01.",
    "a bare record": lambda data: data.partition(b"\n")[2],
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_what_is_no_record_of_this_plan_is_removed(cache: RecordCache, spoil: Callable[[bytes], bytes]) -> None:
    cache.keep(PLAN, record_of(PLAN), REGISTRY)
    path = the_file(cache)
    data = path.read_bytes()
    assert spoil(data) != data
    path.write_bytes(spoil(data))
    assert cache.find(PLAN, REGISTRY) is None
    assert not path.exists()


def test_a_pipe_in_its_place_is_not_waited_for(cache: RecordCache) -> None:
    cache.keep(PLAN, record_of(PLAN), REGISTRY)
    path = the_file(cache)
    path.unlink()
    os.mkfifo(path)
    assert cache.find(PLAN, REGISTRY) is None


def test_a_console_that_cannot_be_had_to_the_byte_is_not_given_as_one(cache: RecordCache) -> None:
    for changes in ({"console": "a \\xff b"}, {"console": "a", "console_dropped": 1}):
        cache.keep(PLAN, record_of(PLAN, **changes), REGISTRY)
        assert cache.find(PLAN, REGISTRY, console=True) is None
        assert cache.find(PLAN, REGISTRY) is not None
    cache.keep(PLAN, record_of(PLAN, console="\x1b[0m€\n"), REGISTRY)
    assert cache.find(PLAN, REGISTRY, console=True) is not None


def test_code_that_changed_while_it_ran_keeps_nothing(cache: RecordCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efishim.lab.cache.software._seen", lambda: ())
    assert not cache.keep(PLAN, record_of(PLAN), REGISTRY)


def test_a_plugin_that_changed_while_it_ran_keeps_nothing(
    cache: RecordCache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What ran was read before the change, and the next process would take its record for one of the new code."""
    source = tmp_path / "edited_plugin.py"
    source.write_text("X = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "edited_plugin", raising=False)
    theirs = registry(importlib.import_module("edited_plugin"), "their-package")
    assert cache.find(PLAN, theirs) is None
    assert cache.keep(PLAN, record_of(PLAN), theirs)
    source.write_text("X = 2\n")
    assert not cache.keep(PLAN, record_of(PLAN), theirs)
    source.write_text("X = 1\n")
    assert cache.keep(PLAN, record_of(PLAN), theirs)


def test_a_plan_without_a_key_is_run() -> None:
    assert key_in(PLAN, REGISTRY) is not None
    assert key_in(dataclasses.replace(PLAN, notes={"a"}), REGISTRY) is None  # type: ignore[arg-type]


def test_the_environment_says_where_and_how_much(tmp_path: Path) -> None:
    def made(**words: str) -> RecordCache | None:
        return records_of({"EFISHIM_CACHE": str(tmp_path), **words})

    default, small = made(), made(EFISHIM_CACHE_SIZE="2M")
    assert default is not None
    assert (default.store.folder, default.store.limit) == (place(tmp_path), DEFAULT_SIZE)
    assert small is not None
    assert small.store.limit == 2 << 20
    assert made(EFISHIM_CACHE_SIZE="0") is None
    with pytest.raises(UsageError, match="EFISHIM_CACHE_SIZE"):
        made(EFISHIM_CACHE_SIZE="much")
