"""Xenstore through its ring. Expected values: public/io/xs_wire.h and docs/misc/xenstore.txt."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.platform.xen.guest import EVENT_CHANNEL_OP, HVM_OP, SELF, Guest

DIRECTORY, READ, WATCH, UNWATCH, TX_START, TX_END, GET_PATH, WRITE, MKDIR, RM, SET_PERMS = 1, 2, 4, 5, 6, 7, 10, 11, 12, 13, 14
WATCH_EVENT, ERROR, INTRODUCE, RESET_WATCHES = 15, 16, 8, 21
REQUEST, RESPONSE, ERROR_FIELD = 2048, 2056, 2072
HOME = b"/local/domain/1"
Message = tuple[int, int, int, bytes]


class Client:
    """A guest's xenstore driver: keeps its side of the ring."""

    def __init__(self) -> None:
        self.guest = Guest()
        self.page = self._param(1) << 12
        self.port = self._param(2)
        self.memory = self.guest.board.memory
        self.received = bytearray()

    def _param(self, index: int) -> int:
        assert self.guest.op(HVM_OP, 1, "HHIQ", SELF, 0, index, 0) == 0
        return self.guest.took("Q", 8)[0]

    def send(self, data: bytes) -> None:
        """Bytes into the ring as far as it has room, an event, and whatever comes back."""
        while data:
            consumed, produced = struct.unpack("<II", self.memory.read(self.page + REQUEST, 8))
            room = 1024 - (produced - consumed)
            assert room > 0, "the store does not take its requests"
            for index, byte in enumerate(data[:room]):
                self.memory.write(self.page + (produced + index) % 1024, bytes([byte]))
            self.memory.put_u32(self.page + REQUEST + 4, produced + len(data[:room]))
            data = data[room:]
            self.kick()

    def kick(self) -> None:
        """An event to the store; then take what it answered, until there is no more."""
        while True:
            assert self.guest.op(EVENT_CHANNEL_OP, 4, "I", self.port) == 0
            consumed, produced = struct.unpack("<II", self.memory.read(self.page + RESPONSE, 8))
            if consumed == produced:
                return
            assert produced - consumed <= 1024
            self.received += bytes(self.memory.u8(self.page + 1024 + at % 1024) for at in range(consumed, produced))
            self.memory.put_u32(self.page + RESPONSE, produced)

    def messages(self) -> list[Message]:
        """What has come whole."""
        found = []
        while len(self.received) >= 16:
            kind, number, transaction, size = struct.unpack_from("<IIII", self.received)
            found.append((kind, number, transaction, bytes(self.received[16 : 16 + size])))
            del self.received[: 16 + size]
        return found

    def ask(self, kind: int, payload: bytes, *, transaction: int = 0) -> tuple[int, bytes]:
        """One request and its answer; events are thrown away."""
        self.send(struct.pack("<IIII", kind, 77, transaction, len(payload)) + payload)
        (answer,) = [message for message in self.messages() if message[0] != WATCH_EVENT]
        assert answer[1:3] == (77, transaction)
        return answer[0], answer[3]


def test_what_every_guest_finds() -> None:
    client = Client()
    assert client.page == 0xFEFF_C000
    assert client.ask(READ, b"domid\0") == (READ, b"1")
    assert client.ask(READ, HOME + b"/domid\0") == (READ, b"1")
    assert client.ask(READ, b"control/shutdown\0") == (READ, b"")
    assert client.ask(DIRECTORY, b"device\0") == (DIRECTORY, b"")
    kind, names = client.ask(DIRECTORY, HOME + b"\0")
    assert kind == DIRECTORY
    assert {b"device", b"control", b"domid", b"cpu"} <= set(names.split(b"\0"))
    assert client.ask(GET_PATH, b"3\0") == (GET_PATH, b"/local/domain/3\0")


@pytest.mark.parametrize(
    ("kind", "payload", "error"),
    [
        (READ, b"device/vbd\0", b"ENOENT"),
        (DIRECTORY, b"device/vbd\0", b"ENOENT"),
        (READ, b"/local/domain/0/name\0", b"EACCES"),
        (WRITE, b"/tool/x\0y", b"EACCES"),
        (RM, HOME + b"\0", b"EACCES"),
        (RM, b"nothing\0", b"ENOENT"),
        (READ, b"\0", b"EINVAL"),
        (READ, b"a//b\0", b"EINVAL"),
        (READ, b"a" * 3000 + b"\0", b"EINVAL"),
        (UNWATCH, b"device\0token\0", b"ENOENT"),
        (INTRODUCE, b"1\0", b"ENOSYS"),
        (9999, b"", b"ENOSYS"),
    ],
)
def test_errors_travel_by_name(kind: int, payload: bytes, error: bytes) -> None:
    assert Client().ask(kind, payload) == (ERROR, error + b"\0")


def test_writing_makes_parents_and_removing_takes_children() -> None:
    client = Client()
    assert client.ask(WRITE, b"data/a/b\0value") == (WRITE, b"OK\0")
    assert client.ask(READ, b"data/a/b\0") == (READ, b"value")
    assert client.ask(READ, b"data/a\0") == (READ, b"")
    assert client.ask(MKDIR, b"data/a\0") == (MKDIR, b"OK\0")
    assert client.ask(DIRECTORY, b"data\0") == (DIRECTORY, b"a\0")
    assert client.ask(RM, b"data/a\0") == (RM, b"OK\0")
    assert client.ask(READ, b"data/a/b\0")[0] == ERROR


def test_watches() -> None:
    """Each goes off once at the beginning, and then for its path and everything below, in the form it was asked in."""
    client = Client()
    request = b"data\0token\0"
    client.send(struct.pack("<IIII", WATCH, 5, 0, len(request)) + request)
    assert client.messages() == [(WATCH, 5, 0, b"OK\0"), (WATCH_EVENT, 0, 0, b"data\0token\0")]
    assert client.ask(WATCH, request) == (ERROR, b"EEXIST\0")
    payload = b"data/x\0y"
    client.send(struct.pack("<IIII", WRITE, 6, 0, len(payload)) + payload)
    assert client.messages() == [(WRITE, 6, 0, b"OK\0"), (WATCH_EVENT, 0, 0, b"data/x\0token\0")]
    assert client.ask(UNWATCH, request) == (UNWATCH, b"OK\0")
    assert client.ask(WATCH, request) == (WATCH, b"OK\0")
    assert client.ask(RESET_WATCHES, b"\0") == (RESET_WATCHES, b"OK\0")
    client.send(struct.pack("<IIII", WRITE, 7, 0, len(payload)) + payload)
    assert client.messages() == [(WRITE, 7, 0, b"OK\0")]


def test_transactions_have_numbers() -> None:
    client = Client()
    assert client.ask(TX_START, b"\0") == (TX_START, b"1\0")
    assert client.ask(TX_START, b"\0") == (TX_START, b"2\0")
    assert client.ask(WRITE, b"data/t\0v", transaction=1) == (WRITE, b"OK\0")
    assert client.ask(TX_END, b"T\0", transaction=1) == (TX_END, b"OK\0")


def test_long_messages_go_round_the_ring() -> None:
    client = Client()
    value = bytes(range(256)) * 15
    for name in (b"data/a\0", b"data/b\0"):
        assert client.ask(WRITE, name + value) == (WRITE, b"OK\0")
        assert client.ask(READ, name) == (READ, value)


@pytest.mark.slow
def test_quotas() -> None:
    client = Client()
    answers = {client.ask(WRITE, b"data/%d\0x" % number) for number in range(1010)}
    assert answers == {(WRITE, b"OK\0"), (ERROR, b"ENOSPC\0")}
    answers = {client.ask(WATCH, b"data\0%d\0" % number) for number in range(130)}
    assert answers == {(WATCH, b"OK\0"), (ERROR, b"E2BIG\0")}


def test_nonsense_ends_the_connection() -> None:
    """XENSTORE_ERROR_PROTO for a payload beyond 4096 bytes, XENSTORE_ERROR_RINGIDX for indices too far apart."""
    client = Client()
    client.send(struct.pack("<IIII", READ, 1, 0, 5000))
    assert client.memory.u32(client.page + ERROR_FIELD) == 3
    client.memory.write(client.page + REQUEST, struct.pack("<II", 0, 4))
    client.kick()
    assert client.messages() == []
    client = Client()
    client.memory.write(client.page + REQUEST, struct.pack("<II", 0, 5000))
    client.kick()
    assert client.memory.u32(client.page + ERROR_FIELD) == 2


@pytest.mark.slow
def test_a_guest_that_does_not_listen() -> None:
    """Answers wait, within bounds, and so do its requests."""
    client = Client()
    request = struct.pack("<IIII", DIRECTORY, 1, 0, len(HOME) + 1) + HOME + b"\0"
    for _ in range(3000):
        consumed, produced = struct.unpack("<II", client.memory.read(client.page + REQUEST, 8))
        if produced - consumed + len(request) > 1024:
            break
        for index, byte in enumerate(request):
            client.memory.write(client.page + (produced + index) % 1024, bytes([byte]))
        client.memory.put_u32(client.page + REQUEST + 4, produced + len(request))
        assert client.guest.op(EVENT_CHANNEL_OP, 4, "I", client.port) == 0
    else:
        pytest.fail("the store keeps any number of answers")
    client.kick()
    answered = client.messages()
    assert len(answered) > 100
    assert {message[0] for message in answered} == {DIRECTORY}


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 25), st.binary(max_size=60)), max_size=20), st.binary(max_size=40))
def test_any_bytes(requests: list[tuple[int, bytes]], rubbish: bytes) -> None:
    client = Client()
    for kind, payload in requests:
        client.send(struct.pack("<IIII", kind, 1, 0, len(payload)) + payload)
    client.send(rubbish)
    assert all(kind in (*range(1, 8), *range(10, 17), 21) for kind, *_ in client.messages())
