"""The options `--option machine.NAME=VALUE` of every run: the processor that all platforms have."""

from __future__ import annotations

from dataclasses import dataclass

from efishim.errors import UsageError
from efishim.machine.timekeeper import INSNS_PER_US
from efishim.provider import OptionHelp

MACHINE_GROUP = "machine"
SPEED = "insns_per_us"
SPEED_RANGE = (100, 100_000)

MACHINE_OPTIONS = (OptionHelp(SPEED, "instructions that the processor executes in a microsecond", str(INSNS_PER_US)),)


@dataclass(frozen=True, slots=True)
class MachineOptions:
    """The machine's options, read."""

    insns_per_us: int = INSNS_PER_US


def machine_options(texts: dict[str, str]) -> MachineOptions:
    """Options of the group `machine` (`Plan.option_group`). Raises UsageError for a value that an option does not take."""
    text = texts.get(SPEED, str(INSNS_PER_US)).strip()
    least, most = SPEED_RANGE
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise UsageError(f"machine.{SPEED} takes a number from {least} to {most}, not {text[:60]!r}")
    return MachineOptions(insns_per_us=int(text))
