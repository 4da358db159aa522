"""The KERNEL argument: a path, deb:PACKAGE, or none for the embedded probe kernel."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from efishim.lab.plan.plan import Blob
    from efishim.lab.progress import Progress

PROBE = "embedded:probe"
DEB = "deb:"


def find_image(kernel: str | None, progress: Progress) -> Blob:
    """The image that the user means. Raises UsageError and ImageError with one sentence each."""
    from efishim.lab.plan.plan import Blob

    if kernel is None:
        import efishim_firmware_stubs

        return Blob.embedded(PROBE, efishim_firmware_stubs.probe_kernel())
    if kernel.startswith(DEB):
        return _fetch(kernel, progress)
    return Blob.from_file(kernel)


def _fetch(reference: str, progress: Progress) -> Blob:
    """The kernel in a Debian package. Its label names the version found, so that the same kernel can be fetched again."""
    from efishim.image.cachedir import cache_directory
    from efishim.image.deb import DebReference, parse_reference, system_store
    from efishim.lab.plan.plan import Blob

    wanted = parse_reference(reference)
    progress.phase(f"looking for {reference}")
    told = ""

    def show(what: str, done: int, total: int) -> None:
        nonlocal told
        text = f"{what}, {10 * done // total * 10} %" if total else what
        if text != told:
            told = text
            progress.phase(text)

    found = system_store(cache_directory(os.environ), os.environ).fetch(wanted, show)
    return Blob.from_file(found.path, label=str(DebReference(found.package, found.version, wanted.pattern)))
