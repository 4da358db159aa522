"""Logs BIOS calls in the same form as EFI firmware calls."""

from __future__ import annotations

from dataclasses import replace

from efishim.bios.frame import Frame
from efishim.logged_call import LOG_LIMIT, SHOWN_STRING, LoggedCall

BY_AX = frozenset({(0x10, 0x10), (0x10, 0x11), (0x10, 0x1A), (0x10, 0x4F)})
BY_AX_15 = frozenset({0x24, 0x53, 0xC2, 0xD8, 0xE8, 0xE9, 0xEC})
"""Where the function is all of AX."""
NO_FUNCTION = frozenset({0x11, 0x12, 0x18, 0x19})
WITH_STATUS = frozenset({0x13, 0x15, 0x1A})
"""Interrupts that answer with carry, and with a status in AH when it is set."""
TELETYPE = "int 10h/0E"
UNKNOWN_LIMIT = 1000


def name_of(vector: int, ax: int) -> str:
    """`int 15h/E820`: the interrupt and its function, as the interrupt list writes them."""
    if vector in NO_FUNCTION:
        return f"int {vector:02X}h"
    whole = (vector, ax >> 8) in BY_AX or (vector == 0x15 and ax >> 8 in BY_AX_15) or (vector == 0x1A and ax >> 8 == 0xB1)
    return f"int {vector:02X}h/{ax:04X}" if whole else f"int {vector:02X}h/{ax >> 8:02X}"


class CallLog:
    """Calls in the order in which they were made."""

    def __init__(self) -> None:
        self.calls: list[LoggedCall] = []
        self.dropped = 0
        self.unknown: list[str] = []
        """Functions that were asked for and that the BIOS does not have, in the order of their first call."""

    def note(self, vector: int, before: dict[str, int], frame: Frame, insns: int, *, injected: bool = False) -> None:
        """A call was answered."""
        service = name_of(vector, before["eax"] & 0xFFFF)
        if frame.unknown and service not in self.unknown and len(self.unknown) < UNKNOWN_LIMIT:
            self.unknown.append(service)
        after = frame.registers()
        status = (f"CF=1 AH={frame['ah']:02X}" if frame.carry else "CF=0") if vector in WITH_STATUS else ""
        args = tuple((name, f"{value:#x}") for name, value in before.items())
        results = tuple((name, f"{value:#x}") for name, value in after.items() if value != before[name])
        if service == TELETYPE:
            args = (("text", _character(before["eax"] & 0xFF)),)
        self._add(LoggedCall(service, args, status, insns, frame.return_address, results, injected=injected))

    def _add(self, call: LoggedCall) -> None:
        if self.calls:
            last = self.calls[-1]
            joined = _joined(last, call)
            if joined is not None:
                self.calls[-1] = joined
                return
        if len(self.calls) >= LOG_LIMIT:
            self.dropped += 1
            return
        self.calls.append(call)


def _joined(last: LoggedCall, call: LoggedCall) -> LoggedCall | None:
    """One entry for two: polling with the same answer, and characters of one text. None when they differ."""
    if last.service == call.service == TELETYPE and last.caller == call.caller:
        text = last.args[0][1]
        if not text.endswith("\n"):
            text += call.args[0][1] if len(text) < SHOWN_STRING else ""
            return replace(last, args=(("text", text),), repeats=last.repeats + 1)
    if replace(last, insns=0, repeats=1) == replace(call, insns=0):
        return replace(last, repeats=last.repeats + 1)
    return None


def _character(code: int) -> str:
    return bytes((code,)).decode("cp437")
