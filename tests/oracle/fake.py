"""A QEMU that is not there: its debug stub and control line played by a thread with a script of its own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from efishim.oracle.channels import Channels
from efishim.oracle.gdb import Gdb
from efishim.oracle.qmp import Qmp

SLEEPER = [sys.executable, "-c", "import time; time.sleep(60)"]


def packet(text: str) -> bytes:
    """`$text#checksum`, the sum of all bytes modulo 256 in two hexadecimal digits."""
    return b"$" + text.encode() + b"#" + f"{sum(text.encode()) % 256:02x}".encode()


class Stub(threading.Thread):
    """Answers packets with what `answer` gives; None is silence, as from a guest that runs."""

    def __init__(self, end: socket.socket, answer: Callable[[str], str | None]) -> None:
        super().__init__(daemon=True)
        self._end = end
        self._answer = answer
        self.heard: list[str] = []
        self.acknowledged = 0
        self.interrupted = threading.Event()

    def run(self) -> None:
        data = b""
        while piece := self._end.recv(4096):
            data += piece
            while data:
                if data[:1] == b"+":
                    self.acknowledged += 1
                    data = data[1:]
                elif data[:1] == b"\x03":
                    self.interrupted.set()
                    data = data[1:]
                    self._end.sendall(packet("T02thread:01;"))
                elif b"#" in data and len(data) >= data.index(b"#") + 3:
                    end = data.index(b"#")
                    text = data[1:end].decode()
                    assert packet(text) == data[: end + 3], "the checksum is wrong"
                    data = data[end + 3 :]
                    self.heard.append(text)
                    answer = self._answer(text)
                    self._end.sendall(b"+" + (packet(answer) if answer is not None else b""))
                else:
                    break


class Control(threading.Thread):
    """QMP: a greeting, then answers by command; an event goes before each answer, as it may."""

    def __init__(self, end: socket.socket, answers: dict[str, Any]) -> None:
        super().__init__(daemon=True)
        self._end = end
        self._answers = answers
        self.heard: list[dict[str, Any]] = []

    def _send(self, message: dict[str, Any]) -> None:
        self._end.sendall(json.dumps(message).encode() + b"\r\n")

    def run(self) -> None:
        self._send({"QMP": {"version": {}, "capabilities": []}})
        data = b""
        while piece := self._end.recv(4096):
            data += piece
            while data:
                try:
                    request, end = json.JSONDecoder().raw_decode(data.decode())
                except json.JSONDecodeError:
                    break
                data = data[end:].lstrip()
                self.heard.append(request)
                self._send({"event": "RESUME", "timestamp": {}})
                answer = self._answers.get(request["execute"], {"return": {}})
                for message in answer if isinstance(answer, list) else [answer]:
                    self._send(message)


@contextmanager
def channels(*, seconds: float = 20.0, command: list[str] | None = None) -> Iterator[Channels]:
    """Lines to a process that does nothing."""
    with subprocess.Popen(command or SLEEPER, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL) as process:
        lines = Channels(process, time.monotonic() + seconds)
        try:
            yield lines
        finally:
            lines.close()
            process.kill()


@contextmanager
def stub(answer: Callable[[str], str | None]) -> Iterator[tuple[Gdb, Stub]]:
    """A client, and the stub that it speaks to."""
    ours, theirs = socket.socketpair()
    thread = Stub(theirs, answer)
    thread.start()
    with theirs:
        with channels() as lines:
            yield Gdb(lines, lines.add(ours)), thread
        thread.join()


@contextmanager
def control(answers: dict[str, Any]) -> Iterator[tuple[Qmp, Control]]:
    """A client, and the control line that it speaks to."""
    ours, theirs = socket.socketpair()
    thread = Control(theirs, answers)
    thread.start()
    with theirs:
        with channels() as lines:
            yield Qmp(lines, lines.add(ours)), thread
        thread.join()
