"""Xenstore: the tree that describes a domain's devices (public/io/xs_wire.h, docs/misc/xenstore.txt).

Of the tree there is what a guest of libxl without any device may see of its own home, and what it writes there itself.
Transactions get a number and no isolation: there is no other writer.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from efishim.machine.memory import PhysicalMemory
from efishim.wire.xen import DOMID

RING, REQUEST_INDICES, RESPONSE_INDICES, ERROR = 1024, 2048, 2056, 2072
HEADER = struct.Struct("<IIII")
LARGEST_PAYLOAD, LONGEST_PATH = 4096, 2048
MOST_NODES, MOST_WATCHES = 1000, 128
"""The quotas that xenstored has for a domain."""
BAD_INDEX, BAD_PROTOCOL = 2, 3
MOST_WAITING = 1 << 16
"""Bytes of answers that a guest may leave lying before its requests wait."""
HOME = f"/local/domain/{DOMID}"


class Message(IntEnum):
    """Types of messages that are understood."""

    DIRECTORY = 1
    READ = 2
    GET_PERMS = 3
    WATCH = 4
    UNWATCH = 5
    TRANSACTION_START = 6
    TRANSACTION_END = 7
    GET_DOMAIN_PATH = 10
    WRITE = 11
    MKDIR = 12
    RM = 13
    SET_PERMS = 14
    WATCH_EVENT = 15
    ERROR = 16
    RESET_WATCHES = 21


class StoreError(Exception):
    """A request ends with an error, which travels as its name."""


def _initial() -> dict[str, bytes]:
    """tools/libs/light/libxl_create.c, libxl__domain_make()."""
    entries = {
        "": b"",
        "domid": str(DOMID).encode(),
        "name": b"guest",
        "cpu/0/availability": b"online",
        "device": b"",
        "control": b"",
        "control/shutdown": b"",
        "control/platform-feature-multiprocessor-suspend": b"1",
        "control/platform-feature-xs_reset_watches": b"1",
        "drivers": b"",
        "feature": b"",
        "attr": b"",
        "error": b"",
        "data": b"",
    }
    home = {f"{HOME}/{name}".rstrip("/"): value for name, value in entries.items()}
    return {f"{HOME}/cpu": b"", f"{HOME}/cpu/0": b"", **home}


@dataclass
class Store:
    """The tree and the watches of one domain. `fired` collects (path, token) of watches that have gone off."""

    nodes: dict[str, bytes] = field(default_factory=_initial)
    watches: list[tuple[str, str]] = field(default_factory=list)
    fired: list[tuple[str, str]] = field(default_factory=list)
    _transactions: int = 0

    def answer(self, kind: int, payload: bytes) -> bytes:
        """The answer's payload. Raises StoreError."""
        words = payload.split(b"\0")
        first = words[0].decode("latin-1")
        match kind:
            case Message.READ:
                return self._node(first)
            case Message.DIRECTORY:
                self._node(first)
                return b"".join(name.encode("latin-1") + b"\0" for name in self._children(first))
            case Message.GET_PERMS:
                self._node(first)
                return f"n{DOMID}\0".encode()
            case Message.WRITE:
                self._create(_path(first), payload[len(words[0]) + 1 :])
            case Message.MKDIR:
                if _path(first) not in self.nodes:
                    self._create(_path(first), b"")
            case Message.RM:
                self._remove(first)
            case Message.SET_PERMS | Message.TRANSACTION_END:
                pass
            case Message.TRANSACTION_START:
                self._transactions += 1
                return f"{self._transactions}\0".encode()
            case Message.WATCH | Message.UNWATCH:
                self._watch(kind, first, words)
            case Message.RESET_WATCHES:
                self.watches.clear()
            case Message.GET_DOMAIN_PATH:
                return f"/local/domain/{int(first) if first.isascii() and first.isdigit() else 0}\0".encode()
            case _:
                raise StoreError("ENOSYS")
        return b"OK\0"

    def _node(self, name: str) -> bytes:
        value = self.nodes.get(_path(name))
        if value is None:
            raise StoreError("ENOENT" if _path(name).startswith(HOME) else "EACCES")
        return value

    def _children(self, name: str) -> list[str]:
        prefix = _path(name) + "/"
        return sorted({path[len(prefix) :].split("/")[0] for path in self.nodes if path.startswith(prefix)})

    def _create(self, path: str, value: bytes) -> None:
        if not path.startswith(HOME + "/"):
            raise StoreError("EACCES")
        missing = [path]
        while (parent := missing[-1].rpartition("/")[0]) not in self.nodes:
            missing.append(parent)
        if len(self.nodes) + len(missing) > MOST_NODES:
            raise StoreError("ENOSPC")
        for new in missing[1:]:
            self.nodes[new] = b""
        self.nodes[path] = value
        self._changed(path)

    def _remove(self, name: str) -> None:
        path = _path(name)
        self._node(name)
        if path == HOME:
            raise StoreError("EACCES")
        for gone in [one for one in self.nodes if one == path or one.startswith(path + "/")]:
            del self.nodes[gone]
        self._changed(path)

    def _watch(self, kind: int, name: str, words: list[bytes]) -> None:
        watch = (name, words[1].decode("latin-1") if len(words) > 1 else "")
        if kind == Message.UNWATCH:
            if watch not in self.watches:
                raise StoreError("ENOENT")
            self.watches.remove(watch)
            return
        if not name.startswith("@"):
            _path(name)
        if watch in self.watches:
            raise StoreError("EEXIST")
        if len(self.watches) >= MOST_WATCHES:
            raise StoreError("E2BIG")
        self.watches.append(watch)
        self.fired.append(watch)  # always once at the beginning

    def _changed(self, path: str) -> None:
        for name, token in self.watches:
            if not name.startswith("@") and (path + "/").startswith(_path(name) + "/"):
                shown = path if name.startswith("/") else path.removeprefix(HOME + "/")
                self.fired.append((shown, token))


def _path(name: str) -> str:
    """The absolute form of a path; without a slash in front it begins at the domain's home. Raises StoreError."""
    path = name if name.startswith("/") else f"{HOME}/{name}"
    if not name or len(path) > LONGEST_PATH or "//" in path or (path.endswith("/") and path != "/"):
        raise StoreError("EINVAL")
    return path.rstrip("/")


class StoreRing:
    """Requests and answers through the shared page at `address`: two rings of 1024 bytes whose indices only grow."""

    def __init__(self, memory: PhysicalMemory, address: int) -> None:
        self.store = Store()
        self.notify: Callable[[], None] = lambda: None
        self._memory = memory
        self._address = address
        self._requests = bytearray()
        self._answers = bytearray()
        self._dead = False

    def serve(self) -> None:
        """The guest said that there is something to do."""
        moved = False
        while not self._dead and (self._send() | self._receive()):
            moved = True
            self._work()
        if moved or self._dead:
            self.notify()

    def _indices(self, offset: int) -> tuple[int, int]:
        consumed, produced = struct.unpack("<II", self._memory.read(self._address + offset, 8))
        return consumed, produced

    def _receive(self) -> bool:
        consumed, produced = self._indices(REQUEST_INDICES)
        size = produced - consumed & 0xFFFF_FFFF
        if size > RING:
            return self._fail(BAD_INDEX)
        if not size or len(self._answers) > MOST_WAITING:
            return False
        ring = self._memory.read(self._address, RING)
        self._requests += (ring + ring)[consumed % RING :][:size]
        self._memory.put_u32(self._address + REQUEST_INDICES, produced)
        return True

    def _send(self) -> bool:
        consumed, produced = self._indices(RESPONSE_INDICES)
        waiting = produced - consumed & 0xFFFF_FFFF
        if waiting > RING:
            return self._fail(BAD_INDEX)
        size = min(RING - waiting, len(self._answers))
        for index in range(size):
            place = self._address + RING + (produced + index) % RING
            self._memory.write(place, self._answers[index : index + 1])
        del self._answers[:size]
        self._memory.put_u32(self._address + RESPONSE_INDICES + 4, produced + size & 0xFFFF_FFFF)
        return size > 0

    def _fail(self, error: int) -> bool:
        self._memory.put_u32(self._address + ERROR, error)
        self._dead = True
        return False

    def _work(self) -> None:
        while len(self._requests) >= HEADER.size:
            kind, number, transaction, size = HEADER.unpack_from(self._requests)
            if size > LARGEST_PAYLOAD:
                self._fail(BAD_PROTOCOL)
                return
            if len(self._requests) < HEADER.size + size:
                return
            payload = bytes(self._requests[HEADER.size : HEADER.size + size])
            del self._requests[: HEADER.size + size]
            try:
                answer = self.store.answer(kind, payload)
            except StoreError as error:
                kind, answer = Message.ERROR, str(error).encode() + b"\0"
            self._put(kind, number, transaction, answer)
            fired, self.store.fired = self.store.fired, []
            for path, token in fired:
                self._put(Message.WATCH_EVENT, 0, 0, f"{path}\0{token}\0".encode("latin-1"))

    def _put(self, kind: int, number: int, transaction: int, payload: bytes) -> None:
        payload = payload[:LARGEST_PAYLOAD]
        self._answers += HEADER.pack(kind, number, transaction, len(payload)) + payload
