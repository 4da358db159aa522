"""Places that take nothing, take too little, or are written by ten at once."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from efishim.cli.app import run_command_line
from efishim.lab.record import decode
from tests.image.test_hostile import SEEDS

SMALL = 512
"""Bytes that the disk takes of one file: RLIMIT_FSIZE stands in for a disk that is full (setrlimit(2))."""
RUN = ("run", "-q", "-m", "64M", "--until", "entry", "--no-observers", "--timeout", "0")

TEN = """
import os, sys
from pathlib import Path
from efishim.image.facts import KernelCache
from efishim.image.opened import open_image

data, cache = Path(sys.argv[1]).read_bytes(), KernelCache(Path(sys.argv[2]))
ready, go = os.pipe()
children = []
for _ in range(10):
    child = os.fork()
    if not child:
        os.close(go)
        os.read(ready, 1)  # until the parent closes its end: all at once
        kernel = open_image(data, path="kernel", cache=cache).kernel
        os._exit(0 if kernel is not None else 1)
    children.append(child)
os.close(go)
print([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """One whose payload has to be unpacked, which is what is cached."""
    path = tmp_path / "vmlinuz"
    path.write_bytes(SEEDS["kernel"])
    return path


@pytest.mark.slow
def test_a_cold_cache_shared_by_ten(kernel: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    result = subprocess.run([sys.executable, "-c", TEN, kernel, cache], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str([0] * 10), result.stderr
    files = [one for one in cache.rglob("*") if one.is_file()]
    assert files
    assert not [one for one in files if one.name.startswith(".")]
    again = subprocess.run([sys.executable, "-c", TEN, kernel, cache], capture_output=True, text=True, check=True)
    assert again.stdout == result.stdout
    assert [one for one in cache.rglob("*") if one.is_file()] == files


@pytest.mark.parametrize("place", ["/dev/null/cache", "/proc/cache", "vmlinuz"])
def test_a_home_that_takes_nothing(
    place: str, kernel: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The cache only saves time."""
    monkeypatch.chdir(kernel.parent)
    monkeypatch.setenv("EFISHIM_CACHE", place)
    assert run_command_line(["inspect", str(kernel)]) == 0
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A record that finds no room is one sentence, and the old one stays; what could be kept in a cache is not missed."""
    record = tmp_path / "record.json"
    record.write_bytes(b"the old one")

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (SMALL, SMALL))

    words = [sys.executable, "-m", "efishim", *RUN, "--record", str(record)]
    environment = {**os.environ, "EFISHIM_CACHE": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(words, capture_output=True, text=True, check=False, preexec_fn=full, env=environment)
    assert result.returncode == 3, result.stderr
    assert result.stderr.startswith(f"error: {record} cannot be written: File too large")
    assert "Traceback" not in result.stderr
    assert record.read_bytes() == b"the old one"
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []
    assert not [one for one in (tmp_path / "cache").rglob("*") if one.suffix == ".partial"]
    subprocess.run(words, capture_output=True, check=True, env=environment)
    decode(record.read_bytes())
