"""Reads files that the user named: up to a limit, and never blocking on what is not a regular file."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from efishim.errors import EfishimError

SENTENCE = 500
"""Most characters of the reason why something is not TOML."""


def read_file(path: str | Path, limit: int, what: str, error: type[EfishimError], *, hint: str = "") -> bytes:
    """All of a regular file of at most `limit` bytes; its size is looked at before a byte is read. Raises `error` with one
    sentence; `what` is the kind of file that was wanted, `hint` what to do when there is none.
    """
    try:
        # Opened so, a FIFO without a writer gives an error later and does not block now (open(2)).
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            found = os.fstat(stream.fileno())
            if stat.S_ISDIR(found.st_mode):
                raise error(f"{path} is a directory, not a file")
            if not stat.S_ISREG(found.st_mode):
                raise error(f"{path} is a device, pipe or socket, not a regular file")
            data = b"" if found.st_size > limit else stream.read(limit + 1)
    except FileNotFoundError as missing:
        raise error(f"{path} does not exist" if os.fspath(path) else "the empty text names no file", hint=hint) from missing
    except OSError as problem:
        raise error(f"{path} cannot be read: {problem.strerror or problem}") from problem
    except ValueError as problem:
        raise error(f"the path {str(path)!r} cannot be used: {problem}") from problem
    if found.st_size > limit or len(data) > limit:
        size = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit} bytes"
        raise error(f"{path} is larger than {size}, which no {what} is")
    return data


def parse_toml(text: str, name: str, error: type[EfishimError]) -> dict[str, Any]:
    """A document with numbers of at most 64 bits, as TOML 1.0 has them ("Integer"). Raises `error` with one sentence."""
    try:
        content = tomllib.loads(text)
        _small(content)
    except (ValueError, RecursionError) as problem:  # ValueError also for more digits than Python takes
        raise error(f"{name} is not TOML: {' '.join(str(problem).split())[:SENTENCE]}") from problem
    return content


def _small(value: object) -> None:
    if isinstance(value, dict):
        for one in value.values():
            _small(one)
    elif isinstance(value, list):
        for one in value:
            _small(one)
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"a number has {value.bit_length()} bits, and 64 are the most")
