"""A record for tests that need one and no run."""

from __future__ import annotations

from typing import Any

from efishim.lab.record import (
    Argument,
    CodeRef,
    Coverage,
    FirmwareCall,
    FunctionCoverage,
    Hex,
    Image,
    LedgerEntry,
    LedgerKind,
    Milestone,
    MilestonePoint,
    Options,
    Outcome,
    Reason,
    Record,
    RouteName,
    Tool,
)
from tests.views import boot_view


def a_record(**changes: Any) -> Record:
    """A run that reached shutdown, with at least one of everything."""
    values: dict[str, Any] = {
        "tool": Tool(name="efishim", version="0", unicorn="0"),
        "image": Image(path="vmlinuz", sha256="0" * 64, size=1, format="bzImage", version="6.1", entries=["efi"]),
        "route": RouteName(provider="firmware", entry="efi", platform="pc"),
        "options": Options(
            cmdline="console=ttyS0",
            initrds=[],
            memory=512 << 20,
            until=Milestone.SHUTDOWN,
            max_insns=10,
            timeout=900.0,
            seed=0,
            epoch=0,
            options={},
            observers=True,
        ),
        "milestones": [
            MilestonePoint(name=Milestone.ENTRY, insns=0, seconds=0.0),
            MilestonePoint(name=Milestone.STARTUP_64, insns=105_000_000, seconds=0.0, virtual_ns=1_500_000_000),
            MilestonePoint(name=Milestone.SHUTDOWN, insns=1_234_567_890, seconds=0.0, virtual_ns=3_000_000_000),
        ],
        "outcome": Outcome(
            reached=Milestone.SHUTDOWN,
            goal=Milestone.SHUTDOWN,
            met=True,
            reason=Reason.SHUTDOWN,
            details="the guest powered off through ACPI",
            insns=1_234_567_890,
            virtual_ns=3_000_000_000,
        ),
        "firmware_calls": [
            FirmwareCall(
                service="HandleProtocol",
                args=[Argument(name="Handle", value="0x1000")],
                status="EFI_SUCCESS",
                insns=734,
                caller=CodeRef(address=Hex(0x100000), symbol="efi_pe_entry+0x2d"),
            )
        ],
        "boot_view": boot_view(),
        "ledger": [LedgerEntry(kind=LedgerKind.PORT, what="0x3f8", device="uart", group="serial", writes=5533)],
        "coverage": Coverage(blocks=52_000, functions=[FunctionCoverage(name="start_kernel", blocks=12)]),
        "console": "Linux version\n",
        "reproduce": "efishim run vmlinuz",
    }
    return Record(**(values | changes))
