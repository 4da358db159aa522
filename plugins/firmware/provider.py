"""The machine's own firmware as a provider: UEFI, as a kernel's EFI stub finds it. The reference for the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.errors import ProviderError
from efishim.provider import BootInformation, Entry, Handover, OptionHelp, Specification

if TYPE_CHECKING:
    from efishim.provider import Arena, BootRequest, CpuState, GuestMemory, Loaded


class Firmware:
    """UEFI firmware. Its native structure is the EFI system table, which the shim makes from the platform's facts."""

    name = "firmware"
    summary = "UEFI firmware of the machine itself: the kernel's EFI stub finds an EFI system table"
    structure = "EFI system table"
    specifications = (
        Specification("UEFI Specification 2.10", "https://uefi.org/specs/UEFI/2.10/"),
        Specification("The EFI Boot Stub", "https://docs.kernel.org/admin-guide/efi-stub.html"),
    )
    limits = (
        "Secure Boot is off and stays off: SecureBoot is 0, and no keys can be enrolled.",
        "There are no disks: the initial ramdisk comes through LoadFile2, and `initrd=FILE` finds nothing.",
        "There is one processor.",
    )
    entries = (
        Entry("efi", "the PE entry point, called as an application (UEFI 2.10 section 2.3.4)", through_shim=True),
    )
    options: tuple[OptionHelp, ...] = ()

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        """Nothing to write: the shim is this machine's firmware and knows the machine without being told."""
        return Handover(address=None)

    def read_back(self, memory: GuestMemory, handover: Handover) -> BootInformation:
        """Never needed, because there is no structure between the machine and its firmware."""
        raise ProviderError("the firmware provider writes no structure that could be read back")

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        """Never needed: the shim calls the EFI entry itself."""
        raise ProviderError(f"the firmware provider has no native entry {entry!r}")
