"""Reuses records saved in a directory by the same version of efishim with the same inputs.

Runs are deterministic, so a kept record is the one that a new run would give. A study that was
interrupted goes on where it was.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import efishim
from efishim.lab.matrix import Result
from efishim.lab.plan.plan import Plan
from efishim.lab.record import RECORD_LIMIT, UNREPEATABLE, Reason, Record, RecordError, decode, encode
from efishim.reading import read_file


def place(folder: Path, plan: Plan) -> Path:
    """Where the record of a plan lies: a name made of all its inputs and of efishim's version."""
    parts = [efishim.__version__, plan.reproduce(), plan.image.sha256, *(one.sha256 for one in plan.initrds)]
    return folder / f"{hashlib.sha256(chr(0).join(parts).encode('utf-8', 'surrogateescape')).hexdigest()[:32]}.json"


def kept(folder: Path, plan: Plan) -> Record | None:
    """The record of a plan, if it was kept and is one."""
    with suppress(RecordError):
        record = decode(read_file(place(folder, plan), RECORD_LIMIT, "record", RecordError))
        if record.image.sha256 == plan.image.sha256:
            return record
    return None


def keep(folder: Path, result: Result) -> None:
    """Keep a record, unless the host or a fault of the emulator ended its run. Raises OSError."""
    record = result.record
    if record is None or record.outcome.reason in UNREPEATABLE or record.outcome.reason is Reason.EMULATOR:
        return
    target = place(folder, result.plan)
    partial = target.with_suffix(".partial")
    partial.write_bytes(encode(record))
    partial.replace(target)
