"""Firmware calls of two runs side by side, aligned by their common sequence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from efishim.compare.behaviour import UNFINISHED, call_fact, names_in
from efishim.compare.lines import opcodes
from efishim.lab.record import FirmwareCall, Record
from efishim.report.html.limits import Limits


@dataclass(frozen=True, slots=True)
class Call:
    """A call as a line."""

    service: str
    args: str
    status: str
    insns: int
    repeats: int
    caller: str


@dataclass(frozen=True, slots=True)
class CallRow:
    """The same call on both sides, or one that only one side made."""

    left: Call | None
    right: Call | None


@dataclass(frozen=True, slots=True)
class Calls:
    """The lines, and how many calls of each side are not among them."""

    rows: tuple[CallRow, ...]
    left_more: int
    right_more: int
    alone: int
    """Lines with one side."""


def calls(left: Record, right: Record, limits: Limits) -> Calls:
    """Align two sequences."""
    one, other = left.firmware_calls[: limits.calls], right.firmware_calls[: limits.calls]
    rows = tuple(_rows(one, other))
    return Calls(
        rows,
        len(left.firmware_calls) - len(one) + left.firmware_calls_dropped,
        len(right.firmware_calls) - len(other) + right.firmware_calls_dropped,
        sum(row.left is None or row.right is None for row in rows),
    )


def _rows(one: Sequence[FirmwareCall], other: Sequence[FirmwareCall]) -> Iterator[CallRow]:
    for what, a, b, c, d in opcodes([call_fact(call).path for call in one], [call_fact(call).path for call in other]):
        if what == "equal":
            yield from (CallRow(_call(x), _call(y)) for x, y in zip(one[a:b], other[c:d], strict=True))
        else:
            yield from (CallRow(_call(x), None) for x in one[a:b])
            yield from (CallRow(None, _call(y)) for y in other[c:d])


ARGUMENT_WIDTH = 48


def _call(call: FirmwareCall) -> Call:
    names = [name[:ARGUMENT_WIDTH] for name in names_in(call)]
    caller = "" if call.caller is None else call.caller.shown
    status = f"{call.status} (injected)" if call.injected is True else call.status or UNFINISHED
    return Call(call.service, ", ".join(names), status, call.insns, call.repeats, caller)
