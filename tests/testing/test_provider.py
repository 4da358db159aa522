"""The checker of providers finds what it is there to find: one good provider, and one for each way to be bad."""

from __future__ import annotations

import struct
from typing import Any

import efishim_firmware_stubs
import pytest
from efishim_firecracker.provider import Firecracker
from efishim_plugins.firmware.provider import Firmware

from efishim.errors import ProviderError
from efishim.provider import (
    Arena,
    BootInformation,
    BootRequest,
    CpuMode,
    CpuState,
    Entry,
    GuestMemory,
    Handover,
    Loaded,
    MachineFacts,
    MemoryKind,
    MemoryRange,
    Module,
    OptionHelp,
    Provenance,
    Specification,
)
from efishim.testing import Ram, check_provider, facts, run
from tests.support import cloud_hypervisor
from tests.support.cloud_hypervisor import CloudHypervisor


class Good:
    """A structure of a length and a command line; everything else is explained."""

    name = "good"
    summary = "good"
    structure = "good"
    specifications = (Specification("good", "https://example.org"),)
    limits = ("It is an example.",)
    entries = (Entry("efi", "", through_shim=True), Entry("pvh", "", through_shim=False))
    options: tuple[OptionHelp, ...] = ()

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        data = struct.pack("<4sI", b"good", len(request.command_line)) + request.command_line
        address = arena.place(len(data))
        memory.write(address, data)
        return Handover(address)

    def read_back(self, memory: GuestMemory, handover: Handover) -> BootInformation:
        assert handover.address is not None
        magic, length = struct.unpack("<4sI", memory.read(handover.address, 8))
        if magic != b"good" or length > 4096:
            raise ProviderError("no")
        text = memory.read(handover.address + 8, length)
        missing = ("memory_map", "modules", "rsdp", "smbios", "command_line")
        return BootInformation((), text, provenance=tuple(Provenance(one, "no field") for one in missing))

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        if entry == "efi":
            raise ProviderError("behind the shim")
        return CpuState(CpuMode.PROTECTED, loaded.entry_point, {}, {})


def test_a_good_provider_has_no_problems() -> None:
    assert check_provider(Good()) == []


def test_the_shipped_provider_has_none_either() -> None:
    assert check_provider(Firmware()) == []


FIRECRACKERS = MachineFacts(
    memory_map=(
        MemoryRange(0, 0x9_FC00, MemoryKind.RAM),
        MemoryRange(0x9_FC00, 0x6_0400, MemoryKind.RESERVED),
        MemoryRange(0x10_0000, 63 << 20, MemoryKind.RAM),
    ),
    rsdp=0xE_0000,
)


@pytest.mark.parametrize(
    ("provider", "machine"), [(Firecracker(), FIRECRACKERS), (CloudHypervisor(), cloud_hypervisor.MACHINE)]
)
def test_faithful_providers_have_none_on_their_own_machines(provider: Any, machine: MachineFacts) -> None:
    image = efishim_firmware_stubs.probe_kernel()
    assert check_provider(provider, image, machine) == []
    assert "it tells of more RAM than there is" in check_provider(provider, image)


def variant(**members: Any) -> Any:
    return type("Variant", (Good,), members)()


def told(**changes: Any) -> Any:
    """read_back that gives this, with no word about what is missing."""
    good = {
        "memory_map": facts().memory_map,
        "command_line": b"console=ttyS0 quiet",
        "rsdp": 0xE0000,
        "smbios": 0xF0000,
        "modules": (Module(32 << 20, 0x1234), Module(33 << 20, 0x10)),
    }
    everything: dict[str, Any] = good | changes
    return lambda self, memory, handover: BootInformation(**everything)


def raising(error: Exception) -> Any:
    """read_back that works until the structure is damaged."""

    def read_back(self: Any, memory: GuestMemory, handover: Handover) -> BootInformation:
        if memory.read(handover.address or 0, 4) != b"good":
            raise error
        return told()(self, memory, handover)  # type: ignore[no-any-return]

    return read_back


COUNTER = iter(range(1000))


@pytest.mark.parametrize(
    ("members", "word"),
    [
        ({"name": "Not good"}, "name"),
        ({"summary": "two\nlines"}, "summary"),
        ({"specifications": ()}, "specification"),
        ({"specifications": (Specification("x", "somewhere"),)}, "link"),
        ({"limits": ()}, "limits"),
        ({"entries": ()}, "no entry"),
        ({"entries": Good.entries[:1] * 2}, "twice"),
        ({"options": (OptionHelp("a b", ""),)}, "typed"),
        ({"entries": (Entry("pvh", "", through_shim=True),)}, "native"),
        ({"entries": (Entry("efi", "", through_shim=False),)}, "native"),
        ({"read_back": told(command_line=b"other")}, "command_line"),
        ({"read_back": told(modules=())}, "modules"),
        ({"read_back": told(rsdp=None)}, "rsdp"),
        ({"read_back": told(smbios=1)}, "smbios"),
        ({"read_back": told(memory_map=facts().memory_map[:1])}, "memory_map"),
        ({"read_back": told(memory_map=(MemoryRange(0, 1 << 40, MemoryKind.RAM),))}, "more RAM"),
        ({"read_back": raising(struct.error("x"))}, "raised error"),
        ({"produce": lambda self, request, memory, arena: Handover(0xA0000)}, "RAM"),
        ({"produce": lambda self, request, memory, arena: Handover(0x1000, next(COUNTER))}, "different bytes"),
    ],
)
def test_each_way_to_be_bad_is_found(members: dict[str, Any], word: str) -> None:
    members.setdefault("read_back", told())
    problems = check_provider(variant(**members))
    assert any(word in problem for problem in problems), problems


def test_damage_that_is_answered_as_it_should_is_no_problem() -> None:
    assert check_provider(variant(read_back=raising(ProviderError("no")))) == []


def test_memory_is_zero_until_written_and_ends_somewhere() -> None:
    memory = Ram(0x3000)
    memory.write(0xFFE, b"abcd")
    assert memory.read(0xFFC, 8) == b"\0\0abcd\0\0"
    assert memory.written() == [0xFFE, 0xFFF, 0x1000, 0x1001]
    for address, size in ((0x2FFF, 2), (-1, 1), (0x3000, 1), (0, -1)):
        with pytest.raises(IndexError):
            memory.read(address, size)


@pytest.mark.slow
def test_a_run_in_a_test() -> None:
    record = run(until="exit_boot_services", cmdline="a b")
    assert record.outcome.met
    assert record.options.cmdline == "a b"
    assert "load_options=a b" in record.console
