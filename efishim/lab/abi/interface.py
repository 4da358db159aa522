"""The rules of the plugin interface, which the conformance kit (efishim.testing) checks; a run does not.

They are about the provider and not about the entry: what it says of itself, what it writes, and what it reads of that.
"""

from __future__ import annotations

from efishim.provider import Requirement

GUIDE = "docs/write-a-provider.md"
INTERFACE = f'{GUIDE}, "What a provider does"'
MODULES_OF = (
    'Documentation/arch/x86/boot.rst, "ramdisk_image"; start_info.h, hvm_modlist_entry; Multiboot 0.6.96, section 3.3, "mods_*"'
)
MAP_OF = "ACPI 6.5, section 15; Documentation/arch/x86/zero-page.rst, 0x2d0; start_info.h, hvm_memmap_table_entry"
LINE_OF = (
    'Documentation/arch/x86/boot.rst, "The Kernel Command Line"; start_info.h, cmdline_paddr; Multiboot 0.6.96, section 3.3'
)

DESCRIPTION = Requirement(
    "provider/description",
    "A provider has a name that can be typed, a summary of one line, specifications with links, limits, and entries",
    'docs/reference/hooks.md, "Provider"',
)
ENTRIES = Requirement(
    "provider/entries",
    "An entry has a processor state, or is behind the shim, and not both",
    'docs/reference/hooks.md, "Entry"',
)
TYPES = Requirement(
    "provider/types",
    "A member raises ProviderError or UsageError and nothing else, and returns what the interface says",
    f'{GUIDE}, "What a mistake looks like"',
)
PRODUCES = Requirement(
    "provider/produces", "A plain request is answered with a native structure", 'docs/reference/hooks.md, "Provider", produce'
)
SAME = Requirement("provider/determinism", "The same request gives the same bytes and the same handover", INTERFACE)
IN_RAM = Requirement("provider/structure-in-ram", "Every piece of the native structure lies in RAM of the machine", MAP_OF)
PIECES = Requirement(
    "provider/pieces-apart",
    "The pieces of the native structure lie beside the image, the modules and each other",
    f'{MODULES_OF}; System V ABI, "Program Loading"',
)
MODULES_INTACT = Requirement("provider/modules-intact", "Modules are in memory as they were loaded", MODULES_OF)
STRUCTURE_INTACT = Requirement(
    "provider/structure-intact",
    "At the entry the native structure is as it was produced: page tables and descriptor tables lie beside it",
    f'{GUIDE}, "Native entries"',
)
TOLD_RAM = Requirement("provider/told-ram", "The memory map tells of no RAM that the machine does not have", MAP_OF)
TOLD_MAP = Requirement("provider/memory-map", "All RAM of the machine is told, or provenance says why not", MAP_OF)
TOLD_LINE = Requirement(
    "provider/command-line", "The command line comes back as it was given, or provenance says why not", LINE_OF
)
TOLD_MODULES = Requirement(
    "provider/modules", "Modules come back with their addresses and sizes, or provenance says why not", MODULES_OF
)
TOLD_TABLES = Requirement(
    "provider/tables",
    "The addresses of RSDP and SMBIOS come back, or provenance says why not",
    "ACPI 6.5, section 5.2.5; SMBIOS 3.6, section 5.2",
)
CHANGED = Requirement("provider/changed-byte", "A byte that changed in guest memory is seen by read_back", INTERFACE)
DAMAGE = Requirement("provider/damage", "A damaged structure is answered with ProviderError", INTERFACE)
HOSTILE = Requirement(
    "provider/hostile", "A value that cannot be passed on is refused with one sentence", f'{GUIDE}, "What a mistake looks like"'
)
WORK = Requirement("provider/work", "Bounded work is done, whatever is in guest memory", INTERFACE)
GUEST = Requirement("provider/guest", "The guest finds in the structure what read_back finds there", INTERFACE)
PROBE = Requirement("provider/probe", "The probe kernel runs to its end", f'{GUIDE}, "Test it"')
USERSPACE = Requirement("provider/userspace", "A real kernel reaches userspace", f'{GUIDE}, "Test it"')
DEVIATION = Requirement("provider/deviation", "A deviation that the suite lists is still there", f'{GUIDE}, "Deviations"')

REQUIREMENTS = (
    DESCRIPTION, ENTRIES, TYPES, PRODUCES, SAME, IN_RAM, PIECES, MODULES_INTACT, STRUCTURE_INTACT, TOLD_RAM, TOLD_MAP,
    TOLD_LINE, TOLD_MODULES, TOLD_TABLES, CHANGED, DAMAGE, HOSTILE, WORK, GUEST, PROBE, USERSPACE, DEVIATION,
)  # fmt: skip
