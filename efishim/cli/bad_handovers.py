"""`efishim oracle --faults`: how a kernel fails on corrupted handovers, on QEMU and in efishim."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from efishim.lab.progress import Progress
    from efishim.oracle.dump import Request

RowOf = tuple[str, str, str, str]


def show_faults(request: Request, platform: str, progress: Progress) -> bool:
    """Try all of them, print a table, and say whether the same came of each on both sides. Raises RouteError for what is no
    64-bit Linux as a bzImage.
    """
    from efishim.cli import out
    from efishim.errors import RouteError
    from efishim.oracle.faults import FAULTS, require
    from efishim.oracle.faulty import Subject, agree, in_efishim, on_qemu

    require(request.image)
    subject = Subject(request.image, request.blob)
    rows: list[RowOf] = []
    good = True
    for fault in FAULTS:
        try:
            progress.phase(f"{fault.name} on QEMU")
            real = on_qemu(subject, fault, timeout=request.timeout)
            progress.phase(f"{fault.name} in efishim")
            ours = in_efishim(subject, fault, timeout=request.timeout, platform=platform)
        except RouteError as error:
            rows.append((fault.name, "-", "-", error.sentence))
            continue
        same = agree(real, ours)
        good = good and same
        rows.append((fault.name, str(real), str(ours), "same" if same else "not the same"))
    out.table(("fault", "QEMU", "efishim", ""), rows)
    return good
