"""`efishim check DUMP`: what is printed, and the exit status."""

from __future__ import annotations

import json
from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.cli import main
from efishim.cli.check import ENTRIES
from efishim.dump import entry
from tests.support.cores import Core, described, stopped


def test_its_entries_are_those_of_dumps() -> None:
    assert ENTRIES == entry.ENTRIES


def test_a_violated_rule_is_printed_as_run_prints_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    core = Core(stopped("hvmlite", "pvh").with_registers(tr_limit=0xFFFF)).write(tmp_path / "core")
    assert main(["check", str(core)]) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        "the handover at the entry pvh violates 1 rule:",
        "  pvh/tr: TR is an active 32-bit TSS with base 0 and limit 0x67",
        "      found: it is base 0x0, limit 0xffff, tss-busy",
        "      specification: docs/misc/pvh.pandoc",
    ]
    assert "EFER is not in the dump" in shown.err
    assert "image/intact is not checked" in shown.err


def test_a_handover_without_fault_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = described(stopped("kexec", "linux64"), tmp_path)
    assert main(["check", str(path), "-q"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("the handover at the entry linux64 violates none of ")
    assert shown.err == ""
    assert main(["check", str(path), "--entry", "linux32", "--format", "json", "-q"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert "linux32/mode" in {one["rule"] for one in found["violations"]}
    assert (found["form"], found["entry"], found["derived"]) == ("memory ranges", "linux32", [])


def test_what_is_no_dump_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dump").write_bytes(b"\x7fELF")
    assert main(["check", str(tmp_path / "dump")]) == 4
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "cannot be read" in shown.err
    assert "Traceback" not in shown.err


def test_an_entry_of_a_plugin_needs_the_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    core = Core(stopped("kexec", "linux64"), machine=62).write(tmp_path / "core")
    (tmp_path / "kernel").write_bytes(efishim_firmware_stubs.probe_kernel())
    for words, status, says in (
        (["-e", "elf64"], 4, "the entry elf64 of"),
        ([str(tmp_path / "kernel"), "-e", "elf64"], 1, "elf64/entry-point: The kernel is entered at e_entry"),
        (["-e", "door"], 2, "dumps are not checked at an entry 'door'"),
    ):
        assert main(["check", str(core), *words]) == status
        assert says in " ".join(" ".join(capsys.readouterr()).split())
