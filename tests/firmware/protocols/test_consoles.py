"""SimpleTextOutput and SimpleTextInput, both forms (UEFI 2.10, 12.2 to 12.4)."""

from __future__ import annotations

import struct

import pytest

from efishim.firmware.protocols import text_input
from tests.firmware.fake import Body, Compute
from tests.firmware.lab import INVALID, NOT_READY, SUCCESS, UNSUPPORTED, Lab

RESET, OUTPUT, TEST, QUERY, SET_MODE, ATTRIBUTE, CLEAR, POSITION, ENABLE = range(9)


def con_out(lab: Lab) -> int:
    """ConOut by the offset of 4.3.1."""
    return lab.value(lab.shim.tables.system + 64)


def con_in(lab: Lab) -> int:
    return lab.value(lab.shim.tables.system + 48)


def mode(lab: Lab) -> tuple[int, ...]:
    """(MaxMode, Mode, Attribute, CursorColumn, CursorRow, CursorVisible) of SIMPLE_TEXT_OUTPUT_MODE."""
    return struct.unpack("<5iB", lab.memory.read(lab.value(con_out(lab) + 72), 21))


def test_text_goes_to_the_console(lab: Lab) -> None:
    assert lab.method(con_out(lab), OUTPUT, lab.text("Grüße\r\nb")) == SUCCESS
    assert lab.console == ["Grüße\r\nb"]
    assert mode(lab)[3:5] == (1, 1)


@pytest.mark.parametrize(
    ("text", "column", "row"),
    [("ab\b", 1, 0), ("\b", 0, 0), ("x" * 80, 0, 1), ("x" * 81, 1, 1), ("\n" * 40, 0, 24), ("abc\r", 0, 0), ("", 0, 0)],
)
def test_the_cursor(lab: Lab, text: str, column: int, row: int) -> None:
    lab.method(con_out(lab), OUTPUT, lab.text(text))
    assert mode(lab)[3:5] == (column, row)


def test_modes(lab: Lab) -> None:
    columns, rows = lab.cell(), lab.cell()
    assert lab.method(con_out(lab), QUERY, 0, columns, rows) == SUCCESS
    assert (lab.value(columns), lab.value(rows)) == (80, 25), "mode 0 is 80 by 25 everywhere"
    assert lab.method(con_out(lab), QUERY, 1, columns, rows) == UNSUPPORTED
    assert lab.method(con_out(lab), QUERY, 99, columns, rows) == UNSUPPORTED
    assert lab.method(con_out(lab), SET_MODE, 2) == SUCCESS
    assert mode(lab)[1] == 2
    assert lab.method(con_out(lab), SET_MODE, 1) == UNSUPPORTED
    assert lab.method(con_out(lab), SET_MODE, 1 << 63) == UNSUPPORTED
    assert lab.method(con_out(lab), RESET, 0) == SUCCESS
    assert mode(lab)[1] == 0


def test_attributes_and_cursor(lab: Lab) -> None:
    out = con_out(lab)
    assert lab.method(out, ATTRIBUTE, 0x1F) == SUCCESS
    assert lab.method(out, ATTRIBUTE, 0x80) == UNSUPPORTED
    assert lab.method(out, POSITION, 79, 24) == SUCCESS
    assert lab.method(out, POSITION, 80, 0) == UNSUPPORTED
    assert lab.method(out, POSITION, 0, 25) == UNSUPPORTED
    assert lab.method(out, ENABLE, 0x100) == SUCCESS, "a BOOLEAN is one byte"
    assert mode(lab)[2:] == (0x1F, 79, 24, 0)
    assert lab.method(out, CLEAR) == SUCCESS
    assert mode(lab)[3:5] == (0, 0)


def test_strings_that_cannot_be_shown(lab: Lab) -> None:
    assert lab.method(con_out(lab), TEST, lab.text("fine")) == SUCCESS
    assert lab.method(con_out(lab), TEST, lab.put(b"\x00\xd8\0\0")) == UNSUPPORTED


def key(lab: Lab) -> tuple[int, int, int]:
    place = lab.cell()
    status = lab.method(con_in(lab), 1, place)
    return status, lab.value(place, 2), lab.value(place + 2, 2)


def test_keys(lab: Lab) -> None:
    assert key(lab) == (NOT_READY, 0, 0)
    lab.shim.input.feed([(0x17, 0), (0, ord("y"))])
    assert key(lab) == (SUCCESS, 0x17, 0)
    assert key(lab) == (SUCCESS, 0, ord("y"))
    assert key(lab)[0] == NOT_READY


def test_polling_takes_time_and_ends_some_day(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A menu counts its seconds down while it polls; a prompt at which nobody types must not run for ever."""
    monkeypatch.setattr(text_input, "PATIENCE", 50)
    place = lab.cell()
    for _ in range(40):
        assert lab.method(con_in(lab), 1, place) == NOT_READY
    assert lab.board.clock.now == 40_000_000
    assert len(lab.shim.calls) == 1, "polling is one entry of the log"
    assert lab.shim.calls[0].repeats == 40
    lab.shim.input.feed([(0, 65)])
    assert key(lab)[0] == SUCCESS
    for _ in range(50):
        assert lab.method(con_in(lab), 1, place) == NOT_READY
    assert lab.board.stopped is None
    lab.method(con_in(lab), 1, place)
    lab.method(con_in(lab), 1, place)
    assert lab.board.stopped == "halted"


def test_work_between_polls_is_patience(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_input, "PATIENCE", 5)
    for _ in range(20):
        for _ in range(5):
            lab.bs("FreePool", 0)
        assert key(lab)[0] == NOT_READY
    assert lab.board.stopped is None


def test_typed_by_the_run() -> None:
    lab = Lab(keys="é\n")
    assert key(lab) == (SUCCESS, 0, 0xE9)
    assert key(lab) == (SUCCESS, 0, 13)


def test_reset_forgets_keys(lab: Lab) -> None:
    lab.shim.input.feed([(0, 65)])
    assert lab.method(con_in(lab), 0, 0) == SUCCESS
    assert key(lab)[0] == NOT_READY


def test_waiting_for_a_key(lab: Lab) -> None:
    event = lab.value(con_in(lab) + 16)
    assert lab.bs("CheckEvent", event) == NOT_READY
    lab.board.clock.at(5_000_000, lambda: lab.shim.input.feed([(0, 65)]))
    index = lab.cell(9)
    lab.ok("WaitForEvent", 1, lab.cell(event), index)
    assert lab.value(index) == 0
    assert lab.board.clock.now == 5_000_000
    assert key(lab) == (SUCCESS, 0, 65)


def ex(lab: Lab) -> int:
    return lab.interface("dd9e7534-7762-4698-8c14-f58517a625aa")


def test_the_extended_protocol_reads_the_same_queue(lab: Lab) -> None:
    data = lab.put(bytes(16))
    assert lab.method(ex(lab), 1, data) == NOT_READY
    lab.shim.input.feed([(0, 65), (0, 66)])
    assert lab.method(ex(lab), 1, data) == SUCCESS
    scan, unit, shift, toggle = struct.unpack("<HHIB", lab.memory.read(data, 9))
    assert (scan, unit, shift, toggle) == (0, 65, 0x80000000, 0x80)
    assert key(lab) == (SUCCESS, 0, 66)
    assert lab.method(ex(lab), 3, lab.cell()) == UNSUPPORTED


def test_hot_keys(lab: Lab) -> None:
    pressed: list[int] = []

    def notify(data: int, *_: int) -> Body:
        pressed.append(lab.value(data + 2, 2))
        return 0
        yield Compute(0)

    handle = lab.cell()
    wanted = lab.put(struct.pack("<HHIB3x", 0, 65, 0, 0))
    assert lab.method(ex(lab), 4, wanted, lab.function(notify), handle) == SUCCESS
    lab.shim.input.feed([(0, 66), (0, 65)])
    lab.ok("Stall", 1)
    assert pressed == [65]
    assert lab.method(ex(lab), 5, lab.value(handle)) == SUCCESS
    assert lab.method(ex(lab), 5, lab.value(handle)) == INVALID
