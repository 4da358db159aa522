"""The plugin interface: providers, neutral boot information, and everything else that a plugin can register.

A provider is a producer of boot information. It writes its own *native structure* into guest memory (`produce`), parses
such a structure as an operating system would (`read_back`), and returns the processor state that its specification requires
at each of its native entries (`cpu_state`). A run proceeds in this order:

1. the image and the modules are loaded, without the provider,
2. `produce` writes the native structure,
3. for a native entry, `cpu_state` returns the registers and the guest starts;
   for an entry through the shim, `read_back` parses the bytes in guest memory, and the EFI shim is built from nothing
   but the result.

`read_back` receives guest memory and the two numbers of the handover, but no object made by `produce`, so nothing can bypass
the native structure.

Importing this module imports no emulator, no image parser and no firmware.
"""

from __future__ import annotations

from efishim.memory_range import MemoryKind, MemoryRange
from efishim.provider.arena import PAGE, TEXT_LIMIT, Arena, GuestMemory, text_at
from efishim.provider.checking import Findings, Moment, Requirement, Violation
from efishim.provider.data import FirmwareProfile, FoundImage, ImageSource, RuleSet
from efishim.provider.defaults import (
    boot_information,
    keeps_boot_services,
    machine_firmware,
    module_alignment,
    native_state,
    native_structures,
    refusal,
)
from efishim.provider.entries import EntryKind
from efishim.provider.handover import (
    BootRequest,
    CpuMode,
    CpuState,
    Handover,
    Loaded,
    Segment,
    Structure,
    ramdisk_files,
)
from efishim.provider.information import (
    BootInformation,
    EfiFacts,
    Framebuffer,
    MachineFacts,
    MachineFirmware,
    Module,
    Provenance,
)
from efishim.provider.interfaces import (
    Entry,
    FirmwareProtocol,
    Observer,
    OptionHelp,
    OptionKind,
    Platform,
    Provider,
    ReportFormat,
    Specification,
)
from efishim.provider.loaders import Loader, LoaderFile, LoaderRequest, LoaderWay, Program, assembled

__all__ = [
    "PAGE",
    "TEXT_LIMIT",
    "Arena",
    "BootInformation",
    "BootRequest",
    "CpuMode",
    "CpuState",
    "EfiFacts",
    "Entry",
    "EntryKind",
    "Findings",
    "FirmwareProfile",
    "FirmwareProtocol",
    "FoundImage",
    "Framebuffer",
    "GuestMemory",
    "Handover",
    "ImageSource",
    "Loaded",
    "Loader",
    "LoaderFile",
    "LoaderRequest",
    "LoaderWay",
    "MachineFacts",
    "MachineFirmware",
    "MemoryKind",
    "MemoryRange",
    "Module",
    "Moment",
    "Observer",
    "OptionHelp",
    "OptionKind",
    "Platform",
    "Program",
    "Provenance",
    "Provider",
    "ReportFormat",
    "Requirement",
    "RuleSet",
    "Segment",
    "Specification",
    "Structure",
    "Violation",
    "assembled",
    "boot_information",
    "keeps_boot_services",
    "machine_firmware",
    "module_alignment",
    "native_state",
    "native_structures",
    "ramdisk_files",
    "refusal",
    "text_at",
]
