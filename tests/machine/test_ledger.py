"""The ledger: who touched what, how often, and when."""

from __future__ import annotations

import pytest

from efishim.machine import ledger
from efishim.machine.ledger import Kind, Ledger, Touch


def test_the_same_access_is_counted() -> None:
    book = Ledger()
    book.note(Kind.PORT, 0x3F8, True, 0x1000, 10, 0x41)
    book.note(Kind.PORT, 0x3F8, True, 0x1000, 30, 0x42)
    assert book.touches() == [Touch(Kind.PORT, 0x3F8, True, 0x1000, 2, 10, 30, 0x42)]


def test_another_kind_address_direction_or_code_is_another() -> None:
    book = Ledger()
    keys = [
        (Kind.PORT, 1, True, 5),
        (Kind.MMIO, 1, True, 5),
        (Kind.PORT, 2, True, 5),
        (Kind.PORT, 1, False, 5),
        (Kind.PORT, 1, True, 6),
        (Kind.MSR, 1, True, 5),
        (Kind.CPUID, 1, True, 5),
    ]
    for kind, address, write, code in reversed(keys):
        book.note(kind, address, write, code, 0, 0)
    found = [(touch.kind, touch.address, touch.write, touch.code) for touch in book.touches()]
    assert found == keys[::-1], "in the order of the first access"


def test_it_can_be_off() -> None:
    book = Ledger()
    book.enabled = False
    book.note(Kind.MSR, 0x10, False, 0, 0, 0)
    book.enabled = True
    assert book.touches() == []


@pytest.mark.slow
def test_a_flood_is_bounded_and_counted() -> None:
    book = Ledger()
    for address in range(ledger.TOUCH_LIMIT + 5):
        book.note(Kind.MMIO, address, False, 0, address, 0)
    book.note(Kind.MMIO, 0, False, 0, 99, 7)
    assert len(book.touches()) == ledger.TOUCH_LIMIT
    assert book.dropped == 5
    assert (book.touches()[0].count, book.touches()[0].last) == (2, 99), "what is known is still counted"
