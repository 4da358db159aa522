"""What a provider writes, and where: without an emulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations

from efishim.errors import EfishimError
from efishim.lab.abi import interface as rules
from efishim.lab.abi.image import INTACT
from efishim.lab.abi.ranges import Range, holds, named, overlap
from efishim.plugin_guard import PluginError
from efishim.provider import Entry, Handover, Violation
from efishim.testing.stage import OutOfWork, Stage, Wish, pieces_of, ram_of, set_stage
from efishim.testing.subject import Subject, finding

Check = Callable[[Stage, Handover], Iterator[Violation]]


def produced(subject: Subject, entry: Entry, check: Check, wish: Wish | None = None) -> Iterator[Violation]:
    """What a check finds of a plain request, or why there is nothing to look at."""
    try:
        stage = set_stage(subject, entry, wish)
        handover = stage.produce()
        yield from check(stage, handover)
    except OutOfWork as error:
        yield finding(rules.WORK, str(error))
    except PluginError as error:
        yield _failed(error)
    except IndexError as error:
        yield finding(rules.IN_RAM, str(error))
    except EfishimError as error:
        if wish is None:  # what is unusual may be refused
            yield finding(rules.PRODUCES, error.sentence)


def _failed(error: PluginError) -> Violation:
    """A plugin's exception; those of guest memory say something else."""
    if isinstance(error.__cause__, OutOfWork):
        return finding(rules.WORK, str(error.__cause__))
    if isinstance(error.__cause__, IndexError) and "no memory" in str(error.__cause__):
        return finding(rules.IN_RAM, str(error.__cause__))
    return finding(rules.TYPES, error.sentence)


def determinism(subject: Subject, entry: Entry) -> Iterator[Violation]:
    """Twice the same."""

    def twice(stage: Stage, handover: Handover) -> Iterator[Violation]:
        again = set_stage(subject, entry)
        second = again.produce()
        if handover != second:
            yield finding(rules.SAME, f"once it is {handover} and once {second}")
        before, after = stage.memory.contents(), again.memory.contents()
        for page in sorted(before.keys() | after.keys()):
            if before.get(page) != after.get(page):
                yield finding(rules.SAME, f"in the page at {page:#x} there are other bytes")
                return

    yield from produced(subject, entry, twice)


def places(subject: Subject, entry: Entry) -> Iterator[Violation]:
    """Pieces in RAM and apart, image and modules as they were."""

    def look(stage: Stage, handover: Handover) -> Iterator[Violation]:
        ram = ram_of(stage.request.facts)
        pieces = pieces_of(stage, stage.memory, handover)
        for name, one in pieces.items():
            if not holds(ram, one):
                yield finding(rules.IN_RAM, f"{name} at {named(one)} does not")
        yield from _apart(stage, pieces)
        yield from _intact(stage)

    yield from produced(subject, entry, look)


def _apart(stage: Stage, pieces: dict[str, Range]) -> Iterator[Violation]:
    """What is inside another is a part of it, as e820_table is of boot_params."""
    loaded = stage.request.loaded
    others = {
        f"the image's part {number}": (piece.address, piece.address + piece.size)
        for number, piece in enumerate(stage.pieces)
        if loaded is None or piece.address != loaded.setup
    }
    others |= {f"module {n}": (one.start, one.start + one.size) for n, one in enumerate(stage.request.modules)}
    for (name, one), (other, two) in [
        *(pair for pair in combinations(pieces.items(), 2)),
        *((piece, other) for piece in pieces.items() for other in others.items()),
    ]:
        inside = other not in others and (_inside(one, two) or _inside(two, one))
        if overlap(one, two) and not inside:
            yield finding(rules.PIECES, f"{name} at {named(one)} and {other} at {named(two)} overlap")


def _inside(one: Range, two: Range) -> bool:
    return two[0] <= one[0] and one[1] <= two[1] and one != two


def _intact(stage: Stage) -> Iterator[Violation]:
    loaded = stage.request.loaded
    for piece in stage.pieces:
        if loaded is not None and piece.address == loaded.setup:
            continue  # its header is there to be filled
        if stage.memory.read(piece.address, len(piece.data)) != bytes(piece.data):
            yield finding(INTACT, f"the part at {named((piece.address, piece.address + piece.size))} is not")
    for number, (module, there) in enumerate(zip(stage.request.modules, stage.contents, strict=True)):
        if stage.memory.read(module.start, module.size) != there:
            yield finding(rules.MODULES_INTACT, f"module {number} at {module.start:#x} is not")
