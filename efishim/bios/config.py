"""Configuration of the BIOS: the machine that it is built into."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from efishim.memory_range import MemoryRange
from efishim.platform.definition import PlatformFacts
from efishim.platform.tables.dsdt import COM1_PORT


class Display(Enum):
    """The adapter that int 10h speaks for.

    NONE is what the platforms have: no adapter, so no video BIOS, so int 10h changes no register and the data area names
    no mode. That is how SeaBIOS behaves on QEMU's `-vga none`. Linux's setup code then takes the adapter for a CGA, leaves
    `orig_video_isVGA` and everything it would have read from the data area 0 (arch/x86/boot/video.c, video-mode.c), and the
    console driver finds no memory at 0xb8000. TEXT is a VGA in mode 3, with memory at 0xb8000 and without ports.
    """

    NONE = "none"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class BiosConfig:
    """`memory` is the platform's map, ascending; `rsdp` and `smbios` are physical addresses of the anchors (None: there are
    none); `keys` are the keys typed. The switches say which devices there are.
    """

    memory: tuple[MemoryRange, ...]
    rsdp: int | None = None
    smbios: int | None = None
    serial_ports: tuple[int, ...] = ()
    pic: bool = False
    pit: bool = False
    rtc: bool = False
    port92: bool = False
    display: Display = Display.NONE
    keys: str = ""

    @classmethod
    def of(cls, facts: PlatformFacts, *, display: Display = Display.NONE, keys: str = "") -> BiosConfig:
        """The configuration for a platform that has been built."""
        pit = bool(facts.features.get("pit", 0))
        return cls(
            memory=facts.memory_map,
            rsdp=facts.rsdp,
            smbios=facts.smbios,
            serial_ports=(COM1_PORT,) if facts.console is not None else (),
            pic=facts.interrupts.pic is not None,
            pit=pit,
            rtc=facts.rtc is not None,
            port92=pit,
            display=display,
            keys=keys,
        )
