"""Events, timers and task priority levels (UEFI 2.10, 7.1).

Notifications wait in one queue for each TPL. They run when a service returns or lowers the TPL, and, when the clock
fires a timer while an image computes, by interrupting it if it would let a timer interrupt in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from efishim.firmware.calling.dispatch import Call, Dispatcher, Handler, Idle, Steps
from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.status import EfiError, Status, demand
from efishim.firmware.memory.memory_map import MemoryType
from efishim.firmware.memory.pool import Pool
from efishim.machine.clock import Event as Deadline
from efishim.machine.cpu import Board
from efishim.wire.guids import (
    EFI_EVENT_GROUP_EXIT_BOOT_SERVICES,
    EFI_EVENT_GROUP_VIRTUAL_ADDRESS_CHANGE,
)

EVT_TIMER = 0x80000000
EVT_RUNTIME = 0x40000000
EVT_NOTIFY_WAIT = 0x00000100
EVT_NOTIFY_SIGNAL = 0x00000200
EVT_SIGNAL_EXIT_BOOT_SERVICES = 0x00000201
EVT_SIGNAL_VIRTUAL_ADDRESS_CHANGE = 0x60000202

_GROUP_OF_TYPE = {
    EVT_SIGNAL_EXIT_BOOT_SERVICES: EFI_EVENT_GROUP_EXIT_BOOT_SERVICES,
    EVT_SIGNAL_VIRTUAL_ADDRESS_CHANGE: EFI_EVENT_GROUP_VIRTUAL_ADDRESS_CHANGE,
}

TPL_APPLICATION, TPL_CALLBACK, TPL_NOTIFY, TPL_HIGH_LEVEL = 4, 8, 16, 31

TICK = 10_000_000
"""The timer's tick in ns: what a TriggerTime of 0 means, and how often a masked notification is tried again."""

FASTEST = 100_000
"""Shortest period of a timer in ns. UEFI leaves the resolution to firmware; 100 ns would leave no time for anything else."""

TIMER_UNIT = 100
"""TriggerTime counts units of 100 ns."""

EVENT_LIMIT = 1 << 16
EVENT_SIZE = 0x40
FOREVER = 1 << 63

IF = 0x200


@dataclass(slots=True, eq=False)
class Event:
    """One event. `address` is what images know it by."""

    address: int
    type: int
    notify_tpl: int
    function: int
    context: int
    group: str | None
    signaled: bool = False
    queued: bool = False
    period: int = 0
    deadline: Deadline | None = None
    host_notify: Callable[[Event], None] | None = None
    """The firmware's own notify function; it runs where an image's would be called."""
    arguments: tuple[int, ...] | None = None
    """What `function` is called with, when that is not (event, context)."""


class Events:
    """The services of 7.1 and the current TPL."""

    def __init__(self, board: Board, guest: Guest, pool: Pool, dispatcher: Dispatcher) -> None:
        self._board = board
        self._guest = guest
        self._pool = pool
        self._dispatcher = dispatcher
        self._events: dict[int, Event] = {}
        self._queues: dict[int, deque[Event]] = {}
        self._retry: Deadline | None = None
        self._watchdog: Deadline | None = None
        self.tpl = TPL_APPLICATION
        self.active = True
        """False once ExitBootServices succeeded."""
        self.on_close: Callable[[Event], None] = lambda event: None
        """Told of every closed event: protocol registrations end with theirs."""
        dispatcher.epilogue = self.due

    def services(self) -> dict[str, Handler]:
        """By name in the boot services table."""
        return {
            "RaiseTPL": self.raise_tpl,
            "RestoreTPL": self.restore_tpl,
            "CreateEvent": self.create_event,
            "CreateEventEx": self.create_event_ex,
            "SetTimer": self.set_timer,
            "WaitForEvent": self.wait_for_event,
            "SignalEvent": self.signal_event,
            "CloseEvent": self.close_event,
            "CheckEvent": self.check_event,
            "Stall": self.stall,
            "SetWatchdogTimer": self.set_watchdog_timer,
        }

    # -- task priority (7.1.8, 7.1.9) ---------------------------------------------------------------------------

    def raise_tpl(self, new: int) -> int:
        """Gives the old TPL. Lowering through RaiseTPL is undefined; here it changes nothing."""
        old = self.tpl
        if old <= new <= TPL_HIGH_LEVEL:
            self._set_tpl(new)
        return old

    def restore_tpl(self, old: int) -> int:
        """Due notifications run before this returns (the epilogue of every service)."""
        if TPL_APPLICATION <= old <= self.tpl:
            self._set_tpl(old)
        return 0

    def _set_tpl(self, tpl: int) -> None:
        if (tpl >= TPL_HIGH_LEVEL) != (self.tpl >= TPL_HIGH_LEVEL):
            flags = self._board.cpu.get("eflags")
            self._board.cpu.set("eflags", flags & ~IF if tpl >= TPL_HIGH_LEVEL else flags | IF)
        self.tpl = tpl

    # -- events -------------------------------------------------------------------------------------------------

    def create_event(self, kind: int, notify_tpl: int, function: int, context: int, out: int) -> int:
        """CreateEvent. The two signal types stand for membership in their groups."""
        return self._create(kind, notify_tpl, function, context, _GROUP_OF_TYPE.get(kind), out)

    def create_event_ex(self, kind: int, notify_tpl: int, function: int, context: int, group: int, out: int) -> int:
        """CreateEventEx. The types of the old groups are refused (7.1.2)."""
        demand(group == 0 or kind not in _GROUP_OF_TYPE)
        name = self._guest.guid(group) if group else _GROUP_OF_TYPE.get(kind)
        return self._create(kind, notify_tpl, function, context, name, out)

    def _create(self, kind: int, notify_tpl: int, function: int, context: int, group: str | None, out: int) -> int:
        demand(out)
        known = EVT_TIMER | EVT_RUNTIME | EVT_NOTIFY_WAIT | EVT_NOTIFY_SIGNAL
        notifies = kind & (EVT_NOTIFY_WAIT | EVT_NOTIFY_SIGNAL)
        demand(kind in _GROUP_OF_TYPE or (kind & ~known == 0 and notifies != EVT_NOTIFY_WAIT | EVT_NOTIFY_SIGNAL))
        if notifies:
            demand(TPL_APPLICATION < notify_tpl < TPL_HIGH_LEVEL and function)
        else:
            notify_tpl = function = context = 0
        demand(len(self._events) < EVENT_LIMIT, Status.OUT_OF_RESOURCES)
        self._guest.put_uintn(out, 0)
        event = self.make(kind, notify_tpl, function, context, group)
        self._guest.put_uintn(out, event.address)
        return Status.SUCCESS

    def make(
        self,
        kind: int,
        notify_tpl: int = 0,
        function: int = 0,
        context: int = 0,
        group: str | None = None,
        host_notify: Callable[[Event], None] | None = None,
    ) -> Event:
        """Create an event from the firmware's side."""
        memory = MemoryType.RUNTIME_SERVICES_DATA if kind & EVT_RUNTIME else MemoryType.BOOT_SERVICES_DATA
        address = self._pool.allocate(memory, EVENT_SIZE)
        event = Event(address, kind, notify_tpl, function, context, group, host_notify=host_notify)
        self._events[address] = event
        return event

    def get(self, address: int) -> Event:
        """The event that an image named. Raises EfiError(INVALID_PARAMETER)."""
        event = self._events.get(address)
        if event is None:
            raise EfiError(Status.INVALID_PARAMETER)
        return event

    def close_event(self, address: int) -> int:
        """CloseEvent: the event leaves its group, timer and queue."""
        event = self.get(address)
        self._cancel_timer(event)
        self._unqueue(event)
        del self._events[address]
        if self._pool.holds(address):
            self._pool.free(address)
        self.on_close(event)
        return Status.SUCCESS

    def signal_event(self, address: int) -> int:
        """SignalEvent. The event's whole group is signaled (7.1.4)."""
        event = self.get(address)
        if event.group:
            self.signal_group(event.group)
        else:
            self.signal(event)
        return Status.SUCCESS

    def signal(self, event: Event) -> None:
        """Signal one event; its notification waits for the next chance to run."""
        if event.signaled and not event.type & EVT_NOTIFY_SIGNAL:
            return
        event.signaled = True
        if event.type & EVT_NOTIFY_SIGNAL:
            self._queue(event)

    def signal_group(self, group: str) -> None:
        """Signal every event of a group, in the order of their creation."""
        for event in self._events.values():
            if event.group == group:
                self.signal(event)

    def run_group(self, group: str) -> Steps:
        """Signal a group and run all its notifications now, whatever the TPL (ExitBootServices, 7.4.6)."""
        self.signal_group(group)
        yield from self._run_queue(0)
        return Status.SUCCESS

    def check_event(self, address: int) -> int | Steps:
        """CheckEvent (7.1.6): clears a signaled event; an EVT_NOTIFY_WAIT one gets its notify function called."""
        event = self.get(address)
        demand(not event.type & EVT_NOTIFY_SIGNAL)
        return self._check(event)

    def _check(self, event: Event) -> Steps:
        if not event.signaled and event.type & EVT_NOTIFY_WAIT:
            self._queue(event)
            yield from self._run_queue(self.tpl)
        if event.signaled:
            event.signaled = False
            return Status.SUCCESS
        return Status.NOT_READY

    def wait_for_event(self, number: int, array: int, index: int) -> int | Steps:
        """WaitForEvent (7.1.5). Time goes on until one of the events is signaled."""
        demand(number and array and index)
        demand(self.tpl == TPL_APPLICATION, Status.UNSUPPORTED)
        demand(number <= EVENT_LIMIT)
        width = self._guest.width
        data = self._guest.read(array, number * width)
        addresses = [int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)]
        return self._wait(addresses, index)

    def _wait(self, addresses: list[int], index: int) -> Steps:
        while True:
            for i, address in enumerate(addresses):
                event = self._events.get(address)
                if event is None or event.type & EVT_NOTIFY_SIGNAL:
                    self._guest.put_uintn(index, i)
                    return Status.INVALID_PARAMETER
                status = yield from self._check(event)
                if status == Status.SUCCESS:
                    self._guest.put_uintn(index, i)
                    return Status.SUCCESS
            yield Idle()
            yield from self._run_queue(self.tpl)

    # -- timers (7.1.7) -----------------------------------------------------------------------------------------

    def set_timer(self, address: int, kind: int, trigger: int) -> int:
        """SetTimer: cancel, periodic, or once; a TriggerTime of 0 is the next tick."""
        event = self.get(address)
        demand(event.type & EVT_TIMER and kind <= 2)
        self._cancel_timer(event)
        if kind == 0:
            return Status.SUCCESS
        span = min(trigger * TIMER_UNIT, FOREVER) or TICK
        event.period = max(span, FASTEST) if kind == 1 else 0
        event.deadline = self._board.clock.at(self._board.now() + span, lambda: self._timer(event))
        return Status.SUCCESS

    def _timer(self, event: Event) -> None:
        event.deadline = None
        if event.period:
            event.deadline = self._board.clock.at(self._board.clock.now + event.period, lambda: self._timer(event))
        self.signal(event)
        self._interrupt()

    def _cancel_timer(self, event: Event) -> None:
        if event.deadline is not None:
            self._board.clock.cancel(event.deadline)
        event.deadline, event.period = None, 0

    def disable_timers(self) -> None:
        """ExitBootServices: nothing of this fires any more."""
        for event in self._events.values():
            self._cancel_timer(event)
        for deadline in (self._retry, self._watchdog):
            if deadline is not None:
                self._board.clock.cancel(deadline)
        self._retry = self._watchdog = None

    def stall(self, microseconds: int) -> int | Steps:
        """Stall (7.5.2): virtual time passes; timers fire and their notifications run as the TPL allows."""
        until = min(self._board.now() + microseconds * 1000, FOREVER)
        return self._stall(until)

    def _stall(self, until: int) -> Steps:
        while self._board.now() < until:
            yield Idle(until)
            yield from self._run_queue(self.tpl)
        return Status.SUCCESS

    def set_watchdog_timer(self, timeout: int, code: int, size: int, data: int) -> int:
        """SetWatchdogTimer (7.5.1): seconds, 0 switches off. Codes up to 0xffff belong to firmware."""
        demand(timeout == 0 or code > 0xFFFF)
        if data and size:
            self._guest.string(data)
        self.arm_watchdog(timeout)
        return Status.SUCCESS

    def arm_watchdog(self, seconds: int) -> None:
        """Reset the machine after so many seconds of virtual time; 0 disarms."""
        clock = self._board.clock
        if self._watchdog is not None:
            clock.cancel(self._watchdog)
            self._watchdog = None
        if seconds:
            due = min(self._board.now() + seconds * 1_000_000_000, FOREVER)
            self._watchdog = clock.at(due, lambda: self._board.stop("reset: the firmware's watchdog ran out"))

    def halt_ends(self) -> int | None:
        """When the timer next ends HLT (ns): at every TPL that lets it in, whether anybody is to be notified or not.
        None once boot services are over.
        """
        if not self.active or self.tpl >= TPL_HIGH_LEVEL:
            return None
        return (self._board.now() // TICK + 1) * TICK

    # -- notifications ------------------------------------------------------------------------------------------

    def due(self) -> Steps | None:
        """What must run before the current service returns, if anything."""
        if not self.active or self._next(self.tpl) is None:
            return None
        return self._run_queue(self.tpl)

    def _queue(self, event: Event) -> None:
        if not event.queued:
            event.queued = True
            self._queues.setdefault(event.notify_tpl, deque()).append(event)

    def _unqueue(self, event: Event) -> None:
        if event.queued:
            event.queued = False
            self._queues[event.notify_tpl].remove(event)

    def _next(self, above: int) -> Event | None:
        levels = [tpl for tpl, queue in self._queues.items() if queue and tpl > above]
        return self._queues[max(levels)][0] if levels else None

    def _run_queue(self, above: int) -> Steps:
        """Call the notify functions of all queued events with a TPL over `above`, the highest first."""
        before = self.tpl
        while (event := self._next(above)) is not None:
            self._queues[event.notify_tpl].popleft()
            event.queued = False
            if event.type & EVT_NOTIFY_SIGNAL:
                event.signaled = False
            self._set_tpl(max(event.notify_tpl, before))
            if event.host_notify is not None:
                event.host_notify(event)
            else:
                yield Call(event.function, event.arguments or (event.address, event.context))
            self._set_tpl(before)
        return Status.SUCCESS

    def _interrupt(self) -> None:
        """A timer fired. Interrupt the guest if it computes and lets us; else look again at the next tick."""
        if not self.active or self._dispatcher.busy or self._next(self.tpl) is None:
            return
        if not self._dispatcher.interrupt(self._run_queue(self.tpl)) and self._retry is None:
            self._retry = self._board.clock.at(self._board.clock.now + TICK, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._interrupt()
