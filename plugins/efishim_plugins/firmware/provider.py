"""The machine's own UEFI firmware as a provider. The reference for the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from efishim.errors import ProviderError
from efishim.provider import PAGE, BootInformation, Entry, Handover, MachineFirmware, OptionHelp, Specification, Structure
from efishim_plugins.boot_params import structures
from efishim_plugins.boot_params.header import checked_command_line, fresh, set_command_line, set_ramdisk
from efishim_plugins.boot_params.reading import read_back

if TYPE_CHECKING:
    from efishim.provider import Arena, BootRequest, CpuState, GuestMemory, Loaded

HANDOVER = "efi-handover"
UNKNOWN_LOADER = 0xFF
FOUR_GIB = 1 << 32


class Firmware:
    """UEFI firmware. Its native structure is the EFI system table, which the shim makes from the platform's facts."""

    name = "firmware"
    default = True
    summary = "the machine's own UEFI firmware, which passes the EFI system table"
    structure = "EFI system table"
    specifications = (
        Specification("UEFI Specification 2.10", "https://uefi.org/specs/UEFI/2.10/"),
        Specification("The EFI Boot Stub", "https://docs.kernel.org/admin-guide/efi-stub.html"),
        Specification("The Linux/x86 Boot Protocol", "https://docs.kernel.org/arch/x86/boot.html"),
    )
    limits = (
        "Secure Boot is off and stays off: SecureBoot is 0, and no keys can be enrolled.",
        "Without --disk or --loader there is no disk: the ramdisk comes through LoadFile2, and `initrd=FILE` finds nothing.",
        "There is one processor.",
        "At the handover entry, boot_params is that of a minimal loader: loader type 0xff, ramdisk and command line.",
        "Several ramdisks are concatenated, for LoadFile2 and at the handover entry.",
    )
    entries = (
        Entry("efi", "the PE entry point, called as an application (UEFI 2.10 section 2.3.4)", through_shim=True),
        Entry(
            HANDOVER, "the EFI handover entry: handle, system table, and the boot_params of a minimal loader", through_shim=True
        ),
        Entry("efi-mixed", "the 32-bit entry of a 64-bit kernel (.compat), called by 32-bit firmware", through_shim=True),
    )
    options: tuple[OptionHelp, ...] = ()
    module_alignment = 4

    def runs_on(self, entry: str, options: Mapping[str, str]) -> MachineFirmware:
        """The shim is this machine's firmware."""
        return MachineFirmware.EFI

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        """Only the handover entry needs a structure: the shim is this machine's own firmware.

        The handover entry wants the setup header in boot_params, and where kernel, command line and ramdisk are (boot.rst,
        "EFI handover protocol"). Raises ProviderError.
        """
        if request.entry != HANDOVER:
            return Handover(address=None)
        params = fresh(request.image)
        params.hdr.type_of_loader = UNKNOWN_LOADER
        if request.loaded is not None:
            params.hdr.code32_start = request.loaded.base
        set_ramdisk(params, request.modules)
        command_line = checked_command_line(request)
        text = arena.place(len(command_line) + 1, below=FOUR_GIB, high=True, what="the command line")
        memory.write(text, command_line + b"\0")
        set_command_line(params, text)
        address = arena.place(params.SIZE, align=PAGE, below=FOUR_GIB, high=True, what="boot_params")
        memory.write(address, params.build())
        return Handover(address)

    def read_back(self, memory: GuestMemory, handover: Handover) -> BootInformation:
        """Parse the boot_params of the handover entry; the firmware itself needs none. Raises ProviderError."""
        if handover.address is None:
            raise ProviderError("the firmware provider writes no structure that could be read back")
        return read_back(memory, handover.address)

    def structures(self, memory: GuestMemory, handover: Handover) -> tuple[Structure, ...]:
        """The pieces of the handover entry's boot_params."""
        return structures.of(memory, handover.address)

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        """Never needed: the shim calls the EFI entry itself."""
        raise ProviderError(f"the firmware provider has no native entry {entry!r}")
