"""Logs firmware calls, with arguments named and decoded as in the specification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from efishim.firmware.calling.device_path import read_path, to_text
from efishim.firmware.calling.functions import ENUMERATIONS, Function, Parameter, Returns
from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.status import EfiError, Status, is_error
from efishim.logged_call import LOG_LIMIT, SHOWN_STRING, LoggedCall, Shown
from efishim.wire.guids import guid_name
from efishim.wire.uefi import Time

TPL_NAMES = {4: "TPL_APPLICATION", 8: "TPL_CALLBACK", 16: "TPL_NOTIFY", 31: "TPL_HIGH_LEVEL"}

NOT_RETURNED = ""
"""Status of a call that did not return: ResetSystem, Exit, a StartImage whose image never came back."""


class CallLog:
    """Calls in the order in which they were made."""

    def __init__(self, guest: Guest, insns: Callable[[], int] = lambda: 0) -> None:
        self._guest = guest
        self.insns = insns
        self.calls: list[LoggedCall] = []
        self.dropped = 0
        self._begun: list[Callable[[LoggedCall], None]] = []
        self._ended: list[Callable[[LoggedCall], None]] = []

    def on_begin(self, callback: Callable[[LoggedCall], None]) -> None:
        """Call back at the start of each call that is kept; subscribers are called in the order in which they came."""
        self._begun.append(callback)

    def on_end(self, callback: Callable[[LoggedCall], None]) -> None:
        """Call back when a call that is kept has its status; subscribers are called in the order in which they came."""
        self._ended.append(callback)

    def begin(self, function: Function, values: Sequence[int], caller: int, depth: int) -> int | None:
        """A call starts. Gives a number for `end`, None when the log is full."""
        if len(self.calls) >= LOG_LIMIT:
            self.dropped += 1
            return None
        pairs = zip(function.parameters, values, strict=False)
        args = tuple((parameter.name, self._show_in(parameter, value)) for parameter, value in pairs)
        call = LoggedCall(function.full_name, args, NOT_RETURNED, self.insns(), caller, depth=depth)
        self.calls.append(call)
        for callback in self._begun:
            callback(call)
        return len(self.calls) - 1

    def end(
        self,
        number: int | None,
        function: Function,
        values: Sequence[int],
        result: int,
        *,
        overridden: bool = False,
        injected: bool = False,
    ) -> None:
        """A call returns `result`."""
        if number is None:
            return
        results: Shown = ()
        if function.returns is Returns.STATUS:
            status = Status.describe(result)
            # Of what BUFFER_TOO_SMALL leaves behind, only the size is specified.
            ways = ("inout",) if result == Status.BUFFER_TOO_SMALL else () if is_error(result) else ("out", "inout")
            pairs = zip(function.parameters, values, strict=False)
            shown = ((p.name, self._show_out(p, value)) for p, value in pairs if p.way in ways and value)
            results = tuple((name, value) for name, value in shown if value)
        else:
            status = TPL_NAMES.get(result, f"{result:#x}") if function.returns is Returns.TPL else "VOID"
        call = replace(self.calls[number], status=status, results=results, overridden=overridden, injected=injected)
        self.calls[number] = call
        if result == Status.NOT_READY:
            self._fold(number)
        for callback in self._ended:
            callback(call)

    def _fold(self, number: int) -> None:
        """Make one entry of two that poll alike."""
        if number == 0 or number != len(self.calls) - 1:
            return
        before, call = self.calls[number - 1 :]
        if replace(before, insns=0, repeats=1) == replace(call, insns=0):
            self.calls[number - 1 :] = [replace(before, repeats=before.repeats + 1)]

    def arguments(self, function: Function, values: Sequence[int]) -> dict[str, str]:
        """The arguments of a call that is about to be made, as the log would show them."""
        pairs = zip(function.parameters, values, strict=False)
        return {parameter.name: self._show_in(parameter, value) for parameter, value in pairs}

    def _show_in(self, parameter: Parameter, value: int) -> str:
        if parameter.way == "out" or (parameter.way == "inout" and value == 0):
            return f"{value:#x}"
        try:
            if parameter.way == "inout":
                return self._pointed(parameter, value)
            return self._value(parameter, value)
        except EfiError:
            return f"{value:#x}"

    def _show_out(self, parameter: Parameter, value: int) -> str:
        try:
            return self._pointed(parameter, value)
        except EfiError:
            return ""

    def _pointed(self, parameter: Parameter, address: int) -> str:
        """What lies where an out or inout parameter points."""
        kind = parameter.kind
        if kind in ("str", "guid"):
            return self._value(replace(parameter, way="in"), address)
        if kind == "path":
            return to_text(read_path(self._guest, self._guest.uintn(address)))
        if kind == "time":
            told = Time.parse(self._guest.read(address, Time.sizeof()))
            return f"{told.Year:04}-{told.Month:02}-{told.Day:02}T{told.Hour:02}:{told.Minute:02}:{told.Second:02}"
        size = replace(parameter, way="in").width or self._guest.width
        return f"{self._guest.number(address, size):#x}"

    def _value(self, parameter: Parameter, value: int) -> str:
        kind = parameter.kind
        if kind in ENUMERATIONS:
            names = ENUMERATIONS[kind]
            return names[value] if value < len(names) else f"{value:#x}"
        if kind == "tpl":
            return TPL_NAMES.get(value, f"{value:#x}")
        if kind == "status":
            return Status.describe(value)
        if kind == "bool":
            return "TRUE" if value else "FALSE"
        if value == 0 and kind in ("guid", "str", "path"):
            return "NULL"
        if kind == "guid":
            return guid_name(self._guest.guid(value))
        if kind == "str":
            return repr(shorten(self._guest.string(value)))
        if kind == "path":
            return shorten(to_text(read_path(self._guest, value)))
        return f"{value:#x}"


def shorten(text: str) -> str:
    """At most SHOWN_STRING characters, all of them encodable."""
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return clean if len(clean) <= SHOWN_STRING else clean[:SHOWN_STRING] + "..."


__all__ = ["LOG_LIMIT", "NOT_RETURNED", "SHOWN_STRING", "TPL_NAMES", "CallLog", "LoggedCall", "Shown", "shorten"]
