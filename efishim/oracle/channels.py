"""The three connections to QEMU (gdb stub, QMP, serial port), read in one place and always with a deadline.

While one connection waits for an answer, the others are drained; otherwise QEMU would stall.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from efishim.errors import EfishimError

PIECE = 1 << 16
BUFFER_LIMIT = 16 << 20
"""Most bytes of answers that wait to be read. The debug stub's largest packet is 4 KiB."""

T = TypeVar("T")


class OracleError(EfishimError):
    """QEMU did not do what was asked of it."""


class OracleTimeout(OracleError):
    """The time for this run is over."""


class Pipe:
    """The reading end of a pipe, with as much of a socket's face as a Line needs.

    A socket would do, but it keeps each write apart: QEMU writes the serial port byte by byte, and drops bytes when some
    hundred of them wait. A pipe holds a mebibyte.
    """

    CAPACITY = 1 << 20

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        with suppress(OSError):  # refused to users who have many pipes; the default is 64 KiB
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, self.CAPACITY)

    def setblocking(self, flag: bool) -> None:
        """As of a socket."""
        os.set_blocking(self._descriptor, flag)

    def recv(self, size: int) -> bytes:
        """As of a socket."""
        return os.read(self._descriptor, size)

    def send(self, data: memoryview) -> int:
        """Nothing is ever written to the guest's serial port."""
        raise OSError("this is the reading end")

    def fileno(self) -> int:
        """As of a socket."""
        return self._descriptor

    def close(self) -> None:
        """As of a socket."""
        os.close(self._descriptor)


class Line:
    """One line: what came over it and was not taken yet."""

    def __init__(self, end: socket.socket | Pipe) -> None:
        end.setblocking(False)
        self.end = end
        self.buffer = bytearray()
        self.closed = False

    def take(self) -> None:
        """Read what there is."""
        try:
            piece = self.end.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self.closed = True
        self.buffer += piece
        if len(self.buffer) > BUFFER_LIMIT:
            raise OracleError(f"QEMU sent more than {BUFFER_LIMIT >> 20} MiB of unrequested data")


class Channels:
    """The lines of one QEMU process. `deadline` is on the clock of time.monotonic()."""

    def __init__(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        self._process = process
        self._selector = selectors.DefaultSelector()
        self.deadline = deadline
        self.console: Callable[[bytes], None] = lambda data: None
        self._serial: Line | None = None
        self._lines: list[Line] = []

    def add(self, end: socket.socket | Pipe) -> Line:
        """A line whose owner takes from its buffer."""
        line = Line(end)
        self._lines.append(line)
        self._selector.register(end, selectors.EVENT_READ, line)
        return line

    def add_serial(self, end: socket.socket | Pipe) -> None:
        """The line whose bytes go to `console` as they come."""
        self._serial = self.add(end)

    def send(self, line: Line, data: bytes) -> None:
        """Write all of it. Raises OracleError when QEMU is gone."""
        view = memoryview(data)
        while view:
            try:
                view = view[line.end.send(view) :]
            except BlockingIOError:
                self._turn(0.05)
            except OSError as error:
                raise OracleError(f"QEMU ended in the middle of the run{self._last_words()}") from error

    def wait(self, ready: Callable[[], T | None], *, until: float | None = None) -> T | None:
        """Read until `ready` gives something; None when the time `until` comes first.

        Raises OracleTimeout at the deadline of the run, OracleError when QEMU ends before.
        """
        while True:
            found = ready()
            if found is not None:
                return found
            now = time.monotonic()
            if now >= self.deadline:
                raise OracleTimeout("the time for this boot is over", hint="--timeout gives it more")
            if until is not None and now >= until:
                return None
            over = self._process.poll() is not None
            self._turn(0.0 if over else min(0.5, self.deadline - now, until - now if until else 0.5))
            if over:
                found = ready()
                if found is None:
                    raise OracleError(f"QEMU ended in the middle of the run{self._last_words()}")
                return found

    def _turn(self, seconds: float) -> None:
        for key, _ in self._selector.select(max(seconds, 0.0)):
            line: Line = key.data
            line.take()
            if line.closed:
                self._selector.unregister(line.end)
        if self._serial is not None and self._serial.buffer:
            self.console(bytes(self._serial.buffer))
            self._serial.buffer.clear()

    def drain(self) -> None:
        """Take what the guest wrote before it stopped."""
        for _ in range(1 + Pipe.CAPACITY // PIECE):
            self._turn(0.0)

    def _last_words(self) -> str:
        """What QEMU said on stderr, if it is over."""
        if self._process.poll() is None or self._process.stderr is None:
            return ""
        text = self._process.stderr.read(2000).decode("utf-8", "backslashreplace")
        return f": {' '.join(text.split())}" if text.strip() else f" with status {self._process.returncode}"

    def close(self) -> None:
        """Close all lines."""
        for line in self._lines:
            line.end.close()
        self._selector.close()
