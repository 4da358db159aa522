"""The stub through which gdb debugs the guest: what each packet of the protocol means here.

Source: "Debugging with GDB", appendix "GDB Remote Serial Protocol", sections "Packets", "Stop Reply Packets" and "General Query
Packets"; QEMU's docs/system/gdb.rst for what users of a machine's stub expect.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from efishim.debug import registers
from efishim.debug.guest_memory import GuestMemory
from efishim.debug.link import LONGEST_PACKET, Link, Listener
from efishim.debug.monitor import Monitor
from efishim.debug.packets import INTERRUPT, Packet, escaped, framed, unescaped
from efishim.machine.debugging import Debugging, Halt, Then, Why
from efishim.machine.machine import Machine
from efishim.machine.watchpoints import Watchpoint

LOOK_SECONDS = 0.1
"""How long a stopped guest's host sleeps before it looks whether the user wants the run to end."""
MEMORY_PIECE = LONGEST_PACKET // 2 - 64
BREAKPOINTS, WATCHPOINTS, WATCHED_BYTES = 1024, 64, 4096
"""The most of each that a client may set."""
ITEMS = 64
"""Packets that are answered before the user is looked after."""
THREAD = "1"
OK, NOTHING, BAD, FAULT = b"OK", b"", b"E16", b"E0e"
"""EINVAL and EFAULT, in hexadecimal."""
_NUMBER = re.compile(rb"[0-9a-fA-F]{1,16}\Z")
_RESUME = {b"c": Then.CONTINUE, b"C": Then.CONTINUE, b"s": Then.STEP, b"S": Then.STEP}
_WATCHES = {b"2": (False, True), b"3": (True, False), b"4": (True, True)}
_SIGINT, _SIGTRAP = 2, 5


class _Outside(Exception):
    """What is asked for needs the guest outside of the emulation."""


class _Resume(Exception):
    """The guest goes on."""

    def __init__(self, then: Then) -> None:
        super().__init__(then)
        self.then = then


class Stub:
    """One machine's. `over` says that the run ends for a reason of the host's; `wait` holds the guest before its first
    instruction until a client lets it go on; `say` takes lines for the user.
    """

    def __init__(
        self,
        machine: Machine,
        listener: Listener,
        monitor: Monitor,
        *,
        over: Callable[[], bool],
        wait: bool,
        say: Callable[[str], object],
    ) -> None:
        self._machine = machine
        self._link = Link(listener)
        self._monitor = monitor
        self.over = over
        self._wait = wait
        self._say = say
        self._places: dict[int, str] = {}
        self._points: set[Watchpoint] = set()
        self._stepping = self._asked = self._interrupted = self._known = False
        self._left = False
        """Was the last answer that the guest is to be taken out of the emulation?"""
        self._running = False
        """Does the client wait to hear that the guest stopped?"""
        self._memory = GuestMemory(machine)
        self._features: frozenset[bytes] = frozenset()
        self._pending: bytes | None = None
        self._reason = b""
        self._paused = 0.0
        self._since: float | None = None

    @property
    def _debugging(self) -> Debugging:
        assert self._machine.debugging is not None
        return self._machine.debugging

    @property
    def paused(self) -> float:
        """Seconds for which the guest was stopped by the client."""
        since = self._since
        return self._paused + (0.0 if since is None else time.monotonic() - since)

    def attention(self) -> bool:
        """While the guest runs: did a client come, or interrupt?"""
        self._link.poll(0)
        for _ in range(ITEMS):
            item = self._link.take()
            if item is None:
                break
            self._interrupted = self._interrupted or item == INTERRUPT
        if self._known and not self._link.connected:
            self._gone()
        self._asked = self._interrupted or (self._link.connected and not self._known)
        return self._asked

    def stopped(self, halt: Halt) -> Then:
        """Answer the client until it lets the guest go on."""
        if not self._mine(halt):
            return Then.CONTINUE
        if halt.why is not Why.AGAIN:
            self._reason = self._stop_reply(halt)
        self._asked = self._interrupted = self._stepping = False
        self._since = time.monotonic()
        try:
            then = self._serve(halt)
        finally:
            self._paused, self._since = self.paused, None
        self._left = then is Then.OUTSIDE
        return then

    def finish(self) -> None:
        """The run is over: the client hears that the program has exited."""
        if self._link.connected and self._running:
            self._reply(b"W00")
        self._link.close()

    def _mine(self, halt: Halt) -> bool:
        if halt.why is Why.START:
            return self._wait
        if halt.why is Why.AGAIN:
            return self._left
        if halt.why is Why.ASKED:
            return self._asked or not self._known
        if halt.why is Why.STEP:
            return self._stepping
        return self._known

    def _stop_reply(self, halt: Halt) -> bytes:
        signal = _SIGINT if halt.why is Why.ASKED and self._interrupted else _SIGTRAP
        extra = ""
        if halt.hit is not None:
            point = halt.hit.watchpoint
            kind = "awatch" if point.read and point.write else "rwatch" if point.read else "watch"
            extra = f"{kind}:{max(point.start, halt.hit.address):x};"
        elif halt.why is Why.BREAK and (kind := self._places.get(halt.at, "hwbreak")).encode() in self._features:
            extra = f"{kind}:;"
        return f"T{signal:02x}thread:{THREAD};{extra}".encode()

    def _serve(self, halt: Halt) -> Then:
        if self._running:
            self._running = False
            self._reply(self._reason)
        try:
            if self._pending is not None:
                body, self._pending = self._pending, None
                self._answer(body, halt)
            busy = False
            while True:
                if self.over():
                    return Then.OUTSIDE
                self._look_after(halt)
                self._link.poll(0 if busy else LOOK_SECONDS)
                busy = False
                for _ in range(ITEMS):
                    item = self._link.take()
                    busy = item is not None
                    if item is None:
                        break
                    if isinstance(item, Packet):
                        self._answer(item.body, halt)
        except _Outside:
            return Then.OUTSIDE
        except _Resume as resume:
            self._stepping = resume.then is Then.STEP
            return resume.then

    def _look_after(self, halt: Halt) -> None:
        """A client came, or went."""
        if self._known and not self._link.connected:
            if halt.inside and self._points:
                raise _Outside
            self._gone()
            raise _Resume(Then.CONTINUE)
        if self._link.connected and not self._known:
            self._known = True
            self._say("gdb: a client has connected, and the guest is stopped")
        elif not self._link.connected and not self._known and halt.why is not Why.START and not self._wait:
            raise _Resume(Then.CONTINUE)

    def _gone(self) -> None:
        self._say("gdb: the client has gone, and the guest runs on")
        self._forget()

    def _forget(self) -> None:
        """Nothing that the client set remains."""
        for place in self._places:
            self._debugging.remove(place)
        for point in self._points:
            self._debugging.unwatch(point)
        self._places, self._points = {}, set()
        self._known = self._running = self._memory.physical = self._wait = False
        self._features, self._pending, self._reason = frozenset(), None, b""

    def _reply(self, body: bytes) -> None:
        self._link.send(framed(body))

    def _answer(self, body: bytes, halt: Halt) -> None:
        """Do what a packet says. Raises _Outside, and then it was not done, and _Resume."""
        try:
            answer = self._answer_to(body, halt)
        except _Outside:
            self._pending = body
            raise
        except ValueError:
            answer = BAD
        except _Resume as resume:
            self._running = resume.then is not Then.END
            raise
        self._reply(answer)
        if body == b"QStartNoAckMode":
            self._link.acknowledges = False

    def _answer_to(self, body: bytes, halt: Halt) -> bytes:
        kind, rest = body[:1], body[1:]
        match kind:
            case b"?":
                return self._reason
            case b"g":
                return b"".join(registers.read(self._machine, name) for name in registers.SIZES).hex().encode()
            case b"p":
                return registers.read(self._machine, _register(rest)).hex().encode()
            case b"G":
                return self._write_all(bytes.fromhex(rest.decode("ascii")), halt)
            case b"P":
                number, _, value = rest.partition(b"=")
                return self._write_register(_register(number), bytes.fromhex(value.decode("ascii")), halt)
            case b"m":
                address, size = _numbers(rest)
                return self._memory.read(address, min(size, MEMORY_PIECE)).hex().encode() or FAULT
            case b"M" | b"X":
                place, _, data = rest.partition(b":")
                raw = unescaped(data) if kind == b"X" else bytes.fromhex(data.decode("ascii"))
                return self._write_memory(*_numbers(place), raw, halt)
            case b"Z" | b"z":
                return self._set_point(kind == b"Z", rest, halt)
            case b"c" | b"C" | b"s" | b"S":
                return self._resume(kind, rest, halt)
            case b"H" | b"T":
                return OK
            case b"D":
                return self._detach(halt)
            case b"k":
                raise _Resume(Then.END)
            case b"v":
                return self._verbose(body, halt)
            case b"q" | b"Q":
                return self._query(body)
        return NOTHING

    def _verbose(self, body: bytes, halt: Halt) -> bytes:
        if body == b"vCont?":
            return b"vCont;c;C;s;S"
        if body.startswith(b"vCont;"):
            action = body.removeprefix(b"vCont;").partition(b";")[0].partition(b":")[0]
            return self._resume(action[:1], b"", halt)
        if body.startswith(b"vKill"):
            self._reply(OK)
            raise _Resume(Then.END)
        return NOTHING

    def _query(self, body: bytes) -> bytes:
        name, _, rest = body.partition(b":")
        if name == b"qSupported":
            self._features = frozenset(one.removesuffix(b"+") for one in rest.split(b";") if one.endswith(b"+"))
            return b"PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;swbreak+;hwbreak+;vContSupported+" % LONGEST_PACKET
        if name in (b"QStartNoAckMode", b"qSymbol"):
            return OK
        if name == b"qXfer":
            return self._transfer(rest)
        if name.startswith(b"qRcmd,"):
            words = bytes.fromhex(body.removeprefix(b"qRcmd,").decode("ascii")).decode("utf-8", "replace")
            return self._monitor.answer(words)[:MEMORY_PIECE].encode("utf-8", "replace").hex().encode()
        if name == b"Qqemu.PhyMemMode":
            self._memory.physical = rest == b"1"
            return OK
        return {
            b"qAttached": b"1",
            b"qC": b"QC" + THREAD.encode(),
            b"qfThreadInfo": b"m" + THREAD.encode(),
            b"qsThreadInfo": b"l",
            b"qqemu.PhyMemMode": b"%d" % self._memory.physical,
        }.get(name, NOTHING)

    def _transfer(self, rest: bytes) -> bytes:
        kind, _, place = rest.rpartition(b":")
        if kind != b"features:read:target.xml":
            return b"E00"
        offset, size = _numbers(place)
        text = registers.description().encode("ascii")
        size = min(size, LONGEST_PACKET // 2)
        return (b"m" if offset + size < len(text) else b"l") + escaped(text[offset : offset + size])

    def _write_memory(self, address: int, size: int, data: bytes, halt: Halt) -> bytes:
        if len(data) != size:
            return BAD
        if not size:
            return OK
        self._be_outside(halt)
        if not self._memory.write(address, data):
            return FAULT
        self._debugging.wrote()
        return OK

    def _write_all(self, data: bytes, halt: Halt) -> bytes:
        if len(data) != sum(registers.SIZES.values()):
            return BAD
        at = 0
        for name, size in registers.SIZES.items():
            self._write_register(name, data[at : at + size], halt)
            at += size
        return OK

    def _write_register(self, name: str, data: bytes, halt: Halt) -> bytes:
        if len(data) != registers.SIZES[name]:
            return BAD
        if registers.read(self._machine, name) == data:
            return OK
        self._be_outside(halt)
        self._debugging.written = True
        return OK if registers.write(self._machine, name, data) else BAD

    def _set_point(self, insert: bool, rest: bytes, halt: Halt) -> bytes:
        kind, _, place = rest.partition(b";")[0].partition(b",")
        address, size = _numbers(place)
        if kind in (b"0", b"1"):
            if insert and address not in self._places:
                if len(self._places) >= BREAKPOINTS:
                    return BAD
                self._debugging.insert(address)
            elif not insert and address in self._places:
                self._debugging.remove(address)
            self._places.pop(address, None)
            if insert:
                self._places[address] = "swbreak" if kind == b"0" else "hwbreak"
            return OK
        if kind not in _WATCHES:
            return NOTHING
        read, write = _WATCHES[kind]
        point = Watchpoint(address, size, read, write)
        if not 0 < size <= WATCHED_BYTES or (insert and len(self._points) >= WATCHPOINTS):
            return BAD
        if insert is (point in self._points):
            return OK
        self._be_outside(halt)
        (self._debugging.watch if insert else self._debugging.unwatch)(point)
        (self._points.add if insert else self._points.discard)(point)
        return OK

    def _resume(self, kind: bytes, rest: bytes, halt: Halt) -> bytes:
        then = _RESUME.get(kind)
        if then is None:
            return BAD
        address = rest.rpartition(b";")[2] if kind in (b"C", b"S") and b";" in rest else rest if kind in (b"c", b"s") else b""
        if address:
            self._write_register("rip", _number(address).to_bytes(8, "little"), halt)
        raise _Resume(then)

    def _detach(self, halt: Halt) -> bytes:
        if self._points:
            self._be_outside(halt)
        self._reply(OK)
        self._say("gdb: the client has detached, and the guest runs on")
        self._forget()
        self._link.close()
        raise _Resume(Then.CONTINUE)

    def _be_outside(self, halt: Halt) -> None:
        if halt.inside:
            raise _Outside


def _number(text: bytes) -> int:
    if not _NUMBER.match(text):
        raise ValueError(text)
    return int(text, 16)


def _numbers(text: bytes) -> tuple[int, int]:
    first, _, second = text.partition(b",")
    return _number(first), _number(second)


def _register(text: bytes) -> str:
    number = _number(text)
    if number >= len(registers.REGISTERS):
        raise ValueError(text)
    return registers.REGISTERS[number][0]
