"""Files that are no kernels, broken ones, and absurd options: a status, a sentence, a hint; never a traceback, never a hang."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.cli.app import run_command_line

pytestmark = pytest.mark.slow

PROBE = efishim_firmware_stubs.probe_kernel()
PE_AT = struct.unpack_from("<I", PROBE, 0x3C)[0]
SECTIONS, OPTIONAL = struct.unpack_from("<H", PROBE, PE_AT + 6)[0], struct.unpack_from("<H", PROBE, PE_AT + 20)[0]
TABLE = PE_AT + 24 + OPTIONAL
HEADER_BYTES = (*range(0x1F1, 0x270), *range(0x3C, 0x40), *range(PE_AT, TABLE + 40 * SECTIONS))
LIMITS = ("-q", "--max-insns", "30M", "--timeout", "30")


def cli(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Exit status and what stood on stderr. An exception that comes out of here is a bug."""
    status = run_command_line(list(words))
    return status, capfd.readouterr().err


def refused(capfd: pytest.CaptureFixture[str], *words: str, statuses: tuple[int, ...] = (4,)) -> None:
    status, errors = cli(capfd, *words)
    assert status in statuses, (words, status, errors)
    assert errors.startswith("error: "), errors
    assert "Traceback" not in errors


def patched(at: int, content: bytes) -> bytes:
    return PROBE[:at] + content + PROBE[at + len(content) :]


NO_KERNELS = {"empty": b"", "text": b"hello\n" * 100, "one byte": b"M", "MZ": b"MZ", "ones": b"MZ" + b"\xff" * 4096}


@pytest.mark.parametrize("command", ["run", "inspect"])
@pytest.mark.parametrize("kind", NO_KERNELS)
def test_no_kernel(command: str, kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "image").write_bytes(NO_KERNELS[kind])
    refused(capfd, command, str(tmp_path / "image"))


@pytest.mark.parametrize("command", ["run", "inspect"])
def test_no_file(command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "fifo")
    for place in (str(tmp_path), str(tmp_path / "fifo"), str(tmp_path / "none"), "/dev/zero", "/dev/null", "x" * 5000):
        refused(capfd, command, place)


@pytest.mark.parametrize("machine", [0xAA64, 0x14C], ids=["arm64", "ia32"])
def test_another_processor(machine: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "image").write_bytes(patched(PE_AT + 4, struct.pack("<H", machine)))
    refused(capfd, "run", str(tmp_path / "image"), statuses=(4, 77))


def _cuts() -> Iterator[int]:
    yield from (0x1F1, 0x200, 0x202, 0x250, PE_AT, PE_AT + 4, PE_AT + 24, TABLE, TABLE + 40 * SECTIONS, len(PROBE) - 1)
    for number in range(SECTIONS):
        size, at = struct.unpack_from("<II", PROBE, TABLE + 40 * number + 16)
        yield from (at, at + size // 2, at + size)


@pytest.mark.parametrize("size", sorted({*_cuts()}))
def test_truncated(size: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Everything before the last section's end is refused, or runs as what is left of it."""
    (tmp_path / "image").write_bytes(PROBE[:size])
    for command in (("run", *LIMITS), ("inspect",)):
        status, errors = cli(capfd, *command, str(tmp_path / "image"))
        assert status in {0, 1, 4, 77}, errors
        assert status in {0, 1} or errors.startswith("error: ")


@pytest.mark.slow
@pytest.mark.unmeasured
@pytest.mark.parametrize("part", range(8))
def test_one_flipped_bit(part: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In every other byte, all parts together, of the setup header, the PE headers and the section table."""
    for at in HEADER_BYTES[part::16]:
        (tmp_path / "image").write_bytes(patched(at, bytes([PROBE[at] ^ 1 << at * 5 % 8])))
        for command in (("run", *LIMITS), ("inspect",)):
            status, errors = cli(capfd, *command, str(tmp_path / "image"))
            assert status in {0, 1, 4, 77}, (hex(at), status, errors)
            assert status in {0, 1} or errors.startswith("error: ")


ABSURD = [
    *(["-m", size] for size in ("0", "-1", "1E", "63M", "999999999999T", "64.5M", "x")),
    *(["-i", place] for place in ("/nonexistent", "/", "/dev/zero")),
    *(["--bogus"], ["-p", "nope"], ["-e", "nope"], ["--platform", "nope"], ["--option", "x"], ["--option", "shim.bogus=1"]),
    *(["--system-map", "/dev/zero"], ["--seed", "x"], ["--max-insns", "-1"], ["--timeout", "-1"], ["--timeout", "nan"]),
    *(["--until", "nope"], ["--record", "/nonexistent/x"], ["--record", "/"], ["--format", "nope"], ["one", "two"]),
    *(["-a", "@/nonexistent"], ["-a", "@/dev/zero"], ["-a", "x" * 70_000], ["--no-initrd", "-i", "x"]),
]


@pytest.mark.parametrize("words", ABSURD, ids=lambda words: " ".join(words)[:40])
def test_absurd_options(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    refused(capfd, "run", *words, statuses=(2, 4))


def test_a_system_map_of_garbage_is_no_reason_to_fail(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "map").write_bytes(bytes(range(256)) * 100)
    status, errors = cli(capfd, "run", *LIMITS, "--until", "entry", "--system-map", str(tmp_path / "map"))
    assert status in {0, 2, 4}, errors
    assert "Traceback" not in errors
