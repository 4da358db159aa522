"""The hostile programs of efishim_firmware_stubs/hostile, run one at a time in this process."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache

import efishim_firmware_stubs

from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Record
from efishim.lab.run import run_plan
from efishim.plugins import load_plugins
from tests.support.images import SectionSpec, build_pe

ENTRY = struct.Struct("<24sQ")
RVA = 0x1000
SECTION_SIZE = 0x200000
MEMORY = 64 << 20
REGISTRY = load_plugins()


def _entries(code: bytes) -> Iterator[tuple[str, int]]:
    for name, offset in ENTRY.iter_unpack(code[: len(code) // ENTRY.size * ENTRY.size]):
        if not name.rstrip(b"\0"):
            return
        yield name.rstrip(b"\0").decode(), offset


@lru_cache
def programs() -> dict[str, int]:
    """Where each program lies in the file."""
    return dict(_entries(efishim_firmware_stubs.load("hostile/programs.bin")))


def image_of(code: bytes, entry: int = 0) -> bytes:
    """An EFI application of one section that may be read, written and executed."""
    section = SectionSpec(b".text", RVA, code, SECTION_SIZE, 0xE0000020)
    return build_pe([section], entry=RVA + entry, size_of_image=RVA + SECTION_SIZE)


def run_image(image: bytes, *, max_insns: int = 2_000_000_000, timeout: float = 600) -> Record:
    """Through the firmware's EFI entry, on 64 MiB."""
    plan = Plan(
        image=Blob.embedded("hostile", image),
        provider="firmware",
        entry="efi",
        platform="pc",
        memory=MEMORY,
        max_insns=max_insns,
        timeout=timeout,
    )
    return run_plan(plan, registry=REGISTRY)


def run_program(name: str, **limits: float) -> Record:
    """One program by its name."""
    code = efishim_firmware_stubs.load("hostile/programs.bin")
    return run_image(image_of(code, programs()[name]), **limits)  # type: ignore[arg-type]
