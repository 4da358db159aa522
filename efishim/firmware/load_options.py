"""What the boot image finds in its LoadedImage protocol besides where it lies (UEFI 2.10, 9.1): LoadOptions and FilePath."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST = 0x10000
"""Bytes of load options that are given as they are."""


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a firmware hands them over. `raw` is given instead of the command line; `terminated` is the NUL behind that, which
    some firmware leaves out; without `file_path` FilePath is NULL.
    """

    terminated: bool = True
    raw: bytes | None = None
    file_path: bool = True

    def build(self, cmdline: bytes) -> bytes:
        """A command line as UTF-16, as EFI boot loaders pass it; nothing for an empty one."""
        if self.raw is not None:
            return self.raw
        if not cmdline:
            return b""
        text = cmdline.decode("utf-8", "replace").encode("utf-16-le")
        return text + b"\0\0" if self.terminated else text
