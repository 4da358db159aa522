"""Standard output and standard error that may fail: the disk is full, the reader is gone, or they are closed.

A run of minutes is not lost because of that. What cannot be written is dropped from then on; the command ends as it would,
with its record, and then says what was wrong.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from efishim.report.plain import SafeConsole

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from efishim.lab.observe.limits import Interrupt

READER_GONE = 128 + 13
"""Exit status of what SIGPIPE ended, as shells give it."""


class Sink(io.RawIOBase):
    """The bytes of one file descriptor. The first failure is kept, and everything behind it dropped."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.failure: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """All of it, also where only a part fits for now."""
        left = memoryview(data).cast("B")
        size = len(left)
        while left and self.failure is None:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.failure = error
        return size

    def writable(self) -> bool:
        """As of any file that is written."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Is it a terminal?"""
        return os.isatty(self._descriptor)


class Streams:
    """Both."""

    def __init__(self, output: Sink | None = None) -> None:
        self._output = output

    @property
    def failure(self) -> OSError | None:
        """Why standard output ended, if it did."""
        return None if self._output is None else self._output.failure

    @property
    def reader_gone(self) -> bool:
        """Was the stream closed by its reader (`| head`)?"""
        return self.failure is not None and self.failure.errno == errno.EPIPE


class Console:
    """Guest console bytes to stdout, at once."""

    def __init__(self, streams: Streams, *, safe: bool) -> None:
        self._streams = streams
        self._filter = SafeConsole() if safe else None

    def __call__(self, data: bytes) -> None:
        """Some more of them."""
        if self._streams.failure is None:
            sys.stdout.buffer.write(data if self._filter is None else self._filter(data))
            sys.stdout.buffer.flush()

    def end(self) -> None:
        """What waited for more to come."""
        if self._filter is not None:
            sys.stdout.buffer.write(self._filter(b"", final=True))


class Unheard:
    """An interruption that is also set once the reader of the console has gone, for runs whose only result is the console."""

    def __init__(self, interruption: Interrupt, streams: Streams) -> None:
        self._interruption = interruption
        self._streams = streams

    def is_set(self) -> bool:
        """Shall the run end?"""
        return self._interruption.is_set() or self._streams.reader_gone


@contextmanager
def guarded() -> Iterator[Streams]:
    """Put sinks below sys.stdout and sys.stderr, unless they were replaced already."""
    _open_the_closed()
    before = sys.stdout, sys.stderr
    output = None
    if sys.stdout is sys.__stdout__:
        output = Sink(1)
        sys.stdout = _text(output, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(Sink(2), sys.stderr)
    try:
        yield Streams(output)
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream not in before:
                stream.flush()
        sys.stdout, sys.stderr = before


def _text(sink: Sink, like: IO[str] | None) -> io.TextIOWrapper:
    """A text stream; what its encoding does not have is escaped."""
    encoding = getattr(like, "encoding", None) or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(sink), encoding, "backslashreplace", line_buffering=sink.isatty())


def _open_the_closed() -> None:
    """After `>&-` the next file that is opened would be taken for standard output, be it the record: /dev/null is put there."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number
