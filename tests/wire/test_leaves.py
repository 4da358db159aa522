"""Every structure of wire/ against a committed list of its fields.

`leaves.txt` has a paragraph for each structure: its name and size, then one line per leaf with offset, size, form and
full name. A structure of UEFI has two, `/4` and `/8` for the two widths of a pointer. A change of the list is a change of
what records, observers and producers call a byte.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import efishim.wire
from efishim.wire.layout import Layout, Leaf
from efishim.wire.uefi import GUID, PTR, Shape

LIST = Path(__file__).with_name("leaves.txt")
SIZES = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, GUID: 16}


def paragraph(name: str, size: int, leaves: tuple[Leaf, ...]) -> str:
    rows = [f"    {leaf.offset:#x} {leaf.size} {leaf.form} {leaf.name}" for leaf in leaves]
    return "\n".join([f"{name} {size:#x}", *rows])


def of_shape(shape: Shape, width: int) -> tuple[Leaf, ...]:
    sizes = {**SIZES, PTR: width}
    return tuple(
        Leaf(name, shape.offset(name, width), sizes[kind], "bytes" if kind == GUID else "number") for name, kind in shape.fields
    )


def paragraphs() -> Iterator[str]:
    for module in sorted(each.name for each in pkgutil.iter_modules(efishim.wire.__path__)):
        here = f"efishim.wire.{module}"
        for name, found in vars(importlib.import_module(here)).items():
            if isinstance(found, Shape):
                title = "".join(word.capitalize() for word in name.split("_"))
                for width in (4, 8):
                    yield paragraph(f"{module}.{title}/{width}", found.size(width), of_shape(found, width))
            elif isinstance(found, type) and issubclass(found, Layout) and found.__module__ == here and found is not Layout:
                yield paragraph(f"{module}.{name}", found.SIZE, found.leaves())


def test_every_structure_has_the_leaves_of_the_list() -> None:
    found = list(paragraphs())
    assert len(found) == len({text.split("\n")[0] for text in found}) > 100
    assert set(found) == set(LIST.read_text(encoding="utf-8").rstrip("\n").split("\n\n"))
