"""`efishim cache`: what the caches take on the disk, and how to empty them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from efishim.errors import EfishimError

if TYPE_CHECKING:
    from efishim.cli.app import State

ACTIONS = ("show", "clear")


class CacheError(EfishimError):
    """A cache could not be emptied."""


@click.command("cache")
@click.argument("action", type=click.Choice(ACTIONS), default=ACTIONS[0])
@click.option("--format", "form", type=click.Choice(("text", "json")), default="text", show_default=True, help="Output format.")
@click.pass_obj
def command(state: State, /, action: str, form: str) -> int:
    """Show what efishim keeps on this machine, or remove the records.

    A run is decided by its plan, the files that it names, the plugins, and the builds of efishim and Unicorn. Its record is
    kept under a hash of all of these, and used again by run, compare, matrix, baseline, study and surface; --no-cache makes
    the run again. Runs that the host ended, and those of a debugger, are not kept.

    Records take at most EFISHIM_CACHE_SIZE bytes (1G; 0 keeps none), and the least recently used one is removed first.
    All caches lie in EFISHIM_CACHE, or in efishim's directory in the user's cache.

    \b
        efishim cache             what there is
        efishim cache clear       remove all records
        EFISHIM_CACHE_SIZE=4G efishim compare vmlinuz
    """
    from efishim.cli.out import print_json, table
    from efishim.image.cachedir import cache_directory
    from efishim.lab.cache.records import own_records, place
    from efishim.lab.cache.store import Store
    from efishim.lab.plan.plan import format_size

    directory = cache_directory(os.environ)
    cache = own_records()
    limit = cache.store.limit if cache is not None else 0
    records = Store(place(directory), limit)
    if action == "clear":
        try:
            gone = records.clear()
        except OSError as error:
            raise CacheError(f"the records cannot be removed: {error.strerror or error}") from error
        state.talk.line(f"{gone.files} records with {shown(gone.size)} removed")
        return 0
    rows: list[tuple[str, str, int, int, int | None]]
    rows = [("records", str(records.folder), *_usage(records.folder), limit)]
    rows += [(name, str(directory / name), *_usage(directory / name), None) for name in ("kernels", "debs")]
    if form == "json":
        names = ("what", "folder", "files", "bytes", "limit")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
        return 0
    lines = [
        (what, str(files), shown(size), "" if most is None else format_size(most), folder)
        for what, folder, files, size, most in rows
    ]
    table(("what", "files", "size", "at most", "folder"), lines)
    return 0


def _usage(folder: Path) -> tuple[int, int]:
    """Files below a folder and their bytes on the disk."""
    from efishim.lab.cache.store import LOCK, taken

    sizes = []
    for path in folder.rglob("*"):
        try:
            if path.name != LOCK and not path.is_symlink() and path.is_file():
                sizes.append(taken(path.stat().st_size))
        except OSError:
            continue
    return len(sizes), sum(sizes)


def shown(size: int) -> str:
    """Bytes as people read them."""
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.1f} {unit}"
    return f"{size} bytes"
