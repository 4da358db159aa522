"""KERNEL on a command line: a path, deb:PACKAGE, or nothing for the embedded probe kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.errors import UsageError

if TYPE_CHECKING:
    from efishim.lab.plan import Blob
    from efishim.lab.progress import Progress

DEB = "deb:"


def find_image(kernel: str | None, progress: Progress) -> Blob:
    """The image that the user means. Raises UsageError and ImageError with one sentence each."""
    import firmware_stubs
    from efishim.lab.plan import Blob

    if kernel is None:
        return Blob.embedded("embedded:probe", firmware_stubs.probe_kernel())
    if kernel.startswith(DEB):
        from efishim.image import deb

        package = kernel.removeprefix(DEB)
        if not package:
            raise UsageError("deb: needs the name of a package", hint="for example deb:linux-image-cloud-amd64")
        progress.phase(f"fetching {package}")
        return Blob.from_file(deb.kernel_of(package), label=kernel)
    return Blob.from_file(kernel)
