"""Ends programs that efishim started when it is told to end itself."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from efishim.cli.run import ENDING

if TYPE_CHECKING:
    from types import FrameType


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP end QEMU too, as Ctrl-C does, and what is in temporary folders."""

    def end(_number: int, _frame: FrameType | None) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)  # tidying up takes a moment
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for number in ENDING:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
