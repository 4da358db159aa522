"""8259A: expected values follow the datasheet's command words and interrupt sequence (Intel 231468)."""

from __future__ import annotations

import pytest

from efishim.platform.devices.pic import PicPair


def linux_init(pair: PicPair, *, auto_eoi: bool = False) -> None:
    """The words that arch/x86/kernel/i8259.c, init_8259A() sends: vectors 0x30 and 0x38, then all unmasked."""
    icw4 = 3 if auto_eoi else 1
    for pic, offset, cascade in ((pair.master, 0x30, 0x04), (pair.slave, 0x38, 0x02)):
        pic.write(0, 1, 0x11)
        pic.write(1, 1, offset)
        pic.write(1, 1, cascade)
        pic.write(1, 1, icw4)
        pic.write(1, 1, 0x00)


@pytest.fixture
def pair() -> PicPair:
    pics = PicPair(lambda: None)
    linux_init(pics)
    return pics


def test_firmware_leaves_everything_masked_and_the_mask_reads_back() -> None:
    pics = PicPair(lambda: None)
    pics.set_line(4, True)
    assert not pics.output
    # probe_8259A(): write 0xfb, read it back
    pics.slave.write(1, 1, 0xFF)
    pics.master.write(1, 1, 0xFB)
    assert pics.master.read(1, 1) == 0xFB


def test_vectors_of_master_and_slave(pair: PicPair) -> None:
    pair.set_line(4, True)
    assert pair.output
    assert pair.acknowledge() == 0x34
    pair.master.write(0, 1, 0x20)
    pair.set_line(12, True)
    assert pair.acknowledge() == 0x3C


def test_fixed_priority_and_end_of_interrupt(pair: PicPair) -> None:
    pair.set_line(6, True)
    pair.set_line(3, True)
    assert pair.acknowledge() == 0x33, "IR3 has priority over IR6"
    assert not pair.output, "IR6 is below what is in service"
    pair.set_line(1, True)
    assert pair.acknowledge() == 0x31, "IR1 interrupts the service of IR3"
    pair.master.write(0, 1, 0x0B)
    assert pair.master.read(0, 1) == 0b1010, "ISR by OCW3"
    pair.master.write(0, 1, 0x20)
    assert pair.master.read(0, 1) == 0b1000, "a non-specific EOI ends the highest"
    pair.master.write(0, 1, 0x63)
    assert pair.master.read(0, 1) == 0, "a specific EOI ends the one it names"
    assert pair.acknowledge() == 0x36


def test_edge_input_needs_a_new_edge(pair: PicPair) -> None:
    pair.set_line(4, True)
    pair.acknowledge()
    pair.master.write(0, 1, 0x20)
    assert not pair.output, "the pin is still high, but there was no edge"
    pair.set_line(4, False)
    pair.set_line(4, True)
    assert pair.output


def test_level_input_asks_until_it_falls(pair: PicPair) -> None:
    pair.elcr.write(1, 1, 0x02)  # IRQ 9
    assert pair.elcr.read(1, 1) == 0x02
    pair.set_line(9, True)
    assert pair.acknowledge() == 0x39
    pair.slave.write(0, 1, 0x20)
    pair.master.write(0, 1, 0x20)
    assert pair.output
    pair.set_line(9, False)
    assert not pair.output


def test_elcr_keeps_the_fixed_inputs_edge(pair: PicPair) -> None:
    pair.elcr.write(0, 1, 0xFF)
    pair.elcr.write(1, 1, 0xFF)
    assert (pair.elcr.read(0, 1), pair.elcr.read(1, 1)) == (0xF8, 0xDE)


def test_a_vanished_request_is_spurious_irq7_without_isr(pair: PicPair) -> None:
    pair.set_line(3, True)
    pair.set_line(3, False)
    assert pair.acknowledge() == 0x37
    pair.master.write(0, 1, 0x0B)
    assert pair.master.read(0, 1) == 0


def test_a_request_that_the_slave_lost_is_spurious_irq15_and_leaves_the_cascade_in_service(pair: PicPair) -> None:
    pair.set_line(12, True)
    pair.slave.write(1, 1, 0xFF)  # masked between INT and INTA; the cascade input falls as well
    assert pair.acknowledge() == 0x37


def test_two_requests_at_the_slave_come_one_after_the_other(pair: PicPair) -> None:
    pair.set_line(8, True)
    pair.set_line(12, True)
    assert pair.acknowledge() == 0x38
    assert not pair.output
    pair.slave.write(0, 1, 0x20)
    pair.master.write(0, 1, 0x62)
    assert pair.output
    assert pair.acknowledge() == 0x3C


def test_masking_hides_a_request_and_unmasking_shows_it(pair: PicPair) -> None:
    pair.master.write(1, 1, 0x10)
    pair.set_line(4, True)
    assert not pair.output
    pair.master.write(0, 1, 0x0A)
    assert pair.master.read(0, 1) == 0x10, "IRR knows it"
    pair.master.write(1, 1, 0x00)
    assert pair.output


def test_automatic_eoi_leaves_nothing_in_service() -> None:
    pair = PicPair(lambda: None)
    linux_init(pair, auto_eoi=True)
    pair.set_line(0, True)
    assert pair.acknowledge() == 0x30
    pair.set_line(1, True)
    assert pair.output
    pair.master.write(0, 1, 0x0B)
    assert pair.master.read(0, 1) == 0


def test_rotation_makes_the_served_input_lowest(pair: PicPair) -> None:
    pair.set_line(3, True)
    pair.acknowledge()
    pair.master.write(0, 1, 0xA0)  # rotate on non-specific EOI
    pair.set_line(3, False)
    pair.set_line(3, True)
    pair.set_line(6, True)
    assert pair.acknowledge() == 0x36, "IR4 to IR7 are above IR3 now"


def test_set_priority_command(pair: PicPair) -> None:
    pair.master.write(0, 1, 0xC4)  # IR4 lowest, so IR5 highest
    pair.set_line(1, True)
    pair.set_line(5, True)
    assert pair.acknowledge() == 0x35


def test_special_mask_mode_lets_lower_ones_through(pair: PicPair) -> None:
    pair.set_line(3, True)
    pair.acknowledge()
    pair.set_line(6, True)
    assert not pair.output
    pair.master.write(1, 1, 0x08)
    pair.master.write(0, 1, 0x68)
    assert pair.acknowledge() == 0x36


def test_poll_command_acknowledges(pair: PicPair) -> None:
    pair.master.write(0, 1, 0x0C)
    assert pair.master.read(0, 1) == 0
    pair.set_line(5, True)
    pair.master.write(0, 1, 0x0C)
    assert pair.master.read(0, 1) == 0x85
    pair.master.write(0, 1, 0x0B)
    assert pair.master.read(0, 1) == 0x20


def test_no_output_in_the_middle_of_initialisation(pair: PicPair) -> None:
    pair.master.write(0, 1, 0x11)
    pair.set_line(4, True)
    assert not pair.output
    for word in (0x30, 0x04, 0x01):
        pair.master.write(1, 1, word)
    assert pair.output, "ICW1 cleared the mask and the edge came after it"
