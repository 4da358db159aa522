"""Writes the first page from verdicts and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from efishim.study.model import EntryOutcome, Judgement, Reuse, Row, StatementView, Study, Verdict
from efishim.study.readings import amount, listed

BACKGROUND = (
    "In April 2016 xen-devel argued about how a guest of the kind then called HVMLite, now PVH, should enter Linux: through "
    "an entry of its own that fills in boot_params and joins the others, or through the EFI entry that the kernel has "
    "already. Both sides made claims that nobody could check at the time."
)
METHOD = (
    "Each claim is an experiment here. Unmodified kernels are sent through each of their entries on one deterministic "
    "emulated machine, which records what they were told, what they read, called and touched, and which code ran. A route is "
    "written loader/entry: hvmlite/pvh is the PVH entry, hvmlite/efi the EFI entry behind a firmware made from "
    "hvm_start_info, firmware/efi that entry on a PC's own firmware. A verdict is computed from those records by the "
    "criterion that stands beside it, for each kernel by itself."
)
LIMITS = (
    "This shows that it works, not that it is the better way: the firmware's services ran outside the guest, so that their "
    "code is in none of these numbers; there was one processor and no device but a console, and the boot was followed as far "
    "as a small init and the power-off."
)
ORDER = (Verdict.HOLDS, Verdict.SOME, Verdict.DOES_NOT_HOLD, Verdict.UNTOLD)
SERVICES = 58
"""As in efishim.study.claims.efi_huge, DEFINED. A test compares."""


@dataclass(frozen=True, slots=True)
class Line:
    """A statement on the first page."""

    row: Row
    statement: StatementView
    text: str


def opening(study: Study) -> list[str]:
    """Paragraphs: the answer, then where it comes from."""
    names = [one.name for one in study.kernels]
    kernels = f"the kernel {names[0]}" if len(names) == 1 else f"{len(names)} kernels ({', '.join(names)})"
    counts = [sum(line.statement.verdict is verdict for line in lines(study)) for verdict in ORDER]
    words = ("hold", "hold for some of these kernels only", "do not hold", "cannot be told")
    said = ", ".join(f"{count} {word}" for count, word in zip(counts, words, strict=True) if count)
    return [
        *answer(study.reuse),
        BACKGROUND,
        METHOD,
        f"This document rests on {study.runs} runs of {kernels}. Of {sum(counts)} statements, {said}.",
    ]


def answer(found: Sequence[Reuse]) -> list[str]:
    """Could HVMLite have used the EFI entry? Two paragraphs, of which the second is what it costs and brings."""
    question = "Could HVMLite's hvm_start_info have been used with the EFI entry?"
    told = [one for one in found if _comparable(one)]
    if not told:
        reasons = "; ".join(f"{one.kernel}: {_reason(one)}" for one in found)
        return [f"{question} These runs cannot tell ({reasons})."]
    good = [one for one in told if one.efi is not None and one.efi.userspace]
    bad = [one for one in told if one not in good]
    untold = [one for one in found if one not in told]
    word = "yes" if not bad else "for some of them" if good else "no"
    text = (
        f"{question} For these kernels: {word}. On {len(good)} of {len(told)} the same structure on the same machine brings "
        "userspace up through the EFI entry as it does through the PVH entry, with a firmware between that is made of the "
        "structure alone."
    )
    text += "".join(f" Not with {one.kernel}, which comes through the EFI entry {_as_far(one)}." for one in bad)
    text += "".join(f" Nothing can be told of {one.kernel}: {_reason(one)}." for one in untold)
    return [text, f"{_cost(good)} {_gain(good)} {LIMITS}"] if good else [text]


def _comparable(one: Reuse) -> bool:
    return one.efi is not None and one.pvh is not None and one.alike and one.pvh.userspace


def _reason(one: Reuse) -> str:
    if one.reason:
        return one.reason
    if not one.alike:
        return "the two ways did not begin with the same structure on the same machine"
    return "userspace does not come up through the PVH entry either"


def _as_far(one: Reuse) -> str:
    return f"as far as {one.efi.reached}" if one.efi is not None and one.efi.reached != "nothing" else "nowhere"


def _cost(good: Sequence[Reuse]) -> str:
    efi = [one.efi for one in good if one.efi is not None]
    pvh = [one.pvh for one in good if one.pvh is not None]
    text = (
        f"What it costs: up to startup_64, decompression apart, {_insns(efi)} instructions against {_insns(pvh)} on the PVH "
        f"entry, and {span(one.unpacking for one in efi)} for decompression, which is not needed on the PVH entry; "
        f"{span(one.calls for one in efi)} firmware calls; "
    )
    known = [one for one in good if one.must_work is not None]
    if known:
        where = " and ".join(dict.fromkeys(one.looked_on for one in known))
        where += "" if len(known) == len(good) else f" with {', '.join(one.kernel for one in known)}"
        text += (
            f"of the {SERVICES} services that UEFI defines {span(one.must_work or 0 for one in known)} that have to work and "
            f"{span(one.may_refuse or 0 for one in known)} that have to be there and may refuse (looked for on {where}); "
        )
    else:
        text += "how many services have to work was not looked for; "
    kept = span(one.kept_kib for one in good)
    return f"{text}and {kept} KiB of guest memory that the firmware keeps for good, its room to spare included."


def _insns(doors: Iterable[EntryOutcome]) -> str:
    return span(one.insns or 0 for one in doors)


def _gain(good: Sequence[Reuse]) -> str:
    """What the kernel has in the end, by either way. What differs between kernels is said of those only."""
    topics = list(dict.fromkeys(one.what for kernel in good for one in kernel.knows))
    wanted = ((True, True), (True, False), (False, True))
    both, efi, pvh = (listed(_which(good, topics, want) or ["nothing"]) for want in wanted)
    return (
        f"What the kernel has in the end: by both ways {both}; through the EFI entry alone {efi}; through the PVH entry alone "
        f"{pvh}."
    )


def _which(good: Sequence[Reuse], topics: Iterable[str], want: tuple[bool, bool]) -> list[str]:
    found = []
    for what in topics:
        names = [kernel.kernel for kernel in good for one in kernel.knows if one.what == what and (one.efi, one.pvh) == want]
        if names:
            found.append(what if len(names) == len(good) else f"{what} ({', '.join(names)})")
    return found


def span(numbers: Iterable[int]) -> str:
    """One number, or the least and the greatest."""
    every = sorted(numbers)
    return amount(every[0]) if every[0] == every[-1] else f"{amount(every[0])} to {amount(every[-1])}"


def lines(study: Study) -> list[Line]:
    """All statements in the order of the document."""
    return [Line(row, one, _text(one, len(study.kernels))) for row in study.rows for one in row.statements]


def _text(statement: StatementView, kernels: int) -> str:
    groups = grouped(statement)
    if len({one.verdict for one, _ in groups}) == 1:
        first, names = groups[0]
        if kernels == 1:
            return first.because
        return f"{first.because} ({_names(names, kernels)}{'' if len(groups) == 1 else '; the others give the same verdict'})"
    by: dict[Verdict, tuple[str, list[str]]] = {}
    for one, names in groups:
        by.setdefault(one.verdict, (one.because, []))[1].extend(names)
    return "; ".join(f"{verdict.value} for {', '.join(names)}: {because}" for verdict, (because, names) in by.items())


def grouped(statement: StatementView) -> list[tuple[Judgement, list[str]]]:
    """Judgements that say the same in the same words, each once, with the kernels that they are of."""
    found: dict[tuple[Verdict, str], tuple[Judgement, list[str]]] = {}
    for one in statement.judgements:
        found.setdefault((one.verdict, one.because), (one, []))[1].append(one.kernel)
    return list(found.values())


def _names(names: Sequence[str], kernels: int) -> str:
    return f"the same for all {kernels}" if len(names) == kernels else ", ".join(names)


def disagreements(study: Study) -> list[str]:
    """Sentences about statements on which the kernels differ."""
    return [
        f'On "{line.statement.quote}" the kernels give different answers.'
        for line in lines(study)
        if len({one.verdict for one in line.statement.judgements}) > 1
    ]
