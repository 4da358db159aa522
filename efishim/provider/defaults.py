"""Optional members of a provider, with their defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from efishim.errors import ProviderError
from efishim.provider.arena import PAGE
from efishim.provider.information import BootInformation, MachineFirmware

if TYPE_CHECKING:
    from efishim.provider.arena import GuestMemory
    from efishim.provider.handover import BootRequest, CpuState, Handover, Structure
    from efishim.provider.interfaces import Provider


def native_structures(provider: Provider, memory: GuestMemory, handover: Handover) -> tuple[Structure, ...]:
    """The pieces of the native structure, where the provider names them."""
    name = getattr(provider, "structures", None)
    return () if name is None else tuple(name(memory, handover))


def module_alignment(provider: Provider) -> int:
    """In which steps the provider's boot loader places modules, bytes: `module_alignment`, by default whole pages.

    They lie one behind the other with zeroes in between.
    """
    return int(getattr(provider, "module_alignment", PAGE))


def machine_firmware(provider: Provider, entry: str, options: Mapping[str, str]) -> MachineFirmware:
    """On what the provider's boot loader would run. A provider says so in a method `runs_on(entry, options)`; without
    one, nothing was there before it.
    """
    runs_on = getattr(provider, "runs_on", None)
    return MachineFirmware.NONE if runs_on is None else MachineFirmware(runs_on(entry, options))


def refusal(provider: Provider, entry: str, image: bytes, options: Mapping[str, str]) -> str:
    """Why the provider's boot loader refuses an image that has this entry. A provider says so in a method
    `refuses(entry, image, options)`, with nothing for what it takes; without one it takes all.
    """
    refuses = getattr(provider, "refuses", None)
    return "" if refuses is None else str(refuses(entry, image, options))


def keeps_boot_services(provider: Provider, request: BootRequest) -> bool:
    """Does the provider's boot loader on EFI leave boot services to this kernel? A provider says so in a method
    `keeps_boot_services(request)`; without one they are ended before the kernel starts.
    """
    keeps = getattr(provider, "keeps_boot_services", None)
    return keeps is not None and bool(keeps(request))


def native_state(provider: Provider, request: BootRequest, memory: GuestMemory, handover: Handover) -> CpuState:
    """The processor state at a native entry, `request.entry`. A provider whose state depends on the request, or on what it
    wrote into memory, says it in a method `entry_state(request, memory, handover)`; without one, `cpu_state` is asked.
    """
    entry_state = getattr(provider, "entry_state", None)
    if entry_state is not None:
        state: CpuState = entry_state(request, memory, handover)
        return state
    if request.loaded is None:
        raise ProviderError(f"the provider {provider.name} has no image to enter")
    return provider.cpu_state(request.entry, request.loaded, handover)


def boot_information(
    provider: Provider,
    request: BootRequest,
    memory: GuestMemory,
    handover: Handover,
    firmware: MachineFirmware = MachineFirmware.NONE,
) -> BootInformation:
    """What the shim is built from: the bytes in guest memory, or the machine itself if its own firmware is EFI."""
    if handover.address is not None and firmware is not MachineFirmware.EFI:
        return provider.read_back(memory, handover)
    facts = request.facts
    return BootInformation(
        memory_map=facts.memory_map,
        command_line=request.command_line if handover.load_options is None else handover.load_options,
        modules=request.modules,
        rsdp=facts.rsdp,
        smbios=facts.smbios,
        framebuffer=facts.framebuffer,
    )
