"""How far a route in efishim agrees with the same way in on real firmware: a count for each class of fields.

What QEMU cannot tell (hardware touched, code that ran, the machine's CPUID) is left out on both sides. Lines of the log in
which the kernel complains are never explained by a rule that was written for something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources

from efishim.compare.areas import map_differences
from efishim.compare.behaviour import call_path
from efishim.compare.facts import Area, Facts, Side
from efishim.compare.pair import Judged, compare_facts, facts_of
from efishim.compare.rules import Class, Difference, Rule, Verdict, parse_rules
from efishim.lab.kernel_log import GRAVE, classify
from efishim.lab.record import FirmwareCall, Record

UNTOLD = ("machine.", "hardware.", "code.", "read.", "wrote.")
"""Beginnings of the paths that a record of QEMU has not."""

FIELDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("processor at the entry", ("entry.cpu.", "entry.abi.", "abi.")),
    ("native structure", ("entry.",)),
    ("processor at startup_64", ("startup_64.cpu.",)),
    (
        "memory map (e820)",
        ("startup_64.e820", "start_kernel.e820", "startup_64.boot_params.e820", "start_kernel.boot_params.e820"),
    ),
    ("setup_data", ("startup_64.setup_data", "start_kernel.setup_data")),
    ("EFI tables and memory map", ("startup_64.efi.", "start_kernel.efi.")),
    ("boot_params", ("startup_64.",)),
    ("the kernel's copy of it", ("start_kernel.", "kernel.")),
    ("firmware calls", ("call.",)),
    ("milestones and end", ("milestone.", "outcome")),
    ("kernel log", ("log.",)),
    ("what userspace sees", ("userspace.",)),
)
"""Classes of fields and the beginnings of their paths; the first that fits counts."""

OTHER = "other"
ORDER = "call.order"
CALLS = "call."
"""Calls into a BIOS are not traced on QEMU."""
LOG = "log."

BUFFERS = frozenset({"BootServices.AllocatePool", "BootServices.FreePool"})

IOMEM, IOMEM_LIMIT = "userspace./proc/iomem", 1024
SECTION_BEGINS = "efishim-init: "
IOMEM_BEGINS = f"{SECTION_BEGINS}[/proc/iomem]"
_IOMEM_LINE = re.compile(r"^\| ([0-9a-f]{1,16})-([0-9a-f]{1,16}) : (\S.*?)\r?$", re.MULTILINE)

USABLE = "startup_64.e820.usable"
MAP = "startup_64.e820"
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
    untold = UNTOLD if real.firmware_calls else (*UNTOLD, CALLS)
    one, other = (_tellable(facts_of(record), untold) for record in (ours, real))
    seen = iomem(ours), iomem(real)
    if all(seen):
        one, other = (
            replace(facts, maps={**facts.maps, IOMEM: areas}) for facts, areas in zip((one, other), seen, strict=True)
        )
    pair = compare_facts(ours, one, real, other, chosen)
    judged = [_strict(item) for item in pair.judged]
    for side, extra in ((Side.DONE, order_difference(ours, real)), (Side.TOLD, usable_difference(one, other))):
        if extra is not None:
            judged.append(Judged(side, extra, Verdict(Class.UNEXPLAINED)))
    counts: dict[str, list[int]] = {name: [0, 0, 0] for name, _ in (*FIELDS, (OTHER, ()))}
    for path in _same(one, other):
        counts[field_class(path)][0] += 1
    for name in sorted({*one.maps, *other.maps}):
        left = {name: one.maps[name]} if name in one.maps else {}
        right = {name: other.maps[name]} if name in other.maps else {}
        counts[field_class(name)][0] += map_differences(left, right)[1]
    for item in judged:
        counts[field_class(item.difference.path)][2 if item.verdict.kind is Class.UNEXPLAINED else 1] += 1
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


def field_class(path: str) -> str:
    """The name of the class of fields that a fact belongs to."""
    return next((name for name, beginnings in FIELDS if path.startswith(beginnings)), OTHER)


def call_order(calls: Iterable[FirmwareCall]) -> list[str]:
    """What was called, each kind of call once, in the order of the first time. Buffers are left out: how many there are,
    and when the first of a kind is needed, follows from what was found before.
    """
    return list(dict.fromkeys(call_path(call) for call in calls if call.service not in BUFFERS))


def usable_difference(one: Facts, other: Facts) -> Difference | None:
    """How much RAM each kernel was told of, when that differs by more than firmware may keep."""
    ours, real = (
        sum(area.end - area.start for area in facts.maps.get(MAP, ()) if area.kind == "RAM") for facts in (one, other)
    )
    efi = any(path.startswith("startup_64.efi.system_table") for path in other.told)
    return Difference(USABLE, f"{ours:#x} bytes", f"{real:#x} bytes") if abs(ours - real) > SLACK[efi] else None


def _usable(facts: Facts) -> int:
    return sum(area.end - area.start for area in facts.maps.get(MAP, ()) if area.kind == "RAM")


def _tellable(facts: Facts, untold: tuple[str, ...]) -> Facts:
    return replace(
        facts,
        told={path: value for path, value in facts.told.items() if not path.startswith(untold)},
        done={path: value for path, value in facts.done.items() if not path.startswith(untold)},
        maps={path: _plain(areas) for path, areas in facts.maps.items() if not path.startswith(untold)},
    )


def _plain(areas: Sequence[Area]) -> tuple[Area, ...]:
    """Without the EFI memory type that stands beside an e820 type where the machine's map is known: QEMU does not tell its."""
    return tuple(replace(area, kind=area.kind.partition(" (")[0]) for area in areas)


def _same(one: Facts, other: Facts) -> list[str]:
    pairs = ((one.told, other.told), (one.done, other.done))
    return [path for left, right in pairs for path, value in left.items() if right.get(path) == value]


def _strict(item: Judged) -> Judged:
    """A complaint of the kernel's that only one side makes is nothing that another machine explains, unless a rule is
    about that very line.
    """
    path, rule = item.difference.path, item.verdict.rule
    literal = rule is not None and any(one.pattern == re.escape(path) for one in rule.paths)
    if path.startswith(LOG) and classify(path.removeprefix(LOG)) in GRAVE and not literal:
        return replace(item, verdict=Verdict(Class.UNEXPLAINED))
    return item


def order_difference(ours: Record, real: Record) -> Difference | None:
    """The first place at which calls that both made come in another order; None when the order is the same."""
    left, right = call_order(ours.firmware_calls), call_order(real.firmware_calls)
    common = set(left) & set(right)
    for a, b in zip((x for x in left if x in common), (x for x in right if x in common), strict=True):
        if a != b:
            return Difference(ORDER, a, b)
    return None
