"""The shim reads guest memory: one byte of the native structure is changed between `produce` and the entry, and the kernel
sees it. For every provider whose structure feeds the shim.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from efishim.lab.record import Milestone, Record
from efishim.plugins import load_plugins
from efishim.provider import Arena, BootRequest, GuestMemory, Handover, MachineFirmware, MemoryKind, Provider, machine_firmware
from efishim.testing import run
from tests.support import probe_report
from tests.support.probe_report import ProbeReport

FEEDING = [
    provider.name
    for provider in load_plugins().providers.values()
    if any(entry.name == "efi" for entry in provider.entries)
    and machine_firmware(provider, "efi", {}) is not MachineFirmware.EFI
]
MARK, CHANGED = b"marker=changeme", b"marker=changemE"
MIB = 1 << 20
STRUCTURE_SIZE = 56
"""Of hvm_start_info, version 1."""

Change = Callable[[BootRequest, GuestMemory, Arena, int], None]
"""The last is the address of the structure."""


def find(memory: GuestMemory, arena: Arena, pattern: bytes) -> list[int]:
    """Addresses of a pattern in what the provider put into memory. Large pieces are modules and no structure."""
    found = []
    for start, size in arena.used:
        if size < MIB:
            raw = memory.read(start, size)
            found += [start + match.start() for match in re.finditer(re.escape(pattern), raw)]
    return sorted(set(found))


def change_command_line(request: BootRequest, memory: GuestMemory, arena: Arena, structure: int) -> None:
    """Its last letter."""
    places = find(memory, arena, MARK)
    assert places, "the structure has no command line"
    for at in places:
        memory.write(at + len(MARK) - 1, b"E")


def change_memory_map(request: BootRequest, memory: GuestMemory, arena: Arena, structure: int) -> None:
    """The largest range of RAM ends 1 MiB earlier: one byte of its 64-bit size."""
    ram = [piece for piece in request.facts.memory_map if piece.kind is MemoryKind.RAM]
    largest = max(ram, key=lambda piece: piece.size)
    pattern = struct.pack("<QQ", largest.start, largest.size)
    places = find(memory, arena, pattern)
    assert len(places) == 1, "the memory map is there once"
    third = (largest.size >> 16) & 0xFF
    assert third >= 0x10
    memory.write(places[0] + 8 + 2, bytes([third - 0x10]))


def change_rsdp(request: BootRequest, memory: GuestMemory, arena: Arena, structure: int) -> None:
    """The pointer leads to a copy of the RSDP, 0x800 bytes on."""
    address = request.facts.rsdp
    assert address is not None
    assert not address & 0x800
    assert not any(memory.read(address + 0x800, 36))
    memory.write(address + 0x800, memory.read(address, 36))
    places = [at for at in find(memory, arena, struct.pack("<Q", address)) if structure <= at < structure + STRUCTURE_SIZE]
    assert len(places) == 1, "the memory map may have the address too, the structure has it once"
    memory.write(places[0] + 1, bytes([(address >> 8 | 8) & 0xFF]))


def changed(monkeypatch: pytest.MonkeyPatch, name: str, change: Change, image: Path | None = None, **words: object) -> Record:
    """A run in which somebody has his fingers in guest memory behind `produce`."""
    registry = load_plugins()
    own = type(vars(registry.provider(name))["_inner"])  # behind what guards plugins
    produce = own.produce
    made: list[int] = []

    def and_then(self: Provider, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        handover: Handover = produce(self, request, memory, arena)
        assert handover.address is not None
        change(request, memory, arena, handover.address)
        made.append(1)
        return handover

    monkeypatch.setattr(own, "produce", and_then)
    record = run(image, registry=registry, provider=name, entry="efi", cmdline=f"console=ttyS0 {MARK.decode()}", **words)
    assert made == [1]
    return record


def report(record: Record) -> ProbeReport:
    return probe_report.parse(record.console.replace("\r", ""))


@cache
def untouched(name: str) -> ProbeReport:
    """The same without fingers; to be asked for before somebody has them in."""
    return report(run(provider=name, entry="efi", cmdline=f"console=ttyS0 {MARK.decode()}"))


def rows(told: ProbeReport) -> int:
    """Bytes in the EFI memory map."""
    return sum(int(row["pages"], 16) << 12 for row in told.rows("efi.memory_map"))


def test_there_are_providers_whose_structure_feeds_the_shim() -> None:
    assert {"grub", "hvmlite", "multiboot", "multiboot2"} <= set(FEEDING)


@pytest.mark.slow
@pytest.mark.parametrize("name", FEEDING)
def test_a_byte_of_the_command_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert untouched(name).fields["efi.loaded_image.load_options"].endswith(MARK.decode())
    told = report(changed(monkeypatch, name, change_command_line))
    assert told.fields["efi.loaded_image.load_options"].endswith(CHANGED.decode())


@pytest.mark.slow
@pytest.mark.parametrize("name", FEEDING)
def test_a_byte_of_the_memory_map(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows(untouched(name))
    assert before - rows(report(changed(monkeypatch, name, change_memory_map))) == MIB


ACPI = "8868e871-e4f1-11d3-bc22-0080c73c8881"
WITH_POINTER = ["hvmlite"]
"""The others have no pointer to the RSDP: grub leaves it 0, Multiboot has no field, Multiboot2 has a copy of the table."""


@pytest.mark.slow
@pytest.mark.parametrize("name", WITH_POINTER)
def test_a_byte_of_the_pointer_to_acpi(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def table(told: ProbeReport) -> int:
        return next(int(row["table"], 16) for row in told.rows("efi.config") if row["guid"] == ACPI)

    before = table(untouched(name))
    assert table(report(changed(monkeypatch, name, change_rsdp))) == before + 0x800


@pytest.mark.kernel
@pytest.mark.parametrize("name", FEEDING)
def test_linux_sees_the_byte_too(name: str, monkeypatch: pytest.MonkeyPatch, cloud_kernel: Path) -> None:
    record = changed(monkeypatch, name, change_command_line, cloud_kernel, until=Milestone.INIT)
    line = next(line for line in record.console.splitlines() if "Kernel command line: " in line)
    assert line.rstrip().endswith(CHANGED.decode())
