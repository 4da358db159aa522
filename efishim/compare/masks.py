"""What is not compared of the lines that a kernel prints, and why. There is no other place where something is left out.

Everything else that `lab.kernel_log.normalise` replaces, so that two boots share a fact, is the fact's value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Mask:
    """A part of a line that is replaced before lines are compared. `section` is one of the report's, empty for the log."""

    section: str
    pattern: re.Pattern[str]
    replacement: str
    reason: str

    def hidden(self, line: str) -> str:
        """A line without that part."""
        return self.pattern.sub(self.replacement, line)


LOG, ANY = "", "*"

AUDIT = Mask(
    ANY,
    re.compile(r"\baudit\([^()]{0,64}\)"),
    "audit(TIME)",
    "Seconds and a serial number (kernel/audit.c, audit_log_start()).",
)
INTERRUPTS = Mask(
    "/proc/interrupts",
    re.compile(r"(?<=:)\s+\d+(?=\s|$)"),
    " N",
    "Interrupts so far: how long the boot took, told in ticks.",
)
MASKS: tuple[Mask, ...] = (
    AUDIT,
    Mask(
        LOG,
        re.compile(r"(?P<what>sched_clock: Marking \w+) \(.*"),
        r"\g<what> (TIME)",
        "Nanoseconds since the boot began (kernel/sched/clock.c, sched_clock_init_late()).",
    ),
    Mask(
        LOG,
        re.compile(r"(?P<what>deferred pages initialised in) \d+ms"),
        r"\g<what> TIME",
        "Ticks that a thread took (mm/mm_init.c, deferred_init_memmap()).",
    ),
    Mask(
        LOG,
        re.compile(r"\b\d+\.\d+ ?(?=s\b|ms\b|seconds\b)"),
        "N ",
        "How long something took.",
    ),
    Mask(
        LOG,
        re.compile(r"(?P<what>\binitcall \S+(?: \[\S+\])? returned -?\d+ after) \d+(?= usecs)"),
        r"\g<what> N",
        "How long an initcall took (init/main.c, trace_initcall_finish_cb()).",
    ),
    Mask(
        ANY,
        re.compile(r"\b(?P<what>PID:?|pid) ?\d+"),
        r"\g<what> N",
        "Numbers of processes count the threads that were started before, some of them by timers.",
    ),
    INTERRUPTS,
)


@lru_cache(maxsize=1 << 14)
def masked(section: str, line: str) -> str:
    """A line without what is not compared."""
    for mask in MASKS:
        if mask.section in (section, ANY):
            line = mask.hidden(line)
    return line
