"""Opens a run's image; runs that follow each other in one process share it.

The routes of a matrix have one image. Reading it, holding it against its hash, and its symbols cost a tenth of a second a time.
"""

from __future__ import annotations

import os

from efishim.image.cachedir import cache_directory
from efishim.image.facts import KernelCache
from efishim.image.opened import Image, open_image
from efishim.lab.plan.plan import Blob


class _Last:
    """The image that was opened last: its hash, its label, the cache it uses; and itself."""

    key: tuple[str, str, str] | None = None
    image: Image | None = None


def opened(blob: Blob) -> Image:
    """The image of a plan. Raises ImageError."""
    directory = cache_directory(os.environ)
    key = (blob.sha256, blob.label, str(directory))
    if _Last.image is None or _Last.key != key:
        _Last.key = _Last.image = None  # two at a time would need memory for two
        _Last.image = open_image(blob.read(), path=blob.label, cache=KernelCache(directory))
        _Last.key = key
    return _Last.image


__all__ = ["opened"]
