"""efishim at an entry: everything is in place and the guest has not run."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import structs

from efishim.image.cachedir import cache_directory
from efishim.image.facts import KernelCache
from efishim.image.opened import open_image
from efishim.lab.boot.prepare import prepare
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import ProcessorState
from efishim.lab.snapshot.processor import capture_cpu
from efishim.machine.machine import Machine
from efishim.plugins import load_plugins
from efishim.provider.checking import Moment
from efishim.wire.bootparams import BootParams
from efishim.wire.layout import Layout
from efishim.wire.start_info import HvmStartInfo

CMDLINE = b"console=ttyS0 earlyprintk=serial,ttyS0 nokaslr panic=-1"
RAMDISK = Blob.embedded("embedded:zeroes", bytes(0xA6E00))
"""What the dumps were made with: as long as their ramdisk."""


def at_entry(
    image: Blob, provider: str, entry: str, *, platform: str = "pc", options: tuple[tuple[str, str], ...] = ()
) -> Moment:
    """A route's entry. Raises what a run raises before it runs."""
    plan = Plan(image, provider, entry, platform, CMDLINE, (RAMDISK,), options=options)
    machine = Machine(seed=0)
    opened = open_image(image.read(), path=image.label, cache=KernelCache(cache_directory(os.environ)))
    booted = prepare(plan, opened, machine, load_plugins(), lambda _: None)
    state = capture_cpu(machine.cpu, machine.memory)
    floating = {name: machine.cpu.get(name) for name in ("fcw", "mxcsr")}
    return Moment(state, machine.memory, booted.loaded, floating)


def kernel(path: Path) -> Blob:
    """A kernel as an image."""
    return Blob.from_file(path)


def shown(layout: Layout, prefix: str) -> dict[str, str]:
    """Every field, numbers in hexadecimal."""
    values = {f"{prefix}.{name}": value for name, value in layout.values().items()}
    return {name: f"{value:#x}" if isinstance(value, int) else value for name, value in values.items()}


def processor(cpu: ProcessorState, floating: dict[str, int]) -> dict[str, str]:
    """The processor as names and values that can be compared."""
    control = cpu.control
    numbers: dict[str, int] = structs.asdict(cpu.registers) | floating
    numbers |= {"cr0": control.cr0, "cr3": control.cr3, "cr4": control.cr4, "efer": control.efer}
    for name, segment in structs.asdict(cpu.segments).items():
        parts = {"selector": segment.selector, "base": segment.base, "limit": segment.limit, "attributes": segment.attributes}
        numbers |= {f"{name}.{part}": value for part, value in parts.items()}
    for table, one in (("gdt", cpu.gdt), ("idt", cpu.idt)):
        numbers |= {f"{table}.base": one.base, f"{table}.limit": one.limit}
    return {name: f"{value:#x}" for name, value in numbers.items()} | {"mode": cpu.mode}


def structure(one: Moment, entry: str) -> dict[str, str]:
    """boot_params or hvm_start_info, where the entry has one."""
    if entry == "pvh":
        return shown(HvmStartInfo.parse(one.memory.read(one.cpu.registers.rbx, HvmStartInfo.SIZE)), "start_info")
    if not entry.startswith("linux"):
        return {}
    address = one.loaded.setup if one.loaded.setup is not None else one.cpu.registers.rsi
    fields = shown(BootParams.parse(one.memory.read(address, BootParams.SIZE)), "boot_params")
    wanted = ("boot_params.hdr.",) if entry == "linux16" else ("boot_params.hdr.", "boot_params.efi_info.", "boot_params.acpi_")
    return {name: value for name, value in fields.items() if name.startswith(wanted)}
