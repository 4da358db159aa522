"""What the rules say about a fact, and what a rule says: for people who ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources

from efishim.compare.facts import Stage
from efishim.compare.rules import Rule, parse_rules

ORACLE = "oracle.toml"

WHERE: Mapping[str, str] = {
    Stage.MACHINE: "what the machine is, before anything runs",
    Stage.ENTRY: "what the image finds at its first instruction: the processor, the native structure, the modules",
    Stage.STARTUP_64: "what boot_params says and leads to, and the processor, when the kernel enters startup_64",
    Stage.START_KERNEL: "the kernel's own copy of its boot information when it enters start_kernel",
    Stage.KERNEL: "where the kernel proper lies",
    Stage.USERSPACE: "what the kernel shows to programs, as the reporting init prints it",
    "milestone": "a milestone that the run passed",
    "outcome": "how the run ended",
    "abi": "a rule of the entry's specification that the handover violated",
    "call": "a firmware service that was called, with the names among its arguments and its status",
    "hardware": "something of the machine that was touched: its group, and what it was",
    "code": "a function that ran, or `function -> function`, the branch behind which the code of one run lies",
    "log": "a line of the kernel's log",
}
"""What the first word of a fact means."""


def oracle_rules() -> tuple[Rule, ...]:
    """The rules of `efishim oracle`, which compares with QEMU."""
    return parse_rules((resources.files("efishim.compare") / ORACLE).read_text(encoding="utf-8"), ORACLE)


def named(word: str, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules of that name."""
    return tuple(rule for rule in rules if rule.name == word)


def about(path: str, rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """The rules that may explain a difference of this fact, in the order in which they are tried."""
    return tuple(rule for rule in rules if rule.names(path))
