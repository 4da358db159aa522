"""Takes items over from one machine to another one, and proves that with all of them the state is the other's."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from efishim.why.items import FIRMWARE, HOOKS, RESOURCES, differing, graph_of
from efishim.why.objects import Mirror
from efishim.why.pieces import Item, Piece, Place, Value
from efishim.why.side import Side, Start, begin
from efishim.wire.bootparams import BootParams


def take(recipient: Side, donor: Side, items: Collection[Item], start: Start) -> None:
    """Change the recipient so that it has these items of the donor's. It stands at the meeting point, and still does after.

    Raises Untransferable for a device's state that has another shape on the other side.
    """
    mine, theirs = recipient.machine, donor.machine
    here, there = recipient.boot_params, donor.boot_params
    content = bytearray(mine.memory.read(here, BootParams.SIZE))
    other = theirs.memory.read(there, BootParams.SIZE)
    state = theirs.engine.processor.whole()
    moved = any(item.moves for item in items)
    for piece in _pieces(items, Place.BOOT_PARAMS):
        content[piece.start : piece.start + piece.size] = other[piece.start : piece.start + piece.size]
    for piece in _pieces(items, Place.MEMORY):
        mine.memory.write(piece.start, theirs.memory.read(piece.start, piece.size))
    mine.memory.write(there if moved else here, content)
    for piece in _pieces(items, Place.PROCESSOR):
        mine.engine.processor.put_whole(piece.start, state[piece.start : piece.start + piece.size])
    _values(recipient, donor, [value for item in items for value in item.values])
    begin(recipient, start)


def _pieces(items: Iterable[Item], place: Place) -> list[Piece]:
    return [piece for item in items for piece in item.pieces if piece.place is place]


def _values(recipient: Side, donor: Side, values: list[Value]) -> None:
    if not values:
        return
    mine, theirs = graph_of(recipient), graph_of(donor)
    mirror = Mirror(theirs, mine)
    for value in values:
        if not value.path:
            _whole(recipient, donor, mirror, value.part)
            continue
        target, source = mine.by_path.get(value.path), theirs.by_path.get(value.path)
        if target is None or source is None:
            continue  # it comes, or goes, with the object that has it
        mirror.put(target, source, value.part)
    recipient.machine.clock.planned_anew()


def _whole(recipient: Side, donor: Side, mirror: Mirror, part: str) -> None:
    """What hangs on the machine itself."""
    if part == FIRMWARE:
        recipient.booted.shim = mirror.of(donor.booted.shim)
    elif part == RESOURCES:
        recipient.booted.resources = donor.booted.resources
    elif part in HOOKS:
        setattr(recipient.machine, part, mirror.of(getattr(donor.machine, part)))
    else:
        recipient.machine.time.tsc_offset = donor.machine.time.tsc_offset


def left_over(one: Side, other: Side) -> list[str]:
    """What two machines at the meeting point still differ in: nothing, after all items were taken over."""
    found = [f"memory at {start:#x}" for start, _ in differing(one, other)]
    a, b = one.machine.engine.processor.whole(), other.machine.engine.processor.whole()
    found += [f"processor at {at:#x}" for at in range(0, len(a), 8) if a[at : at + 8] != b[at : at + 8]]
    mine, theirs = graph_of(one), graph_of(other)
    found += [".".join(path) for path in mine.by_path if path not in theirs.by_path or mine.state(path) != theirs.state(path)]
    if one.machine.now() != other.machine.now() or one.machine.insns != other.machine.insns:
        found.append("the clock")
    return found
