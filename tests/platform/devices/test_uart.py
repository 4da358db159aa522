"""16550A: the datasheet's interrupt table, and the probes that Linux's 8250 driver makes."""

from __future__ import annotations

import pytest

from efishim.platform.devices.uart import INPUT_LIMIT, Uart
from tests.platform.fakes import Line

RBR = THR = DLL = 0
IER = DLM = 1
IIR = FCR = 2
LCR, MCR, LSR, MSR, SCR = 3, 4, 5, 6, 7
NO_INTERRUPT = 0x01


class Port:
    """A UART with ears."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.irq = Line()
        self.uart = Uart(self.sent.extend, self.irq)

    def read(self, register: int) -> int:
        return self.uart.read(register, 1)

    def write(self, register: int, value: int) -> None:
        self.uart.write(register, 1, value)


@pytest.fixture
def port() -> Port:
    return Port()


def test_bytes_go_out_at_once(port: Port) -> None:
    for byte in b"hello":
        assert port.read(LSR) & 0x60 == 0x60
        port.write(THR, byte)
    assert bytes(port.sent) == b"hello"


def test_linux_autoconfig_detects_a_16550a(port: Port) -> None:
    """The steps of autoconfig() and autoconfig_16550a() in drivers/tty/serial/8250/8250_port.c."""
    port.write(IER, 0)
    assert port.read(IER) & 0x0F == 0
    port.write(IER, 0x0F)
    assert port.read(IER) & 0x0F == 0x0F
    port.write(IER, 0)
    port.write(MCR, 0x10 | 0x0A)  # loopback: RTS and OUT2 come back as CTS and DCD
    assert port.read(MSR) & 0xF0 == 0x90
    port.write(MCR, 0)
    port.write(LCR, 0xBF)  # EFR access of later chips
    port.write(FCR, 0)
    port.write(LCR, 0)
    port.write(FCR, 0x01)
    assert port.read(IIR) >> 6 == 3, "16550A: both FIFO bits"
    port.write(LCR, 0x80)  # an EFR would read zero here; the divisor latch keeps what was written
    port.write(DLM, 0xA5)
    assert port.read(DLM) == 0xA5
    port.write(LCR, 0)
    port.write(FCR, 0x01 | 0x20)  # no 64-byte FIFO, in either bank
    assert port.read(IIR) >> 5 & 7 == 6
    port.write(LCR, 0x80)
    port.write(FCR, 0x01 | 0x20)
    assert port.read(IIR) >> 5 & 7 == 6
    port.write(LCR, 0)
    before = port.read(IER)
    port.write(IER, before ^ 0x40)  # the UUE bit of XScale
    assert port.read(IER) == before


def test_linux_finds_no_thre_bug(port: Port) -> None:
    """serial8250_do_startup() enables THRI twice and wants the interrupt both times."""
    for _ in range(2):
        port.write(IER, 0x02)
        assert port.read(IIR) & 0x0F == 0x02
        port.write(IER, 0x00)


def test_reading_iir_clears_the_thre_interrupt_and_writing_thr_brings_it_back(port: Port) -> None:
    port.write(MCR, 0x08)
    port.write(IER, 0x02)
    assert port.irq.level
    assert port.read(IIR) & 0x0F == 0x02
    assert not port.irq.level
    assert port.read(IIR) & 0x0F == NO_INTERRUPT
    port.write(THR, 0x41)
    assert port.irq.level
    edges = port.irq.edges
    port.write(THR, 0x42)
    assert port.irq.edges == edges + 1, "each time the holding register empties there is an edge"


def test_reading_iir_for_another_cause_keeps_thre(port: Port) -> None:
    port.write(MCR, 0x08)
    port.uart.feed(b"x")
    port.write(IER, 0x03)
    assert port.read(IIR) & 0x0F == 0x04
    assert port.read(RBR) == ord("x")
    assert port.read(IIR) & 0x0F == 0x02


def test_out2_gates_the_line(port: Port) -> None:
    port.write(IER, 0x02)
    assert not port.irq.level
    port.write(MCR, 0x08)
    assert port.irq.level
    port.write(MCR, 0x18)
    assert not port.irq.level, "in loopback the output pin is inactive"


def test_fifo_trigger_level_and_timeout(port: Port) -> None:
    port.write(FCR, 0x81)  # trigger at 8
    port.write(IER, 0x01)
    port.uart.feed(b"1234567")
    assert port.read(IIR) & 0x0F == 0x0C, "below the trigger: character timeout"
    port.uart.feed(b"8")
    assert port.read(IIR) & 0x0F == 0x04
    assert bytes(port.read(RBR) for _ in range(8)) == b"12345678"
    assert port.read(IIR) & 0x0F == NO_INTERRUPT
    assert not port.read(LSR) & 1


def test_input_longer_than_the_fifo_arrives_completely(port: Port) -> None:
    port.write(FCR, 0x01)
    text = bytes(range(256)) * 2
    assert port.uart.feed(text) == len(text)
    received = bytearray()
    while port.read(LSR) & 1:
        received.append(port.read(RBR))
    assert bytes(received) == text


def test_input_is_bounded(port: Port) -> None:
    assert port.uart.feed(bytes(2 * INPUT_LIMIT)) == INPUT_LIMIT
    assert port.uart.feed(b"x") <= 1


def test_loopback_and_overrun(port: Port) -> None:
    port.write(MCR, 0x10)
    port.write(THR, 0x55)
    assert not port.sent
    port.write(THR, 0x66)
    assert port.read(LSR) & 0x03 == 0x03, "data and overrun"
    assert port.read(LSR) & 0x02 == 0, "reading clears it"
    assert port.read(RBR) == 0x55


def test_modem_status_changes(port: Port) -> None:
    assert port.read(MSR) == 0xB0
    port.write(IER, 0x08)
    port.write(MCR, 0x10)  # everything off: DCD, DSR, CTS fall
    assert port.read(IIR) & 0x0F == 0x00
    assert port.read(MSR) == 0x0B
    assert port.read(MSR) == 0x00
    assert port.read(IIR) & 0x0F == NO_INTERRUPT


def test_trailing_edge_of_ring_only(port: Port) -> None:
    port.write(MCR, 0x10)
    port.read(MSR)
    port.write(MCR, 0x14)
    assert port.read(MSR) == 0x40
    port.write(MCR, 0x10)
    assert port.read(MSR) == 0x04


def test_registers_without_meaning_keep_their_value(port: Port) -> None:
    port.write(SCR, 0x5A)
    assert port.read(SCR) == 0x5A
    port.write(LCR, 0x83)
    port.write(DLL, 3)
    port.write(DLM, 0)
    assert port.uart.baud == 38400
    port.write(LCR, 0x03)
    assert port.read(LCR) == 0x03
