"""A provider at an entry of an image, without an emulator: image and modules are in memory, and the structure is produced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from efishim.image.entries import Entry as ImageEntry
from efishim.image.loading import Piece, plan_load
from efishim.lab.boot.native_entry import TOP_OF_MODULES
from efishim.provider import (
    PAGE,
    Arena,
    BootRequest,
    Entry,
    GuestMemory,
    Handover,
    Loaded,
    MachineFacts,
    MemoryKind,
    Module,
    module_alignment,
    native_structures,
)
from efishim.testing.memory import Ram
from efishim.testing.subject import Subject, opened

COMMAND_LINE = b"console=ttyS0 quiet"
MODULE_SIZES = (0x1234, 0x10)
ACCESSES, BYTES = 200_000, 64 << 20
"""What a provider may do with guest memory for one structure. The largest that ship take a hundredth of that."""


class OutOfWork(Exception):
    """A provider accessed guest memory without end."""


class CountedRam(Ram):
    """Guest memory that counts, so that a loop without end ends after the same work on every host."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.accesses, self.bytes = ACCESSES, BYTES

    def _check(self, address: int, size: int) -> None:
        self.accesses -= 1
        self.bytes -= size
        if min(self.accesses, self.bytes) < 0:
            raise OutOfWork(f"after {ACCESSES} accesses or {BYTES >> 20} MiB of guest memory it goes on")
        super()._check(address, size)

    def copy(self) -> CountedRam:
        """The same bytes, and all the work left."""
        same = CountedRam(self.size)
        same._pages = {page: bytearray(held) for page, held in self._pages.items()}
        return same


@dataclass(frozen=True)
class Wish:
    """What varies between requests."""

    command_line: bytes = COMMAND_LINE
    modules: tuple[int, ...] = MODULE_SIZES
    """Their sizes, bytes."""
    options: Mapping[str, str] = field(default_factory=dict)
    machine: MachineFacts | None = None


@dataclass(frozen=True)
class Stage:
    """Everything but the provider's part."""

    subject: Subject
    entry: Entry
    request: BootRequest
    memory: CountedRam
    arena: Arena
    pieces: tuple[Piece, ...]
    contents: tuple[bytes, ...]
    """Of the modules."""

    def produce(self) -> Handover:
        """Let the provider write. Raises what it raises, EfishimError and OutOfWork."""
        return self.subject.guarded.produce(self.request, self.memory, self.arena)


def content(size: int, number: int) -> bytes:
    """Bytes of a module: no two are alike."""
    return (bytes(range(number + 1, 251)) * (size // 250 + 2))[:size]


def set_stage(subject: Subject, entry: Entry, wish: Wish | None = None) -> Stage:
    """Image and modules in memory, as `efishim run` puts them. Raises ImageError and ProviderError when there is no room."""
    wish = wish or Wish()
    facts = wish.machine or subject.machine
    memory = CountedRam(max(one.end for one in facts.memory_map))
    arena = Arena(facts.memory_map)
    loaded, pieces = None, tuple[Piece, ...]()
    if not entry.through_shim or entry.name == ImageEntry.EFI_HANDOVER:
        image, kind = opened(subject.image), subject.kinds.get(entry.name)
        if kind is None:
            plan = plan_load(image, ImageEntry(entry.name), arena, high=entry.high)
        else:
            plan = kind.load(image, arena, high=entry.high)
        loaded, pieces = Loaded(plan.base, plan.size, plan.entry_point, plan.setup, plan.efi_entry), plan.pieces
        for piece in pieces:
            memory.write(piece.address, piece.data)
    step, modules, contents = module_alignment(subject.guarded), list[Module](), list[bytes]()
    end = 0
    starts = []
    for size in wish.modules:
        starts.append(-(-end // step) * step)
        end = starts[-1] + size
    base = arena.place(end, align=PAGE, below=TOP_OF_MODULES, high=True, what="the modules") if end else 0
    for number, (start, size) in enumerate(zip(starts, wish.modules, strict=True)):
        contents.append(content(size, number))
        modules.append(Module(base + start, size))
        memory.write(base + start, contents[-1])
    options = {**subject.options, **wish.options}
    request = BootRequest(facts, wish.command_line, tuple(modules), subject.image, loaded, options, entry.name)
    return Stage(subject, entry, request, memory.copy(), arena, pieces, tuple(contents))


def pieces_of(stage: Stage, memory: GuestMemory, handover: Handover) -> dict[str, tuple[int, int]]:
    """The pieces of the native structure as [start, end) by name; at least what the handover points to."""
    found = {
        f"{one.name} ({number})" if number else one.name: (one.address, one.address + one.size)
        for number, one in enumerate(native_structures(stage.subject.guarded, memory, handover))
    }
    if not found and handover.address is not None:
        found["the structure"] = handover.address, handover.address + 1
    return found


def ram_of(facts: MachineFacts) -> list[tuple[int, int]]:
    """RAM as [start, end)."""
    return [(one.start, one.end) for one in facts.memory_map if one.kind is MemoryKind.RAM]
