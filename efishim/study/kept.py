"""Reuses records that a study saved in a folder of the user's: documents under names made of everything that decides them.

Runs are deterministic, so a kept record is the one that a new run would give. A study that was
interrupted goes on where it was.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from efishim.lab.cache.records import belongs, key_in, repeatable
from efishim.lab.matrix import Result
from efishim.lab.plan.plan import Plan
from efishim.lab.record import RECORD_LIMIT, Record, RecordError, decode, encode
from efishim.plugins import Registry
from efishim.reading import read_file
from efishim.temporary import partial_file


def place(folder: Path, plan: Plan, registry: Registry) -> Path | None:
    """Where the record of a plan lies; None for one that must not be used again."""
    key = key_in(plan, registry)
    return None if key is None else folder / f"{key[:32]}.json"


def kept(folder: Path, plan: Plan, registry: Registry) -> Record | None:
    """The record of a plan, if it was kept and is one."""
    source = place(folder, plan, registry)
    if source is not None:
        with suppress(RecordError):
            record = decode(read_file(source, RECORD_LIMIT, "record", RecordError))
            if belongs(record, plan):
                return record
    return None


def keep(folder: Path, result: Result, registry: Registry) -> None:
    """Keep a record, unless the host or a fault of the emulator ended its run. Raises OSError."""
    record, target = result.record, place(folder, result.plan, registry)
    if record is None or target is None or not repeatable(record):
        return
    content = encode(record)
    target.parent.mkdir(parents=True, exist_ok=True)
    with partial_file(target) as (stream, temporary):  # of the folder's other files none is ours
        stream.write(content)
        stream.flush()
        temporary.replace(target)
