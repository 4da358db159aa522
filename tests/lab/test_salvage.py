"""Runs that efishim itself ends, by a defect: the record is there, and says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import efishim_firmware_stubs
import pytest

from efishim.errors import EfishimError, ProviderError
from efishim.lab import collect
from efishim.lab.boot.booted import Booted
from efishim.lab.observe.code import CodeObserver
from efishim.lab.observe.plugin_observers import PluginObservers
from efishim.lab.observe.structure_watch import StructureWatch
from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Reason, decode, encode, without_wall_clock
from efishim.lab.run import run_plan
from efishim.lab.salvage import FAILED, described
from efishim.plugins import load_plugins


def fails(error: BaseException) -> Callable[..., Any]:
    def failing(*_arguments: Any, **_words: Any) -> Any:
        raise error

    return failing


@pytest.fixture(scope="module")
def plan() -> Plan:
    blob = Blob.embedded("embedded:probe", efishim_firmware_stubs.probe_kernel())
    return make_plan(load_plugins(), lambda: blob, Words(provider="hvmlite", entry="efi"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [OverflowError("date value out of range"), RecursionError(), KeyError("x"), MemoryError(), ProviderError("it is gone")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_fails_while_the_guest_runs(plan: Plan, error: Exception) -> None:
    """Here it is the stream of the console, which a device calls in the middle of an instruction."""
    heard = bytearray()

    def console(data: bytes) -> None:
        heard.extend(data)
        if len(heard) > 7000:
            raise error

    record = run_plan(plan, console=console)
    assert record.outcome.reason is Reason.EMULATOR
    assert record.outcome.details.startswith(FAILED)
    assert str(error) in record.outcome.details
    assert record.outcome.insns > 0
    assert record.firmware_calls
    assert record.ledger
    assert not record.outcome.met
    assert decode(encode(record)) == without_wall_clock(record)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name", "part"),
    [
        (collect, "named", "milestones' code"),
        (collect, "firmware_calls", "firmware_calls"),
        (collect, "ledger", "ledger"),
        (CodeObserver, "coverage", "coverage"),
        (StructureWatch, "result", "consumed"),
        (PluginObservers, "finish", "observers"),
    ],
)
def test_whatever_fails_while_the_record_is_made(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, part: str
) -> None:
    monkeypatch.setattr(owner, name, fails(ValueError("too large")))
    record = run_plan(plan)
    assert record.outcome.met
    assert any(note.startswith(f"{part} is missing: {FAILED}: ValueError (too large)") for note in record.notes)
    assert decode(encode(record)) == without_wall_clock(record)


def test_what_fails_before_the_guest_runs_is_raised(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Booted, "tables", fails(ProviderError("there are none")))
    with pytest.raises(ProviderError):
        run_plan(plan)


def test_ctrl_c_is_not_held_up(plan: Plan) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, console=fails(KeyboardInterrupt()))


def test_a_failure_is_described_by_who_was_doing_what() -> None:
    def inner() -> None:
        raise ZeroDivisionError("a\nb" + "c" * 10_000)

    try:
        inner()
    except ZeroDivisionError as error:
        text = described(error)
    assert text.startswith(f"{FAILED}: ZeroDivisionError (a bccc")
    assert " in test_salvage.inner < test_salvage.test_a_failure_is_" in text
    assert len(text) < 1000
    assert described(EfishimError("no")) == f"{FAILED}: no"
