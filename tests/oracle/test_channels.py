"""Deadlines, and a QEMU that goes away."""

from __future__ import annotations

import socket
import sys
import time

import pytest

from efishim.oracle import channels as module
from efishim.oracle.channels import OracleError, OracleTimeout
from tests.oracle.fake import channels


def never() -> None:
    return None


def test_the_deadline_ends_every_wait() -> None:
    with channels(seconds=0.2) as lines, pytest.raises(OracleTimeout, match="the time for this boot is over"):
        lines.wait(never)


def test_a_shorter_wait_comes_back_with_nothing() -> None:
    with channels() as lines:
        before = time.monotonic()
        assert lines.wait(never, until=before + 0.05) is None
        assert 0.04 < time.monotonic() - before < 5


def test_a_qemu_that_dies_is_an_error_with_its_last_words() -> None:
    program = [sys.executable, "-c", "import sys; sys.exit('qemu: no such machine')"]
    with channels(command=program) as lines, pytest.raises(OracleError, match="ended in the middle of the run: qemu: no such"):
        lines.wait(never)


def test_a_closed_line_is_an_error_when_written_to() -> None:
    ours, theirs = socket.socketpair()
    with channels() as lines:
        line = lines.add(ours)
        theirs.close()
        with pytest.raises(OracleError, match="ended in the middle"):
            lines.send(line, b"x" * 10_000_000)


def test_the_console_is_passed_on_while_something_else_is_awaited() -> None:
    ours, theirs = socket.socketpair()
    heard = bytearray()
    with channels() as lines, theirs:
        lines.console = heard.extend
        lines.add_serial(ours)
        theirs.sendall(b"Linux version")
        assert lines.wait(lambda: True if heard == b"Linux version" else None)


def test_a_flood_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUFFER_LIMIT", 1000)
    ours, theirs = socket.socketpair()
    with channels() as lines, theirs:
        lines.add(ours)
        theirs.sendall(bytes(2000))
        with pytest.raises(OracleError, match="unrequested data"):
            lines.wait(never, until=time.monotonic() + 5)
