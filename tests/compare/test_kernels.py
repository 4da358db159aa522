"""A record's kernel is looked for on this machine, and believed only if it is the same file."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
import pytest
from efishim_firmware_stubs import probe_kernel

from efishim.compare.build import build, not_followed
from efishim.compare.kernels import kernel_of
from efishim.lab.observe.code_parts import ELSEWHERE, KERNEL
from efishim.lab.record import Coverage, FunctionCoverage, Image, Record
from tests.records import a_record


def of(path: str, data: bytes, sha256: str = "") -> Record:
    digest = sha256 or hashlib.sha256(data).hexdigest()
    return a_record(image=Image(path=path, sha256=digest, size=len(data), format="bzImage", version="", entries=[]))


def test_a_file_that_is_gone_or_another_one_is_no_kernel(tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz"
    assert kernel_of(of(str(path), b"gone")) is None
    path.write_bytes(b"other")
    assert kernel_of(of(str(path), b"other", "0" * 64)) is None
    assert kernel_of(of(str(tmp_path), b"a folder")) is None
    assert kernel_of(of("embedded:probe", b"")) is None


def test_an_image_without_symbols_is_no_kernel(tmp_path: Path) -> None:
    path = tmp_path / "probe"
    path.write_bytes(probe_kernel())
    assert kernel_of(of(str(path), probe_kernel())) is None


def test_nothing_is_fetched_for_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFISHIM_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")  # no apt
    for name in ("deb:nothing-of-the-kind=1.0", "deb:nothing-of-the-kind", "deb:../../etc"):
        assert kernel_of(of(name, b"")) is None
    assert list(tmp_path.iterdir()) == []


def with_code(name: str, part: str) -> Record:
    functions = [FunctionCoverage(name=name, part=part, blocks=1, insns=1, offsets="0", after="?")]
    return msgspec.structs.replace(of("/nowhere/vmlinuz", b""), coverage=Coverage(functions=functions))


def test_a_report_says_which_image_could_not_be_looked_up() -> None:
    records = [with_code("one", KERNEL), with_code("other", KERNEL)]
    assert not_followed(build(records, (), ()), records) == ["/nowhere/vmlinuz"]
    same = [records[0], records[0]]
    assert not_followed(build(same, (), ()), same) == []
    no_kernel = [with_code("one", ELSEWHERE), with_code("other", ELSEWHERE)]
    assert not_followed(build(no_kernel, (), ()), no_kernel) == []
