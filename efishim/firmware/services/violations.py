"""What a page fault in a strict firmware was about: whose memory it is, and what may not be done there."""

from __future__ import annotations

from efishim.firmware.memory.memory_map import MemoryMap, MemoryType
from efishim.firmware.services.images import Images
from efishim.wire.x86 import PF_I, PF_P, PF_W

_NAMES = {int(kind): kind.name for kind in MemoryType}


class Violations:
    """Explains page faults by their error code and address."""

    def __init__(self, images: Images, memory_map: MemoryMap) -> None:
        self._images = images
        self._map = memory_map

    def explain(self, error: int, address: int) -> str:
        """The second half of a sentence, empty when protection has nothing to do with it (SDM volume 3, 4.7)."""
        if not error & PF_P or not error & (PF_I | PF_W):
            return ""
        may_not = "executed" if error & PF_I else "written to"
        place = self._images.name_of(address)
        if place is None:
            held = self._map.find(address)
            name = _NAMES.get(held.type, "") if held is not None else ""
            place = f"memory of the type {name}" if name else "what is there"
        return f": {place} may not be {may_not}"
