"""The part of a record that is about the image, where a boot loader ran in front of it.

What is compared is what a kernel was told and did. What a loader did before the kernel's first instruction has no counterpart
where a provider wrote everything at once; what it told the kernel shows at the entry.
"""

from __future__ import annotations

from msgspec import UNSET
from msgspec.structs import replace

from efishim.lab.record import Milestone, Record


def of_the_image(record: Record) -> Record:
    """The record without the loader's calls, its hardware and what it printed; the record itself where there was no loader. Of
    a run that did not come to the image nothing is left but how it ended.

    The loader's code stays, for blocks of functions are known by their places in the list; it is the part `loader`.
    """
    if record.options.loader is UNSET:
        return record
    since = next((point.insns for point in record.milestones if point.name is Milestone.ENTRY), None)
    said = len(record.console) if since is None or record.console_before is UNSET else record.console_before
    began = record.outcome.insns if since is None else since
    return replace(
        record,
        milestones=[point for point in record.milestones if point.insns >= began and since is not None],
        # A call at that very instruction is StartImage: the image has not run yet.
        firmware_calls=[call for call in record.firmware_calls if call.insns > began],
        ledger=[touch for touch in record.ledger if touch.last_insns >= began],
        console=record.console[said:],
    )
