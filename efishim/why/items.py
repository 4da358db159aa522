"""The difference of state between two machines at the meeting point, as named items that together are all of it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from efishim.errors import RouteError
from efishim.machine.env import Env
from efishim.machine.memory import PAGE, Region
from efishim.why import naming
from efishim.why.objects import Graph, plain
from efishim.why.pieces import Item, Piece, Place, Value
from efishim.why.side import Side
from efishim.wire.bootparams import BootParams

CHUNK = 1 << 16
WORD = 8
FIRMWARE, RESOURCES = "EFI firmware", "resources"
HOOKS = ("on_fetch_fault", "on_exception", "halt_ends", "_on_trap")
"""Attributes of the machine by which firmware of the host is called. They belong to EFI or to the BIOS, as what that remembers
does."""
BIOS = "device BIOS"
"""What a BIOS of the host's remembers, as the log of its calls."""
TIMERS = "device timers"
"""What is planned. A device that planned something else goes together with it."""
UNNAMED, KERNEL_IMAGE = "memory without a name", "kernel image"
WHERE = "boot_params: where they lie"
GROUPS = {
    "hdr.cmd_line_ptr": naming.COMMAND_LINE,
    "ext_cmd_line_ptr": naming.COMMAND_LINE,
    "hdr.ramdisk_image": naming.RAMDISK,
    "hdr.ramdisk_size": naming.RAMDISK,
    "ext_ramdisk_image": naming.RAMDISK,
    "ext_ramdisk_size": naming.RAMDISK,
    "hdr.setup_data": naming.SETUP_DATA,
    "e820_entries": "e820",
}
"""Fields that are taken over together with what they point to; the others are items of their own."""
_INDEX = re.compile(r"\[\d+\]")
GPRS = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
SEGMENTS = frozenset({"es", "cs", "ss", "ds", "fs", "gs"})
FLAGS = frozenset({"eflags", "cc_dst", "cc_src", "cc_src2", "cc_op", "df"})
DERIVED = frozenset({"hflags"})
"""What the engine works out from other parts (`Processor.sync`)."""


@dataclass
class _Draft:
    pieces: list[Piece] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    shown: list[tuple[str, str]] = field(default_factory=list)


class _Drafts:
    """Items while they are collected. Names that meet in one place become one item: neither can be taken over alone."""

    def __init__(self) -> None:
        self._by_name: dict[str, _Draft] = {}
        self._same: dict[str, str] = {}

    def _root(self, name: str) -> str:
        while name in self._same:
            name = self._same[name]
        return name

    def at(self, *names: str) -> _Draft:
        """The draft of this name, or of these, which are one from now on."""
        first, *others = dict.fromkeys(self._root(name) for name in names)
        for other in others:
            self._same[other] = first
            theirs = self._by_name.pop(other, _Draft())
            mine = self._by_name.setdefault(first, _Draft())
            mine.pieces += theirs.pieces
            mine.values += theirs.values
            mine.shown += theirs.shown
        return self._by_name.setdefault(first, _Draft())

    def items(self) -> list[Item]:
        """All, in the order of their names."""
        members: dict[str, list[str]] = {}
        for name in (*self._by_name, *self._same):
            members.setdefault(self._root(name), []).append(name)
        found = []
        for first, draft in self._by_name.items():
            name = " + ".join(sorted(dict.fromkeys(members[first])))
            shown = draft.shown[0] if len(draft.shown) == 1 else ("", "")
            found.append(Item(name, tuple(draft.pieces), tuple(draft.values), WHERE in members[first], shown))
        return sorted(found, key=lambda item: item.name)


def difference(one: Side, other: Side) -> list[Item]:
    """Every item in which the machines differ. Raises RouteError for machines that are not of one kind."""
    drafts = _Drafts()
    _memory(one, other, drafts)
    _boot_params(one, other, drafts)
    _processor(one, other, drafts)
    _objects(one, other, drafts)
    return drafts.items()


# Memory


def _regions(one: Side, other: Side) -> Iterator[tuple[Region, Region]]:
    mine, theirs = list(one.machine.memory), list(other.machine.memory)
    if [(r.start, r.size) for r in mine] != [(r.start, r.size) for r in theirs]:
        raise RouteError("the machines of these routes have their memory at different places", hint="give both one platform")
    return zip(mine, theirs, strict=True)


def differing(one: Side, other: Side) -> Iterator[tuple[int, int]]:
    """Start and end of the ranges of memory that differ, in words of eight bytes."""
    for mine, theirs in _regions(one, other):
        for at in range(0, mine.size, CHUNK):
            if mine.host[at : at + CHUNK] == theirs.host[at : at + CHUNK]:
                continue
            for page in range(at, min(at + CHUNK, mine.size), PAGE):
                a, b = mine.host[page : page + PAGE], theirs.host[page : page + PAGE]
                if a != b:
                    yield from _words(a, b, mine.start + page)


def _words(a: bytes, b: bytes, base: int) -> Iterator[tuple[int, int]]:
    start = -1
    for at in range(0, PAGE, WORD):
        same = a[at : at + WORD] == b[at : at + WORD]
        if same and start >= 0:
            yield base + start, base + at
            start = -1
        elif not same and start < 0:
            start = at
    if start >= 0:
        yield base + start, base + PAGE


class _Kernel:
    """Names places in the kernel's image by its variables."""

    def __init__(self, side: Side) -> None:
        facts, slide = side.names.facts, side.names.physical_slide or 0
        self._facts, self._slide, self._symbols = facts, slide, side.symbols
        self.start = facts.load_start + slide if facts is not None else 0
        self.end = facts.load_end + slide if facts is not None else 0
        self._ends = sorted({symbol.address for symbol in self._symbols or ()})

    def at(self, address: int) -> tuple[str, int]:
        """The variable there, and up to where it reaches at most."""
        facts = self._facts
        linked = facts.virtual_of(address - self._slide) if facts is not None else None
        if linked is None or facts is None:
            later = [s.physical + self._slide for s in facts.segments if s.physical + self._slide > address] if facts else []
            return f"{KERNEL_IMAGE}, between its segments", min(later, default=self.end)
        found = self._symbols.name_at(linked) if self._symbols is not None else None
        after = bisect_right(self._ends, linked)
        end = self._ends[after] - linked + address if after < len(self._ends) else self.end
        segment = next(s for s in facts.segments if s.virtual <= linked < s.virtual + s.memory_size)
        end = min(end, segment.physical + segment.memory_size + self._slide)
        return (f"kernel variable {found[0]}" if found is not None else f"{KERNEL_IMAGE}, no symbol"), end


def _memory(one: Side, other: Side, drafts: _Drafts) -> None:
    names, kernel = (naming.names_of(one), naming.names_of(other)), _Kernel(one)
    own = sorted({one.boot_params, other.boot_params})
    for start, stop in differing(one, other):
        at = start
        while at < stop:
            inside = [place for place in own if place <= at < place + BootParams.SIZE]
            found = [name.at(at) for name in names]
            end = min(stop, *(reach for _, reach in found))
            claims = [name for name, _ in found if name]
            if inside and len(own) == 1:
                at = inside[0] + BootParams.SIZE  # it is compared field by field
                continue
            if inside:
                claims, end = [WHERE], min(stop, inside[0] + BootParams.SIZE)
            else:
                end = min([end, *(place for place in own if place > at)])
                if kernel.start <= at < kernel.end:
                    name, reach = kernel.at(at)
                    claims, end = claims or [name], min(end, reach)
            if one.machine.memory.read(at, end - at) != other.machine.memory.read(at, end - at):
                drafts.at(*(claims or [UNNAMED])).pieces.append(Piece(Place.MEMORY, at, end - at))
            at = end


# boot_params


def _boot_params(one: Side, other: Side, drafts: _Drafts) -> None:
    places = one.boot_params, other.boot_params
    mine, theirs = (side.machine.memory.read(place, BootParams.SIZE) for side, place in zip((one, other), places, strict=True))
    leaves = sorted(BootParams.leaves(), key=lambda leaf: leaf.offset)
    at = 0
    for leaf in leaves:
        _field(drafts, "e820", at, leaf.offset - at, mine, theirs)
        _field(drafts, group_of(leaf.name), leaf.offset, leaf.size, mine, theirs, leaf.form == "number")
        at = leaf.offset + leaf.size
    _field(drafts, "e820", at, BootParams.SIZE - at, mine, theirs)


def group_of(field_name: str) -> str:
    """The item that a field of boot_params belongs to."""
    if field_name.startswith("efi_info."):
        return naming.EFI
    return GROUPS.get(field_name, "boot_params." + _INDEX.sub("", field_name).partition("]")[0])


def _field(drafts: _Drafts, name: str, at: int, size: int, mine: bytes, theirs: bytes, number: bool = False) -> None:
    a, b = mine[at : at + size], theirs[at : at + size]
    if a == b:
        return
    draft = drafts.at(name)
    draft.pieces.append(Piece(Place.BOOT_PARAMS, at, size))
    if number:
        draft.shown.append((hex(int.from_bytes(a, "little")), hex(int.from_bytes(b, "little"))))


# The processor


def _processor(one: Side, other: Side, drafts: _Drafts) -> None:
    a, b = one.machine.engine.processor.whole(), other.machine.engine.processor.whole()
    for name, at, size in _parts(len(a)):
        if a[at : at + size] == b[at : at + size]:
            continue
        draft = drafts.at(name)
        draft.pieces.append(Piece(Place.PROCESSOR, at, size))
        if size <= WORD and name.startswith("register"):
            draft.shown.append(
                (hex(int.from_bytes(a[at : at + size], "little")), hex(int.from_bytes(b[at : at + size], "little")))
            )


def _parts(size: int) -> Iterator[tuple[str, int, int]]:
    """Name, offset and size of what the processor consists of."""
    at = 0
    for name, *_ in Env._fields_:
        part = getattr(Env, name)
        if name == "regs":
            for number, register in enumerate(GPRS):
                yield WHERE if register == "rsi" else f"register {register}", part.offset + number * WORD, WORD
        elif name == "cr":
            yield from ((_control(number), part.offset + number * WORD, WORD) for number in range(part.size // WORD))
        elif name not in DERIVED:
            yield _named(name), part.offset, part.size
        at = part.offset + part.size
    yield from (("processor, the rest", start, min(WORD, size - start)) for start in range(at, size, WORD))


def _control(number: int) -> str:
    return naming.PAGE_TABLES if number == 3 else f"register cr{number}"


def _named(name: str) -> str:
    if name in SEGMENTS:
        return "segment registers"
    if name in FLAGS:
        return "register eflags"
    return {"gdt": naming.GDT, "idt": naming.IDT}.get(name, f"register {name}")


# Devices


def graph_of(side: Side) -> Graph:
    """Everything that devices remember."""
    machine = side.machine
    ends = {
        "machine": machine,
        "memory": machine.memory,
        "engine": machine.engine,
        "processor": machine.cpu,
        "time": machine.time,
        "clock": machine.clock,
        "ledger": machine.ledger,
        "watches": machine.watches,
        "console": side.console,
        "booted": side.booted,
        "work": machine.memory.work,
    }
    graph = Graph(ends)
    for bus in (machine.ports, machine.mmio):
        for one in bus.attachments:
            graph.add(one.name, one.device)
    graph.add("interrupt controllers", machine.interrupts)
    graph.add("MSRs", machine.msrs)
    graph.add("CPUID", machine.cpuid)
    graph.add("hypercalls", machine.hypercall)
    graph.add("timers", machine.clock.planned)
    graph.add(FIRMWARE, side.booted.shim)
    for hook in HOOKS:
        graph.add(hook, getattr(machine, hook))
    return graph


def _objects(one: Side, other: Side, drafts: _Drafts) -> None:
    if one.machine.time.tsc_offset != other.machine.time.tsc_offset:
        drafts.at("time stamp counter").values.append(Value((), "tsc_offset"))
    if one.booted.resources != other.booted.resources:
        drafts.at("what devices are called").values.append(Value((), RESOURCES))
    mine, theirs = graph_of(one), graph_of(other)
    if (one.booted.shim is None) != (other.booted.shim is None):
        drafts.at(naming.EFI).values.append(Value((), FIRMWARE))
    host = naming.EFI if one.booted.shim or other.booted.shim else BIOS
    whole = {hook for hook in HOOKS if len({_kind_of(graph.by_path.get((hook,))) for graph in (mine, theirs)}) > 1}
    for hook in HOOKS:
        if hook in whole or (mine.by_path.get((hook,)) is not None and mine.state((hook,)) != theirs.state((hook,))):
            drafts.at(host).values.append(Value((), hook))
    for path in {**dict.fromkeys(mine.by_path), **dict.fromkeys(theirs.by_path)}:
        if path not in mine.by_path or path not in theirs.by_path:
            continue  # it shows in the part of the object that has it
        a, b = mine.state(path), theirs.state(path)
        for part in _keys(a, b):
            if a.get(part) == b.get(part) or path[0] in whole:
                continue
            if path[0] in (FIRMWARE, *HOOKS):
                drafts.at(host).values.append(Value(path, part))
                continue
            objects = not plain(a.get(part)) or not plain(b.get(part)) or _refers(a.get(part)) or _refers(b.get(part))
            draft = drafts.at(f"device {path[0].partition(' #')[0]}", *([TIMERS] if objects else ()))
            draft.values.append(Value(path, part))
            draft.shown.append((f"{part}={a.get(part)}", f"{part}={b.get(part)}"))


def _kind_of(one: object) -> str:
    return getattr(one, "__qualname__", type(one).__qualname__)


def _refers(value: object) -> bool:
    """Is it what stands for another object?"""
    return isinstance(value, tuple) and value[:1] == ("->",)


def _keys(a: Iterable[str], b: Iterable[str]) -> list[str]:
    return list({**dict.fromkeys(a), **dict.fromkeys(b)})
