"""Boots the guest shim: its ELF file is the kernel that the provider starts, and the image is its first module.

From its PVH entry on it is guest code like any other. A run follows the image, so it begins when the shim calls the image's EFI
entry: until then `GuestShim` waits, by the symbols of the shim's ELF file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from efishim_firmware_stubs import guest_shim

from efishim.errors import ProviderError
from efishim.firmware.calling.guest import Guest
from efishim.image.opened import Image, open_image
from efishim.image.symbols import Symbols, symbols_from_elf
from efishim.lab.boot.firmware_protocols import Traced
from efishim.lab.boot.firmware_trace import FirmwareTrace
from efishim.machine.machine import Machine
from efishim.provider import Loaded
from efishim.wire.uefi_protocols import LoadedImageProtocol

LABEL = "embedded:guest-shim"
JUMP, LOADED_IMAGE = "enter_kernel", "loaded_image"
"""Symbols of the shim: what calls the image with (entry, handle, system table), and the image's EFI_LOADED_IMAGE."""
WIDTH = 8


def open_guest_shim() -> Image:
    """The shim as an image with a PVH entry."""
    return open_image(guest_shim(), path=LABEL)


def shim_symbols(image: Image) -> Symbols:
    """What its ELF file names. Raises ProviderError for a file without them."""
    elf = image.parts.elf
    symbols = symbols_from_elf(image.data, elf) if elf is not None else None
    if symbols is None:
        raise ProviderError("the guest shim has no symbols to follow it by")
    return symbols


class GuestShim:
    """A shim that is about to run in the guest. Call `follow` before the guest runs."""

    def __init__(self, machine: Machine, symbols: Symbols, protocols: Mapping[str, Traced]) -> None:
        self._machine = machine
        self.symbols = symbols
        self.trace = FirmwareTrace(machine, lambda address: symbols.name_at(address) is not None, protocols)
        self.system_table: int | None = None
        self._arrived: Callable[[Loaded], None] = lambda loaded: None

    def follow(self, arrived: Callable[[Loaded], None]) -> None:
        """Call back when the image is about to run its first instruction, with where it is."""
        self._arrived = arrived
        self._machine.watches.add(self._symbol(JUMP), self._jump)

    def notes(self) -> list[str]:
        """For the record, when the run is over."""
        said = ["the firmware ran in the guest; its calls are traced from outside"]
        costs = self.trace.costs
        if costs:
            total = sum(cost.insns for cost in costs.values())
            each = ", ".join(f"{name} {cost.insns:,} in {cost.calls}" for name, cost in costs.items())
            said.append(f"instructions in its services until their return: {total:,} (by service, in so many calls: {each})")
        if self.system_table is None:
            said.append("the shim did not come to the image's entry; the console says why")
        return said

    def _symbol(self, name: str) -> int:
        address = self.symbols.address_of(name)
        if address is None:
            raise ProviderError(f"the guest shim has no symbol {name}")
        return address

    def _jump(self) -> None:
        """System V calling convention: RDI is the image's entry, RDX the system table (start.S)."""
        cpu = self._machine.cpu
        self.system_table = cpu.get("rdx")
        self._machine.watches.add(cpu.get("rdi"), self._enter)

    def _enter(self) -> None:
        raw = Guest(self._machine.cpu, WIDTH).read(self._symbol(LOADED_IMAGE), LoadedImageProtocol.sizeof(WIDTH))
        image = LoadedImageProtocol.parse(raw, WIDTH)
        self.trace.start(self.system_table or 0)
        self._arrived(Loaded(image.ImageBase, image.ImageSize, self._machine.cpu.get("rip")))
