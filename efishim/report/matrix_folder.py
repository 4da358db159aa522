"""A folder of records, one for each kernel, route and platform, that a matrix fills, and goes on with when it was cut short."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec

from efishim.lab.cache.records import belongs, key_in, repeatable
from efishim.lab.plan.plan import Plan
from efishim.lab.record import RECORD_LIMIT, Record, RecordError, decode, encode
from efishim.plugins import Registry
from efishim.reading import read_file
from efishim.report.files import OutputError, write_atomically

SCHEMA = 1
INDEX = "matrix.json"
INDEX_LIMIT = 64 << 20
RECORDS = "records"

_STRANGE = re.compile(r"[^A-Za-z0-9._-]+")


class Kept(msgspec.Struct, frozen=True):
    """A record of the folder."""

    file: str
    """For people; efishim looks where the plan's record belongs."""
    key: str
    """Of everything that decides the run (ADR 23)."""
    sha256: str
    """Of the file."""


class Index(msgspec.Struct, frozen=True):
    """The file that tells what the records are of."""

    schema: Annotated[int, msgspec.Meta(ge=SCHEMA, le=SCHEMA)] = SCHEMA
    records: list[Kept] = msgspec.field(default_factory=list)


class MatrixFolder:
    """The folder. Raises OutputError where it cannot be written."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            (self.path / RECORDS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path} cannot be made: {error.strerror or error}") from error
        self._kept = {one.file: one for one in self._index().records}

    def find(self, plan: Plan, registry: Registry) -> Record | None:
        """The record of this very plan, if it is there and whole."""
        name = place(plan)
        kept, key = self._kept.get(name), key_in(plan, registry)
        if kept is None or key is None or kept.key != key:
            return None
        try:
            data = read_file(self.path / name, RECORD_LIMIT, "record", RecordError)
            record = decode(data)
        except RecordError:
            return None
        return record if hashlib.sha256(data).hexdigest() == kept.sha256 and belongs(record, plan) else None

    def keep(self, plan: Plan, record: Record, registry: Registry) -> None:
        """Write a record; one that the host cut short is there to be looked at, and made again by the next matrix."""
        name, key = place(plan), key_in(plan, registry)
        data = encode(record)
        self._put(name, data)
        self._kept.pop(name, None)
        if key is not None and repeatable(record):
            self._kept[name] = Kept(name, key, hashlib.sha256(data).hexdigest())
        index = Index(records=sorted(self._kept.values(), key=lambda one: one.file))
        self._put(INDEX, msgspec.json.format(msgspec.json.encode(index), indent=1) + b"\n")

    def write(self, name: str, data: bytes) -> None:
        """Something else that belongs beside the records."""
        self._put(name, data)

    def _put(self, name: str, data: bytes) -> None:
        """Another user may have made the folder: symbolic links in it are refused."""
        target = self.path / name
        inside = (target, *target.parents)[: len(Path(name).parts)]
        try:
            for one in inside:
                if one.is_symlink():
                    raise OutputError(f"{one} is a symbolic link", hint="remove it")
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{target.parent} cannot be made: {error.strerror or error}") from error
        write_atomically(target, data)

    def _index(self) -> Index:
        """What is no index counts for none: then all runs are made."""
        try:
            return msgspec.json.decode(read_file(self.path / INDEX, INDEX_LIMIT, "matrix", RecordError), type=Index)
        except (RecordError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return Index()


def place(plan: Plan) -> str:
    """Where the record of a plan lies: records/KERNEL-HASH/PROVIDER-ENTRY-PLATFORM.json."""
    label = plan.image.label.rpartition("/")[2]
    kernel = f"{_plain(label)}-{plan.image.sha256[:8]}"
    return f"{RECORDS}/{kernel}/{_plain(plan.provider)}-{_plain(plan.entry)}-{_plain(plan.platform)}.json"


def _plain(text: str) -> str:
    return _STRANGE.sub("_", text)[:64].lstrip(".") or "_"


def twice(plans: Iterable[Plan]) -> str | None:
    """A place that two plans have in common, if there is one."""
    places = [place(plan) for plan in plans]
    return next((one for one in places if places.count(one) > 1), None)


__all__ = ["INDEX", "Index", "Kept", "MatrixFolder", "place", "twice"]
