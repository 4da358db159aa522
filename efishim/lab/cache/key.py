"""The name under which a record is kept: a hash of everything that decides it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from efishim.lab.plan.plan import Blob, Plan

FORMAT = 1
"""Of the key and of what is kept under it."""


def key_of(plan: Plan, software: str, plugins: str) -> str:
    """64 hexadecimal digits for a plan that is run by this software with these plugins.

    Every field of the plan counts, including those added later; files count by their hash and, because records say it, by
    the name that the user gave them. Raises TypeError for a plan with something in it that has no form here.
    """
    text = json.dumps([FORMAT, software, plugins, _plain(plan)], sort_keys=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _plain(value: Any) -> Any:
    """A value as JSON has it, different for different values: each that is not JSON's own says what it is."""
    if isinstance(value, Blob):
        return ["Blob", value.label, value.sha256, value.size]
    if isinstance(value, Enum):
        return [type(value).__name__, value.name]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, bytes):
        return ["bytes", value.hex()]
    if isinstance(value, tuple | list):
        return ["list", [_plain(one) for one in value]]
    if isinstance(value, Mapping):
        return ["dict", [[_plain(key), _plain(one)] for key, one in sorted(value.items())]]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return [type(value).__name__, fields]
    raise TypeError(f"a plan with a {type(value).__name__} has no key")


__all__ = ["FORMAT", "key_of"]
