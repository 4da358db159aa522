"""The options of `run` that show the guest while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from efishim.cli.debug_options import DebugWords
from efishim.cli.talk import Talk
from efishim.errors import UsageError

NOTHING = DebugWords(gdb=None, wait=False, breaks=(), trace=None, trace_file=None)


def words(**given: object) -> DebugWords:
    return DebugWords(**(vars(NOTHING) | given))


def test_nothing_asked_for_is_nothing() -> None:
    with NOTHING.request(Talk()) as request:
        assert request is None


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"wait": True}, "-S waits for gdb"),
        ({"trace_file": "file"}, "needs a --trace"),
        ({"gdb": "0.0.0.0:1234"}, "loopback address only"),
        ({"gdb": "nowhere"}, "is not"),
        ({"breaks": ("+",)}, "neither a symbol nor an address"),
        ({"trace": "many"}, "neither a number of instructions"),
        ({"trace": "5", "trace_file": "/nowhere/file"}, "cannot be written"),
    ],
)
def test_mistakes_are_sentences(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence), words(**given).request(Talk()):
        pass


def test_what_is_opened_is_closed(tmp_path: Path) -> None:
    socket, trace = tmp_path / "gdb.sock", tmp_path / "trace"
    with words(gdb=str(socket), wait=True, trace="5", trace_file=str(trace)).request(Talk()) as request:
        assert request is not None
        assert request.wait
        assert socket.exists()
        request.write("a line")
    assert not socket.exists()
    assert trace.read_text() == "a line\n"
