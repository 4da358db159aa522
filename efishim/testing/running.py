"""Runs efishim in a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import efishim_firmware_stubs

from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.plan import Blob
from efishim.lab.record import Record
from efishim.lab.run import run_plan
from efishim.plugins import Registry, load_plugins


def run(image: bytes | Path | None = None, *, registry: Registry | None = None, **words: Any) -> Record:
    """Run an image, by default the embedded probe kernel, and give the record.

    `words` are those of `efishim run` by the names of `efishim.lab.plan.arguments.Words`: provider, entry, cmdline, until ...
    Raises what a run raises: UsageError, ImageError, RouteError, ProviderError, MachineError.
    """
    registry = registry or load_plugins()
    if image is None:
        blob = Blob.embedded("embedded:probe", efishim_firmware_stubs.probe_kernel())
    elif isinstance(image, bytes):
        blob = Blob.embedded("embedded:test", image)
    else:
        blob = Blob.from_file(image)
    return run_plan(make_plan(registry, lambda: blob, Words(**words)), registry=registry)
