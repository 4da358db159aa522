"""The platform `pc` as a whole: memory map, tables in memory, who sits where, switches."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.errors import UsageError
from efishim.machine.cpu import Board
from efishim.machine.machine import Machine
from efishim.memory_range import MemoryKind
from efishim.platform.definition import GIB, MIB, PlatformFacts, PlatformOptions
from efishim.platform.machines.pc import PC
from efishim.platform.resources import PC_RESOURCES, Owners, resources
from tests.platform.fakes import FakeBoard
from tests.support.pace import slowness

EPOCH = 1_460_000_000


def build(ram: int = 512 * MIB, **features: str) -> tuple[FakeBoard, PlatformFacts]:
    board = FakeBoard()
    as_board: Board = board
    return board, PC.build(as_board, PlatformOptions(ram, EPOCH, features))


@settings(max_examples=25, deadline=None)
@given(st.integers(64, 16 * 1024))
def test_memory_map_of_any_size(mib: int) -> None:
    board, facts = build(mib * MIB)
    pieces = facts.memory_map
    assert all(first.end <= second.start for first, second in pairwise(pieces))
    assert all(piece.start % 4096 == piece.size % 4096 == 0 and piece.size > 0 for piece in pieces)
    assert sum(piece.size for piece in pieces) == mib * MIB - (0x100000 - 0xA0000), "all RAM but the legacy hole"
    assert not any(piece.start < 4 * GIB and piece.end > 0xC000_0000 for piece in pieces)
    for piece in pieces:
        assert board.memory.find(piece.start, piece.size) is not None


def test_split_at_the_pci_hole() -> None:
    _, facts = build(16 * GIB)
    ram = [(piece.start, piece.end) for piece in facts.memory_map if piece.kind is MemoryKind.RAM]
    assert ram[-1] == (4 * GIB, 17 * GIB)
    assert ram[0] == (0, 0xA0000)
    _, facts = build(4 * GIB, low_ram_mib="2048")
    assert facts.memory_map[-1].end == 6 * GIB


@pytest.mark.parametrize("ram", [0, MIB, 64 * MIB + 1, 1 << 50])
def test_impossible_sizes(ram: int) -> None:
    with pytest.raises(UsageError):
        build(ram)


def test_tables_lie_where_the_facts_say() -> None:
    board, facts = build()
    assert facts.rsdp is not None
    assert facts.smbios is not None
    assert board.memory.read(facts.rsdp, 8) == b"RSD PTR "
    assert board.memory.read(facts.smbios, 5) == b"_SM3_"
    contents = {piece.content: piece for piece in facts.memory_map if piece.content}
    assert contents["ACPI tables"].kind is MemoryKind.ACPI_RECLAIMABLE
    assert contents["FACS"].kind is MemoryKind.ACPI_NVS
    assert board.memory.read(contents["FACS"].start, 4) == b"FACS"
    structures = board.memory.u64(facts.smbios + 16)
    assert contents["SMBIOS"].start <= structures < contents["SMBIOS"].end


def test_two_builds_are_the_same() -> None:
    contents = []
    for _ in range(2):
        board, facts = build(2 * GIB)
        tables = [piece for piece in facts.memory_map if piece.content]
        contents.append((facts.memory_map, [board.memory.read(piece.start, piece.size) for piece in tables]))
    assert contents[0] == contents[1]


def test_first_megabyte_of_an_efi_machine() -> None:
    board, _ = build()
    assert not any(board.memory.read(0, 0xA0000)), "no BIOS data area"
    assert board.mmio.read(0xA0000, 4) == 0xFFFF_FFFF, "no VGA memory"
    assert board.memory.read(0xE0000, 0x20000) == b"\xff" * 0x20000, "no BIOS"


def test_bios_area() -> None:
    board, facts = build(bios_area="1")
    assert facts.rsdp is not None
    found = [at for at in range(0xE0000, 0x100000, 16) if board.memory.read(at, 8) == b"RSD PTR "]
    assert len(found) == 1
    assert board.memory.read(found[0], 36) == board.memory.read(facts.rsdp, 36)
    assert any(board.memory.read(at, 5) == b"_SM3_" for at in range(0xF0000, 0x100000, 16))
    assert any(piece.content == "BIOS" and piece.kind is MemoryKind.RESERVED for piece in facts.memory_map)


def test_every_device_is_known_to_the_ledger() -> None:
    board, facts = build(bios_area="1")
    by_name, owners = {resource.name: resource for resource in facts.resources}, Owners(facts.resources)
    for place in board.ports.attachments:
        for port in range(place.start, place.start + place.size):
            owner = owners.port(port)
            assert owner is not None
            assert owner.name == ("reset" if port == 0xCF9 else place.name), hex(port)
        assert by_name[place.name].present
    for place in board.mmio.attachments:
        assert owners.mmio(place.start) is by_name[place.name]
        assert by_name[place.name].present
    assert not by_name["VGA"].present
    assert not by_name["i8042"].present


def test_no_two_resources_share_an_address() -> None:
    for kind in ("ports", "mmio", "msrs"):
        spans = sorted(span for resource in PC_RESOURCES for span in getattr(resource, kind))
        assert all(first[1] < second[0] for first, second in pairwise(spans)), kind
    with pytest.raises(KeyError):
        resources(["no such thing"])


def test_absent_hardware_reads_ones() -> None:
    board, _ = build()
    for port in (0x60, 0x64, 0x2F8, 0x3E8, 0x2E8, 0x3D5, 0x1F7, 0x80):
        board.outb(port, 0)
        assert board.inb(port) == 0xFF, hex(port)


@pytest.mark.parametrize(
    ("feature", "names"),
    [
        ("serial", {"serial"}),
        ("pic", {"PIC"}),
        ("pit", {"PIT", "A20"}),
        ("rtc", {"CMOS"}),
        ("pci", {"PCI"}),
        ("mtrr", {"MTRR"}),
    ],
)
def test_a_device_can_be_left_out(feature: str, names: set[str]) -> None:
    _, with_it = build()
    board, without = build(512 * MIB, **{feature: "0"})

    def present(facts: PlatformFacts) -> set[str]:
        return {resource.name for resource in facts.resources if resource.present}

    assert present(with_it) - present(without) == names
    assert not names & {place.name for place in board.ports.attachments}


def test_reset_without_pci() -> None:
    board, _ = build(pci="0")
    board.outb(0xCF9, 0x06)
    assert board.stops == ["reset"]


def test_power_off_through_acpi() -> None:
    board, _ = build()
    board.ports.write(0x604, 2, 5 << 10 | 1 << 13)
    assert board.stops == ["shutdown"]
    board, _ = build(fadt_hw_reduced="on")
    board.ports.write(0x600, 1, 5 << 2 | 0x20)
    assert board.stops == ["shutdown"]


def fadt(board: FakeBoard, facts: PlatformFacts) -> bytes:
    """Found through the RSDP's XSDT."""
    assert facts.rsdp is not None
    xsdt = board.memory.u64(facts.rsdp + 24)
    address = board.memory.u64(xsdt + 36)
    return board.memory.read(address, board.memory.u32(address + 4))


def test_features_of_the_fadt_switch_alone() -> None:
    normal = fadt(*build())
    vga = fadt(*build(fadt_no_vga="0"))
    assert int.from_bytes(normal[109:111], "little") ^ int.from_bytes(vga[109:111], "little") == 1 << 2
    rtc = fadt(*build(fadt_no_rtc="1"))
    assert int.from_bytes(normal[109:111], "little") ^ int.from_bytes(rtc[109:111], "little") == 1 << 5


def test_without_tables() -> None:
    board, facts = build(acpi="0", smbios="0")
    assert facts.rsdp is None
    assert facts.smbios is None
    assert facts.memory_of(MemoryKind.RAM) == 512 * MIB - 0x60000
    board.ports.write(0x604, 2, 5 << 10 | 1 << 13)
    assert board.stops == ["shutdown"], "the hardware is there nevertheless"


@pytest.mark.parametrize(
    ("name", "value"), [("serial", "2"), ("serial", "maybe"), ("serial", ""), ("low_ram_mib", "9999"), ("nosuch", "1")]
)
def test_wrong_features_are_usage_errors(name: str, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        build(512 * MIB, **{name: value})
    assert name in caught.value.sentence
    assert caught.value.hint


def test_low_ram_that_leaves_no_room() -> None:
    with pytest.raises(UsageError):
        build(low_ram_mib="1")


def test_serial_console_reaches_the_sink_and_back() -> None:
    sent = bytearray()
    board = FakeBoard()
    facts = PC.build(board, PlatformOptions(64 * MIB, EPOCH, console=sent.extend))
    for byte in b"ok":
        board.outb(0x3F8, byte)
    assert bytes(sent) == b"ok"
    assert facts.console is not None
    facts.console.feed(b"x")
    assert board.inb(0x3F8) == ord("x")


def test_uart_interrupt_arrives_at_gsi_4() -> None:
    board, facts = build()
    lapic, ioapic = facts.interrupts.lapic, facts.interrupts.ioapic
    lapic.write(0xF0, 4, 0x1FF)
    ioapic.write(0, 4, 0x10 + 2 * 4)
    ioapic.write(0x10, 4, 0x44)
    board.outb(0x3FC, 0x0B)
    board.outb(0x3F9, 0x02)
    assert board.interrupts is not None
    assert board.interrupts.pending()
    assert board.interrupts.acknowledge() == 0x44


ACCESSES = st.lists(
    st.tuples(
        st.sampled_from(["port", "apic", "ioapic", "msr", "wait"]),
        st.integers(0, 0xFFFF),
        st.sampled_from([1, 2, 4]),
        st.one_of(st.none(), st.integers(0, 0xFFFF_FFFF), st.sampled_from([0, 0xFF, 0x20, 0x36, 0x1FF, 1 << 17])),
    ),
    max_size=60,
)
PORTS = (0x20, 0x21, 0x40, 0x42, 0x43, 0x61, 0x70, 0x71, 0x92, 0xA0, 0x3F8, 0x3FF, 0x4D0, 0x600, 0x60B, 0xCF8, 0xCFF)
MSRS = (0x1B, 0x8B, 0xFE, 0x179, 0x1A0, 0x200, 0x250, 0x277, 0x2FF, 0x401)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(ACCESSES)
def test_a_hostile_guest_breaks_nothing(accesses: list[tuple[str, int, int, int | None]]) -> None:
    """Whatever is read or written anywhere, devices answer in range and the next access works."""
    board, facts = build(64 * MIB)
    irqs = facts.interrupts
    for target, number, size, value in accesses:
        if target == "wait":
            board.advance(number)
        elif target == "msr":
            assert board.msrs is not None
            msr = MSRS[number % len(MSRS)]
            if value is None:
                assert board.msrs.read(msr) is not None
            else:
                board.msrs.write(msr, value)
        else:
            bus = board.ports if target == "port" else board.mmio
            address = {"apic": 0xFEE0_0000 + number % 0x1000, "ioapic": 0xFEC0_0000 + number % 2 * 0x10}.get(
                target, PORTS[number % len(PORTS)]
            )
            if value is None:
                assert 0 <= bus.read(address, size) < 1 << 8 * size
            else:
                bus.write(address, size, value & ((1 << 8 * size) - 1))
        for _ in range(3):
            if irqs.pending():
                assert 0 <= irqs.acknowledge() <= 0xFF
    assert set(board.stops) <= {"reset", "shutdown"}


def test_the_clock_shows_the_epoch() -> None:
    board, facts = build()
    board.outb(0x70, 0)
    assert board.inb(0x71) == 0x20
    assert facts.rtc is not None
    assert facts.rtc.unix_ns() == EPOCH * 1_000_000_000


def up() -> float:
    """Processor seconds of a real machine with this platform, up to where an entry state could be set."""
    started = time.process_time()
    machine = Machine()
    PC.build(machine, PlatformOptions(512 * MIB, EPOCH))
    machine.power_on()
    assert machine.engine.shortcuts
    return time.process_time() - started


@pytest.mark.unmeasured
def test_a_machine_is_up_in_50_milliseconds() -> None:
    """The least of several: other processes only add to it. Tests and `efishim doctor` build hundreds."""
    assert min(up() for _ in range(8)) < 0.05 * slowness()
