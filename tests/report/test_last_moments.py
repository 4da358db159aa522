"""The last moments of a run as people read them."""

from __future__ import annotations

from typing import Any

from efishim.lab.record import AbiViolation, CodeLine, CodeRef, FirmwareCall, GuestException, Hex, LastMoments, decode, encode
from efishim.report.last_moments import LOG, last_moments
from efishim.report.text import summary
from tests import views
from tests.records import a_record


def moments(**changes: Any) -> LastMoments:
    values: dict[str, Any] = {
        "insns": 5_000_000,
        "exceptions": [
            GuestException(vector=13, name="#GP", error=Hex(0), at=CodeRef(address=Hex(1), symbol="probe+0x1"), insns=10),
            GuestException(
                vector=14, name="#PF", error=Hex(2), address=Hex(0xDEAD), at=CodeRef(address=Hex(2)), insns=4_999_990
            ),
        ],
        "mode": "long64",
        "registers": views.registers(rip=0x100_0000),
        "control": views.control(cr2=0xDEAD),
        "code": [CodeLine(at=CodeRef(address=Hex(0x100_0000), symbol="image+0x0"), code="0f0b", text="ud2")],
        "new_code": [CodeRef(address=Hex(0x100_0000))],
        "backtrace": [CodeRef(address=Hex(0x100_0100), symbol="caller+0x5")],
        "log": [f"line {n}" for n in range(30)],
    }
    return LastMoments(**values | changes)


def test_everything_has_its_line() -> None:
    lines = last_moments(a_record(last_moments=moments()))
    for line in (
        "last moments:",
        "  exception #PF (vector 14, error code 0x2, address 0xdead) at 0x2, 10 instructions before",
        "  registers (long64):",
        "    image+0x0: ud2",
        "    0x1000100 caller+0x5",
        "    0x1000000",
        "    line 29",
    ):
        assert line in lines
    # An exception of long ago was one that the kernel expected, and of the log the end is shown.
    assert not any("#GP" in line for line in lines)
    assert sum("line " in line for line in lines) == LOG


def test_a_panic_comes_first_and_its_code_is_no_news() -> None:
    lines = last_moments(a_record(last_moments=moments(panic="no init found", moment="panic")))
    assert lines[1] == "  the kernel panicked: no init found"
    assert "  registers (long64, when panic() was called):" in lines
    assert not any("ud2" in line for line in lines)


def test_a_null_pointer_names_the_look_up_that_failed_last() -> None:
    calls = [
        FirmwareCall(service="BootServices.LocateProtocol", args=[], status=status, insns=1)
        for status in ("EFI_NOT_FOUND", "EFI_SUCCESS")
    ]
    calls.append(FirmwareCall(service="BootServices.FreePool", args=[], status="EFI_INVALID_PARAMETER", insns=2))
    wild = moments(registers=views.registers(rip=0))
    lines = last_moments(a_record(last_moments=wild, firmware_calls=calls))
    assert "  RIP is a null pointer; the last look-up that failed: BootServices.LocateProtocol () EFI_NOT_FOUND" in lines
    assert not any("look-up" in line for line in last_moments(a_record(last_moments=wild, firmware_calls=calls[1:])))
    assert not any("look-up" in line for line in last_moments(a_record(last_moments=moments(), firmware_calls=calls)))


def test_violated_rules_come_before_the_last_moments() -> None:
    wrong = [AbiViolation(rule="pvh/cr4", sentence="CR4 is clear; it is 1.", found="it is 1", source="pvh.pandoc")]
    text = summary(a_record(abi=wrong, last_moments=moments(panic="oh")))
    assert text.index("pvh/cr4") < text.index("last moments") < text.index("the kernel panicked: oh")
    assert "last moments" not in summary(a_record())


def test_they_survive_their_encoding() -> None:
    record = a_record(last_moments=moments(panic="oh"))
    assert decode(encode(record)) == record
