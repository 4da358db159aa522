"""Agreement of a route in efishim with the same boot flow on real firmware, counted per class of fields.

What QEMU cannot tell (hardware touched, code that ran, the machine's CPUID) is left out on both sides. Lines of the log in
which the kernel complains are never explained by a rule that was written for something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources

from efishim.compare.areas import map_differences
from efishim.compare.behaviour import call_fact
from efishim.compare.evidence import Difference
from efishim.compare.facts import (
    BOOT_PARAMS,
    CPU,
    E820,
    EFI,
    SETUP_DATA,
    Area,
    Fact,
    Facts,
    Kind,
    Side,
    Stage,
    by_path,
    did,
    given,
)
from efishim.compare.inputs import SYSTEM_TABLE, e820_map
from efishim.compare.pair import Judged, compare_facts, facts_of
from efishim.compare.rules import Class, Rule, Verdict, parse_rules
from efishim.compare.shown import IOMEM
from efishim.lab.kernel_log import GRAVE, classify
from efishim.lab.record import FirmwareCall, Record

UNTOLD_KINDS = frozenset({Kind.HARDWARE, Kind.CODE})
"""Behaviour that a record of QEMU has not."""


def _of_stage(*stages: Stage) -> Callable[[Fact], bool]:
    return lambda fact: fact.stage in stages


def _of_kind(*kinds: Kind) -> Callable[[Fact], bool]:
    return lambda fact: fact.kind in kinds


def _is_entry_cpu(fact: Fact) -> bool:
    return fact.within(Stage.ENTRY, CPU) or fact.kind is Kind.VIOLATION


def _is_e820(fact: Fact) -> bool:
    if fact.stage not in (Stage.STARTUP_64, Stage.START_KERNEL):
        return False
    return fact.subject == E820 or (fact.subject == BOOT_PARAMS and fact.field[:1] in E820_FIELDS)


def _in_view(subject: str) -> Callable[[Fact], bool]:
    return lambda fact: fact.stage in (Stage.STARTUP_64, Stage.START_KERNEL) and fact.subject == subject


E820_FIELDS = frozenset({("e820_entries",), ("e820_table",)})
"""Of boot_params."""

FIELDS: tuple[tuple[str, Callable[[Fact], bool]], ...] = (
    ("processor at the entry", _is_entry_cpu),
    ("native structure", _of_stage(Stage.ENTRY)),
    ("processor at startup_64", lambda fact: fact.within(Stage.STARTUP_64, CPU)),
    ("memory map (e820)", _is_e820),
    ("setup_data", _in_view(SETUP_DATA)),
    ("EFI tables and memory map", _in_view(EFI)),
    ("boot_params", _of_stage(Stage.STARTUP_64)),
    ("the kernel's copy of it", _of_stage(Stage.START_KERNEL, Stage.KERNEL)),
    ("firmware calls", _of_kind(Kind.CALL)),
    ("milestones and end", _of_kind(Kind.MILESTONE, Kind.OUTCOME)),
    ("kernel log", _of_kind(Kind.LOG)),
    ("what userspace sees", lambda fact: fact.kind is Kind.USERSPACE or fact.stage is Stage.USERSPACE),
)
"""Classes of fields and which facts are of them; the first that fits counts."""

OTHER = "other"
ORDER = did(Kind.CALL, "order")

BUFFERS = frozenset({"BootServices.AllocatePool", "BootServices.FreePool"})

IOMEM_LIMIT = 1024
SECTION_BEGINS = "efishim-init: "
IOMEM_BEGINS = f"{SECTION_BEGINS}[{IOMEM.subject}]"
_IOMEM_LINE = re.compile(r"^\| ([0-9a-f]{1,16})-([0-9a-f]{1,16}) : (\S.*?)\r?$", re.MULTILINE)

USABLE = given(Stage.STARTUP_64, E820, "usable")
MAP = e820_map(Stage.STARTUP_64)
SLACK = {True: 4 << 20, False: 1 << 20}
"""By how many bytes the RAM that is told to the kernel may differ, with EFI and without: firmware keeps what it needs."""


@dataclass(frozen=True, slots=True)
class Row:
    """One class of fields: how many are the same, how many differ for a reason, and how many for none."""

    name: str
    identical: int
    explained: int
    unexplained: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """The outcome for one route."""

    rows: tuple[Row, ...]
    judged: tuple[Judged, ...]
    """Every difference with its verdict."""

    @property
    def unexplained(self) -> tuple[Judged, ...]:
        """The differences that no rule explains."""
        return tuple(one for one in self.judged if one.verdict.kind is Class.UNEXPLAINED)


@lru_cache(maxsize=1)
def oracle_rules() -> tuple[Rule, ...]:
    """Why efishim may differ from QEMU. The rules for any two records are not among them: they explain too much here."""
    file = resources.files("efishim.compare") / "oracle.toml"
    return parse_rules(file.read_text(encoding="utf-8"), "oracle.toml")


def agreement(ours: Record, real: Record, rules: Sequence[Rule] | None = None) -> Agreement:
    """Compare a record of efishim with one of QEMU for the same route, image, ramdisk and command line."""
    chosen = oracle_rules() if rules is None else rules
    # Calls into a BIOS are not traced on QEMU.
    untold = UNTOLD_KINDS if real.firmware_calls else UNTOLD_KINDS | {Kind.CALL}
    one, other = (_tellable(facts_of(record), untold) for record in (ours, real))
    seen = iomem(ours), iomem(real)
    if all(seen):
        one, other = (
            replace(facts, maps={**facts.maps, IOMEM: areas}) for facts, areas in zip((one, other), seen, strict=True)
        )
    pair = compare_facts(ours, one, real, other, chosen)
    judged = [_strict(item) for item in pair.judged]
    for side, extra in ((Side.BEHAVIOUR, order_difference(ours, real)), (Side.INPUTS, usable_difference(one, other))):
        if extra is not None:
            judged.append(Judged(side, extra, Verdict(Class.UNEXPLAINED)))
    counts: dict[str, list[int]] = {name: [0, 0, 0] for name, _ in (*FIELDS, (OTHER, ()))}
    for fact in _same(one, other):
        counts[field_class(fact)][0] += 1
    for whole in sorted({*one.maps, *other.maps}, key=by_path):
        left = {whole: one.maps[whole]} if whole in one.maps else {}
        right = {whole: other.maps[whole]} if whole in other.maps else {}
        counts[field_class(whole)][0] += map_differences(left, right)[1]
    for item in judged:
        counts[field_class(item.difference.fact)][2 if item.verdict.kind is Class.UNEXPLAINED else 1] += 1
    return Agreement(tuple(Row(name, *values) for name, values in counts.items() if any(values)), tuple(judged))


def iomem(record: Record) -> tuple[Area, ...]:
    """The outermost ranges of /proc/iomem, as the reporting init shows them; empty without its report. What lies within them
    is where KASLR put the kernel, and devices.
    """
    _, _, after = record.console.partition(IOMEM_BEGINS)
    section, _, _ = after.partition(SECTION_BEGINS)
    return tuple(
        Area(int(start, 16), int(end, 16) + 1, name) for start, end, name in _IOMEM_LINE.findall(section)[:IOMEM_LIMIT]
    )


def field_class(fact: Fact) -> str:
    """The name of the class of fields that a fact belongs to."""
    return next((name for name, holds in FIELDS if holds(fact)), OTHER)


def call_order(calls: Iterable[FirmwareCall]) -> list[Fact]:
    """What was called, each kind of call once, in the order of the first time. Buffers are left out: how many there are,
    and when the first of a kind is needed, follows from what was found before.
    """
    return list(dict.fromkeys(call_fact(call) for call in calls if call.service not in BUFFERS))


def usable_difference(one: Facts, other: Facts) -> Difference | None:
    """How much RAM each kernel was told of, when that differs by more than firmware may keep."""
    ours, real = _usable(one), _usable(other)
    efi = any(fact.within(Stage.STARTUP_64, *SYSTEM_TABLE) for fact in other.inputs)
    return Difference(USABLE, f"{ours:#x} bytes", f"{real:#x} bytes") if abs(ours - real) > SLACK[efi] else None


def _usable(facts: Facts) -> int:
    return sum(area.end - area.start for area in facts.maps.get(MAP, ()) if area.kind == "RAM")


def _tellable(facts: Facts, untold: frozenset[Kind]) -> Facts:
    return Facts(
        {fact: value for fact, value in facts.inputs.items() if fact.stage is not Stage.MACHINE},
        {fact: value for fact, value in facts.behaviour.items() if fact.kind not in untold},
        {whole: _plain(areas) for whole, areas in facts.maps.items() if whole.stage is not Stage.MACHINE and whole != IOMEM},
    )


def _plain(areas: Sequence[Area]) -> tuple[Area, ...]:
    """Without the EFI memory type that stands beside an e820 type where the machine's map is known: QEMU does not tell its."""
    return tuple(replace(area, owner="") for area in areas)


def _same(one: Facts, other: Facts) -> list[Fact]:
    pairs = ((one.inputs, other.inputs), (one.behaviour, other.behaviour))
    return [fact for left, right in pairs for fact, value in left.items() if right.get(fact) == value]


def _strict(item: Judged) -> Judged:
    """A complaint of the kernel's that only one side makes is nothing that another machine explains, unless a rule is
    about that very line.
    """
    fact, rule = item.difference.fact, item.verdict.rule
    literal = rule is not None and rule.spells_out(fact)
    if fact.kind is Kind.LOG and classify(fact.subject) in GRAVE and not literal:
        return replace(item, verdict=Verdict(Class.UNEXPLAINED))
    return item


def order_difference(ours: Record, real: Record) -> Difference | None:
    """The first place at which calls that both made come in another order; None when the order is the same."""
    left, right = call_order(ours.firmware_calls), call_order(real.firmware_calls)
    common = set(left) & set(right)
    for a, b in zip((x for x in left if x in common), (x for x in right if x in common), strict=True):
        if a != b:
            return Difference(ORDER, a.path, b.path)
    return None
