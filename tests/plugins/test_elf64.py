"""The 64-bit entry of a kernel's ELF file, driven by a provider of another plugin as a virtual machine monitor does it."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from efishim_firmware_stubs import probe_kernel
from efishim_plugins.boot_params import states
from efishim_plugins.elf64.entry import Elf64
from efishim_plugins.subarch.provider import Subarch

from efishim.compare.traits import traits
from efishim.errors import ImageError, ProviderError
from efishim.hookspecs import hookimpl
from efishim.image.opened import open_image
from efishim.lab.abi import all_rules, check_entry, checkers
from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.doors import find_door
from efishim.lab.plan.plan import Blob
from efishim.lab.record import Record, decode, encode
from efishim.lab.run import run_plan
from efishim.plugins import GROUP, Registry, load_plugins
from efishim.provider import Arena, CpuState, Entry, Handover, Loaded, MemoryKind, MemoryRange, Moment, Violation
from tests.lab.abi.good import GOOD
from tests.lab.abi.moments import with_mode, with_registers, with_segment
from tests.support.images import build_bzimage, build_elf, build_kernel_elf

KINDS = load_plugins().entries
CODE = [(0x100_0000, 0x100_0000, b"Linux version 6.1.0 (a@b) " + bytes(100), 0x2000)]


class Vmm(Subarch):
    """Loads boot_params and enters vmlinux, without a boot loader."""

    name = "vmm"
    entries = (Entry("elf64", "vmlinux itself", through_shim=False),)

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        return states.long(loaded.entry_point, handover.address or 0)


class Firecracker(Vmm):
    """As Firecracker enters kernels: its code segment has the selector 8 (boot.rst asks for 0x10)."""

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        state = super().cpu_state(entry, loaded, handover)
        code = replace(state.segments["cs"], selector=8)
        return replace(state, segments={**state.segments, "cs": code}, descriptors=(0, state.descriptors[2], 0, 0))


def registry(provider: Any) -> Registry:
    """The shipped plugins and one with this provider."""
    theirs = SimpleNamespace(efishim_providers=hookimpl(lambda: [provider]))
    return Registry([*entry_points(group=GROUP), SimpleNamespace(name="vmm", dist=None, load=lambda: theirs)])


def run(provider: Any, image: Blob, **words: Any) -> Record:
    known = registry(provider)
    return run_plan(make_plan(known, lambda: image, Words(provider=provider.name, **words)), registry=known)


def reason(data: bytes) -> str:
    door = find_door(open_image(data, path="image"), "elf64", KINDS)
    assert door is not None
    return door.reason


def test_it_is_found_in_vmlinux_and_in_a_bzimage() -> None:
    for data in (probe_kernel(), build_kernel_elf(), build_elf(CODE, entry=0x100_0000)):
        door = find_door(open_image(data, path="image"), "elf64", KINDS)
        assert door is not None
        assert door.applies, door.reason
        assert door.where.startswith("physical 0x1")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (build_elf([(0x100_0000, 0x100_0000, b"\x90" * 64, 64)], entry=0x100_0000), "no Linux kernel"),
        (build_elf(CODE, entry=0x100_0000, wide=False, machine=3), "not one of 64 bits"),
        (build_elf(CODE, entry=0x100_0000, machine=183), "not one of 64 bits for x86-64"),
        (build_elf(CODE, entry=0x700_0000), "in none of its segments"),
        (build_bzimage(), ""),
    ],
)
def test_an_image_without_it_says_why(data: bytes, words: str) -> None:
    found = reason(data)
    assert found
    assert words in found


def room(size: int) -> Arena:
    return Arena((MemoryRange(0x10_0000, size, MemoryKind.RAM),))


def test_it_is_loaded_where_its_program_headers_say_and_nowhere_else() -> None:
    image = open_image(build_elf(CODE, entry=0x100_0010), path="image")
    plan = Elf64().load(image, room(0x200_0000), high=True)
    assert (plan.base, plan.size, plan.entry_point, plan.kernel_slide) == (0x100_0000, 0x2000, 0x100_0010, 0)
    with pytest.raises(ImageError, match="must lie at 0x1000000"):
        Elf64().load(image, room(0x8_0000), high=False)


def moment() -> Moment:
    """What kexec hands over at linux64 is right here, too, but for the address."""
    one = GOOD["linux64"]()
    return replace(one, loaded=replace(one.loaded, entry_point=one.cpu.registers.rip))


def check(one: Moment) -> tuple[Violation, ...]:
    return check_entry("elf64", one.cpu, one.memory, one.loaded, pieces=one.pieces, known=checkers(KINDS.values()))


def test_its_rules_are_those_of_the_64_bit_boot_protocol() -> None:
    assert check(moment()) == ()
    known = all_rules(checkers(KINDS.values()))
    mine = {name for name, (_, entries) in known.items() if "elf64" in entries}
    theirs = {name for name, (_, entries) in all_rules().items() if "linux64" in entries}
    assert theirs - mine == {"linux64/entry-point", "boot_params/alignment"}
    assert mine - theirs == {"elf64/entry-point"}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda one: with_registers(one, rip=one.cpu.registers.rip + 0x200), "elf64/entry-point"),
        (lambda one: with_mode(one, "protected32"), "linux64/mode"),
        (lambda one: with_segment(one, "cs", selector=8), "linux64/selectors"),
        (lambda one: with_registers(one, eflags=0x202), "linux64/interrupts"),
        (lambda one: with_registers(one, rsi=0x9_0000), "boot_params/header"),
    ],
)
def test_a_rule_that_is_broken_is_named(change: Any, rule: str) -> None:
    assert rule in {one.rule for one in check(change(moment()))}


def test_the_probe_kernel_is_told_what_was_produced() -> None:
    record = run(Vmm(), Blob.embedded("probe", probe_kernel()))
    assert record.outcome.met
    assert record.abi == []
    assert "boot_params.hdr.type_of_loader=0xff" in record.console
    assert [(one.name, one.insns) for one in record.milestones[:2]] == [("entry", 0), ("startup_64", 0)]
    assert record.boot_view is not None
    assert record.image.entries[-1] == "elf64"
    assert decode(encode(record)).image == record.image


def test_firecrackers_selector_is_said() -> None:
    record = run(Firecracker(), Blob.embedded("probe", probe_kernel()), until="entry")
    assert record.abi is not None
    assert {one.rule for one in record.abi} == {"linux64/gdt", "linux64/selectors"}


def test_an_entry_of_a_plugin_is_native() -> None:
    class Behind(Vmm):
        entries = (Entry("elf64", "", through_shim=True),)

    with pytest.raises(ProviderError, match="it is a native entry"):
        run(Behind(), Blob.embedded("probe", probe_kernel()))


@pytest.mark.kernel
def test_a_stock_kernel_goes_to_power_off(cloud_kernel: Path) -> None:
    record = run(Vmm(), Blob.from_file(cloud_kernel), no_observers=True)
    assert record.outcome.met
    assert [one.name for one in record.milestones] == ["entry", "startup_64", "start_kernel", "init", "userspace", "shutdown"]
    assert record.milestones[2].insns < 100_000_000  # nothing is decompressed
    assert "compressed" not in traits(record).words
