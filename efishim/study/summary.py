"""Writes the first page from verdicts and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from efishim.study.model import EntryOutcome, Judgement, Reuse, Row, Source, StatementView, Study, Verdict
from efishim.study.readings import amount, listed

QUESTION = "Could the EFI entry of Linux have served HVMLite (now PVH) guests of Xen, in place of an entry of their own?"
BACKGROUND = (
    "The question was argued on xen-devel and linux-kernel from January to April 2016. Each claim of that thread is an "
    "experiment here: unmodified kernels go through each of their entries on one deterministic emulated machine, and a verdict "
    "is computed for each kernel from what was recorded, by the criterion that stands beside it. A route is written "
    "loader/entry."
)
LIMITS = (
    "This shows that it works and what it costs, not that it is the better way: one processor was measured, with no device but "
    "a console, up to a small init and the power-off, on an emulated hypervisor, and not as dom0."
)
UNREAD = (
    "Words in quotation marks were read in the message that is linked, which may be a reply that quotes them. Messages of "
    "Andrew Cooper and Ard Biesheuvel were not found in an archive that could be read: what is attributed to the thread "
    "without a message is paraphrased, in nobody's name."
)
ORDER = (Verdict.SUPPORTED, Verdict.SOME, Verdict.REFUTED, Verdict.UNTESTED)
SERVICES = 58
"""As in efishim.study.claims.efi_huge, DEFINED. A test compares."""


def quoted(source: Source) -> str:
    """The very words in quotation marks, or a paraphrase without."""
    return f"“{source.text}”" if source.verbatim else source.text


@dataclass(frozen=True, slots=True)
class Line:
    """A statement on the first page."""

    row: Row
    statement: StatementView
    text: str


def opening(study: Study) -> list[str]:
    """Paragraphs: the question, the answer in five sentences, and where they come from."""
    names = [one.name for one in study.kernels]
    kernels = f"the kernel {names[0]}" if len(names) == 1 else f"{len(names)} kernels ({', '.join(names)})"
    counts = [sum(line.statement.verdict is verdict for line in lines(study)) for verdict in ORDER]
    said = ", ".join(f"{count} {verdict.value}" for count, verdict in zip(counts, ORDER, strict=True) if count)
    return [
        QUESTION,
        " ".join(answer(study.reuse)),
        BACKGROUND,
        f"This document rests on {study.runs} runs of {kernels}. Of {sum(counts)} statements: {said}.",
    ]


def answer(found: Sequence[Reuse]) -> list[str]:
    """Five sentences: whether it works, what it runs, what it keeps, what it has to offer, and what this does not show."""
    told = [one for one in found if _comparable(one)]
    if not told:
        reasons = "; ".join(f"{one.kernel}: {_reason(one)}" for one in found)
        return [f"These runs cannot tell ({reasons})."]
    good = [one for one in told if one.efi is not None and one.efi.userspace]
    bad = [one for one in told if one not in good]
    untold = [one for one in found if one not in told]
    word = "Yes" if not bad else "For some of them" if good else "No"
    text = (
        f"{word}: on {len(good)} of {len(told)} kernels userspace comes up from the same hvm_start_info through the PVH "
        "entry and through the EFI entry, on the same machine, with firmware that runs as code in the guest"
    )
    text += "".join(f", not with {one.kernel}, which comes through the EFI entry {_as_far(one)}" for one in bad)
    text += "".join(f"; nothing can be told of {one.kernel}: {_reason(one)}" for one in untold)
    return [f"{text}.", *_cost(good), *_gain(good), LIMITS] if good else [f"{text}."]


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


def _cost(good: Sequence[Reuse]) -> list[str]:
    efi = [one.efi for one in good if one.efi is not None]
    pvh = [one.pvh for one in good if one.pvh is not None]
    less = [one.less_kib for one in good if one.less_kib is not None]
    ran = (
        f"It takes {span(one.firmware for one in efi)} instructions of firmware and {span(one.calls for one in efi)} calls of "
        f"it; up to startup_64 {_insns(efi)} instructions with those of the stub, and {span(one.unpacking for one in efi)} "
        f"more to unpack the kernel, against {_insns(pvh)} of the PVH entry, for which the toolstack unpacks it."
    )
    memory = (
        f"It takes {span(one.firmware_bytes for one in good)} bytes of firmware in the guest, zeroed data included, of which "
        f"{span(one.kept_kib for one in good)} KiB stay for good"
    )
    memory += f", and the kernel has {span(less)} KiB less memory for its use." if less else "."
    return [ran, memory]


def _insns(doors: Iterable[EntryOutcome]) -> str:
    return span(one.insns or 0 for one in doors)


def _gain(good: Sequence[Reuse]) -> list[str]:
    """What has to be offered, and what the kernel has by one way only. What differs between kernels is said of those only."""
    topics = list(dict.fromkeys(one.what for kernel in good for one in kernel.knows))
    efi, pvh = (listed(_which(good, topics, want) or ["nothing"]) for want in ((True, False), (False, True)))
    known = [one for one in good if one.must_work is not None]
    services = "how many services have to work was not looked for"
    if known:
        where = " and ".join(dict.fromkeys(one.looked_on for one in known))
        where += "" if len(known) == len(good) else f" with {', '.join(one.kernel for one in known)}"
        services = (
            f"of the {SERVICES} services that UEFI defines {span(one.must_work or 0 for one in known)} have to work and "
            f"{span(one.may_refuse or 0 for one in known)} have to be there and may refuse (looked for on {where})"
        )
    return [
        f"Of the firmware, {services}; through the EFI entry alone the kernel has {efi}, through the PVH entry alone {pvh}."
    ]


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
        f'On "{line.statement.claim}" the kernels give different answers.'
        for line in lines(study)
        if len({one.verdict for one in line.statement.judgements}) > 1
    ]
