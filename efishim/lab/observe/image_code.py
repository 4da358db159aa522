"""Locates the image's own code during a run; the image may relocate itself, and is recognised by its bytes.

A bzImage's code runs at up to three names (where it was loaded, where firmware put it, where the decompressor copied it to).
All are expressed as offsets in the image file, so that two ways in can be set side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_SLIDES = 16
LONG_ENOUGH = 12
"""Bytes of a block that are worth being searched for in the image: shorter ones are in it many times."""


@dataclass
class ImageCode:
    """Learns from blocks as they are translated. A slide is an address minus an offset in the file."""

    data: bytes
    slides: list[int] = field(default_factory=list)
    """The last one that was met comes last."""
    _known: dict[int, int] = field(default_factory=dict)

    def learn(self, pc: int, code: bytes) -> None:
        """A block is about to run for the first time."""
        for slide in reversed(self.slides):
            at = pc - slide
            if at >= 0 and self.data[at : at + len(code)] == code:
                self._meet(slide)
                self._known.setdefault(pc, at)
                return
        if len(code) < LONG_ENOUGH or len(self.slides) >= MAX_SLIDES:
            return
        at = self.data.find(code)
        if at >= 0 and self.data.find(code, at + 1) < 0:
            self._meet(pc - at)
            self._known.setdefault(pc, at)

    def _meet(self, slide: int) -> None:
        if slide in self.slides:
            self.slides.remove(slide)
        self.slides.append(slide)

    def offset(self, pc: int) -> int | None:
        """The place in the file that a block came from. One whose bytes were not found (relocated, or too short) belongs to
        the copy that ran last around it.
        """
        known = self._known.get(pc)
        if known is not None:
            return known
        return next((pc - slide for slide in reversed(self.slides) if 0 <= pc - slide < len(self.data)), None)
