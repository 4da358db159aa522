"""Sizes of firmware: of the one in the guest, from its file, and of others, as cited."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

import efishim_firmware_stubs

from efishim.image.elf import parse_elf, parse_sections

FOLDER = "guest_shim"
SOURCES = (".c", ".h", ".S", ".lds")


@dataclass(frozen=True, slots=True)
class Firmware:
    """Another project's firmware, with the source of its size."""

    name: str
    size: int
    what: str


OTHER_FIRMWARE = (
    Firmware("OVMF", 1_966_080, "OVMF_CODE.fd of Debian's package ovmf 2022.11-6+deb12u2, which expands itself into RAM"),
    Firmware("OVMF, 4 MiB build", 3_653_632, "OVMF_CODE_4M.fd of the same package"),
)


def shim_sections() -> dict[str, int]:
    """Bytes of each section of the firmware in the guest that is loaded into memory, zeroed ones included."""
    data = efishim_firmware_stubs.guest_shim()
    return {one.name: one.size for one in parse_sections(data, parse_elf(data)) if one.address and one.size}


def shim_lines() -> int:
    """Lines of its source that are not blank."""
    folder = files(efishim_firmware_stubs).joinpath(FOLDER)
    texts = [one.read_text(encoding="utf-8") for one in folder.iterdir() if one.name.endswith(SOURCES)]
    return sum(1 for text in texts for line in text.splitlines() if line.strip())
