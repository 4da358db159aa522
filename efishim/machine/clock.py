"""The virtual clock: guest time as a function of what the guest executed and waited for.

The unit is the nanosecond since power-on, as an integer. Nothing here knows the host's time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

COMPACT_AFTER = 64
"""A guest may plan and cancel for ever: from so many cancelled events on they are cleared out."""


@dataclass(order=True)
class Event:
    """A callback due at a moment. Equal moments fire in the order in which they were asked for."""

    when: int
    order: int
    callback: Callable[[], None] = field(compare=False)
    cancelled: bool = field(default=False, compare=False)


class Clock:
    """Virtual nanoseconds and what is due when.

    The engine moves `now` forward (`advance_to`) and then calls `fire`; devices read `now` and ask with `at`.
    """

    def __init__(self) -> None:
        self.now = 0
        self._queue: list[Event] = []
        self._cancelled = 0
        self._order = count()
        self.on_change: Callable[[], None] = lambda: None
        """Called when the next deadline may have moved; the engine sets it."""
        self.interrupted: Callable[[], bool] = lambda: False
        """Is `fire` to come back although something is due? A fast timer has much to catch up with behind a long wait."""

    def at(self, when: int, callback: Callable[[], None]) -> Event:
        """Call back when the clock reaches `when` (ns); a moment in the past is due at once."""
        event = Event(when, next(self._order), callback)
        heapq.heappush(self._queue, event)
        self.on_change()
        return event

    def cancel(self, event: Event) -> None:
        """Forget an event; cancelling one that fired or was cancelled is harmless."""
        if not event.cancelled:
            event.cancelled = True
            self._cancelled += 1
            if self._cancelled > COMPACT_AFTER and 2 * self._cancelled > len(self._queue):
                self._queue = [kept for kept in self._queue if not kept.cancelled]
                heapq.heapify(self._queue)
                self._cancelled = 0
        self.on_change()

    @property
    def planned(self) -> list[Event]:
        """Everything that is planned, as it is kept: a heap, in which cancelled events may still be."""
        return self._queue

    def planned_anew(self) -> None:
        """Restore the order of the queue after events in it were changed."""
        heapq.heapify(self._queue)
        self.on_change()

    def next_deadline(self) -> int | None:
        """The moment of the next event (ns), or None when nothing is planned."""
        while self._queue and self._queue[0].cancelled:
            heapq.heappop(self._queue)
        return self._queue[0].when if self._queue else None

    def advance_to(self, when: int) -> None:
        """Move forward to `when` (ns); never backwards. Nothing fires here."""
        self.now = max(self.now, when)

    def fire(self) -> bool:
        """Call back everything that is due, or what can be until `interrupted`. True when anything was."""
        fired = False
        while (due := self.next_deadline()) is not None and due <= self.now and not self.interrupted():
            heapq.heappop(self._queue).callback()
            fired = True
        return fired
