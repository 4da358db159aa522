"""The two ramdisks of the study: the reporting init, and an archive with one file that the first lacks."""

from __future__ import annotations

import efishim_firmware_stubs
from efishim_firmware_stubs.cpio import Entry, archive

from efishim.lab.plan.plan import Blob
from efishim.study.claims.ramdisk import SECOND

NAMES = ("study-first.cpio", "study-second.cpio")
"""Under these names the commands of the document ask for them."""


def ramdisks() -> tuple[Blob, Blob]:
    """Both, in the order in which they are given."""
    first, second = efishim_firmware_stubs.reporting_initrd(), archive([Entry.file(SECOND, b"12345")])
    return Blob.embedded(NAMES[0], first), Blob.embedded(NAMES[1], second)
