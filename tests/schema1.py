"""Undoes the change from schema 1 to schema 2: records from before it can be compared with those of today byte for byte.

python -m tests.schema1 NEW.json            writes NEW.json to stdout as schema 1 had it
python -m tests.schema1 NEW.json OLD.json   says whether both are the same but for the host's time; 1 when they are not
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

REGISTERS = ("eax", "ebx", "ecx", "edx")
_ENCODER = msgspec.json.Encoder(order="sorted")


def undone(document: Any) -> Any:
    """A document of schema 2 as schema 1 had it: CPUID leaves and MSRs were objects with numbers for keys, and what led to
    blocks was not written down.
    """
    assert document["schema"] == 2
    machine = document["machine"]
    if machine is not None:
        machine = machine | {
            "cpuid": {_name(one): " ".join(one[register] for register in REGISTERS) for one in machine["cpuid"]},
            "msrs": {one["number"]: one["value"] for one in machine["msrs"]},
        }
    functions = [{key: one[key] for key in one if key != "after"} for one in document["coverage"]["functions"]]
    coverage = document["coverage"] | {"functions": functions}
    return document | {"schema": 1, "machine": machine, "coverage": coverage}


def _name(leaf: dict[str, Any]) -> str:
    return leaf["leaf"] if leaf["subleaf"] is None else f"{leaf['leaf']}.{leaf['subleaf']}"


def without_wall_clock(document: Any) -> Any:
    """With the host's time at zero."""
    return document | {
        "milestones": [point | {"seconds": 0.0} for point in document["milestones"]],
        "outcome": document["outcome"] | {"seconds": 0.0},
    }


def canonical(document: Any) -> bytes:
    """As the encoder writes it."""
    return msgspec.json.format(_ENCODER.encode(document), indent=2) + b"\n"


def main(new: str, old: str = "") -> int:
    """Gives an exit status."""
    document = undone(msgspec.json.decode(Path(new).read_bytes()))
    if not old:
        sys.stdout.buffer.write(canonical(document))
        return 0
    before = msgspec.json.decode(Path(old).read_bytes())
    same = canonical(without_wall_clock(document)) == canonical(without_wall_clock(before))
    print(f"{new}: {'the same' if same else 'another'} as {old}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
