"""Assembles a run: machine, platform, provider, and the shim or a native entry. The guest has not run yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from efishim.bios.bios import Bios
from efishim.bios.config import BiosConfig
from efishim.bios.memory import ROM_SIZE, ROM_START, carve
from efishim.errors import ProviderError, RouteError
from efishim.firmware.services.handoff import DESCRIPTOR_SIZE
from efishim.firmware.shim import Shim
from efishim.image.entries import Entry as ImageEntry
from efishim.image.loading import plan_load
from efishim.image.opened import Image
from efishim.lab.boot import discovery, native_entry, setup_data
from efishim.lab.boot import efi_shim as shimming
from efishim.lab.boot.booted import Booted
from efishim.lab.boot.faults import inject
from efishim.lab.boot.firmware_protocols import install_protocols, traced_protocols
from efishim.lab.boot.guest_shim import GuestShim, open_guest_shim, shim_symbols
from efishim.lab.boot.loader_run import LoaderRun
from efishim.lab.boot.told_modules import require_told
from efishim.lab.plan.loader_disk import LoaderPlan
from efishim.lab.plan.plan import Plan
from efishim.lab.plan.shim_options import SHIM_GROUP, shim_options
from efishim.lab.record import ShimPlace
from efishim.machine.machine import Machine
from efishim.machine.memory import BusError
from efishim.memory_range import MemoryKind, MemoryRange
from efishim.platform.definition import PlatformFacts, PlatformOptions
from efishim.platform.xen.inquiry import xen_memory_map
from efishim.plugin_guard import PluginError
from efishim.plugins import Registry
from efishim.provider import (
    Arena,
    BootRequest,
    EfiFacts,
    Entry,
    EntryKind,
    Handover,
    Loaded,
    MachineFacts,
    MachineFirmware,
    Module,
    Platform,
    Provider,
    boot_information,
    keeps_boot_services,
    machine_firmware,
    module_alignment,
    native_state,
    native_structures,
    ramdisk_files,
)
from efishim.wire.bootparams import E820Entry
from efishim.wire.pe import MACHINE_I386
from efishim.wire.uefi import MEMORY_DESCRIPTOR_VERSION

BIOS_AREA_FEATURE, UEFI_FEATURE = "bios_area", "uefi"
LOADER_ROOM = 512 << 10
"""Conventional memory that a boot loader on EFI keeps for what it gives to the kernel."""
LOADER_TOP = 0x9_F000


@dataclass
class Bench:
    """Everything that takes part in putting one run together."""

    plan: Plan
    image: Image
    machine: Machine
    registry: Registry
    console: Callable[[bytes], None]
    provider: Provider
    entry: Entry
    firmware: MachineFirmware
    options: Mapping[str, str]
    platform: PlatformFacts
    facts: MachineFacts
    arena: Arena
    booted: Booted
    kind: EntryKind | None = None
    """The entry, when a plugin brings it."""

    @property
    def shim_is_firmware(self) -> bool:
        """The shim is the machine's own firmware, and is not made from a native structure."""
        return self.firmware is MachineFirmware.EFI

    def add_protocols(self, shim: Shim) -> None:
        """Put the protocols of plugins into a shim; the record says which of them failed."""
        self.booted.notes += install_protocols(self.registry.firmware_protocols, shim)

    @property
    def wide(self) -> bool:
        """The image is entered by 64-bit firmware, not by that of its own 32-bit kind or through `.compat`."""
        pe = self.image.parts.pe
        return self.entry.name != ImageEntry.EFI_MIXED and (pe is None or pe.machine != MACHINE_I386)


def prepare(plan: Plan, image: Image, machine: Machine, registry: Registry, console: Callable[[bytes], None]) -> Booted:
    """Build everything up to the image's first instruction. Raises ProviderError, UsageError, MachineError, ImageError."""
    bench = _bench(plan, image, machine, registry, console)
    initrds = tuple(blob.read() for blob in plan.initrds)
    if plan.shim is ShimPlace.GUEST:
        _through_guest_shim(bench, initrds)
    elif plan.loader is not None:
        _through_loader(bench, plan.loader)
    elif bench.entry.through_shim:
        _through_shim(bench, initrds)
    else:
        _natively(bench, initrds)
    inject(plan, bench.booted, machine, registry)
    return bench.booted


def _bench(plan: Plan, image: Image, machine: Machine, registry: Registry, console: Callable[[bytes], None]) -> Bench:
    provider = registry.provider(plan.provider)
    platform = registry.platform(plan.platform)
    entry = _entry(provider.entries, plan)
    kind = registry.entries.get(entry.name)
    if kind is not None and entry.through_shim:
        raise ProviderError(f"the provider {provider.name} says that {entry.name} is behind the shim, and it is a native entry")
    options = plan.option_group(provider.name)
    firmware = machine_firmware(provider, entry.name, options)
    built = platform.build(
        machine,
        PlatformOptions(plan.memory, plan.epoch, _features(plan, platform, entry, firmware), console),
    )
    machine.power_on()
    booted = Booted(resources=built.resources, platform=built, kind=kind)
    memory_map = built.memory_map
    if firmware is MachineFirmware.BIOS:
        memory_map = _add_bios(machine, built, console, booted, trap=not entry.through_shim)
    facts = MachineFacts(
        memory_map=memory_map,
        rsdp=built.rsdp,
        smbios=built.smbios,
        held=built.held,
    )
    arena = Arena(_without(facts.memory_map, facts.held))
    return Bench(plan, image, machine, registry, console, provider, entry, firmware, options, built, facts, arena, booted, kind)


def _without(ranges: tuple[MemoryRange, ...], held: tuple[MemoryRange, ...]) -> tuple[MemoryRange, ...]:
    """A memory map with holes where memory is in use."""
    for hole in held:
        pieces: list[MemoryRange] = []
        for one in ranges:
            end, hole_end = one.start + one.size, hole.start + hole.size
            low, high = min(end, hole.start), max(one.start, hole_end)
            pieces += [MemoryRange(a, b - a, one.kind) for a, b in ((one.start, low), (high, end)) if a < b]
        ranges = tuple(pieces)
    return ranges


def _entry(entries: tuple[Entry, ...], plan: Plan) -> Entry:
    for entry in entries:
        if entry.name == plan.entry:
            return entry
    raise ProviderError(f"the provider {plan.provider} has no entry {plan.entry}")


def _features(plan: Plan, platform: Platform, entry: Entry, firmware: MachineFirmware) -> dict[str, str]:
    """The platform's options; where a BIOS was before the shim its tables are in the BIOS area, and a platform that has a
    firmware of its own is told when that is EFI, unless the user says no.
    """
    features = plan.option_group("platform")
    known = {one.name for one in platform.options}
    if firmware is MachineFirmware.BIOS and entry.through_shim and BIOS_AREA_FEATURE in known:
        features.setdefault(BIOS_AREA_FEATURE, "1")
    if firmware in (MachineFirmware.EFI, MachineFirmware.EFI_RUNTIME) and UEFI_FEATURE in known:
        features.setdefault(UEFI_FEATURE, "1")
    return features


def _add_bios(
    machine: Machine, built: PlatformFacts, console: Callable[[bytes], None], booted: Booted, *, trap: bool
) -> tuple[MemoryRange, ...]:
    """The BIOS of a platform that has a place for one, and the memory map that it tells. The shim needs the one trap of the
    machine for itself; behind it a BIOS leaves its tables and nothing that could be called.
    """
    if machine.memory.find(ROM_START, ROM_SIZE) is None:
        booted.notes.append(f"the platform {built.profile} has no BIOS: its services and tables are not there")
        return built.memory_map
    if not trap:
        return carve(built.memory_map)
    booted.bios = Bios(
        machine,
        BiosConfig.of(built),
        lambda text: console(text.encode("utf-8", "replace")),
        insns=lambda: machine.insns,
    )
    return booted.bios.memory_map()


def _request(bench: Bench, loaded: Loaded | None, modules: tuple[Module, ...]) -> BootRequest:
    return BootRequest(
        facts=bench.facts,
        command_line=bench.plan.cmdline,
        modules=modules,
        image=bench.image.data,
        loaded=loaded,
        options=bench.options,
        entry=bench.entry.name,
        ramdisks=len(bench.plan.initrds),
    )


def _load(bench: Bench) -> Loaded:
    """The image into memory, without anybody's firmware."""
    high = bench.entry.high
    if bench.kind is not None:
        plan = bench.kind.load(bench.image, bench.arena, high=high)
    else:
        plan = plan_load(bench.image, ImageEntry(bench.entry.name), bench.arena, high=high)
    native_entry.put_image(bench.machine, plan)
    bench.booted.loaded = Loaded(plan.base, plan.size, plan.entry_point, plan.setup, plan.efi_entry)
    bench.booted.kernel_slide, bench.booted.pieces = plan.kernel_slide, plan.pieces
    return bench.booted.loaded


def _through_guest_shim(bench: Bench, initrds: tuple[bytes, ...]) -> None:
    """The shim is the kernel that the provider starts, the image its first module and the ramdisks the others."""
    shim, machine, arena = open_guest_shim(), bench.machine, bench.arena
    plan = plan_load(shim, ImageEntry.PVH, arena)
    native_entry.put_image(machine, plan)
    loaded = Loaded(plan.base, plan.size, plan.entry_point)
    modules = _modules(bench, (bench.image.data, *initrds), (b"",) * (1 + len(initrds)))
    request = replace(_request(bench, loaded, modules), image=shim.data)
    handover = _produce(bench, request, arena)
    protocols = traced_protocols(bench.registry.firmware_protocols)
    bench.booted.guest_shim = GuestShim(machine, shim_symbols(shim), protocols)
    native_entry.enter(
        machine, native_state(bench.provider, replace(request, entry=ImageEntry.PVH), machine.memory, handover), arena
    )


def _modules(bench: Bench, contents: tuple[bytes, ...], lines: tuple[bytes, ...]) -> tuple[Module, ...]:
    """Modules below what the kernel's header allows."""
    linux = bench.image.parts.bzimage
    top = linux.value("initrd_addr_max") if linux is not None else 0
    below = min(top + 1 if top else native_entry.TOP_OF_MODULES, native_entry.TOP_OF_MODULES)
    parts = tuple(zip(contents, lines, strict=True))
    return native_entry.put_modules(bench.machine, bench.arena, parts, module_alignment(bench.provider), below)


def _produce(bench: Bench, request: BootRequest, arena: Arena) -> Handover:
    handover = bench.provider.produce(request, bench.machine.memory, arena)
    booted = bench.booted
    code = next((one for one in booted.pieces if one.address == request.loaded.base), None) if request.loaded else None
    setup_data.append(bench.plan.setup_data, bench.machine.memory, arena, handover.address, code)
    require_told(bench.provider, request.modules, bench.machine.memory, handover)
    booted.handover, booted.modules = handover, request.modules
    try:
        booted.structures = native_structures(bench.provider, bench.machine.memory, handover)
    except ProviderError as error:
        reason: BaseException | None = error
        if isinstance(error, PluginError):
            reason = error.__cause__
            if not isinstance(reason, BusError | IndexError):
                raise
        booted.notes.append(f"the native structure is not shown in parts: {reason}")
    booted.notes += handover.notes
    return handover


def _through_loader(bench: Bench, loader: LoaderPlan) -> None:
    """Firmware starts the boot loader from its disk, and that the image."""
    handover = _produce(bench, _request(bench, None, ()), bench.arena)
    information = boot_information(bench.provider, _request(bench, None, ()), bench.machine.memory, handover, bench.firmware)
    writable = shim_options(bench.plan.option_group(SHIM_GROUP)).disk_writes
    shim = shimming.build(
        replace(bench.plan, cmdline=b""),
        information,
        bench.machine,
        bench.console,
        initrds=(),
        reserved=bench.arena.used,
        held=bench.facts.held,
        disk=loader.medium(writable=writable),
        more=bench.add_protocols,
    )
    bench.booted.shim = shim
    program = shim.boot_disk()
    assert shim.disks is not None
    bench.booted.notes += [f"the disk: {problem}" for problem in shim.disks.problems]
    bench.booted.loaded = Loaded(program.base, program.size, program.entry)
    bench.booted.loader = run = LoaderRun(bench.machine, bench.image, bench.booted, bench.registry)
    run.problems, run.known = shim.disks.problems, len(shim.disks.problems)


def _natively(bench: Bench, initrds: tuple[bytes, ...]) -> None:
    """The provider's own entry: its structure, its processor state, and no firmware in between."""
    arena, machine = bench.arena, bench.machine
    if bench.entry.name == ImageEntry.LINUX16 and bench.booted.bios is None:
        raise RouteError(
            f"real-mode code needs a BIOS, and the platform {bench.platform.profile} has none", hint="try --platform pc"
        )
    loaded = _load(bench)
    modules = _modules(bench, initrds, tuple(blob.command_line for blob in bench.plan.initrds))
    if bench.shim_is_firmware and keeps_boot_services(bench.provider, _request(bench, loaded, modules)):
        _with_boot_services(bench, loaded, modules)
        return
    if bench.firmware in (MachineFirmware.EFI, MachineFirmware.EFI_RUNTIME):
        # A loader on EFI has to have what it wants to hand over before the firmware is gone and its memory map final.
        room = arena.place(LOADER_ROOM, align=0x1000, below=LOADER_TOP, what="the boot loader")
        virtual = bench.firmware is MachineFirmware.EFI_RUNTIME
        shim, efi = shimming.after_exit(
            bench.plan, bench.facts, machine, bench.console, arena.used, bench.add_protocols, virtual=virtual
        )
        bench.booted.shim = shim
        bench.facts = replace(bench.facts, efi=efi)
        arena = Arena((MemoryRange(room, LOADER_ROOM, MemoryKind.RAM),))
    request = _request(bench, loaded, modules)
    handover = _produce(bench, request, arena)
    state = native_state(bench.provider, request, machine.memory, handover)
    if loaded.setup is not None and handover.address not in (None, loaded.setup):
        # A loader with a place of its own for the setup code.
        entered = state.segments["cs"].base + state.rip
        bench.booted.loaded = replace(loaded, setup=handover.address, entry_point=entered)
    native_entry.enter(machine, state, arena)


def _with_boot_services(bench: Bench, loaded: Loaded, modules: tuple[Module, ...]) -> None:
    """A native entry whose kernel ends EFI's boot services itself."""
    room = bench.arena.place(LOADER_ROOM, align=0x1000, below=LOADER_TOP, what="the boot loader")
    arena = Arena((MemoryRange(room, LOADER_ROOM, MemoryKind.RAM),))
    shim = shimming.of_machine(bench.plan, bench.facts, bench.machine, bench.console, bench.arena.used, bench.add_protocols)
    bench.booted.shim = shim
    image = shim.adopt(loaded.base, loaded.size)
    efi = EfiFacts(shim.tables.system, b"", DESCRIPTOR_SIZE, MEMORY_DESCRIPTOR_VERSION, image_handle=image.handle)
    bench.facts = replace(bench.facts, efi=efi)
    request = _request(bench, loaded, modules)
    handover = _produce(bench, request, arena)
    if not handover.boot_services:
        raise ProviderError(f"the provider {bench.provider.name} keeps boot services and does not hand them over")
    state = native_state(bench.provider, request, bench.machine.memory, handover)
    bench.booted.loaded = replace(loaded, entry_point=state.rip)
    shim.enter(state.rip, dict(state.registers), image)


def _hypercall_map(machine: Machine) -> tuple[discovery.MapEntry, ...] | None:
    """The memory map that the hypervisor gives to who asks it, None without one."""
    table = xen_memory_map(machine)
    return None if table is None else tuple((one.addr, one.size, one.type) for one in E820Entry.rows(table))


def _through_shim(bench: Bench, initrds: tuple[bytes, ...]) -> None:
    """The EFI shim stands between the native structure and the image."""
    own, machine, arena = bench.shim_is_firmware, bench.machine, bench.arena
    handed_over = bench.entry.name == ImageEntry.EFI_HANDOVER
    loaded = _load(bench) if handed_over else None
    # Firmware of the machine itself is given the ramdisks by whoever starts it; a shim finds them in memory.
    modules = _modules(bench, initrds, (b"",) * len(initrds)) if handed_over or not own else ()
    request = _request(bench, loaded, modules)
    handover = _produce(bench, request, arena)
    information = boot_information(bench.provider, request, machine.memory, handover, bench.firmware)
    if not own:
        information = discovery.complete(information, discovery.Means(machine.memory, lambda: _hypercall_map(machine)))
    bench.booted.notes += [f"{item.field}: {item.source}" for item in information.provenance]
    shim = shimming.build(
        bench.plan,
        information,
        machine,
        bench.console,
        initrds=initrds if own and not handed_over and not handover.ramdisks_on_disk else (),
        files=tuple(zip(ramdisk_files(len(initrds)), initrds, strict=True)) if handover.ramdisks_on_disk else (),
        reserved=arena.used,
        held=bench.facts.held if own else (),
        wide=bench.wide,
        more=bench.add_protocols,
    )
    bench.booted.shim = shim
    if loaded is not None:
        shimming.hand_over(shim, loaded, handover.address)
        return
    image = shim.boot(bench.image.data)
    bench.booted.loaded = Loaded(image.base, image.size, image.entry)
