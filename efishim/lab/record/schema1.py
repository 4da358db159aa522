"""Converts records of schema 1, which had CPUID leaves and MSRs as objects with numeric keys, to schema 2.

It looks at nothing else and believes nothing: what does not look like schema 1 stays as it is, for the strict decoder to
refuse.
"""

from __future__ import annotations

from typing import Any

SCHEMA = 1
REGISTERS = ("eax", "ebx", "ecx", "edx")


def upgraded(document: Any) -> Any:
    """The document in the shape of schema 2. The one that is passed in is not used any more after it."""
    if not isinstance(document, dict):
        return document
    document["schema"] = SCHEMA + 1
    machine = document.get("machine")
    if isinstance(machine, dict):
        if isinstance(machine.get("cpuid"), dict):
            machine["cpuid"] = [_leaf(name, answer) for name, answer in sorted(machine["cpuid"].items(), key=_by_number)]
        if isinstance(machine.get("msrs"), dict):
            machine["msrs"] = [{"number": number, "value": value} for number, value in machine["msrs"].items()]
    return document


def _leaf(name: str, answer: Any) -> Any:
    """`leaf` or `leaf.subleaf` and its four registers with blanks between them."""
    values = answer.split(" ") if isinstance(answer, str) else []
    if len(values) != len(REGISTERS):
        return answer
    leaf, dot, subleaf = name.partition(".")
    return {"leaf": leaf, "subleaf": subleaf if dot else None, **dict(zip(REGISTERS, values, strict=True))}


def _by_number(item: tuple[str, Any]) -> tuple[bool, list[tuple[int, str]]]:
    """Those without subleaves first; by number, as hexadecimal numbers of one form have the order of length and text."""
    parts = item[0].split(".")
    return len(parts) > 1, [(len(part), part) for part in parts]
