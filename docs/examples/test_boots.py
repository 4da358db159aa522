"""Another project's tests, with the fixture `efishim`."""

from __future__ import annotations

from typing import Any

import pytest


def test_the_kernel_powers_off(efishim: Any) -> None:
    record = efishim.run(route="hvmlite/pvh")
    assert record.outcome.met
    assert record.abi == [], "the handover is as its specification says"


def test_a_mistake_is_an_error_with_a_hint(efishim: Any) -> None:
    with pytest.raises(efishim.EfishimError) as caught:
        efishim.run(route="hvmlite/nothing")
    assert caught.value.hint
