"""Which functions of the kernel read each field of boot_params: a run of its own, in which the structure is watched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from efishim.lab.observe.milestones import Moment
from efishim.lab.observe.structure_watch import GIVEN, OWN, StructureWatch
from efishim.lab.record import Consumed
from efishim.why.behind import run_on
from efishim.why.pieces import Item, Place
from efishim.why.side import Side
from efishim.wire.bootparams import BootParams

Readers = Mapping[str, tuple[str, ...]]
"""Full names of fields, and who read them. A copy of the whole structure reads none."""


def readers(side: Side) -> dict[str, tuple[str, ...]]:
    """Let the machine go on from the meeting point, watched. It is the machine's last run."""
    watch = StructureWatch(side.machine, side.names)
    watch.at_startup()
    side.milestones.at(Moment.START_KERNEL, watch.at_start_kernel)
    side.milestones.at(Moment.INIT, watch.at_init)
    run_on(side)
    return fields_read(watch.result())


def fields_read(consumed: Consumed) -> dict[str, tuple[str, ...]]:
    """Of what was handed over, and of the copy that the kernel makes of it."""
    found: dict[str, dict[str, None]] = {}
    for structure in consumed.structures:
        if structure.structure in (GIVEN, OWN):
            for use in structure.fields:
                if use.reads:
                    found.setdefault(use.name, {}).update(dict.fromkeys(use.functions))
    return {name: tuple(functions) for name, functions in found.items()}


def readers_of(item: Item, sides: Sequence[Readers]) -> tuple[str, ...] | None:
    """Who read the fields that an item differs in, on either side; None for an item that is not a part of boot_params, and
    when no run was watched.
    """
    pieces = [(piece.start, piece.start + piece.size) for piece in item.pieces if piece.place is Place.BOOT_PARAMS]
    if not pieces or not sides:
        return None
    leaves = BootParams.leaves()
    names = {leaf.name for leaf in leaves for start, end in pieces if leaf.offset < end and start < leaf.offset + leaf.size}
    return tuple(dict.fromkeys(function for side in sides for name in sorted(names) for function in side.get(name, ())))
