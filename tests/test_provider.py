"""What plugin authors import: the arena that places structures, and where the shim's knowledge comes from."""

from __future__ import annotations

import pytest
from efishim_plugins.firmware.provider import Firmware
from hypothesis import given
from hypothesis import strategies as st

from efishim.errors import ProviderError, UsageError
from efishim.provider import (
    Arena,
    BootInformation,
    BootRequest,
    Handover,
    MachineFacts,
    MemoryKind,
    MemoryRange,
    OptionHelp,
    OptionKind,
    boot_information,
)

RAM = MemoryRange(0, 0x9F000, MemoryKind.RAM)
HIGH = MemoryRange(0x100000, 0x100000, MemoryKind.RAM)
HOLE = MemoryRange(0x9F000, 0x61000, MemoryKind.RESERVED)


@given(st.lists(st.tuples(st.integers(1, 0x4000), st.sampled_from([1, 8, 16, 0x1000])), max_size=60))
def test_places_are_aligned_inside_ram_and_never_overlap(wishes: list[tuple[int, int]]) -> None:
    arena = Arena((RAM, HOLE, HIGH))
    taken: list[tuple[int, int]] = []
    for size, align in wishes:
        try:
            start = arena.place(size, align=align)
        except ProviderError:
            continue
        assert start % align == 0
        assert start >= 0x1000, "the first page stays free: address 0 means `none` in every boot structure"
        assert any(one.start <= start and start + size <= one.end for one in (RAM, HIGH))
        assert all(start + size <= low or high <= start for low, high in taken)
        taken.append((start, start + size))


def test_limits_of_a_place_are_honoured() -> None:
    arena = Arena((RAM, HOLE, HIGH))
    arena.take(0, 0x2000)
    assert arena.place(16) == 0x2000
    assert arena.place(16, above=0x50000) == 0x50000
    assert arena.place(0x80000) == 0x100000
    with pytest.raises(ProviderError, match="start_info"):
        arena.place(0x9E000, below=0x100000, what="start_info")


def test_the_shim_of_a_foreign_provider_knows_only_what_was_read_back() -> None:
    told = BootInformation(memory_map=(RAM,), command_line=b"from guest memory")

    class Reader(Firmware):
        def read_back(self, memory: object, handover: Handover) -> BootInformation:
            return told

    request = BootRequest(MachineFacts((RAM, HIGH), rsdp=0xE0000), b"from python", (), b"", None, {})
    assert boot_information(Reader(), request, None, Handover(address=0x1000)) is told  # type: ignore[arg-type]


def test_the_machines_own_firmware_knows_the_machine() -> None:
    facts = MachineFacts((RAM, HIGH), rsdp=0xE0000, smbios=0xF0000)
    request = BootRequest(facts, b"quiet", (), b"", None, {})
    firmware = Firmware()
    handover = firmware.produce(request, None, Arena(facts.memory_map))  # type: ignore[arg-type]
    told = boot_information(firmware, request, None, handover)  # type: ignore[arg-type]
    assert (told.memory_map, told.rsdp, told.smbios) == (facts.memory_map, 0xE0000, 0xF0000)
    assert told.command_line == b"quiet"
    with pytest.raises(ProviderError):
        firmware.read_back(None, handover)  # type: ignore[arg-type]


def test_a_fixed_address_is_taken_once() -> None:
    arena = Arena((RAM, HOLE, HIGH))
    assert arena.at(0x500, 0x20, what="a GDT") == 0x500  # also in the first page
    for address, size in ((0x510, 1), (0x4F0, 0x11), (0x9EFFF, 2), (0xA0000, 1), (0x1FFFFF, 2)):
        with pytest.raises(ProviderError, match=f"a table of {size} bytes cannot be at {address:#x}"):
            arena.at(address, size, what="a table")
    assert arena.at(0x520, 0x10) == 0x520
    assert arena.used == [(0x500, 0x20), (0x520, 0x10)]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (OptionKind.TEXT, {"": "", "any thing": "any thing"}, ()),
        (
            OptionKind.NUMBER,
            {"0": 0, "12": 12, "0x10": 16, "0XfF": 255, "007": 7},
            ("", "-1", "1_0", " 1", "x", "0x", "0x-1", "1e3", "\u0663", "9" * 5000),
        ),
        (OptionKind.SWITCH, {"1": True, "ON": True, "no": False, "0": False}, ("", "2", "maybe")),
        (OptionKind.CHOICE, {"bios": "bios", "efi": "efi"}, ("", "BIOS", "bios,efi")),
    ],
)
def test_options_have_kinds(kind: OptionKind, good: dict[str, object], bad: tuple[str, ...]) -> None:
    option = OptionHelp("one", "what it is for", "1", kind, ("bios", "efi"))
    read = {OptionKind.NUMBER: option.number, OptionKind.SWITCH: option.switch}.get(kind, option.text)
    for word, value in good.items():
        option.check({"one": word})
        assert read({"one": word}) == value
    for word in bad:
        with pytest.raises(UsageError, match="the option one takes") as caught:
            option.check({"one": word})
        assert caught.value.hint == "what it is for"
        assert len(caught.value.sentence) < 200
    assert read({"two": "x"}) == {OptionKind.NUMBER: 1, OptionKind.SWITCH: True}.get(kind, "1")


@pytest.mark.parametrize(
    ("size", "above", "below", "helps"),
    [
        (64 << 20, 0, 1 << 32, True),  # behind what there is
        (0x2000, 0, 0x1000, False),
        (0xA_0000, 0, 0xA_0000, False),  # conventional memory is never more
        (0x1000, 0xC000_0000, 1 << 32, False),  # where devices are
        (3 << 30, 0, 1 << 32, False),
        (48 << 20, 0, 40 << 20, False),
    ],
)
def test_more_memory_is_offered_where_it_helps(size: int, above: int, below: int, *, helps: bool) -> None:
    arena = Arena((MemoryRange(0, 0x9_F000, MemoryKind.RAM), MemoryRange(1 << 20, 31 << 20, MemoryKind.RAM)))
    with pytest.raises(ProviderError, match="no room") as refused:
        arena.place(size, above=above, below=below)
    assert bool(refused.value.hint) is helps
