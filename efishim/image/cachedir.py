"""The cache directory: $EFISHIM_CACHE, or efishim's directory in the user's cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from efishim.temporary import partial_file

VARIABLE = "EFISHIM_CACHE"


def cache_directory(environment: Mapping[str, str]) -> Path:
    """The directory; it need not exist yet."""
    chosen = environment.get(VARIABLE)
    if chosen:
        return Path(chosen)
    from platformdirs import user_cache_path  # noqa: PLC0415  (20 ms that $EFISHIM_CACHE saves)

    return user_cache_path("efishim")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see all of it or none, also when several processes write it. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with partial_file(path, all_ours=True) as (stream, temporary):
        stream.write(content)
        stream.flush()
        temporary.replace(path)
