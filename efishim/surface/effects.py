"""The effect of removing one item, from the difference between two runs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from types import MappingProxyType

from efishim.firmware.profile import ABSENT, Item, Kind
from efishim.lab.plan.plan import Plan
from efishim.lab.record import Outcome, Reason, Record
from efishim.surface.model import LINE_LIMIT, Effect
from efishim.surface.trials import Trial

SHOWN = 4
"""Console lines that are kept of each sort."""

LOSSES = MappingProxyType(
    {
        "LoadFile2.LoadFile": "no initial ramdisk from the firmware",
        "RNG.GetRNG": "no random numbers from the firmware",
        "RuntimeServices.SetVirtualAddressMap": "no runtime services for the running kernel",
        "RuntimeServices.GetVariable": "no variables are read",
        "SimpleTextOutput.OutputString": "no messages before the kernel's own console",
    }
)
"""What it means that a service is no longer called."""

_STAMP = re.compile(r"^\[ *\d+\.\d+\] ?")
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-fA-F]{8,}\b|\d+")
_TROUBLE = (
    re.compile(r"Kernel panic|EFI stub: ERROR"),
    re.compile(r"ERROR|not syncing|Unable to|BUG:|WARNING:|fail|halted", re.IGNORECASE),
)
"""What a kernel's last words look like, the surest signs first."""


def effect(one: Item, answer: str, trial: Trial, whole: Record, plan: Plan) -> Effect:
    """`whole` is the run with everything, `plan` the one that shows the effect again."""
    if trial.record is None:
        return Effect(
            answer=answer,
            boots=False,
            reached="",
            reason="the run could not begin",
            details=trial.failure,
            sentence=f"the firmware cannot start the kernel: {trial.failure}",
            command=plan.reproduce(),
        )
    record, outcome = trial.record, trial.record.outcome
    says, silent = _differences(_lines(whole.console), _lines(record.console))
    before, now = _services(whole), _services(record)
    stopped = not trial.boots
    panicked = stopped and outcome.reason is Reason.INTERRUPTED  # a trial that counts has no other reason to be interrupted
    found = Effect(
        answer=answer,
        boots=trial.boots,
        reached=outcome.reached.value if outcome.reached is not None else "",
        reason="kernel panic" if panicked else outcome.reason.value,
        details="" if panicked else outcome.details,
        at=_place(outcome) if stopped and not panicked else "",
        says=says[-SHOWN:] if stopped else says[:SHOWN],
        silent=[] if stopped else silent[:SHOWN],
        no_longer_calls=[] if stopped else [name for name in before if name not in now],
        newly_calls=[name for name in now if name not in before],
        sentence="",
        command=plan.reproduce(),
    )
    sentence = _stops(found, says) if stopped else _boots(one, found)
    return _with_sentence(found, sentence)


def _with_sentence(found: Effect, sentence: str) -> Effect:
    fields = {name: getattr(found, name) for name in Effect.__struct_fields__}
    return Effect(**{**fields, "sentence": sentence})


def _place(outcome: Outcome) -> str:
    return outcome.at.shown if outcome.at is not None else ""


def _services(record: Record) -> list[str]:
    return list(dict.fromkeys(call.service for call in record.firmware_calls))


def _lines(console: str) -> list[str]:
    """Lines without the kernel's clock."""
    return [text for line in console.splitlines() if (text := _STAMP.sub("", line).strip())]


def _same(line: str) -> str:
    """What two lines have in common that differ in numbers only."""
    return _NUMBER.sub("#", line)


def _differences(before: Sequence[str], now: Sequence[str]) -> tuple[list[str], list[str]]:
    """(new lines, missing lines), in their order; lines that differ in numbers count as the same."""
    return list(_missing(now, before)), list(_missing(before, now))


def _missing(lines: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    left = Counter(_same(line) for line in others)
    for line in lines:
        shape = _same(line)
        if left[shape]:
            left[shape] -= 1
        else:
            yield line[:LINE_LIMIT]


def _stops(found: Effect, says: Sequence[str]) -> str:
    """In words, of a kernel that does not boot."""
    after = {
        "": "before its first instruction",
        "entry": "before ExitBootServices",
        "exit_boot_services": "between ExitBootServices and startup_64",
        "startup_64": "between startup_64 and start_kernel",
        "start_kernel": "in the kernel, after start_kernel",
        "init": "when the first program starts",
    }.get(found.reached, f"after {found.reached}")
    reason = found.details or found.reason
    where = f" at {found.at}" if found.at and found.reason != Reason.EXIT.value else ""
    if found.reason == Reason.FIRMWARE_EXCEPTION.value and "at RIP 0x0," in found.details:
        reason, where = "it calls address 0", ""
    last = next((line for sign in _TROUBLE for line in says if sign.search(line)), says[-1] if says else "")
    quoted = f"; it says: {last}" if last else ""
    return f"stops {after}: {reason}{where}{quoted}"


def _boots(one: Item, found: Effect) -> str:
    """In words, of a kernel that boots all the same."""
    own = one.name if one.kind is Kind.SERVICE and found.answer == ABSENT else ""
    parts = [LOSSES[name] for name in found.no_longer_calls if name in LOSSES]
    others = [name for name in found.no_longer_calls if name not in LOSSES and name != own]
    if others:
        parts.append(f"{', '.join(others)} no longer called")
    if found.newly_calls:
        parts.append(f"{', '.join(found.newly_calls)} called instead")
    parts += _told(found)
    return "boots; " + ("; ".join(parts) if parts else "nothing changes that the console or the calls show")


def _told(found: Effect) -> list[str]:
    """The first difference in what the console says; of two lines that are much alike only what differs."""
    if found.says and found.silent:
        now, before = (Counter(_same(line).split()) for line in (found.says[0], found.silent[0]))
        if 2 * (now & before).total() >= max(now.total(), before.total(), 2):
            lost = [word for word in found.silent[0].split() if _same(word) not in now]
            new = [word for word in found.says[0].split() if _same(word) not in before]
            told = [f"says {' '.join(new)}"] if new else []
            told += [f"{'and not' if new else 'no longer says'} {' '.join(lost)}"] if lost else []
            if told:
                return [f"in the line {' '.join(found.silent[0].split()[:2])} ... it {' '.join(told)}"]
    told = [f"says: {found.says[0]}"] if found.says else []
    return told + ([f"no longer says: {found.silent[0]}"] if found.silent else [])
