"""Builds the EFI shim on a machine from boot information and options, and prepares its other entries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePath

from efishim.disk.medium import Medium
from efishim.errors import ProviderError, UsageError
from efishim.firmware.calling.architecture import Architecture
from efishim.firmware.calling.overrides import Overrides
from efishim.firmware.profile import Profile, ProfileError, ProfileOverrides, parse_item
from efishim.firmware.profile_files import read_profile
from efishim.firmware.services.handoff import EfiRuntime
from efishim.firmware.shim import Shim, ShimConfig
from efishim.lab.plan.plan import Plan
from efishim.lab.plan.shim_options import SHIM_GROUP, shim_options
from efishim.machine.machine import Machine
from efishim.machine.memory import BusError
from efishim.provider import BootInformation, EfiFacts, Loaded, MachineFacts, MemoryRange
from efishim.wire.smbios import ANCHOR2
from efishim.wire.uefi import MemoryDescriptor


def build(
    plan: Plan,
    information: BootInformation,
    machine: Machine,
    console: Callable[[bytes], None],
    *,
    initrds: tuple[bytes, ...],
    reserved: Sequence[tuple[int, int]],
    held: Sequence[MemoryRange] = (),
    wide: bool = True,
    disk: Medium | None = None,
    files: tuple[tuple[str, bytes], ...] = (),
    more: Callable[[Shim], None],
) -> Shim:
    """A shim that knows what the information says, and keeps `held` for boot services; without `wide`, firmware for a 32-bit
    processor. `files` lie on the device that the image comes from. `more` puts the protocols of plugins in.

    Raises ProviderError when there is no room for one, and ProfileError for a profile with functions that it has not.
    """
    given = plan.option_group(SHIM_GROUP)
    options = shim_options(given)
    if options.boot.options and disk is None:
        raise UsageError("shim.boot names programs of a disk, and there is none", hint="give --disk or --loader")
    profile = firmware_profile(plan)
    vendor = options.vendor if profile is None or profile.vendor is None or "vendor" in given else profile.vendor
    smbios = information.smbios or 0
    old_smbios = _is_old_smbios(machine, smbios)
    config = ShimConfig(
        memory=tuple((r.start, r.size, r.kind.value) for r in information.memory_map),
        rsdp=information.rsdp or 0,
        smbios=smbios if old_smbios else 0,
        smbios3=0 if old_smbios else smbios,
        cmdline=information.command_line,
        initrds=initrds,
        modules=tuple((module.start, module.size) for module in information.modules),
        reserved=tuple(reserved),
        held=tuple((one.start, one.size) for one in held),
        architecture=Architecture.X64 if wide else Architecture.IA32,
        seed=plan.seed,
        epoch=plan.epoch,
        gop=options.gop,
        strict_nx=options.strict_nx,
        vendor=vendor,
        keys=options.keys,
        files=(*files, *(_files(plan) if options.files else ())),
        disk=disk,
        boot=options.boot,
        load_options=options.load_options,
        overrides=Overrides() if profile is None else ProfileOverrides(profile),
    )
    shim = Shim(machine, config, lambda text: console(text.encode("utf-8", "replace")), more)
    if isinstance(config.overrides, ProfileOverrides):
        _all_known(config.overrides)
    shim.log.insns = lambda: machine.insns
    machine.on_fetch_fault = shim.on_fetch_fault
    machine.halt_ends = shim.events.halt_ends
    return shim


def _all_known(overrides: ProfileOverrides) -> None:
    for one in overrides.unknown():
        raise ProfileError(f"there is no service {one.name!r}", hint="its protocol is none of the shim's and of no plugin")


def _is_old_smbios(machine: Machine, address: int) -> bool:
    """Is the entry point at an address that of the versions before 3 (DSP0134, 5.2.1)?"""
    try:
        return bool(address) and machine.memory.read(address, len(ANCHOR2)) == ANCHOR2
    except BusError:
        return False


"""In a memory descriptor (UEFI 2.10, 7.2.3)."""


def firmware_profile(plan: Plan) -> Profile | None:
    """What a plan says about the firmware's answers, None when it says nothing. Raises ProfileError."""
    if plan.profile is None and not plan.without:
        return None
    base = read_profile(plan.profile.read(), name=plan.profile.label) if plan.profile is not None else Profile()
    return base.restrict({parse_item(text): answer for text, answer in plan.without})


def _files(plan: Plan) -> tuple[tuple[str, bytes], ...]:
    """What the user gave with -i, by the last part of its name."""
    given = () if plan.default_initrd else plan.initrds
    return tuple((PurePath(blob.label).name, blob.read()) for blob in given)


def hand_over(shim: Shim, loaded: Loaded, boot_params: int | None) -> None:
    """The EFI handover entry: handle, system table, boot_params (boot.rst, "EFI handover protocol")."""
    if boot_params is None:
        raise ProviderError("the EFI handover entry needs a boot_params, and none was written")
    image = shim.adopt(loaded.base, loaded.size)
    registers = {"rdi": image.handle, "rsi": shim.tables.system, "rdx": boot_params}
    shim.enter(loaded.entry_point, registers, image)


def of_machine(
    plan: Plan,
    facts: MachineFacts,
    machine: Machine,
    console: Callable[[bytes], None],
    reserved: Sequence[tuple[int, int]],
    more: Callable[[Shim], None],
) -> Shim:
    """The machine's own firmware, as a boot loader finds it that has put things into `reserved`. Raises ProviderError."""
    told = BootInformation(facts.memory_map, rsdp=facts.rsdp, smbios=facts.smbios, framebuffer=facts.framebuffer)
    return build(plan, told, machine, console, initrds=(), reserved=reserved, held=facts.held, more=more)


def _moved(left: EfiRuntime, runtime: bytes) -> bytes:
    """The memory map as it was left, with the descriptors of runtime memory as SetVirtualAddressMap was given them."""
    step = left.descriptor_size
    whole = left.memory_map + runtime
    pieces = [whole[at : at + step] for at in range(0, len(whole), step)]
    by_start = {MemoryDescriptor.parse(one).PhysicalStart: one for one in pieces}
    return b"".join(by_start[start] for start in sorted(by_start))


def after_exit(
    plan: Plan,
    facts: MachineFacts,
    machine: Machine,
    console: Callable[[bytes], None],
    reserved: Sequence[tuple[int, int]],
    more: Callable[[Shim], None],
    *,
    virtual: bool,
) -> tuple[Shim, EfiFacts]:
    """The machine's own firmware as it is after a boot loader called ExitBootServices; with `virtual` after a whole kernel
    has moved its runtime services, too. Raises ProviderError.
    """
    shim = of_machine(plan, facts, machine, console, reserved, more)
    left = shim.exit_boot_services()
    return shim, EfiFacts(
        system_table=left.system_table,
        memory_map=_moved(left, shim.set_virtual_address_map()) if virtual else left.memory_map,
        descriptor_size=left.descriptor_size,
        descriptor_version=left.descriptor_version,
        fw_vendor=left.firmware_vendor,
        runtime=left.runtime_services,
        tables=left.configuration_table,
        smbios=left.smbios,
        interrupts=shim.environment.interrupts,
        page_tables=shim.pages.root,
    )
