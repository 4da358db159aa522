"""Checks a provider against the requirements of the interface."""

from __future__ import annotations

import random
from collections.abc import Iterator

from efishim.errors import ProviderError
from efishim.provider import Arena, BootInformation, BootRequest, Handover, Loaded, MachineFacts, MemoryKind, Module, Provider
from efishim.testing.checks_description import described
from efishim.testing.memory import MIB, Ram, facts

COMMAND_LINE = b"console=ttyS0 quiet"
MODULES = (Module(32 * MIB, 0x1234), Module(33 * MIB, 0x10, b"second"))
SETUP = 0x9_0000
"""Where the real-mode part of a Linux kernel would be, for providers that patch it."""
LOADED = Loaded(16 * MIB, MIB, 16 * MIB, SETUP)
DAMAGES = 300
"""How many damaged copies of a structure `read_back` is shown."""


def check_provider(provider: Provider, image: bytes = b"", machine: MachineFacts | None = None) -> list[str]:
    """What is wrong with a provider, a sentence each; empty is good. `image` is a file that it can boot, `machine` the one
    that it describes, of 64 MiB. `efishim.testing.ProviderSuite` checks more, and names rules.

    It checks that the provider describes itself, writes the same bytes for the same request, reads back what it wrote,
    explains what is missing, answers damaged structures with ProviderError and nothing else, and keeps native entries
    and those behind the shim apart.
    """
    return [*described(provider), *_behaviour(provider, image, machine or facts()), *_entries(provider)]


def _request(image: bytes, machine: MachineFacts) -> BootRequest:
    return BootRequest(machine, COMMAND_LINE, MODULES, image, LOADED, {})


def _produce(provider: Provider, image: bytes, machine: MachineFacts) -> tuple[Ram, Handover]:
    memory, request = Ram(), _request(image, machine)
    arena = Arena(request.facts.memory_map)
    for module in MODULES:
        arena.take(module.start, module.size)
    arena.take(LOADED.base, LOADED.size)
    return memory, provider.produce(request, memory, arena)


def _behaviour(provider: Provider, image: bytes, machine: MachineFacts) -> Iterator[str]:
    memory, handover = _produce(provider, image, machine)
    again, second = _produce(provider, image, machine)
    if memory.contents() != again.contents() or handover != second:
        yield "the same request gave different bytes"
    if handover.address is None:
        return
    ram = [one for one in machine.memory_map if one.kind is MemoryKind.RAM]
    if not any(one.start <= handover.address < one.end for one in ram):
        yield f"the structure at {handover.address:#x} does not lie in RAM"
    yield from _told(provider.read_back(memory, handover), machine)
    yield from _damage(provider, memory, handover)


def _told(told: BootInformation, machine: MachineFacts) -> Iterator[str]:
    """What came back is what went in, or its absence is explained."""
    explained = {one.field for one in told.provenance}
    size = sum(one.size for one in machine.memory_map if one.kind is MemoryKind.RAM)
    told_size = sum(one.size for one in told.memory_map if one.kind is MemoryKind.RAM)
    for field, same in (
        ("command_line", told.command_line == COMMAND_LINE),
        ("modules", [(m.start, m.size) for m in told.modules] == [(m.start, m.size) for m in MODULES]),
        ("rsdp", told.rsdp == machine.rsdp),
        ("smbios", told.smbios == machine.smbios),
        ("memory_map", told_size == size),
    ):
        if not same and field not in explained:
            yield f"{field} does not come back as it was given, and no provenance says why"
    if told_size > size:
        yield "it tells of more RAM than there is"


def _damage(provider: Provider, memory: Ram, handover: Handover) -> Iterator[str]:
    """A structure in guest memory is whatever the guest or a bug made of it."""
    rng = random.Random(0)
    places = memory.written()
    for _ in range(DAMAGES if places else 0):
        damaged = Ram(memory.size)
        for address, page in memory.contents().items():
            damaged.write(address, page)
        damaged.write(rng.choice(places), bytes([rng.randrange(256)]))
        try:
            provider.read_back(damaged, handover)
        except (ProviderError, IndexError):
            continue  # IndexError is the memory's own: an address that leads outside
        except Exception as error:  # noqa: BLE001 any other exception is the finding
            yield f"a damaged structure raised {type(error).__name__}: {error}"
            return


def _entries(provider: Provider) -> Iterator[str]:
    handover = Handover(0x1000)
    for entry in provider.entries:
        try:
            provider.cpu_state(entry.name, LOADED, handover)
            native = True
        except ProviderError:
            native = False
        if native == entry.through_shim:
            yield f"the entry {entry.name!r} is {'native and' if native else 'not native but not'} behind the shim"
