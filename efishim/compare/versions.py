"""Two versions of a kernel through one route: what it is told, calls, touches, prints and runs now, and did not before.

What differs because another kernel was built is told apart: where things lie, what the image's own header says, and names
that a compiler gives to copies of functions.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from efishim.canonical import canonical
from efishim.compare.areas import piece
from efishim.compare.baseline import CONTEXT, MOVED_MAPS, moved_by_kaslr, section_lines
from efishim.compare.behaviour import behaviour
from efishim.compare.facts import BOOT_PARAMS, Fact, Kind, Stage, by_path
from efishim.compare.inputs import inputs
from efishim.compare.lines import unified
from efishim.compare.predicates.never import beyond_rules, is_grave
from efishim.errors import UsageError
from efishim.lab.record import Record

SCHEMA = 1

CLONE = re.compile(r"(?:\.(?:constprop|isra|part|cold|llvm|lto_priv)(?:\.\d+)?)+$")
"""What GCC and Clang append to the name of a copy of a function."""

TELLING = ("milestones", "violations", "told", "calls", "hardware", "complaints")
"""Sections in which a change is one of the handover, or of what the kernel does about it."""


OF_THE_BUILD = frozenset(
    {
        *("setup_sects", "root_flags", "syssize", "ram_size", "root_dev", "boot_flag", "jump", "header", "version"),
        *("realmode_swtch", "start_sys_seg", "kernel_version", "setup_move_size", "code32_start", "initrd_addr_max"),
        *("kernel_alignment", "relocatable_kernel", "min_alignment", "xloadflags", "cmdline_size", "payload_offset"),
        *("payload_length", "pref_address", "init_size", "handover_offset", "kernel_info_offset"),
    }
)
"""Fields of the setup header that a build writes and a boot loader only reads or moves (Documentation/arch/x86/boot.rst)."""


class _Struct(msgspec.Struct, frozen=True, kw_only=True):
    """What all parts have in common."""


class Changed(_Struct, frozen=True, kw_only=True):
    """A fact with its value before and after."""

    path: str
    old: str
    new: str


class Section(_Struct, frozen=True, kw_only=True):
    """What changed in one part of the behaviour."""

    name: str
    new: list[str] = []
    gone: list[str] = []
    changed: list[Changed] = []
    noise: dict[str, int] = {}
    """Differences that come with any other build, by their reason."""

    @property
    def same(self) -> bool:
        """Did nothing change but noise?"""
        return not (self.new or self.gone or self.changed)


class Side(_Struct, frozen=True, kw_only=True):
    """One of the two runs."""

    image: str
    version: str
    sha256: str
    met: bool
    reached: str
    insns: dict[str, int]
    """Instructions to each milestone."""


class Versions(_Struct, frozen=True, kw_only=True):
    """The whole comparison of one route."""

    schema: int = SCHEMA
    route: str
    old: Side
    new: Side
    sections: list[Section]

    @property
    def same(self) -> bool:
        """Did both get there, is the same told, called and touched, and does the kernel complain of nothing else?"""
        return self.old.met and self.new.met and all(one.same for one in self.sections if one.name in TELLING)


def versions(old: Record, new: Record) -> Versions:
    """Compare. Raises UsageError for records of two routes."""
    routes = [f"{one.route.provider}/{one.route.entry}@{one.route.platform}" for one in (old, new)]
    if routes[0] != routes[1]:
        raise UsageError(f"two kernels are compared through one route, not {routes[0]} and {routes[1]}")
    return Versions(
        route=routes[0],
        old=_side(old),
        new=_side(new),
        sections=[
            _lists("milestones", *(_of(one, "milestones") for one in (old, new))),
            _lists("violations", *(_violations(one) for one in (old, new))),
            _told(old, new),
            _sequence("calls", *(_of(one, "calls") for one in (old, new))),
            _lists("hardware", *(_of(one, "hardware") for one in (old, new))),
            _lists("log", *(_of(one, "log") for one in (old, new))),
            _lists("userspace", *(_of(one, "userspace") for one in (old, new))),
            _lists("complaints", *(_complaints(one) for one in (old, new))),
            _code(old, new),
        ],
    )


def _side(record: Record) -> Side:
    image, outcome = record.image, record.outcome
    return Side(
        image=image.path,
        version=image.version.partition(" ")[0],
        sha256=image.sha256,
        met=outcome.met,
        reached=outcome.reached.value if outcome.reached else "",
        insns={one.name.value: one.insns for one in record.milestones},
    )


def _of(record: Record, name: str) -> list[str]:
    return list(section_lines(record, name))


def _lists(name: str, old: Sequence[str], new: Sequence[str]) -> Section:
    """Lines that are more or fewer than before, wherever they stand."""
    before, after = Counter(old), Counter(new)
    return Section(name=name, new=sorted((after - before).elements()), gone=sorted((before - after).elements()))


def _sequence(name: str, old: Sequence[str], new: Sequence[str]) -> Section:
    """The same where the order counts."""
    lines = [line for line in unified(old, new, CONTEXT) if line[0] in "+-"]
    return Section(
        name=name,
        new=[line[1:] for line in lines if line[0] == "+"],
        gone=[line[1:] for line in lines if line[0] == "-"],
    )


def _told(old: Record, new: Record) -> Section:
    before, after = (_facts(one) for one in (old, new))
    noise: Counter[str] = Counter()
    added, gone, changed = [], [], []
    for fact in sorted({*before, *after}, key=by_path):
        was, now = before.get(fact), after.get(fact)
        if was == now:
            continue
        reason = _noise(fact)
        if reason:
            noise[reason] += 1
        elif was is None:
            added.append(f"{fact} = {now}")
        elif now is None:
            gone.append(f"{fact} = {was}")
        else:
            changed.append(Changed(path=str(fact), old=was, new=now))
    return Section(name="told", new=added, gone=gone, changed=changed, noise=dict(noise))


def _facts(record: Record) -> dict[Fact, str]:
    """What the kernel is told, with the ranges of its memory maps."""
    facts, maps = inputs(record)
    areas = {
        piece(whole, one.start, one.end): one.label for whole, found in maps.items() if whole not in MOVED_MAPS for one in found
    }
    return {**facts, **areas}


def _violations(record: Record) -> list[str]:
    """Rules of the entry that do not hold."""
    return [one.rule for one in record.abi or ()]


def _complaints(record: Record) -> list[str]:
    """Lines and firmware calls that no rule of a comparison would explain, nor a wide one."""
    return [fact.path for fact in behaviour(record)[0] if is_grave(fact) or beyond_rules(fact)]


def _noise(fact: Fact) -> str:
    """Why it differs between any two builds; empty for what does not."""
    if moved_by_kaslr(fact) or fact.kind is Kind.ADDRESS or fact.within(Stage.ENTRY, "cpu", "rip"):
        return "where things lie"
    if fact.subject == BOOT_PARAMS and fact.field[:1] == ("hdr",) and fact.field[-1] in OF_THE_BUILD:
        return "fields of the image's own setup header"
    return ""


def _code(old: Record, new: Record) -> Section:
    """Functions by name; a compiler's copies of one count as that one."""
    before, after = (_functions(one) for one in (old, new))
    only_old, only_new = before.keys() - after.keys(), after.keys() - before.keys()
    exact_old, exact_new = (set().union(*one.values()) if one else set() for one in (before, after))
    matched = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    renamed = sum(len((before[name] - exact_new) | (after[name] - exact_old)) for name in matched)
    noise = {"names of a compiler's copies": renamed} if renamed else {}
    return Section(name="code", new=sorted(only_new), gone=sorted(only_old), noise=noise)


def _functions(record: Record) -> Mapping[str, set[str]]:
    """Functions that ran, by their names in the source."""
    found: dict[str, set[str]] = {}
    for function in record.coverage.functions:
        found.setdefault(CLONE.sub("", function.name), set()).add(function.name)
    return found


def encode(found: Iterable[Versions]) -> bytes:
    """Canonical JSON, a list with one document per route."""
    return canonical(list(found))
