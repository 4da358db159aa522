"""The table of a matrix."""

from __future__ import annotations

import msgspec

from efishim.lab.record import Milestone, Reason
from efishim.report.matrix_table import Cell, grid, markdown
from tests.records import a_record

GOOD = a_record()
BAD = a_record(outcome=msgspec.structs.replace(GOOD.outcome, met=False, reason=Reason.PANIC, reached=Milestone.START_KERNEL))
CELLS = [
    Cell("6.1", "a/efi@pc", GOOD),
    Cell("6.12", "a/efi@pc", BAD),
    Cell("6.1", "b/pvh@pc", reason="it has no note"),
    Cell("6.12", "b/pvh@pc", reason="a worker died | twice", failed=True),
]


def test_kernels_across_and_routes_down() -> None:
    head, rows = grid(CELLS)
    assert head == ["route", "6.1", "6.12"]
    assert rows == [["a/efi@pc", "shutdown", "kernel panic after start_kernel"], ["b/pvh@pc", "-", "failed"]]


def test_what_counts_as_good() -> None:
    assert [cell.good for cell in CELLS] == [True, False, True, False]
    assert [cell.row()["insns"] for cell in CELLS][2:] == [None, None]


def test_names_are_no_markup() -> None:
    text = markdown([*CELLS, Cell("<b>|", "c", reason="x")], "efishim matrix a_b")
    assert "# efishim matrix a\\_b" in text
    assert "died \\| twice" in text
    assert "<b>" not in text.replace("\\<", "")
