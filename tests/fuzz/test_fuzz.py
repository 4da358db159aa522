"""Each fuzz target for a number of examples that is always the same; `make fuzz` goes on from there."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from efishim.disk.fat import FatVolume
from efishim.disk.medium import Medium
from efishim.disk.partitions import read_partitions
from tests.fuzz import __main__ as fuzz
from tests.fuzz import targets as known
from tests.fuzz.mutations import MOST, mutated
from tests.fuzz.targets import CORPUS, Target, seeds_of, targets

EXAMPLES = 150
LARGEST = 4096
REFUSED = {("record", "empty")}
"""Seeds that are there because of how they are refused."""


@pytest.mark.parametrize("name", list(targets()))
def test_the_seeds_are_well(name: str) -> None:
    """A mutation says nothing when the seed was refused already."""
    for key, data in targets()[name].seeds().items():
        said = targets()[name].work(data)
        assert (name, key) in REFUSED or said in ("", "bzImage", "pe", "elf"), (key, said)


def test_the_disks_among_the_seeds_are_read() -> None:
    """The target takes every refusal of a volume, so only this says that its seeds are ones."""
    seeds = targets()["disk"].seeds()
    for name, count in (("fat12", 0), ("mbr", 2), ("gpt", 2)):
        medium = Medium(seeds[name])
        table = read_partitions(medium)
        assert (len(table.partitions), table.problems) == (count, ()), name
        if name != "gpt":
            start, blocks = (table.partitions[0].start, table.partitions[0].blocks) if count else (0, medium.blocks)
            found = FatVolume(medium, start, blocks).find("dir\\in")
            assert found is not None, name


@pytest.mark.slow
@pytest.mark.unmeasured
@pytest.mark.parametrize("name", list(targets()))
def test_only_typed_errors_come_out(name: str) -> None:
    seeds = seeds_of(name)
    for data in seeds:
        targets()[name].work(data)
    for number in range(EXAMPLES):
        targets()[name].work(mutated(seeds, 0, number))


def test_an_example_is_made_of_its_numbers() -> None:
    seeds = [b"a seed " * 40, b"another"]
    assert [mutated(seeds, 1, n) for n in range(50)] == [mutated(seeds, 1, n) for n in range(50)]
    assert len({mutated(seeds, 1, n) for n in range(50)}) > 40
    assert mutated(seeds, 1, 3) != mutated(seeds, 2, 3)
    assert all(len(mutated([b"", bytes(MOST)], 0, n)) <= MOST for n in range(50))


def test_the_corpus_is_small_and_has_a_target_for_each_folder() -> None:
    assert {one.name for one in CORPUS.iterdir()} <= set(targets())
    assert all(one.stat().st_size <= LARGEST for one in CORPUS.glob("*/*"))


def test_what_is_wrong_is_found_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A parser with a bug for every other input: the exit status, the input and the command that shows it again."""

    def work(data: bytes) -> str:
        if len(data) % 2:
            raise ZeroDivisionError("odd")
        return ""

    def broken() -> Mapping[str, Target]:
        return {"broken": Target(work, lambda: {"seed": b"some bytes"})}

    monkeypatch.setattr(known, "targets", broken)
    monkeypatch.setattr(sys, "argv", ["fuzz", "--examples", "20", "--keep", str(tmp_path)])
    assert fuzz.main() == 1
    out = capsys.readouterr().out
    kept = list(tmp_path.iterdir())
    assert kept
    assert all(len(one.read_bytes()) % 2 for one in kept)
    assert "an exception" in out
    again = next(line.rpartition("; python -m tests.fuzz ")[2] for line in out.splitlines() if "; python" in line)
    monkeypatch.setattr(sys, "argv", ["fuzz", *again.split(), "--keep", str(tmp_path)])
    assert fuzz.main() == 1
    assert "an exception" in capsys.readouterr().out, "the command shows it again"
