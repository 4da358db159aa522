"""One kernel on two ways, from a program. docs/library.md shows this file; without an argument, the probe kernel is used."""

from __future__ import annotations

import sys

import efishim


def main(kernel: str | None) -> None:
    record = efishim.run(kernel, route="hvmlite/efi")
    print(record.outcome.met, record.outcome.reached)
    for point in record.milestones:
        print(f"{point.insns:>14,}  {point.name}")
    print([violation.rule for violation in record.abi or []])

    native = efishim.run(kernel, route="hvmlite/pvh")
    comparison = efishim.diff(record, native)
    print(len(comparison.pairs), "pair")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
