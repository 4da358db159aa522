"""Disks that firmware boots nothing from are one sentence each; damage that it gets around is a note in the record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.disk.make import FIRST_BLOCK, make_disk, make_volume
from efishim.errors import EfishimError
from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.loader_plan import image_of_disk
from efishim.lab.record import Milestone, Record
from efishim.lab.run import run_plan
from efishim.plugins import load_plugins
from efishim.wire.fat import DIRECTORY
from tests.disk.test_fat import entry, small
from tests.firmware.programs import IMAGE, program

BOOT = "\\EFI\\BOOT\\BOOTX64.EFI"
PROBE = efishim_firmware_stubs.probe_kernel()
BLOCK = 512
VOLUME = FIRST_BLOCK * BLOCK
GOOD = make_disk({BOOT: IMAGE})


def boot(data: bytes, folder: Path) -> Record:
    """What `efishim run --disk` does."""
    path = folder / "disk.img"
    path.write_bytes(data)
    words = Words(disk=str(path), max_insns="20M")
    return run_plan(make_plan(load_plugins(), lambda: image_of_disk(str(path)), words))


def changed(at: int, data: bytes, disk: bytes = GOOD) -> bytes:
    return disk[:at] + data + disk[at + len(data) :]


def looping(*, directory: bool) -> bytes:
    """A FAT12 volume in which a directory goes on with itself, or the program's second cluster with its first."""
    last = 0xFFF
    inside = b"\xe5".ljust(32, b"\0") * 16 if directory else entry(b"BOOT       ", 3, 0, DIRECTORY)
    files = entry(b"BOOTX64 EFI", 4, 2000)
    return small(
        12,
        fat={2: 2 if directory else last, 3: last, 4: 5, 5: 4},
        root=entry(b"EFI        ", 2, 0, DIRECTORY),
        data=inside.ljust(BLOCK, b"\0") + files.ljust(BLOCK, b"\0") + IMAGE[:1024],
    )


BOTH_HEADERS = changed(len(GOOD) - BLOCK + 16, b"\0\0\0\0", changed(BLOCK + 16, b"\0\0\0\0"))
DISKS: dict[str, tuple[bytes, str]] = {
    "an empty disk": (bytes(1 << 16), "no FAT volume with a kernel"),
    "less than a block": (b"MZ", "not one block"),
    "no program on the ESP": (make_disk({"\\text": b"x"}), "no FAT volume with a kernel or with .*BOOTX64.EFI"),
    "a directory in the program's place": (make_disk({BOOT + "\\x": b""}), "no FAT volume with a kernel or with"),
    "a directory whose FAT chain loops": (looping(directory=True), "a cluster chain that loops"),
    "a program whose FAT chain loops": (looping(directory=False), "truncated: .* the file has 2000"),
    "a truncated image": (GOOD[: 1 << 20], "partition 1 of the GPT is not on the disk"),
    "an ESP without a file system": (changed(VOLUME, bytes(BLOCK)), "so firmware would boot nothing from it [(].*FAT"),
    "a FAT volume larger than its partition": (changed(VOLUME + 32, b"\xff\xff\xff\0"), "the FAT volume says that it has"),
    "a FAT volume with clusters of no sector": (changed(VOLUME + 13, b"\0"), "describes no volume"),
    "bad CRCs of both GPT headers": (BOTH_HEADERS, "primary GPT .* the CRC of its header is wrong; the backup GPT .* is wrong"),
    "a program that is no PE image": (make_disk({BOOT: b"#!ipxe"}), "neither a Linux kernel, PE, ELF nor Multiboot"),
    "a program of another machine": (make_disk({BOOT: program(machine=0xAA64)}), "AArch64|machine|0xaa64"),
    "a program cut short": (make_disk({BOOT: IMAGE[:300]}), "not an image that can be booted"),
}


@pytest.mark.parametrize("what", DISKS)
def test_it_is_one_sentence(what: str, tmp_path: Path) -> None:
    data, sentence = DISKS[what]
    with pytest.raises(EfishimError, match=sentence) as error:
        boot(data, tmp_path)
    assert "\n" not in error.value.sentence
    assert len(error.value.sentence) < 600


@pytest.mark.parametrize(
    ("damage", "note"),
    [
        (lambda disk: changed(BLOCK + 16, b"\0\0\0\0", disk), "the primary GPT at block 1 is not valid: the CRC of its header"),
        (lambda disk: changed(2 * BLOCK + 60, b"x", disk), "the primary GPT at block 1 is not valid: the CRC of its entries"),
        (lambda disk: changed(BLOCK, bytes(BLOCK), disk), "it has no signature EFI PART"),
    ],
    ids=["header", "entries", "no header"],
)
@pytest.mark.slow
def test_a_damaged_primary_table_is_a_note(damage: Callable[[bytes], bytes], note: str, tmp_path: Path) -> None:
    record = boot(damage(make_disk({BOOT: PROBE})), tmp_path)
    assert Milestone.ENTRY in [point.name for point in record.milestones]
    assert any(note in one for one in record.notes)


def test_a_volume_without_a_table_is_booted_from(tmp_path: Path) -> None:
    """The counter-case: the same program on disks that nothing is wrong with."""
    for data in (make_volume({BOOT: IMAGE}), GOOD):
        record = boot(data, tmp_path)
        assert record.milestones[0].name is Milestone.LOADER
        assert record.notes == ["the loader did not start the kernel: nothing arrived at any of its entries"]
