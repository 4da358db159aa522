"""The kernels of records, where this machine has them: what a branch tests is in the image and not in the record.

Nothing is fetched: a record may be anybody's. An image counts only if it has the hash that the record gives.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from efishim.errors import EfishimError
from efishim.image.apt import Apt
from efishim.image.cachedir import cache_directory
from efishim.image.deb import PREFIX, DebStore, parse_reference
from efishim.image.facts import KernelCache
from efishim.image.kernel_code import KernelCode
from efishim.image.opened import MAX_IMAGE, open_image
from efishim.lab import record as rec
from efishim.lab.plan.plan import is_embedded

KEPT = 2
"""Kernels that are kept: of one comparison there is one, of 30 to 70 MB."""


def kernel_of(record: rec.Record) -> KernelCode | None:
    """The kernel that a record is of; None where its image is not at hand."""
    return _kernel(record.image.path, record.image.sha256, record.image.size)


def is_at_hand(record: rec.Record) -> bool:
    """Is the image of a record on this machine, so that its run can be repeated without fetching anything?"""
    image = record.image
    return is_embedded(image.path) or _bytes(image.path, image.sha256, image.size) is not None


@lru_cache(maxsize=KEPT)
def _kernel(label: str, sha256: str, size: int) -> KernelCode | None:
    data = _bytes(label, sha256, size)
    with suppress(ValueError, EfishimError):
        if data is not None:
            return KernelCode.of(open_image(data, path=label, cache=KernelCache(cache_directory(os.environ))))
    return None


def _bytes(label: str, sha256: str, size: int) -> bytes | None:
    with suppress(OSError, ValueError, EfishimError):
        path = Path(label)
        if label.startswith(PREFIX):
            fetched = DebStore(cache_directory(os.environ), Apt(os.environ)).at_hand(parse_reference(label))
            if fetched is None:
                return None
            path = fetched.path
        if not path.is_file() or path.stat().st_size != size or size > MAX_IMAGE:
            return None
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == sha256:
            return data
    return None
