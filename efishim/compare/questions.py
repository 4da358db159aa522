"""The first screen of a comparison of two runs: common questions, answered in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from efishim.compare.convergence import convergence
from efishim.compare.costs import Costs, costs
from efishim.compare.facts import BOOT_PARAMS, CPU, E820, EFI, SETUP_DATA, Fact, Kind, Side, Stage, unnumbered
from efishim.compare.inputs import COMMAND_LINE, INITRD
from efishim.compare.model import Answer, Question
from efishim.compare.pair import Pair
from efishim.compare.rules import Class
from efishim.lab.record import Milestone, Record, ShimPlace

UNPACKING = frozenset({"decompressor", "stub"})
"""Parts of a bzImage's code of which one unpacks the kernel; a route that ran none of them was given the kernel itself."""

SHOWN = 6
"""Names in a sentence; how many more there are is said."""


def answers(left: str, right: str, pair: Pair) -> list[Answer]:
    """All of them, in order."""
    return [
        Answer(question=Question.USERSPACE, lines=[_reached(left, pair.left), _reached(right, pair.right)]),
        Answer(
            question=Question.INPUTS,
            lines=[*_known(left, pair, 0), *_known(right, pair, 1), *_otherwise(pair)] or ["None: both routes pass the same."],
        ),
        Answer(
            question=Question.UNREAD,
            lines=[_unread(left, pair.left), _unread(right, pair.right)],
        ),
        Answer(question=Question.CONVERGENCE, lines=convergence(left, right, pair)),
        Answer(
            question=Question.BEHAVIOUR,
            lines=[_ran(left, pair, 0), _ran(right, pair, 1)],
        ),
        Answer(question=Question.COST, lines=_cost(left, pair.left, right, pair.right)),
    ]


def _unread(name: str, record: Record) -> str:
    """Fields of the native structure, and of boot_params, that no code read."""
    if record.consumed is None:
        return f"{name}: not observed."
    unread: dict[str, None] = {}
    for one in record.consumed.structures:
        kind = unnumbered(one.structure)
        place = kind if kind == one.structure else f"{kind}[]"
        if not kind.startswith(NATIVE) or one.whole:
            continue
        if not one.bytes_read:
            unread[f"all of {place}"] = None
        else:
            unread |= dict.fromkeys(f"{place}.{field}" for field in one.never_read)
    said = _some(list(unread)) or "nothing: all of it was read, some only as a whole"
    by_shim = [place for place in unread if _shim_read(place, record)]
    return f"{name}: {said}{'; the EFI shim read it, and not the kernel' if by_shim else ''}."


def _shim_read(place: str, record: Record) -> bool:
    """Is it a native structure that the shim was built from? What firmware on the host reads is not observed."""
    served = any(call.service.startswith("BootServices.") for call in record.firmware_calls)
    return served and record.options.shim is not ShimPlace.GUEST and place.startswith("all of ") and "boot_params" not in place


NATIVE = ("hvm_", "boot_params", "setup_header", "multiboot")
"""Structures that a provider makes, not those of the machine."""


def _reached(name: str, record: Record) -> str:
    passed = {point.name: point.insns for point in record.milestones}
    ended = record.outcome.reason.value
    if Milestone.USERSPACE in passed:
        return f"{name}: yes, after {passed[Milestone.USERSPACE]:,} instructions; the run ended with {ended}."
    last = f"the last milestone was {record.outcome.reached.value}" if record.outcome.reached else "no milestone was passed"
    goal = record.outcome.goal
    asked = "" if goal in (Milestone.USERSPACE, Milestone.SHUTDOWN) else f" (the run was to stop at {goal.value})"
    return f"{name}: no{asked}; {last}, and the run ended with {ended}."


def _known(name: str, pair: Pair, side: int) -> list[str]:
    """Things that only one side is told, by what they belong to."""
    only = [
        one.difference.fact
        for one in pair.judged
        if one.side is Side.INPUTS
        and (one.difference.left, one.difference.right)[1 - side] in ("", "0x0")
        and (one.difference.left, one.difference.right)[side] not in ("", "0x0")
    ]
    things = list(dict.fromkeys(thing for fact in only for thing in [_thing(fact)] if thing))
    return [f"Only {name}: {_some(things)}."] if things else []


def _otherwise(pair: Pair) -> list[str]:
    """What both are told, but not the same."""
    other = [
        one.difference.fact
        for one in pair.judged
        if one.side is Side.INPUTS
        and one.verdict.kind is not Class.PLACEMENT
        and not {one.difference.left, one.difference.right} & {"", "0x0"}
    ]
    things = list(dict.fromkeys(thing for fact in other for thing in [_thing(fact)] if thing))
    return [f"Both, with different values: {_some(things)}."] if things else []


_THINGS: Mapping[tuple[str, ...], str] = {
    (Stage.MACHINE, "cpuid"): "CPUID leaf {}",
    (Stage.MACHINE, "msr"): "MSR {}",
    (Stage.MACHINE, "acpi"): "the ACPI table {}",
    (Stage.MACHINE, "memory"): "memory",
    (Stage.STARTUP_64, EFI, "configuration_table"): "the EFI table {}",
    (Stage.STARTUP_64, EFI, "memory_map"): "an EFI memory map",
    (Stage.STARTUP_64, EFI, "system_table"): "an EFI system table",
    (Stage.STARTUP_64, BOOT_PARAMS, "efi_info"): "EFI information in boot_params",
    (Stage.STARTUP_64, BOOT_PARAMS, "hdr"): "boot_params.hdr.{}",
    (Stage.STARTUP_64, BOOT_PARAMS): "boot_params.{}",
    (Stage.STARTUP_64, SETUP_DATA): "setup_data {}",
    (Stage.STARTUP_64, E820): "memory ranges in e820",
    (Stage.STARTUP_64, COMMAND_LINE): "the command line",
    (Stage.STARTUP_64, INITRD): "the initial ramdisk",
}
"""What people call the facts of a subject, or of a field of it; {} is the name of the next part."""


def _thing(fact: Fact) -> str:
    """What a fact is about, in the words of the specifications; empty for what is no news on a first screen."""
    if fact.kind is Kind.ADDRESS:
        return ""
    if fact.stage is Stage.ENTRY:
        return "" if fact.subject == CPU else unnumbered(fact.subject)
    whole = (fact.stage, fact.subject, *fact.field)
    for size in (3, 2):
        words = _THINGS.get(whole[:size])
        if words is not None:
            return words.format(unnumbered(whole[size]) if len(whole) > size else "")
    return ""


def _ran(name: str, pair: Pair, side: int) -> str:
    found: dict[Kind, list[str]] = {}
    functions = 0
    for one in pair.judged:
        if one.side is not Side.BEHAVIOUR or not (one.difference.left, one.difference.right)[side]:
            continue
        if not (one.difference.left, one.difference.right)[1 - side]:
            found.setdefault(one.difference.fact.kind, []).append(one.difference.fact.subject)
            if one.difference.fact.kind is Kind.CODE:
                functions += len(one.difference.also)
    branches, lines = found.get(Kind.CODE, []), len(found.get(Kind.LOG, []))
    calls, hardware = (sorted(set(found.get(kind, []))) for kind in (Kind.CALL, Kind.HARDWARE))
    parts = [
        _counted(functions, "function", f"behind {_counted(len(branches), 'branch', '', 'branches')}: {_some(branches)}"),
        _counted(len(calls), "firmware service", _some(calls)),
        _counted(len(hardware), "kind of hardware", _some(hardware), "kinds of hardware"),
        _counted(lines, "line of the kernel's log", "", "lines of the kernel's log"),
    ]
    said = "; ".join(part for part in parts if part)
    return f"{name}: {said or 'nothing'}."


def _counted(count: int, one: str, names: str, many: str = "") -> str:
    if not count:
        return ""
    word = one if count == 1 else many or one + "s"
    return f"{count:,} {word}" + (f" ({names})" if names else "")


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _cost(left: str, one: Record, right: str, other: Record) -> list[str]:
    a, b = costs(one), costs(other)
    lines = [_cost_line(left, one, a), _cost_line(right, other, b)]
    common = [name for name in a.milestones if name in b.milestones and a.milestones[name] and b.milestones[name]]
    if common:
        far = common[-1]
        lines.append(_ratio(left, right, far, a.milestones[far], b.milestones[far]))
        first = common[0]
        if first != far:
            lines.append(_ratio(left, right, first, a.milestones[first], b.milestones[first]))
    groups = _more(a.hardware, b.hardware)
    if groups:
        lines.append(f"Hardware accesses that differ ({left} / {right}): {_some(groups)}.")
    return lines


def _cost_line(name: str, record: Record, cost: Costs) -> str:
    calls, accesses = sum(cost.calls.values()), sum(cost.hardware.values())
    parts = "; ".join(f"{one.name} {one.insns:,}" for one in record.coverage.parts)
    notes = []
    if record.image.format == "bzImage" and parts and not {one.name for one in record.coverage.parts} & UNPACKING:
        notes.append("the payload was unpacked by the host, which is not counted")
    if calls and record.options.shim is not ShimPlace.GUEST:
        notes.append("the work of the firmware that answered is not counted")
    said = f"{name}: {cost.insns:,} instructions{f' ({parts})' if parts else ''}, {calls:,} firmware calls, "
    return f"{said}{accesses:,} hardware accesses{''.join(f'; {note}' for note in notes)}."


def _ratio(left: str, right: str, milestone: str, a: int, b: int) -> str:
    less, more, name = (a, b, left) if a <= b else (b, a, right)
    if a == b:
        return f"To {milestone} both take {a:,} instructions."
    return f"To {milestone} {name} takes {more - less:,} fewer instructions ({less:,} against {more:,})."


def _more(one: Mapping[str, int], other: Mapping[str, int]) -> list[str]:
    found = [
        (abs(one.get(name, 0) - other.get(name, 0)), f"{name} {one.get(name, 0):,}/{other.get(name, 0):,}")
        for name in sorted({*one, *other})
        if one.get(name, 0) != other.get(name, 0)
    ]
    return [text for _, text in sorted(found, key=lambda item: -item[0])]
