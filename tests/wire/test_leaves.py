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
from efishim.wire.layout import WIDTHS, Layout

LIST = Path(__file__).with_name("leaves.txt")


def paragraph(name: str, layout: type[Layout], width: int) -> str:
    rows = [f"    {leaf.offset:#x} {leaf.size} {leaf.form} {leaf.name}" for leaf in layout.leaves(width)]
    return "\n".join([f"{name} {layout.sizeof(width):#x}", *rows])


def paragraphs() -> Iterator[str]:
    for module in sorted(each.name for each in pkgutil.iter_modules(efishim.wire.__path__)):
        here = f"efishim.wire.{module}"
        for name, found in vars(importlib.import_module(here)).items():
            if not (isinstance(found, type) and issubclass(found, Layout) and found.__module__ == here) or found is Layout:
                continue
            if hasattr(found, "SIZE"):
                yield paragraph(f"{module}.{name}", found, 8)
            else:
                yield from (paragraph(f"{module}.{name}/{width}", found, width) for width in WIDTHS)


def test_every_structure_has_the_leaves_of_the_list() -> None:
    found = list(paragraphs())
    assert len(found) == len({text.split("\n")[0] for text in found}) > 100
    assert set(found) == set(LIST.read_text(encoding="utf-8").rstrip("\n").split("\n\n"))
