"""The self-test image: its list of cases, and the log that each case writes to memory."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from efishim.errors import MachineError
from efishim.machine.memory import PhysicalMemory

IMAGE = 0x100000
_DIRECTORY = struct.Struct("<5I")
_CASE = struct.Struct("<7I")
_RECORD = struct.Struct("<3Q")
MAGIC = 0x74736665
ALIGNMENT = 64
NOT_OFFERED = 0xFFFFFFFF
LOG_LIMIT = 0x10000


class Ending(IntEnum):
    """How a case has to end."""

    COMES_BACK = 0
    TRIPLE_FAULT = 1


@dataclass(frozen=True)
class Case:
    """One guest program. `checks` is the number of comparisons it makes, `law` where the manuals say what is wanted,
    `source` the file in efishim_firmware_stubs/machine/ that it stands in."""

    number: int
    label: str
    mode: int
    ending: Ending
    checks: int
    law: str
    source: str


@dataclass(frozen=True)
class Check:
    """One comparison that a guest made.

    Line 0: an unexpected exception; `got` is then its vector and, in the upper half, its error code, and `wanted`
    the pushed instruction pointer. Line NOT_OFFERED: the case needs what CPUID does not offer, and made no comparison.
    """

    line: int
    got: int
    wanted: int

    @property
    def ok(self) -> bool:
        """Did they agree?"""
        return self.line not in (0, NOT_OFFERED) and self.got == self.wanted


def _text(image: bytes, address: int) -> str:
    start = address - IMAGE
    return image[start : image.index(0, start)].decode("ascii")


def _directory(image: bytes) -> tuple[int, int, int, int]:
    magic, cases, count, log, logged = _DIRECTORY.unpack_from(image, ALIGNMENT)
    if magic != MAGIC:
        raise MachineError("the self-test's image has no directory", hint="install efishim again")
    return cases, count, log, logged


def read_cases(image: bytes) -> list[Case]:
    """Every case of the image in its order."""
    first, count, _, _ = _directory(image)
    cases = []
    for number in range(count):
        _, mode, ending, checks, name, law, source = _CASE.unpack_from(image, first - IMAGE + number * _CASE.size)
        cases.append(Case(number, _text(image, name), mode, Ending(ending), checks, _text(image, law), _text(image, source)))
    return cases


def read_log(image: bytes, memory: PhysicalMemory) -> list[Check]:
    """What the case that ran has written."""
    _, _, log, logged = _directory(image)
    raw = memory.read(log, min(memory.u32(logged), LOG_LIMIT) // _RECORD.size * _RECORD.size)
    return [Check(*record) for record in _RECORD.iter_unpack(raw)]
