"""Records as tables that others read."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from efishim.errors import UsageError
from efishim.report.parquet import COLUMNS, require, write
from tests.records import a_record

needs_arrow = pytest.mark.skipif(
    importlib.util.find_spec("pyarrow") is None, reason="pyarrow is not installed: efishim[parquet]"
)


@needs_arrow
@pytest.mark.slow
@pytest.mark.measured
def test_the_tables_have_what_the_records_say(tmp_path: Path) -> None:
    parquet: Any = importlib.import_module("pyarrow.parquet")

    record = a_record()
    paths = write(tmp_path, [record, record])
    assert [path.stem for path in paths] == list(COLUMNS)
    tables = {path.stem: parquet.read_table(path) for path in paths}
    assert all(table.column_names == list(COLUMNS[name]) for name, table in tables.items())
    (run, _) = tables["runs"].to_pylist()
    assert (run["kernel"], run["insns"], run["met"]) == ("vmlinuz", record.outcome.insns, True)
    assert tables["milestones"].num_rows == 2 * len(record.milestones)
    assert tables["calls"].to_pylist()[0]["service"] == record.firmware_calls[0].service
    assert tables["ledger"].to_pylist()[0]["what"] == record.ledger[0].what


@needs_arrow
def test_no_records_give_empty_tables(tmp_path: Path) -> None:
    parquet: Any = importlib.import_module("pyarrow.parquet")

    assert all(parquet.read_table(path).num_rows == 0 for path in write(tmp_path, []))


def test_the_library_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match="pyarrow is not installed"):
        require()
