"""What a page fault was about: whose memory it is and what may not be done there, or which look-up left a null pointer."""

from __future__ import annotations

from efishim.firmware.calling.call_log import CallLog
from efishim.firmware.memory.memory_map import MemoryMap, MemoryType
from efishim.firmware.services.images import Images
from efishim.logged_call import LOOKUPS
from efishim.wire.x86 import PF_I, PF_P, PF_W

NULL_END = 0x1000
"""Below it are the fields of a structure at NULL."""

_NAMES = {int(kind): kind.name for kind in MemoryType}


class Violations:
    """Explains page faults by their error code and address."""

    def __init__(self, images: Images, memory_map: MemoryMap, log: CallLog) -> None:
        self._images = images
        self._map = memory_map
        self._log = log  # and not its list: efishim.why takes a firmware over without its log

    def explain(self, error: int, address: int) -> str:
        """The second half of a sentence, empty when it is neither about protection (SDM volume 3, 4.7) nor a null pointer."""
        if not error & PF_P and address < NULL_END:
            return self._null()
        if not error & PF_P or not error & (PF_I | PF_W):
            return ""
        may_not = "executed" if error & PF_I else "written to"
        place = self._images.name_of(address)
        if place is None:
            held = self._map.find(address)
            name = _NAMES.get(held.type, "") if held is not None else ""
            place = f"memory of the type {name}" if name else "what is there"
        return f": {place} may not be {may_not}"

    def _null(self) -> str:
        """Who does not look at the status of a look-up goes on with the NULL that it left (UEFI 2.10, 7.3)."""
        for call in reversed(self._log.calls):
            if call.service in LOOKUPS and call.status not in ("EFI_SUCCESS", "EFI_BUFFER_TOO_SMALL", ""):
                protocol = next((value for name, value in call.args if name == "Protocol"), "")
                what = f"{call.service} of {protocol}" if protocol else call.service
                return f": a null pointer; the look-up that failed last is {what}, {call.status}"
        return ": a null pointer"
