"""Runs of the embedded probe kernel: what a plan gives, and how runs end."""

from __future__ import annotations

import threading
from importlib.metadata import entry_points
from types import SimpleNamespace

import efishim_firmware_stubs
import pytest

from efishim.errors import EfishimError, RouteError, UsageError
from efishim.hookspecs import hookimpl
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Milestone, Reason, Record, decode, encode, without_wall_clock
from efishim.lab.run import run_plan
from efishim.machine.cpu import Board
from efishim.plugins import GROUP, Registry


def plan(**changes: object) -> Plan:
    values: dict[str, object] = {
        "image": Blob.embedded("embedded:probe", efishim_firmware_stubs.probe_kernel()),
        "provider": "firmware",
        "entry": "efi",
        "platform": "pc",
        "max_insns": 200_000_000,
        "timeout": 100.0,
    }
    return Plan(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def probe() -> Record:
    """One whole run of the probe kernel."""
    return run_plan(plan(cmdline=b"console=ttyS0 one two"))


@pytest.mark.slow
def test_the_probe_powers_off(probe: Record) -> None:
    assert probe.outcome.reason is Reason.SHUTDOWN
    assert probe.outcome.met
    names = [point.name for point in probe.milestones]
    assert names == [Milestone.ENTRY, Milestone.EXIT_BOOT_SERVICES, Milestone.SHUTDOWN]
    counts = [point.insns for point in probe.milestones]
    assert counts == sorted(counts)
    assert counts[0] == 0


def test_its_report_is_the_console(probe: Record) -> None:
    assert "probe: begin entry=efi" in probe.console
    assert "probe: end" in probe.console


def test_the_calls_are_in_order_of_instructions(probe: Record) -> None:
    counts = [call.insns for call in probe.firmware_calls]
    assert counts == sorted(counts)
    services = {call.service for call in probe.firmware_calls}
    assert {"BootServices.GetMemoryMap", "BootServices.ExitBootServices", "RuntimeServices.ResetSystem"} <= services


def test_the_ledger_knows_the_serial_port(probe: Record) -> None:
    transmit = next(entry for entry in probe.ledger if entry.what == "0x3f8")
    assert transmit.group == "serial"
    # The report goes out byte by byte; the firmware's own console shares the record, not the port.
    assert transmit.writes >= len(probe.console.split("probe: begin", 1)[1])


def test_a_record_survives_its_encoding(probe: Record) -> None:
    assert decode(encode(probe)) == without_wall_clock(probe)


@pytest.mark.slow
def test_two_runs_are_the_same(probe: Record) -> None:
    again = run_plan(plan(cmdline=b"console=ttyS0 one two"))
    assert encode(again) == encode(probe)


@pytest.mark.slow
def test_until_ends_the_run_at_the_milestone() -> None:
    record = run_plan(plan(until=Milestone.EXIT_BOOT_SERVICES))
    assert record.outcome.met
    assert record.outcome.reason is Reason.MILESTONE
    assert record.milestones[-1].name is Milestone.EXIT_BOOT_SERVICES


def test_the_instruction_limit_ends_the_run() -> None:
    record = run_plan(plan(max_insns=10_000))
    assert record.outcome.reason is Reason.INSN_LIMIT
    assert not record.outcome.met
    assert record.outcome.reproducible
    # The limit is looked at before each block, so it is passed by less than a block.
    assert 10_000 <= record.outcome.insns < 10_200


def test_an_interrupt_gives_a_partial_record() -> None:
    event = threading.Event()
    event.set()
    record = run_plan(plan(), interrupt=event)
    assert record.outcome.reason is Reason.INTERRUPTED
    assert not record.outcome.reproducible
    assert decode(encode(record)) == without_wall_clock(record)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("probe=spin", Reason.ENDLESS_LOOP),
        ("probe=triplefault", Reason.TRIPLE_FAULT),
        ("probe=reset", Reason.RESET),
        ("probe=halt", Reason.HALTED),
    ],
)
def test_ends_that_a_guest_asks_for(word: str, reason: Reason) -> None:
    record = run_plan(plan(cmdline=word.encode()))
    assert record.outcome.reason is reason, record.outcome


@pytest.mark.slow
def test_observers_do_not_change_what_is_measured(probe: Record) -> None:
    bare = run_plan(plan(cmdline=b"console=ttyS0 one two", observers=False))
    assert [point.insns for point in bare.milestones] == [point.insns for point in probe.milestones]
    assert bare.coverage.blocks == 0
    assert bare.ledger == []


@pytest.mark.slow
def test_a_seed_changes_what_is_random() -> None:
    first, second = (run_plan(plan(seed=seed, until=Milestone.EXIT_BOOT_SERVICES)) for seed in (1, 2))
    assert first.options.seed != second.options.seed


def test_an_entry_that_the_image_lacks_is_named() -> None:
    text = Blob.embedded("hello", b"hello world" * 100)
    with pytest.raises(EfishimError) as caught:
        run_plan(plan(image=text))
    assert caught.value.exit_status == 4
    arm = bytearray(efishim_firmware_stubs.probe_kernel())
    at = int.from_bytes(arm[0x3C:0x40], "little")
    arm[at + 4 : at + 6] = b"\x64\xaa"  # IMAGE_FILE_MACHINE_ARM64
    with pytest.raises(RouteError, match="efi"):
        run_plan(plan(image=Blob.embedded("arm", bytes(arm))))


def test_an_unknown_entry_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        run_plan(plan(entry="sideways"))


class Counting:
    """An observer as a plugin gives one."""

    name = "counting"
    summary = "counts what it can see of the machine"

    def start(self, board: Board) -> None:
        self.board = board
        self.regions = sum(1 for _ in board.memory)

    def finish(self) -> list[str]:
        return [f"{self.regions} regions, {self.board.now() > 0}"]


class Broken(Counting):
    """One that fails."""

    name = "broken"

    def finish(self) -> list[str]:
        raise RuntimeError("I am broken")


@hookimpl
def efishim_observers() -> list[Counting]:
    return [Counting(), Broken()]


class Source:
    """An entry point that gives this module's hooks."""

    name = "watching"

    def load(self) -> SimpleNamespace:
        return SimpleNamespace(efishim_observers=efishim_observers)


@pytest.mark.slow
def test_a_plugin_observes_a_run() -> None:
    registry = Registry([Source(), *entry_points(group=GROUP)])
    record = run_plan(plan(until=Milestone.EXIT_BOOT_SERVICES), registry=registry)
    assert any(note.startswith("counting: ") and note.endswith("regions, True") for note in record.notes)
    failed = "the observer broken failed: RuntimeError: I am broken (tests/lab/test_run.py, line "
    assert any(note.startswith(failed) for note in record.notes)
    assert record.outcome.met
