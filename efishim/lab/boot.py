"""Putting a run together: machine, platform, provider, and the shim or a native entry. The guest has not run yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from efishim.errors import ProviderError
from efishim.firmware.calls import FirmwareCall
from efishim.firmware.shim import Shim, ShimConfig
from efishim.image.opened import Image
from efishim.lab.options import SHIM_GROUP, shim_options
from efishim.lab.plan import Plan
from efishim.lab.watchers import install_protocols
from efishim.machine.machine import Machine
from efishim.platform.profile import PlatformOptions
from efishim.platform.resources import Resource
from efishim.plugins import Registry
from efishim.provider import (
    Arena,
    BootInformation,
    BootRequest,
    Entry,
    MachineFacts,
    MemoryKind,
    MemoryRange,
    boot_information,
)


@dataclass
class Booted:
    """A machine that is ready to run, and what the record wants to know of it."""

    resources: tuple[Resource, ...]
    image_base: int = 0
    image_size: int = 0
    notes: list[str] = field(default_factory=list)
    shim: Shim | None = None

    def calls(self) -> list[FirmwareCall]:
        """The firmware calls so far."""
        return self.shim.calls if self.shim is not None else []

    def calls_dropped(self) -> int:
        """Calls that were made after the list was full."""
        return self.shim.log.dropped if self.shim is not None else 0

    def on_exit_boot_services(self, callback: Callable[[], None]) -> None:
        """Call back when ExitBootServices succeeded."""
        if self.shim is None:
            return

        def ended(call: FirmwareCall) -> None:
            if call.service == "BootServices.ExitBootServices" and call.status == "EFI_SUCCESS":
                callback()

        self.shim.log.on_end = ended


def prepare(
    plan: Plan, image: Image, machine: Machine, registry: Registry, console: Callable[[bytes], None]
) -> Booted:
    """Build everything up to the image's first instruction. Raises ProviderError, UsageError, MachineError, ImageError."""
    provider = registry.provider(plan.provider)
    platform = registry.platform(plan.platform)
    entry = _entry(provider.entries, plan)
    facts = platform.build(
        machine,
        PlatformOptions(plan.memory, plan.epoch, plan.option_group("platform"), console),
    )
    machine.power_on()
    machine_facts = MachineFacts(
        memory_map=tuple(MemoryRange(r.start, r.size, MemoryKind(r.kind.value)) for r in facts.memory_map),
        rsdp=facts.rsdp,
        smbios=facts.smbios,
    )
    initrds = tuple(blob.read() for blob in plan.initrds)
    if not entry.through_shim:
        raise ProviderError(f"the native entry {entry.name} of {plan.provider} cannot be driven yet")
    request = BootRequest(
        facts=machine_facts,
        command_line=plan.cmdline,
        modules=(),
        image=image.data,
        loaded=None,
        options=plan.option_group(provider.name),
    )
    arena = Arena(machine_facts.memory_map)
    handover = provider.produce(request, machine.memory, arena)
    information = boot_information(provider, request, machine.memory, handover)
    booted = Booted(resources=facts.resources)
    booted.notes += [f"{item.field}: {item.source}" for item in information.provenance]
    booted.shim = _shim(plan, information, machine, initrds, console)
    booted.notes += install_protocols(registry.firmware_protocols, booted.shim)
    loaded = booted.shim.boot(image.data)
    booted.image_base, booted.image_size = loaded.base, loaded.size
    return booted


def _entry(entries: tuple[Entry, ...], plan: Plan) -> Entry:
    for entry in entries:
        if entry.name == plan.entry:
            return entry
    raise ProviderError(f"the provider {plan.provider} has no entry {plan.entry}")


def _shim(
    plan: Plan,
    information: BootInformation,
    machine: Machine,
    initrds: tuple[bytes, ...],
    console: Callable[[bytes], None],
) -> Shim:
    options = shim_options(plan.option_group(SHIM_GROUP))
    config = ShimConfig(
        memory=tuple((r.start, r.size, r.kind.value) for r in information.memory_map),
        rsdp=information.rsdp or 0,
        smbios3=information.smbios or 0,
        cmdline=information.command_line,
        initrds=initrds,
        seed=plan.seed,
        epoch=plan.epoch,
        gop=options.gop,
        strict_nx=options.strict_nx,
        vendor=options.vendor,
        keys=options.keys,
    )
    shim = Shim(machine, config, lambda text: console(text.encode("utf-8", "replace")))
    shim.log.insns = lambda: machine.insns
    machine.on_fetch_fault = shim.on_fetch_fault
    return shim
