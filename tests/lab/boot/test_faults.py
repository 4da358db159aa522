"""Faults in a whole run: the call log and the notes show them, the command repeats them."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from efishim.lab.record import Record
from efishim.lab.run import run_plan
from tests.lab.test_run import plan
from tests.surface.needy import needy_plan


def run(*fail: str) -> Record:
    return run_plan(replace(needy_plan(), observers=False, fail=fail))


def injected(record: Record) -> list[tuple[str, str]]:
    return [(call.service, call.status) for call in record.firmware_calls if call.injected is True]


def test_a_call_fails_and_the_log_says_that_it_was_made_to() -> None:
    record = run("BootServices.LocateProtocol:2=EFI_DEVICE_ERROR")
    assert record.outcome.met
    assert injected(record) == [("BootServices.LocateProtocol", "EFI_DEVICE_ERROR")]
    assert [call.status for call in record.firmware_calls if "Locate" in call.service] == ["EFI_SUCCESS", "EFI_DEVICE_ERROR"]
    assert record.notes[-1] == "--fail BootServices.LocateProtocol:2=EFI_DEVICE_ERROR: call 2 of 2 failed on purpose"
    assert record.options.fail == ["BootServices.LocateProtocol:2=EFI_DEVICE_ERROR"]
    words = shlex.split(record.reproduce)
    assert words[words.index("--fail") + 1] == record.options.fail[0]


def test_what_fails_does_nothing_else() -> None:
    """AllocatePool fails, and the program ends as it does on a firmware without memory."""
    record = run("BootServices.AllocatePool:1=EFI_OUT_OF_RESOURCES")
    assert not record.outcome.met
    assert record.firmware_calls[0].results == []
    assert injected(record) == [("BootServices.AllocatePool", "EFI_OUT_OF_RESOURCES")]


def test_a_fault_that_nobody_meets() -> None:
    record = run("BootServices.LocateProtocol:3=EFI_DEVICE_ERROR")
    assert injected(record) == []
    assert "never came to pass: there were 2 calls" in record.notes[-1]
    assert record.firmware_calls == run().firmware_calls


def test_a_fault_stands_before_what_a_profile_answers() -> None:
    faulty = replace(
        needy_plan(),
        observers=False,
        without=(("BootServices.LocateProtocol", "EFI_UNSUPPORTED"),),
        fail=("BootServices.LocateProtocol:1=EFI_ABORTED",),
    )
    located = [call for call in run_plan(faulty).firmware_calls if "Locate" in call.service]
    assert [(call.status, call.injected is True) for call in located] == [("EFI_ABORTED", True), ("EFI_UNSUPPORTED", False)]


@pytest.mark.slow
def test_a_bios_call() -> None:
    """The probe on LILO asks E820 until its end; with the second call failing it has one entry."""
    record = run_plan(plan(provider="lilo", entry="linux16", observers=False, fail=("int 15h/E820:2=86",)))
    assert injected(record) == [("int 15h/E820", "CF=1 AH=86")]
    assert "call 2 of 2 failed on purpose" in record.notes[-1]
