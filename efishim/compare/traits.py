"""The words that rules match on: traits of a record's route, and what was chosen differently for two records."""

from __future__ import annotations

from collections.abc import Iterator

from efishim.compare.facts import unnumbered
from efishim.compare.inputs import NARROW_MODE, RANGES
from efishim.compare.predicates.machine import Chosen, chosen
from efishim.compare.rules import Traits
from efishim.lab.record import BootView, Milestone, Record
from efishim.lab.running import SHORT_ENTRIES
from efishim.wire.acpi import BootArch

KASLR_FLAG = 1 << 1
"""Of boot_params.hdr.loadflags: KASLR placed the kernel (Documentation/arch/x86/boot.rst)."""

ROM_AREA = (0xF_0000, 0x10_0000)


def traits(record: Record) -> Traits:
    """What rules may ask about a record; rules.toml lists the words at its head."""
    route = record.route
    words = {route.entry, route.provider, f"{route.provider}/{route.entry}", f"@{route.platform}"}
    words |= set(_words(record))
    return Traits(frozenset(words))


def _words(record: Record) -> Iterator[str]:
    # An entry that is startup_64 itself is behind the decompressor, too.
    at_once = any(point.name is Milestone.STARTUP_64 and point.insns == 0 for point in record.milestones)
    if record.route.entry not in SHORT_ENTRIES and not at_once:
        yield "compressed"
    if any(call.service.startswith("BootServices.") for call in record.firmware_calls):
        yield "stub"
    if any(call.service.startswith("int ") for call in record.firmware_calls):
        yield "real-mode"
    if any(line.endswith(" present.") and "SMBIOS " in line for line in record.console.splitlines()):
        yield "smbios"
    if record.entry_view is not None:
        yield from (unnumbered(structure.name) for structure in record.entry_view.structures)
        if record.entry_view.structures:
            yield "native"
        if any(unnumbered(structure.name) in RANGES for structure in record.entry_view.structures):
            yield "map-told"
        if record.entry_view.modules:
            yield "modules"
    if record.boot_view is not None:
        yield from _boot_view(record.boot_view)
    machine = chosen(record)
    if machine is not None:
        yield from _machine(machine)


SLEEP_5 = b"_S5_"
"""The name of the DSDT's object that tells how to power off (ACPI 6.5 section 7.4.2)."""
TSC_LEAF, POWER_LEAF = 0x15, 0x8000_0007
CLOCKS_OF_HYPERVISORS = frozenset({"KVM", "Xen"})
"""Their clocks tell the frequency of the TSC, and the kernel does not look at CPUID leaf 0x15 (arch/x86/kernel/tsc.c)."""
INVARIANT_TSC = 1 << 8
HYPERVISOR = 1 << 31
"""Of ECX of CPUID leaf 1."""
SCREEN_MEMORY = 0xA_0000


def _machine(machine: Chosen) -> Iterator[str]:
    yield "machine"
    yield from (f"#{name}" for name in machine.present)
    if machine.smbios:
        yield "#SMBIOS"
    if SLEEP_5 in machine.tables.get("DSDT", b""):
        yield "#S5"
    frequencies = machine.leaf(TSC_LEAF)
    if frequencies is not None and frequencies[2] and not machine.present & CLOCKS_OF_HYPERVISORS:
        yield "#timer frequency"
    power = machine.leaf(POWER_LEAF)
    if power is not None and power[3] & INVARIANT_TSC:
        yield "#invariant TSC"
    yield from (f"#MADT {kind}" for kind in machine.madt)
    features = machine.leaf(1)
    if features is not None and features[2] & HYPERVISOR:
        yield "#hypervisor"
    fadt = machine.fadt
    if fadt is not None and fadt.iapc_boot_arch & BootArch.PCIE_ASPM_CONTROLS:
        yield "#no ASPM"
    if any(one.type == "NVS" for one in machine.view.memory_map):
        yield "#NVS"
    if any(one.type == "RAM" and one.start <= SCREEN_MEMORY < one.start + one.size for one in machine.view.memory_map):
        yield "#RAM in the ISA hole"


def _boot_view(view: BootView) -> Iterator[str]:
    params = view.boot_params
    signature = params.get("efi_info.efi_loader_signature", "")
    if signature in ("EL64", "EL32"):
        yield "efi-told"
        yield f"efi{str(signature)[2:]}"
    if params.get("hdr.header") == "HdrS":
        yield "header"
    if view.cpu.mode == NARROW_MODE:
        yield "ia32-kernel"
    if params.number("hdr.loadflags") & KASLR_FLAG:
        yield "kaslr"
    if params.number("acpi_rsdp_addr"):
        yield "rsdp-told"
    if params.number("screen_info.orig_video_isVGA"):
        yield "vga-told"
    if params.number("screen_info.orig_video_lines"):
        yield "screen-told"
    low, high = ROM_AREA
    for one in view.e820:
        if one.type_name == "RESERVED" and one.addr <= low and one.addr + one.size >= high:
            yield "rom-reserved"


def changed(left: Record, right: Record) -> frozenset[str]:
    """Which of the things that a user chooses differ between two runs."""
    a, b = left.options, right.options
    answers = {
        "provider": left.route.provider != right.route.provider,
        "entry": left.route.entry != right.route.entry,
        "platform": left.route.platform != right.route.platform,
        "image": left.image.sha256 != right.image.sha256,
        "cmdline": a.cmdline != b.cmdline,
        "initrds": [(one.sha256, one.cmdline) for one in a.initrds] != [(one.sha256, one.cmdline) for one in b.initrds],
        "memory": a.memory != b.memory,
        "seed": a.seed != b.seed,
        "epoch": a.epoch != b.epoch,
        "options": a.options != b.options,
        "until": a.until != b.until,
    }
    answers["route"] = answers["provider"] or answers["entry"]
    return frozenset(name for name, differs in answers.items() if differs)
