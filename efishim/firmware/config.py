"""What the shim is built from."""

from __future__ import annotations

from dataclasses import dataclass, field

from efishim.disk.medium import Medium
from efishim.errors import ProviderError
from efishim.firmware.boot_manager import BootOptions
from efishim.firmware.calling.architecture import Architecture
from efishim.firmware.calling.overrides import Overrides
from efishim.firmware.load_options import LoadOptions
from efishim.firmware.memory.placement import Region
from efishim.firmware.protocols.load_file2 import Module
from efishim.machine.memory import PhysicalMemory

DEFAULT_EPOCH = 1_460_000_000


@dataclass(frozen=True, slots=True)
class ShimConfig:
    """What the shim is built from: facts in a neutral format, and choices about the firmware.

    `memory` are (start, size, e820 type). `rsdp`, `smbios` and `smbios3` are addresses of tables that lie in memory
    already, 0 for none. `cmdline` is text in UTF-8; what is not valid UTF-8 becomes U+FFFD. Ramdisks (`modules`, then
    `initrds`) are served as one, concatenated and padded to four bytes each. `epoch` is the clock's time at power-on in
    seconds since 1970.
    """

    memory: tuple[Region, ...]
    rsdp: int = 0
    smbios: int = 0
    smbios3: int = 0
    cmdline: bytes = b""
    initrds: tuple[bytes, ...] = ()
    """Ramdisks that lie on the firmware's side: a medium, say."""
    modules: tuple[tuple[int, int], ...] = ()
    """(address, size) of ramdisks that lie in guest memory. They are read when an image asks for them."""
    reserved: tuple[tuple[int, int], ...] = ()
    """(start, size) of what else was put into memory before the firmware came: EfiLoaderData in the memory map."""
    held: tuple[tuple[int, int], ...] = ()
    """(start, size) of RAM that this firmware keeps until boot services end; in the last it lies itself, with its bins."""
    seed: int = 0
    epoch: int = DEFAULT_EPOCH
    gop: bool = False
    strict_nx: bool = False
    architecture: Architecture = Architecture.X64
    vendor: str = "efishim"
    mmio: tuple[tuple[int, int], ...] = ()
    keys: str = ""
    """The keys typed at the firmware's console."""
    files: tuple[tuple[str, bytes], ...] = ()
    """(name, contents) in the root of a file system on the device that the image seems to come from; none without files."""
    disk: Medium | None = None
    """A disk that is connected, with all that firmware finds on it; None without one."""
    boot: BootOptions = field(default_factory=BootOptions)
    """What the boot manager starts of the disk; without options the program that a medium has by default."""
    load_options: LoadOptions = field(default_factory=LoadOptions)
    overrides: Overrides = field(default_factory=Overrides)

    def ramdisks_in(self, memory: PhysicalMemory) -> tuple[Module, ...]:
        """`modules` but the empty ones. Raises ProviderError for one that does not lie in memory."""
        for address, size in self.modules:
            if size < 0 or (size and memory.find(address, size) is None):
                raise ProviderError(f"the ramdisk at {address:#x} of {size} bytes does not lie in the guest's memory")
        return tuple(Module(address, size) for address, size in self.modules if size)
