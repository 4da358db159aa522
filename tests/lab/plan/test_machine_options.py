"""Options of the processor that every platform has."""

from __future__ import annotations

import pytest

from efishim.errors import UsageError
from efishim.lab.plan.machine_options import SPEED_RANGE, machine_options
from efishim.machine.timekeeper import INSNS_PER_US


def test_the_speed_is_the_machines_own_unless_told_otherwise() -> None:
    assert machine_options({}).insns_per_us == INSNS_PER_US
    assert machine_options({"insns_per_us": "3970"}).insns_per_us == 3970
    assert [machine_options({"insns_per_us": str(one)}).insns_per_us for one in SPEED_RANGE] == list(SPEED_RANGE)


@pytest.mark.parametrize("text", ["", "0", "-1", "99", "100001", "9" * 5000, "4e3", "4_000", "٤٠٠٠", "fast"])
def test_a_speed_that_is_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"machine\.insns_per_us takes a number from 100 to 100000"):
        machine_options({"insns_per_us": text})
