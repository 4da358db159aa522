"""The KERNEL argument: a path, a reference such as deb:PACKAGE, or none for the embedded probe kernel."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from efishim.lab.plan.plan import Blob
    from efishim.lab.progress import Progress
    from efishim.plugins import Registry
    from efishim.provider import ImageSource

PROBE = "embedded:probe"


def find_image(kernel: str | None, progress: Progress, registry: Registry) -> Blob:
    """The image that the user means. Raises UsageError, ImageError and PluginError with one sentence each."""
    from efishim.lab.plan.plan import Blob

    if kernel is None:
        import efishim_firmware_stubs

        return Blob.embedded(PROBE, efishim_firmware_stubs.probe_kernel())
    scheme, colon, _ = kernel.partition(":")
    source = registry.image_sources.get(scheme) if colon else None
    return Blob.from_file(kernel) if source is None else _fetch(source, kernel, progress)


def _fetch(source: ImageSource, reference: str, progress: Progress) -> Blob:
    """What a source delivers. Its label finds the same image again."""
    from efishim.image.cachedir import cache_directory
    from efishim.lab.plan.plan import Blob
    from efishim.plugin_guard import PluginError

    progress.phase(f"looking for {reference}")
    told = ""

    def say(text: str) -> None:
        nonlocal told
        if text != told:
            told = text
            progress.phase(text)

    found = source.find(reference, cache_directory(os.environ), say)
    if found.label.partition(":")[0] != source.name:
        raise PluginError(f"the source {source.name} gave {reference} the label {found.label!r}, which it would not find again")
    return Blob.from_file(found.path, label=found.label)
