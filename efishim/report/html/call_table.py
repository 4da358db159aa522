"""Firmware calls of two runs side by side: what both asked in the same order stands on one line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from efishim.compare.behaviour import call_path
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
    for what, a, b, c, d in opcodes([call_path(call) for call in one], [call_path(call) for call in other]):
        if what == "equal":
            yield from (CallRow(_call(x), _call(y)) for x, y in zip(one[a:b], other[c:d], strict=True))
        else:
            yield from (CallRow(_call(x), None) for x in one[a:b])
            yield from (CallRow(None, _call(y)) for y in other[c:d])


ARGUMENT_WIDTH = 48


def _call(call: FirmwareCall) -> Call:
    names = [argument.value[:ARGUMENT_WIDTH] for argument in call.args if argument.value and not _is_number(argument.value)]
    caller = "" if call.caller is None else call.caller.shown
    return Call(call.service, ", ".join(names), call.status or "unfinished", call.insns, call.repeats, caller)


def _is_number(text: str) -> bool:
    return text.startswith("0x") or text.isdigit()
