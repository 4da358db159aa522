"""A guest under the stub in a thread of its own, and the raw end of a connection to it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from efishim.debug.link import Address, Listener
from efishim.debug.monitor import Monitor
from efishim.debug.packets import Packet, framed, take
from efishim.debug.stub import Stub
from efishim.machine.machine import Machine, Stop
from tests.debug.program import switching

PATIENCE = 60.0


class Guest(threading.Thread):
    """Runs a machine until it stops; `stop` and `failure` tell how."""

    def __init__(self, machine: Machine, stub: Stub, ended: threading.Event) -> None:
        super().__init__(daemon=True)
        self.machine = machine
        self.stub = stub
        self.ended = ended
        self.stop: Stop | None = None
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            self.stop = self.machine.run(poll=lambda: Stop("interrupted", "by the user") if self.ended.is_set() else None)
        except BaseException as error:  # noqa: BLE001 - for the test to see
            self.failure = error
        finally:
            self.stub.finish()

    def over(self) -> Stop:
        """How it stopped."""
        self.join(PATIENCE)
        assert not self.is_alive(), "the guest still runs"
        if self.failure is not None:
            raise self.failure
        assert self.stop is not None
        return self.stop


class Client:
    """The other end."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(str(path))
        self.buffer = bytearray()

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self.socket.sendall(data)

    def item(self) -> Packet | bytes | None:
        """The next one; None when the stub has hung up."""
        while (item := take(self.buffer)) is None:
            try:
                piece = self.socket.recv(1 << 16)
            except ConnectionError:
                return None
            if not piece:
                return None
            self.buffer += piece
        return item

    def answer(self) -> str:
        """The next packet."""
        while (item := self.item()) is not None:
            if isinstance(item, Packet):
                assert item.sound
                with suppress(ConnectionError):  # the run may be over
                    self.send(b"+")
                return item.body.decode("latin-1")
        raise AssertionError("the stub has hung up")

    def ask(self, text: str) -> str:
        """A packet, and its answer."""
        self.send(framed(text.encode("latin-1")))
        return self.answer()

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


@contextmanager
def debugged(
    folder: Path, *, build: Callable[[], Machine] = switching, wait: bool = True
) -> Iterator[tuple[Guest, Callable[[], Client]]]:
    """A guest, held before its first instruction if `wait`, and a function that connects to it."""
    path = folder / "gdb.sock"
    listener = Listener(Address(path=str(path)))
    ended = threading.Event()
    machine = build()
    monitor = Monitor(machine, lookup=lambda name: [0x1234] if name == "here" else [], name=lambda _: "")
    stub = Stub(machine, listener, monitor, over=ended.is_set, wait=wait, say=lambda _: None)
    machine.debug(stub)
    guest = Guest(machine, stub, ended)
    clients: list[Client] = []

    def connect() -> Client:
        clients.append(Client(path))
        return clients[-1]

    guest.start()
    try:
        yield guest, connect
    finally:
        ended.set()
        guest.join(PATIENCE)
        for client in clients:
            client.close()
        listener.close()
