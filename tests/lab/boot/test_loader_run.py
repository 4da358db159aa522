"""An image that is found when a program from a disk starts it. Real boot loaders run in tests/kernels/test_loaders.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import efishim_firmware_stubs
import pytest

from efishim.disk.make import make_disk
from efishim.errors import EfishimError
from efishim.image.entries import Entry
from efishim.image.opened import open_image
from efishim.image.pe import layout_pe
from efishim.lab.boot import loader_run
from efishim.lab.boot.loader_run import LEAST, RECOGNISED, UNTOUCHED, LoaderRun, _candidates
from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.loader_disk import LoaderPlan
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Milestone, Reason, Record, decode, encode
from efishim.lab.run import run_plan
from efishim.plugins import load_plugins
from tests.firmware.programs import IMAGE

PROBE = efishim_firmware_stubs.probe_kernel()
BOOT = "\\EFI\\BOOT\\BOOTX64.EFI"


def run(program: bytes, disk: bytes | None = None) -> Record:
    """The probe kernel behind a program on a disk."""
    made = LoaderPlan("test", "way", ((BOOT, Blob.embedded("program", program)), ("\\text", Blob.embedded("text", b"x"))))
    given = LoaderPlan("disk", disk=Blob.embedded("disk image", disk or b""))
    plan = Plan(
        image=Blob.embedded("embedded:probe", PROBE),
        provider="firmware",
        entry="efi",
        platform="pc",
        max_insns=200_000_000,
        loader=made if disk is None else given,
    )
    return run_plan(plan)


@pytest.fixture(scope="module")
def record() -> Record:
    return run(PROBE)


@pytest.mark.measured
@pytest.mark.slow
def test_the_image_is_recognised_by_its_bytes_when_it_starts(record: Record) -> None:
    assert record.outcome.reason is Reason.SHUTDOWN
    names = [point.name for point in record.milestones]
    assert names == [Milestone.LOADER, Milestone.ENTRY, Milestone.EXIT_BOOT_SERVICES, Milestone.SHUTDOWN]
    assert (record.route.provider, record.route.entry) == ("test", "efi")
    assert record.abi == []
    assert record.milestones[1].at is not None
    assert (record.milestones[1].at.symbol or "").startswith("image+")


@pytest.mark.measured
@pytest.mark.slow
def test_the_record_names_what_lay_on_the_disk(record: Record) -> None:
    assert encode(decode(encode(record))) == encode(record)
    used = record.options.loader
    assert used
    assert (used.name, used.way) == ("test", "way")
    assert {path: file.size for path, file in used.files.items()} == {BOOT: len(PROBE), "\\text": 1}
    assert "--loader test:way" in record.reproduce
    assert " -p " not in record.reproduce


@pytest.mark.measured
@pytest.mark.slow
def test_a_program_that_starts_nothing_is_said_so() -> None:
    record = run(IMAGE)
    assert [point.name for point in record.milestones] == [Milestone.LOADER]
    assert any("did not start the kernel" in note for note in record.notes)
    assert record.abi is None


@pytest.mark.measured
@pytest.mark.slow
def test_a_disk_image_is_booted_as_it_is() -> None:
    record = run(b"", make_disk({BOOT: PROBE}))
    assert record.outcome.reason is Reason.SHUTDOWN
    assert record.route.provider == "disk"
    assert record.options.loader
    assert record.options.loader.disk
    assert "--disk 'disk image'" in record.reproduce
    assert " -a " not in record.reproduce


def test_a_disk_without_a_program_is_one_sentence() -> None:
    with pytest.raises(EfishimError, match="cannot be booted from"):
        run(b"", make_disk({"\\text": b""}))


def test_an_image_can_be_recognised_at_each_of_its_entries() -> None:
    image = open_image(PROBE, path="probe")
    found = {one.entry.value: one for one in _candidates(image)}
    assert set(found) == {"efi", "efi-handover", "linux32", "linux64", "linux16"} & set(image.entries)
    for one in found.values():
        assert one.code in PROBE
        assert len(one.code) >= (UNTOUCHED if one.entry is Entry.LINUX16 else LEAST)


def test_images_that_begin_alike_are_told_apart() -> None:
    """Kernels of one distribution have the same first bytes at an entry."""
    image = open_image(PROBE, path="probe")
    for entry in (Entry.EFI, Entry.LINUX64, Entry.LINUX32):
        one = next(one for one in _candidates(image) if one.entry is entry)
        at = PROBE.index(one.code) + len(one.code) - 1
        other = open_image(PROBE[:at] + bytes([PROBE[at] ^ 1]) + PROBE[at + 1 :], path="other")
        assert len(one.code) > 64
        assert one.code not in {another.code for another in _candidates(other)}


def test_what_is_relocated_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    image = open_image(PROBE, path="probe")
    pe = image.parts.pe
    assert pe is not None
    layout = layout_pe(image.data, pe)
    for distance, size in ((-8, RECOGNISED), (100, 100), (8, LEAST), (RECOGNISED + 1, RECOGNISED)):
        relocated = replace(layout, relocations=((10, pe.entry_rva + distance), (10, pe.entry_rva + 2 * RECOGNISED)))
        monkeypatch.setattr(loader_run, "layout_pe", lambda data, pe, relocated=relocated: relocated)
        code = next(one.code for one in _candidates(image) if one.entry is Entry.EFI)
        whole = next(piece.data[pe.entry_rva - piece.rva :] for piece in layout.pieces if piece.rva <= pe.entry_rva < piece.end)
        assert len(code) == min(size, len(whole))


def test_code_below_where_the_image_would_begin_is_not_the_image() -> None:
    class Watches:
        """Remembers who waits."""

        def __init__(self) -> None:
            self.waiting: list[tuple[int, Callable[[int], None]]] = []

        def add_code(self, mask: int, value: int, code: bytes, callback: Callable[[int], None]) -> None:
            self.waiting.append((value, callback))

    watches = Watches()
    machine: Any = SimpleNamespace(watches=watches)
    run = LoaderRun(machine, open_image(PROBE, path="probe"), machine, load_plugins())
    run.follow(lambda: pytest.fail("nothing has arrived"))
    for value, callback in watches.waiting:
        if value:
            callback(value - 1)
    assert not run.entry


def test_what_a_loader_leaves_no_choice_about_is_refused() -> None:
    registry = load_plugins()
    probe = Blob.embedded("embedded:probe", PROBE)
    for words, sentence in (
        (Words(loader="none"), "no loader 'none'"),
        (Words(loader="grub-efi:none"), "no way 'none'"),
        (Words(loader="grub-efi", provider="grub"), "--loader and -p exclude each other"),
        (Words(disk="x", cmdline="y"), "--disk and -a exclude each other"),
        (Words(disk="x", loader="grub-efi"), "--disk and --loader exclude each other"),
        (Words(until="loader"), "no loader in this run"),
        (Words(disk="/no/such/disk"), "cannot be read|does not exist"),
    ):
        with pytest.raises(EfishimError, match=sentence):
            make_plan(registry, lambda: probe, words)
