"""Where a debugger may connect."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from efishim.debug.link import Address, Listener
from efishim.errors import UsageError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("1234", Address("127.0.0.1", 1234)),
        (":1234", Address("127.0.0.1", 1234)),
        ("tcp::1234", Address("127.0.0.1", 1234)),
        ("localhost:0", Address("127.0.0.1", 0)),
        ("127.1.2.3:65535", Address("127.1.2.3", 65535)),
        ("[::1]:1234", Address("::1", 1234)),
        ("./gdb.sock", Address(path="./gdb.sock")),
        ("unix:/run/gdb", Address(path="/run/gdb")),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "example.org", "[2001:db8::1]"])
def test_only_loopback(host: str) -> None:
    with pytest.raises(UsageError, match="loopback address only"):
        Address.parse(f"{host}:1234")


@pytest.mark.parametrize("text", ["", "gdb", "65536", "-1", "1234:", "\u0661"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="is not"):
        Address.parse(text)


def test_a_port_in_use_and_a_path_that_exists(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(UsageError, match="in use"):
        Listener(Address(port=other.getsockname()[1]))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="in use"):
        Listener(Address(path=str(tmp_path / "file")))
    assert (tmp_path / "file").read_text() == "mine"
    with pytest.raises(UsageError, match="cannot listen"):
        Listener(Address(path=str(tmp_path / ("x" * 200))))


def test_a_socket_is_the_users_own_and_goes_with_the_run(tmp_path: Path) -> None:
    path = tmp_path / "gdb.sock"
    listener = Listener(Address(path=str(path)))
    assert path.stat().st_mode & 0o777 == 0o600
    assert listener.target == str(path)
    listener.close()
    assert not path.exists()


def test_a_free_port_is_told() -> None:
    listener = Listener(Address())
    host, _, port = listener.target.rpartition(":")
    assert host == "127.0.0.1"
    assert int(port) > 0
    listener.close()
