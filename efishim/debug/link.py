"""Where gdb connects: a listening socket that only this host reaches, and one client at a time, whose bytes are bounded."""

from __future__ import annotations

import ipaddress
import os
import select
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from efishim.debug.packets import INTERRUPT, Packet, take
from efishim.errors import UsageError

LONGEST_PACKET = 0x4000
"""Bytes, as the stub tells its client (PacketSize)."""
BUFFER = 4 * LONGEST_PACKET
"""Bytes of a client that wait to be understood; it is not read from while there are more."""
SEND_SECONDS = 10.0
"""Host time that a client has to read an answer."""
REFUSED_AT_ONCE = 16
LOCALHOST = "localhost"


@dataclass(frozen=True)
class Address:
    """A TCP port of the host itself, or the path of a Unix socket."""

    host: str = "127.0.0.1"
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Address:
        """`[HOST:]PORT` as QEMU takes it, also with `tcp:` in front, or a path with a slash in it. Raises UsageError."""
        if "/" in text:
            return cls(path=text.removeprefix("unix:"))
        host, _, port = text.removeprefix("tcp:").rpartition(":")
        host = host.removeprefix("[").removesuffix("]") or cls.host
        if not port.isascii() or not port.isdigit() or len(port) > 5 or int(port) > 0xFFFF:
            raise UsageError(
                f"{text!r} is not [HOST:]PORT and not the path of a Unix socket", hint="--gdb 1234, or --gdb ./gdb.sock"
            )
        if not _is_loopback(host):
            raise UsageError(
                f"the debugger may listen on a loopback address only, and {host} is none",
                hint="forward the port with `ssh -L` to reach it from another machine",
            )
        return cls("127.0.0.1" if host == LOCALHOST else host, int(port))


def _is_loopback(host: str) -> bool:
    try:
        return host == LOCALHOST or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Listener:
    """A socket that waits for a client. Raises UsageError when there cannot be one."""

    def __init__(self, address: Address) -> None:
        self._path = address.path
        family = socket.AF_UNIX if address.path else socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            if not address.path:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind(address.path or (address.host, address.port))
            if address.path:
                Path(address.path).chmod(0o600)
            self.socket.listen(1)
        except (OSError, UnicodeError, ValueError) as error:
            self.socket.close()
            what = address.path or f"{address.host}:{address.port}"
            why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
            raise UsageError(f"the debugger cannot listen on {what}: {why}") from error
        self.socket.setblocking(False)

    @property
    def target(self) -> str:
        """What `target remote` of gdb takes."""
        if self._path:
            return self._path
        host, port, *_ = self.socket.getsockname()
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def close(self) -> None:
        """Stop waiting for a connection."""
        self.socket.close()
        if self._path:
            with suppress(OSError):
                Path(self._path).unlink()


class Link:
    """The client of a listener, if there is one."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._client: socket.socket | None = None
        self._buffer = bytearray()
        self.acknowledges = True
        """Is each packet confirmed by a `+`?"""
        self._last = b""

    @property
    def connected(self) -> bool:
        """Is there a client?"""
        return self._client is not None

    def poll(self, seconds: float) -> None:
        """Take what has come, waiting for so long at most. A second client is sent away."""
        ends: list[socket.socket] = [self._listener.socket]
        if self._client is not None and len(self._buffer) < BUFFER:
            ends.append(self._client)
        readable, _, _ = select.select(ends, [], [], seconds)
        if self._client is not None and self._client in readable:
            self._receive(self._client)
            if not self.connected:
                return  # who polls is to see that it has gone before another comes
        if self._listener.socket in readable:
            self._accept()

    def _accept(self) -> None:
        for _ in range(REFUSED_AT_ONCE):
            try:
                client, _address = self._listener.socket.accept()
            except OSError:
                return
            if self._client is not None:
                client.close()
                continue
            client.setblocking(False)
            with suppress(OSError):  # a Unix socket has none
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._client, self.acknowledges, self._last = client, True, b""
            self._buffer.clear()

    def _receive(self, client: socket.socket) -> None:
        try:
            piece = client.recv(BUFFER - len(self._buffer))
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if piece:
            self._buffer += piece
        else:
            self.close()

    def take(self) -> Packet | bytes | None:
        """The next packet, confirmed if that is asked for, or INTERRUPT. Anything else is dropped, and too long a packet."""
        while (item := take(self._buffer)) is not None:
            if item == b"-":
                self._write(self._last)
            elif isinstance(item, Packet):
                if self.acknowledges:
                    self._write(b"+" if item.sound else b"-")
                if item.sound and len(item.body) <= LONGEST_PACKET:
                    return item
            elif item == INTERRUPT:
                return item
        if len(self._buffer) > LONGEST_PACKET + len("$#00"):
            self._buffer.clear()
        return None

    def send(self, frame: bytes) -> None:
        """An answer; it is kept for the case that the client wants it again."""
        self._last = frame
        self._write(frame)

    def _write(self, data: bytes) -> None:
        until = time.monotonic() + SEND_SECONDS
        view = memoryview(data)
        while view and self._client is not None:
            try:
                view = view[self._client.send(view) :]
            except BlockingIOError:
                left = until - time.monotonic()
                if left <= 0:
                    self.close()
                else:
                    select.select([], [self._client], [], min(left, 0.5))
            except OSError:
                self.close()

    def close(self) -> None:
        """The client has gone, or is sent away."""
        if self._client is not None:
            self._client.close()
            self._client = None
        self._buffer.clear()
