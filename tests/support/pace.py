"""How quick this host is, so that bounds in processor seconds mean the same on a slower one."""

from __future__ import annotations

import time

WORK = 1_000_000
USUAL = 0.016
"""Processor seconds for the work on the host that the bounds were set on."""


def slowness() -> float:
    """How many times longer than there the processor takes now; never less than 1. The best of three: others only add to it."""
    return max(1.0, min(_once() for _ in range(3)) / USUAL)


def _once() -> float:
    begun = time.process_time()
    sum(range(WORK))
    return time.process_time() - begun
