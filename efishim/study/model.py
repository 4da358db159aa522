"""The study document: plain values, from which text, Markdown, JSON and HTML are generated.

Nothing in it comes from the host's clock: the study of the same kernels by the same efishim is the same document.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from efishim.canonical import canonical

SCHEMA = 2
"""Number of this document's schema."""


class Verdict(StrEnum):
    """What an experiment says about a statement."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    SOME = "supported for some kernels"
    """Only of several kernels together: supported for some, refuted or not tested for others."""
    UNTESTED = "not tested here"


class _Struct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all parts have in common."""


class Source(_Struct, frozen=True, kw_only=True):
    """A statement and its source. Without a link it is a paraphrase: no readable archive has the words."""

    text: str
    author: str = ""
    date: str = ""
    link: str = ""
    """Address of the message or page."""

    @property
    def verbatim(self) -> bool:
        """Are these the very words?"""
        return bool(self.link)

    @property
    def attribution(self) -> str:
        """Who and when, or that it is a paraphrase."""
        return ", ".join(filter(None, (self.author, self.date))) if self.verbatim else "paraphrase"


class KernelView(_Struct, frozen=True, kw_only=True):
    """A kernel of the study. `name` is what the document calls it."""

    name: str
    path: str
    """As the user named it."""
    version: str
    sha256: str


class Command(_Struct, frozen=True, kw_only=True):
    """How to have a piece of evidence again."""

    what: str
    command: str


class Table(_Struct, frozen=True, kw_only=True):
    """A piece of evidence: rows of cells under columns, and the commands that give the numbers again."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    commands: list[Command] = []
    notes: list[str] = []
    bars: list[int] = []
    """Columns of numbers that a page draws as bars, from zero and on one scale for all rows and all of these columns."""


class Judgement(_Struct, frozen=True, kw_only=True):
    """The verdict for one kernel, and the numbers that made it, in a sentence."""

    kernel: str
    verdict: Verdict
    because: str


class StatementView(_Struct, frozen=True, kw_only=True):
    """Something that was said, how it is decided, and what came out."""

    key: str
    source: Source
    claim: str
    """What the verdict is about, as a whole sentence: a quote may be a question or a fragment."""
    criterion: str
    verdict: Verdict
    """Of all kernels together."""
    judgements: list[Judgement]


class Evidence(_Struct, frozen=True, kw_only=True):
    """What was measured with one kernel, or with several that gave the same."""

    kernels: list[str]
    tables: list[Table]

    @property
    def commands(self) -> list[Command]:
        """Those of all tables, each once."""
        return list(dict.fromkeys(command for table in self.tables for command in table.commands))


class Row(_Struct, frozen=True, kw_only=True):
    """One experiment."""

    key: str
    title: str
    question: str
    statements: list[StatementView]
    evidence: list[Evidence]
    limits: list[str]
    """What it does not show."""


class EntryOutcome(_Struct, frozen=True, kw_only=True):
    """One way in with hvm_start_info."""

    userspace: bool
    """Did it come up?"""
    reached: str
    """The last milestone."""
    insns: int | None
    """Instructions to startup_64 without those of the image's decompressor; None where it was not reached."""
    unpacking: int
    """Those."""
    firmware: int = 0
    """Instructions of the firmware in the guest, services included, up to the end."""
    calls: int
    """Firmware calls."""


class Knowledge(_Struct, frozen=True, kw_only=True):
    """Something that a kernel may have in the end, and by which way it has it."""

    what: str
    efi: bool
    pvh: bool


class Reuse(_Struct, frozen=True, kw_only=True):
    """The same hvm_start_info through the EFI entry and through the PVH entry of one kernel."""

    kernel: str
    reason: str = ""
    """Why nothing can be told; empty when it can."""
    efi: EntryOutcome | None = None
    pvh: EntryOutcome | None = None
    alike: bool = False
    """The same machine and the same structure on both ways."""
    kept_kib: int = 0
    """Guest memory that the firmware keeps after the boot."""
    less_kib: int | None = None
    """By how much MemTotal is less than by the PVH entry; None where one of them did not report it."""
    firmware_bytes: int = 0
    """Of the firmware in the guest, as it is loaded."""
    looked_on: str = ""
    """The route on which the services that it needs were looked for."""
    must_work: int | None = None
    """Boot and runtime services without which there is no boot; None if that was not examined."""
    may_refuse: int | None = None
    """Those that must be there and may do nothing."""
    knows: list[Knowledge] = []


class Objection(_Struct, frozen=True, kw_only=True):
    """Something that was said against one of the two entries, and where this document answers it."""

    source: Source
    answer: str
    statement: str = ""
    """Key of the statement that answers it; empty where nothing here does."""


class Failure(_Struct, frozen=True, kw_only=True):
    """A run that the study needed and that failed."""

    kernel: str
    run: str
    reason: str


class Study(_Struct, frozen=True, kw_only=True):
    """Everything."""

    schema: int = SCHEMA
    tool: str
    emulator: str = ""
    date: str = ""
    """As the user gave it; empty if not given."""
    command: str
    """What makes this document again."""
    kernels: list[KernelView]
    reuse: list[Reuse] = []
    rows: list[Row]
    objections: list[Objection] = []
    failures: list[Failure] = []
    runs: int = 0
    """Runs that the evidence rests on."""

    @property
    def complete(self) -> bool:
        """Every run that was needed gave a record: the exit status is 0."""
        return not self.failures


def combine(verdicts: list[Verdict]) -> Verdict:
    """One verdict for several kernels."""
    kinds = set(verdicts)
    if len(kinds) == 1:
        return verdicts[0]
    if Verdict.SUPPORTED in kinds or Verdict.SOME in kinds:
        return Verdict.SOME
    return Verdict.REFUTED if Verdict.REFUTED in kinds else Verdict.UNTESTED


def encode(study: Study) -> bytes:
    """Canonical JSON: sorted keys, two spaces, a newline at the end."""
    return canonical(study)


def json_schema() -> dict[str, Any]:
    """The document as JSON Schema (draft 2020-12)."""
    return msgspec.json.schema(Study)
