"""Random bytes as a program: only ends that have a name."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from efishim.lab.record import Reason
from tests.hostile.programs import image_of, run_image

pytestmark = [pytest.mark.unmeasured, pytest.mark.slow]

DEFINED = set(Reason) - {Reason.EMULATOR, Reason.TIMEOUT, Reason.INTERRUPTED}
PIECES = (
    *(b"\x0f\x30", b"\x0f\x32", b"\x0f\x31", b"\x0f\xa2", b"\xe6\xe4", b"\xec", b"\xee", b"\xf4", b"\xfa", b"\xfb"),
    *(b"\x0f\x22\xc0", b"\x0f\x22\xd8", b"\x0f\x22\xe0", b"\x0f\x20\xc0", b"\x0f\x01\x18", b"\x0f\x01\x10", b"\x48\xcf"),
    *(b"\xf3\xab", b"\xf3\xa4", b"\xcd\x80", b"\xcc", b"\x0f\x05", b"\x0f\x34", b"\x48\x89\xcc", b"\xff\xd0", b"\xff\xe2"),
    *(b"\xb9\x80\x00\x00\xc0", b"\xb8\x00\x00\xe0\xfe", b"\xbf\x00\x00\x0f\x00", b"\x48\x8b\x5a\x60", b"\xff\x53\x40"),
    *(b"\xeb\xfe", b"\x8e\xd8", b"\x9d", b"\x9c", b"\xf3\x90", b"\x0f\xc7\xf0", b"\x0f\x0b", b"\x0f\xae\x07", b"\x64\xa1"),
)


def ends(code: bytes) -> None:
    outcome = run_image(image_of(code), max_insns=100_000, timeout=120).outcome
    assert outcome.reason in DEFINED, (code.hex(), outcome)


@pytest.mark.parametrize("seed", range(60))
def test_random_bytes(seed: int) -> None:
    ends(random.Random(seed).randbytes(4096))


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.binary(min_size=1, max_size=3)), min_size=1, max_size=60))
def test_random_instructions(pieces: list[bytes]) -> None:
    """Privileged instructions and firmware calls in any order."""
    ends(b"".join(pieces))
