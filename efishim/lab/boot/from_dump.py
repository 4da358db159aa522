"""Assembles a run from a dump: its memory and registers are the handover, and no provider writes anything."""

from __future__ import annotations

from collections.abc import Callable

from efishim.dump.cpu import GENERAL, SEGMENTS, TABLES
from efishim.dump.entry import place_of, pointer, require_same
from efishim.dump.model import Dump
from efishim.dump.opened import open_dump
from efishim.dump.reader import handover_of, reader_of
from efishim.dump.source import MAX_CONTENT, SMALLER, DumpError
from efishim.errors import EfishimError, UsageError
from efishim.image.entries import Entry
from efishim.image.opened import Image
from efishim.lab.boot.booted import Booted
from efishim.lab.plan.plan import MIB, Plan
from efishim.machine.machine import Machine
from efishim.machine.memory import PAGE, BusError
from efishim.platform.definition import PlatformOptions
from efishim.plugins import Registry
from efishim.provider import native_structures

ROMS = 0xC_0000
"""Where option ROMs begin, behind the display's memory (PC Firmware; SeaBIOS, src/config.h, BUILD_ROM_START)."""
DEVICES = "the devices are as the platform has them at a reset; the dump has no device state, no MSRs and no APIC state"


def prepare_dump(plan: Plan, image: Image, machine: Machine, registry: Registry, console: Callable[[bytes], None]) -> Booted:
    """Build everything up to the next instruction of the dump. Raises DumpError, UsageError, MachineError, ImageError."""
    first = plan.dump[0]
    dump = open_dump(first.path or "")
    for blob in plan.dump:
        blob.require_unchanged()
    entry = Entry(plan.entry)
    platform = registry.platform(plan.platform)
    features = plan.option_group("platform")
    built = platform.build(machine, PlatformOptions(plan.memory, plan.epoch, features, console))
    _add_roms(machine, dump)
    machine.power_on()
    place = place_of(dump, entry, image)
    require_same(dump, place, image)
    booted = Booted(resources=built.resources, platform=built, dump=dump)
    booted.loaded, booted.kernel_slide, booted.pieces = place.loaded, place.kernel_slide, place.pieces
    booted.notes += [DEVICES, *_put_memory(machine, dump)]
    for address in (place.loaded.entry_point, pointer(dump, entry)):
        if machine.memory.find(address) is None:
            raise UsageError(f"the machine has no memory at {address:#x}, which the dump uses", hint="give it more with -m")
    _describe(booted, dump, entry, machine, registry)
    restore(machine, dump)
    return booted


def _add_roms(machine: Machine, dump: Dump) -> None:
    """Memory for what the dump has of ROMs below 1 MiB: QEMU's loaders enter kernels with the GDT of an option ROM."""
    memory = machine.memory
    for region in dump.memory:
        at, end = max(region.start, ROMS), min(region.end, MIB)
        while at < end:
            taken = next((one for one in memory if one.start < end and at < one.end), None)
            stop = end if taken is None else max(taken.start, at)
            if at < stop:
                memory.add(at, stop - at, name="ROMs of the dump", writable=False)
            at = end if taken is None else taken.end


def _put_memory(machine: Machine, dump: Dump) -> list[str]:
    """The dump's memory where the machine has some, zeroes included; notes about the rest."""
    memory = machine.memory
    for one in dump.ranges:
        for region in memory:
            low, high = max(one.start, region.start), min(one.end, region.end)
            if low < high:
                memory.clear(low, high - low)
    total, lost = 0, {one.start: 0 for one in dump.ranges}
    for one in dump.ranges:
        for address, data in one.content():
            total += len(data)
            if total > MAX_CONTENT:
                raise DumpError(f"{dump.path} has more than {MAX_CONTENT >> 20} MiB that are not zero", hint=SMALLER)
            for at in range(0, len(data), PAGE):
                piece = data[at : at + PAGE]
                try:
                    memory.write(address + at, piece)
                except BusError:
                    lost[one.start] += len(piece) if any(piece) else 0
    return [
        f"{size} bytes of the dump's memory at {start:#x} are left out: the platform has no memory there"
        for start, size in lost.items()
        if size
    ]


def _describe(booted: Booted, dump: Dump, entry: Entry, machine: Machine, registry: Registry) -> None:
    """The native structure, as the provider reads it that drives the entry."""
    provider = reader_of(registry.providers_ours_first, entry)
    booted.handover = handover = handover_of(dump, entry)
    if provider is None:
        booted.notes.append(f"no provider drives the entry {entry}, so the native structure is not shown")
        return
    try:
        booted.structures = native_structures(provider, machine.memory, handover)
        booted.modules = provider.read_back(machine.memory, handover).modules
    except (EfishimError, BusError) as error:
        booted.notes.append(f"{provider.structure} in the dump cannot be read: {error}")


def restore(machine: Machine, dump: Dump) -> None:
    """Give the processor the registers of a dump. Raises DumpError for one that is not in ring 0, where kernels are entered."""
    registers, processor = dump.registers, machine.engine.processor
    if registers["ss.flags"] >> 13 & 3:
        raise DumpError(f"the processor of {dump.path} is not in ring 0, so it is not at an entry of a kernel")
    # Paging last, since what comes before it decides what it means.
    for name in ("cr2", "cr4", "cr3", "efer", "cr0"):
        processor.set(name, registers[name])
    for name in TABLES:
        processor.set(name, registers[name])
    for name in SEGMENTS:
        base, limit, flags = (registers[f"{name}.{part}"] for part in ("base", "limit", "flags"))
        processor.load_segment("ldt" if name == "ldtr" else name, registers[name], base=base, limit=limit, flags=flags)
    processor.sync(0)
    for name in (*GENERAL, "rip", "eflags", "fcw", "mxcsr"):
        processor.set(name, registers[name])
