"""Ends the emulation when the run is overdue, however little of the guest gets done in the host's time.

Limits are looked at between slices of instructions, whose number must not depend on the host. A guest that only reads the time
stamp counter, or runs through memory where nothing is, needs minutes for one. This thread looks at the clock and does nothing
else until the run is to end; then it asks the engine to stop, as often as it takes.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

INTERVAL = 0.25
"""Seconds between two looks."""
ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
"""Whose handlers are to run at once. Python runs them between two of its own instructions, and the guest's are none."""


class Watchdog:
    """Calls `bark(True)` every INTERVAL while `overdue()`, and `bark(False)` when a signal came whose handler is to run."""

    def __init__(self, overdue: Callable[[], bool], bark: Callable[[bool], None]) -> None:
        self._overdue = overdue
        self._bark = bark
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._reading, self._writing = os.pipe()
        for end in (self._reading, self._writing):
            os.set_blocking(end, False)
        self._before: int | None = None

    def __enter__(self) -> Watchdog:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._before is not None:
            signal.set_wakeup_fd(self._before, warn_on_full_buffer=False)
        self._end()

    def _end(self) -> None:
        os.close(self._writing)
        self._thread.join()
        os.close(self._reading)

    def _watch(self) -> None:
        poll = select.poll()
        poll.register(self._reading, select.POLLIN)
        while True:
            came = b""
            if poll.poll(INTERVAL * 1000):
                came = os.read(self._reading, 4096)
                if not came:
                    return
            overdue = self._overdue()
            if overdue or any(number in ENDING for number in came):
                self._bark(overdue)


@contextmanager
def watched(overdue: Callable[[], bool] | None, bark: Callable[[bool], None]) -> Iterator[None]:
    """A watchdog, if there is anything to watch."""
    if overdue is None:
        yield
        return
    with Watchdog(overdue, bark):
        yield
