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

KEPT = 2
"""Kernels that are kept: of one comparison there is one, of 30 to 70 MB."""


def kernel_of(record: rec.Record) -> KernelCode | None:
    """The kernel that a record is of; None where its image is not at hand."""
    return _kernel(record.image.path, record.image.sha256, record.image.size)


@lru_cache(maxsize=KEPT)
def _kernel(label: str, sha256: str, size: int) -> KernelCode | None:
    with suppress(OSError, ValueError, EfishimError):
        cache = cache_directory(os.environ)
        path = Path(label)
        if label.startswith(PREFIX):
            fetched = DebStore(cache, Apt(os.environ)).at_hand(parse_reference(label))
            if fetched is None:
                return None
            path = fetched.path
        if not path.is_file() or path.stat().st_size != size or size > MAX_IMAGE:
            return None
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == sha256:
            return KernelCode.of(open_image(data, path=label, cache=KernelCache(cache)))
    return None
