"""Keeps records under everything that decided them, and gives them again for the same plan."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from efishim.image.cachedir import cache_directory
from efishim.lab.cache.key import FORMAT, key_of
from efishim.lab.cache.software import plugins, software
from efishim.lab.cache.store import Store
from efishim.lab.plan.plan import Plan, parse_size
from efishim.lab.record import UNREPEATABLE, Reason, Record, RecordError, decode, encode_timed
from efishim.lab.salvage import FAILED

if TYPE_CHECKING:
    from efishim.plugins import Registry

SIZE = "EFISHIM_CACHE_SIZE"
"""Environment variable: the most that all records may take, as `512M` or `2G`; `0` keeps none."""
DEFAULT_SIZE = 1 << 30

ESCAPE = "\\x"
"""Begins what stands in a record for a byte of the console that is not UTF-8. A guest may as well have printed it."""


class _Head(msgspec.Struct, frozen=True):
    """The first line of a kept file; the record is the rest."""

    efishim: int
    """FORMAT."""
    key: str
    sha256: str
    """Of the record's bytes: a disk may lose some."""


_HEAD = msgspec.json.Decoder(_Head)


class RecordCache:
    """Records in a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def find(self, plan: Plan, registry: Registry, *, console: bool = False) -> Record | None:
        """The record that running the plan would give, except the host times, which are those of the cached run. With
        `console` only a record whose console is what the guest printed, to the byte.
        """
        key = key_in(plan, registry)
        content = None if key is None else self.store.get(_file(key))
        if key is None or content is None:
            return None
        record = _opened(content, key)
        if record is None or not belongs(record, plan):
            self.store.remove(_file(key))
            return None
        if console and (record.console_dropped or ESCAPE in record.console):
            return None
        return record

    def keep(self, plan: Plan, record: Record, registry: Registry) -> bool:
        """Keep the record of a run of the plan that was made just now, if it may be used again."""
        key = key_in(plan, registry) if repeatable(record) and belongs(record, plan) else None
        found = software()
        if key is None or found is None or not found.unchanged() or not registry.unchanged():
            return False
        try:
            body = encode_timed(record)
        except RecordError:
            return False
        head = _Head(FORMAT, key, hashlib.sha256(body).hexdigest())
        return self.store.put(_file(key), msgspec.json.encode(head) + b"\n" + body)


def records_of(environment: Mapping[str, str]) -> RecordCache | None:
    """The user's cache of records; None when the environment wants none. Raises UsageError."""
    limit = parse_size(environment[SIZE], what=f"size ({SIZE})") if environment.get(SIZE) else DEFAULT_SIZE
    return RecordCache(Store(place(cache_directory(environment)), limit)) if limit else None


def place(directory: Path) -> Path:
    """The folder of the records below that of all caches."""
    return directory / "records" / str(FORMAT)


def key_in(plan: Plan, registry: Registry) -> str | None:
    """The key of a plan with the plugins and the software of this process; None when its record must not be used again."""
    found, others = software(), plugins(registry, observers=plan.observers)
    if found is None or others is None:
        return None
    try:
        return key_of(plan, found.digest, others)
    except TypeError:
        return None


def repeatable(record: Record) -> bool:
    """Did the guest decide all that the record says? Neither the host, which ended the run, nor a fault of efishim's own."""
    outcome = record.outcome
    if outcome.reason in UNREPEATABLE or outcome.reason is Reason.EMULATOR or not outcome.reproducible:
        return False
    return not any(FAILED in text for text in (outcome.details, *record.notes))


def belongs(record: Record, plan: Plan) -> bool:
    """Does the record say that it is one of this plan?"""
    return (
        record.image.sha256 == plan.image.sha256
        and record.route == plan.route_name(record.route.entry if plan.loader is not None else "")  # it chooses the entry
        and record.options == plan.record_options(record.options.dump)
        and record.reproduce == plan.reproduce()
    )


def _file(key: str) -> str:
    return f"{key}.json"


def _opened(content: bytes, key: str) -> Record | None:
    """The record of a kept file that is whole and the one with this key."""
    line, _, body = content.partition(b"\n")
    try:
        head = _HEAD.decode(line)
        if (head.efishim, head.key, head.sha256) != (FORMAT, key, hashlib.sha256(body).hexdigest()):
            return None
        return decode(body)
    except (msgspec.MsgspecError, RecordError, UnicodeDecodeError, RecursionError):
        return None


def own_records() -> RecordCache | None:
    """As the process's environment says."""
    return records_of(os.environ)


__all__ = ["DEFAULT_SIZE", "SIZE", "RecordCache", "belongs", "key_in", "own_records", "place", "records_of", "repeatable"]
