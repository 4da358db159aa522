"""Records as Parquet tables, for DuckDB, Polars and others: runs, milestones, firmware calls and the ledger."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from efishim.errors import UsageError
from efishim.lab.record import Record

TEXT, NUMBER, YES = "string", "uint64", "bool"
RUN = {"kernel": TEXT, "sha256": TEXT, "provider": TEXT, "entry": TEXT, "platform": TEXT}
"""Names the run in each table."""

COLUMNS: Mapping[str, Mapping[str, str]] = {
    "runs": RUN
    | {"version": TEXT, "cmdline": TEXT, "memory": NUMBER, "seed": NUMBER, "goal": TEXT, "met": YES, "reached": TEXT}
    | {"reason": TEXT, "details": TEXT, "insns": NUMBER, "virtual_ns": NUMBER, "calls": NUMBER, "violations": NUMBER},
    "milestones": RUN | {"name": TEXT, "insns": NUMBER, "virtual_ns": NUMBER, "symbol": TEXT},
    "calls": RUN | {"number": NUMBER, "service": TEXT, "status": TEXT, "insns": NUMBER, "caller": TEXT, "repeats": NUMBER},
    "ledger": RUN
    | {"kind": TEXT, "what": TEXT, "device": TEXT, "group": TEXT, "reads": NUMBER, "writes": NUMBER, "symbol": TEXT},
}
"""Tables with their columns and types."""


def require() -> None:
    """Raises UsageError where the library is not installed."""
    _library()


def write(folder: Path, records: Iterable[Record]) -> list[Path]:
    """Write the tables as FOLDER/TABLE.parquet. Raises UsageError and OSError."""
    arrow = _library()
    writer = importlib.import_module("pyarrow.parquet")
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in COLUMNS}
    for record in records:
        for name, of in _ROWS.items():
            rows[name] += [_run(record) | row for row in of(record)]
    paths = []
    for name, columns in COLUMNS.items():
        schema = arrow.schema(
            [(column, getattr(arrow, "bool_" if kind == YES else kind)()) for column, kind in columns.items()]
        )
        paths.append(folder / f"{name}.parquet")
        writer.write_table(arrow.Table.from_pylist(rows[name], schema=schema), paths[-1])
    return paths


def _library() -> Any:
    try:
        return importlib.import_module("pyarrow")
    except ImportError as error:
        raise UsageError("pyarrow is not installed, and --parquet needs it", hint="pip install 'efishim[parquet]'") from error


def _run(record: Record) -> dict[str, Any]:
    route = record.route
    return {
        "kernel": record.image.path,
        "sha256": record.image.sha256,
        "provider": route.provider,
        "entry": route.entry,
        "platform": route.platform,
    }


def _runs(record: Record) -> list[dict[str, Any]]:
    outcome, options = record.outcome, record.options
    return [
        {
            "version": record.image.version,
            "cmdline": options.cmdline,
            "memory": options.memory,
            "seed": options.seed,
            "goal": outcome.goal.value,
            "met": outcome.met,
            "reached": outcome.reached.value if outcome.reached is not None else None,
            "reason": outcome.reason.value,
            "details": outcome.details,
            "insns": outcome.insns,
            "virtual_ns": outcome.virtual_ns,
            "calls": len(record.firmware_calls) + record.firmware_calls_dropped,
            "violations": None if record.abi is None else len(record.abi),
        }
    ]


def _milestones(record: Record) -> list[dict[str, Any]]:
    return [
        {
            "name": point.name.value,
            "insns": point.insns,
            "virtual_ns": point.virtual_ns,
            "symbol": point.at.shown if point.at is not None else None,
        }
        for point in record.milestones
    ]


def _calls(record: Record) -> list[dict[str, Any]]:
    return [
        {
            "number": number,
            "service": call.service,
            "status": call.status,
            "insns": call.insns,
            "caller": call.caller.shown if call.caller is not None else None,
            "repeats": call.repeats,
        }
        for number, call in enumerate(record.firmware_calls)
    ]


def _ledger(record: Record) -> list[dict[str, Any]]:
    return [
        {
            "kind": one.kind.value,
            "what": one.what,
            "device": one.device,
            "group": one.group,
            "reads": one.reads,
            "writes": one.writes,
            "symbol": one.code.shown if one.code is not None else None,
        }
        for one in record.ledger
    ]


_ROWS: Mapping[str, Callable[[Record], list[dict[str, Any]]]] = {
    "runs": _runs,
    "milestones": _milestones,
    "calls": _calls,
    "ledger": _ledger,
}

__all__ = ["COLUMNS", "require", "write"]
