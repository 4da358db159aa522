"""A guest shim that is about to run, and ways to spoil what its hypervisor tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import efishim_firmware_stubs

from efishim.image.opened import open_image
from efishim.lab.boot.prepare import prepare
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import ShimPlace
from efishim.machine.machine import Machine, Stop
from efishim.plugins import load_plugins
from efishim.wire.layout import Layout
from efishim.wire.start_info import HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo

MAX_INSNS = 30_000_000
KERNEL = efishim_firmware_stubs.probe_kernel()
HOLE = 0xE000_0000
"""Neither memory nor a device, on a machine of 512 MiB."""


@dataclass
class Guest:
    """A machine in front of the shim's first instruction. `info` is where hvm_start_info lies."""

    machine: Machine
    info: int
    said: bytearray = field(default_factory=bytearray)

    @classmethod
    def ready(cls, platform: str = "pc", version: str = "1") -> Guest:
        """With the probe kernel and a ramdisk."""
        machine, said = Machine(), bytearray()
        plan = Plan(
            image=Blob.embedded("embedded:probe", KERNEL),
            provider="hvmlite",
            entry="efi",
            platform=platform,
            cmdline=b"console=ttyS0 one",
            initrds=(Blob.embedded("ramdisk", efishim_firmware_stubs.reporting_initrd()),),
            shim=ShimPlace.GUEST,
            options=(("hvmlite.version", version),),
        )
        image = open_image(KERNEL, path="embedded:probe")
        booted = prepare(plan, image, machine, load_plugins(), said.extend)
        assert booted.handover is not None
        assert booted.handover.address is not None
        return cls(machine, booted.handover.address, said)

    def run(self) -> Stop:
        """To the end, or MAX_INSNS."""
        return self.machine.run(max_insns=MAX_INSNS)

    @property
    def console(self) -> str:
        """What was said so far."""
        return self.said.decode("ascii", "backslashreplace").replace("\r", "")

    def start_info(self) -> HvmStartInfo:
        """The structure as it is now."""
        return HvmStartInfo.parse(self.machine.memory.read(self.info, HvmStartInfo.SIZE))

    def point(self, address: int) -> None:
        """What EBX holds."""
        self.machine.engine.processor.set("rbx", address)

    def tell(self, **fields: int) -> None:
        """Other values in hvm_start_info."""
        changed = HvmStartInfo(**{**_numbers(self.start_info()), **fields})
        self.machine.memory.write(self.info, changed.build())

    def module(self, index: int) -> HvmModlistEntry:
        """A module's entry."""
        at = self.start_info().modlist_paddr + index * HvmModlistEntry.SIZE
        return HvmModlistEntry.parse(self.machine.memory.read(at, HvmModlistEntry.SIZE))

    def tell_module(self, index: int, **fields: int) -> None:
        """Other values in a module's entry."""
        changed = HvmModlistEntry(**{**_numbers(self.module(index)), **fields})
        self.machine.memory.write(self.start_info().modlist_paddr + index * HvmModlistEntry.SIZE, changed.build())

    def tell_ranges(self, change: Callable[[dict[str, int]], dict[str, int]]) -> None:
        """Every range of the memory map through a function over (addr, size, type)."""
        info, size = self.start_info(), HvmMemmapTableEntry.SIZE
        for at in range(info.memmap_paddr, info.memmap_paddr + info.memmap_entries * size, size):
            entry = HvmMemmapTableEntry.parse(self.machine.memory.read(at, size))
            changed = HvmMemmapTableEntry(**(_numbers(entry) | change(_numbers(entry))))
            self.machine.memory.write(at, changed.build())

    def patch_kernel(self, offset: int, data: bytes) -> None:
        """Other bytes in the first module."""
        self.machine.memory.write(self.module(0).paddr + offset, data)


def _numbers(layout: Layout) -> dict[str, int]:
    return {name: getattr(layout, name) for name in type(layout).names()}
