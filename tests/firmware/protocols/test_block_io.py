"""A disk's blocks as a boot loader reads them (UEFI 2.10, 13.7 and 13.9), and the handles of a disk."""

from __future__ import annotations

import pytest

from efishim.disk.fat import MOST_VOLUMES
from efishim.disk.make import make_disk
from efishim.disk.medium import DiskError, Medium
from efishim.firmware.calling.device_path import to_text
from efishim.firmware.calling.overrides import Overrides
from efishim.firmware.protocols.disks import BOOT_FILE
from efishim.machine.host_work import TooMuchWork
from efishim.wire.disk import GPT_ESP, GptEntry
from efishim.wire.fat import DIRECTORY
from efishim.wire.guids import guid_bytes
from tests.disk.test_fat import entry, small
from tests.disk.test_partitions import gpt
from tests.firmware.lab import (
    BAD_BUFFER_SIZE,
    DEVICE_ERROR,
    ERROR,
    INVALID,
    NOT_FOUND,
    RAM,
    SUCCESS,
    WILD,
    WRITE_PROTECTED,
    Lab,
)
from tests.firmware.programs import IMAGE

BLOCK_IO = "964e5b21-6459-11d2-8e39-00a0c969723b"
DISK_IO = "ce345171-ba0b-11d2-8e4f-00a0c969723b"
FILE_SYSTEM = "964e5b22-6459-11d2-8e39-00a0c969723b"
DEVICE_PATH = "09576e91-6d3f-11d2-8e39-00a0c969723b"
LOADED_IMAGE = "5b1b31a1-9562-11d2-8e3f-00a0c969723b"
MEDIA_CHANGED = ERROR | 13
RESET, READ, WRITE, FLUSH = 2, 3, 4, 5
READ_DISK, WRITE_DISK = 1, 2
DEVICE_HANDLE, FILE_PATH, IMAGE_BASE = 24, 32, 64

FILES = {"\\EFI\\BOOT\\BOOTX64.EFI": IMAGE, "\\tools\\other.efi": IMAGE, "\\text": b"no program"}
DISK = make_disk(FILES)


class Machine(Lab):
    """A lab with a disk; `handles` are the whole of it and its partition."""

    def __init__(self, data: bytes = DISK, *, writable: bool = False) -> None:
        self.medium = Medium(data, writable=writable)
        super().__init__(disk=self.medium)
        count, buffer = self.cell(), self.cell()
        self.ok("LocateHandleBuffer", 2, self.guid(BLOCK_IO), 0, count, buffer)
        self.handles = [self.value(self.value(buffer) + 8 * number) for number in range(self.value(count))]

    def of(self, handle: int, guid: str) -> int:
        interface = self.cell()
        self.ok("HandleProtocol", handle, self.guid(guid), interface)
        return self.value(interface)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_the_disk_and_its_partition_have_handles_with_paths(machine: Machine) -> None:
    whole, partition = machine.handles
    paths = [to_text(machine.shim.guest.read(machine.of(handle, DEVICE_PATH), 80)) for handle in (whole, partition)]
    assert paths[1].startswith(f"{paths[0]}/HD(1,GPT,")
    assert paths[1].endswith(f",0x800,{len(DISK) // 512 - 2048 - 33:#x})")


def test_blocks_are_those_of_the_extent(machine: Machine) -> None:
    buffer = machine.put(bytes(1024))
    for handle, first in zip(machine.handles, (0, 2048), strict=True):
        block = machine.of(handle, BLOCK_IO)
        assert machine.method(block, READ, 0, 1, 1024, buffer) == SUCCESS
        assert machine.shim.guest.read(buffer, 1024) == DISK[(first + 1) * 512 : (first + 3) * 512]
        disk = machine.of(handle, DISK_IO)
        assert machine.method(disk, READ_DISK, 0, 3, 700, buffer) == SUCCESS
        assert machine.shim.guest.read(buffer, 700) == DISK[first * 512 + 3 :][:700]
        assert machine.method(block, RESET, 0) == machine.method(block, FLUSH) == SUCCESS


def test_what_is_not_there_has_its_status(machine: Machine) -> None:
    block, disk = machine.of(machine.handles[1], BLOCK_IO), machine.of(machine.handles[1], DISK_IO)
    buffer, blocks = machine.put(bytes(512)), len(DISK) // 512 - 2048 - 33
    assert machine.method(block, READ, 1, 0, 512, buffer) == MEDIA_CHANGED
    assert machine.method(block, READ, 0, 0, 511, buffer) == BAD_BUFFER_SIZE
    assert machine.method(block, READ, 0, blocks, 512, buffer) == INVALID
    assert machine.method(block, READ, 0, blocks - 1, 1024, buffer) == INVALID
    assert machine.method(block, READ, 0, (1 << 64) - 1, 512, buffer) == INVALID
    assert machine.method(block, READ, 0, 0, 512, 0) == INVALID
    assert machine.method(block, READ, 0, 0, 512, WILD) == INVALID
    assert machine.method(disk, READ_DISK, 0, blocks * 512 - 1, 2, buffer) == INVALID
    assert machine.method(disk, READ_DISK, 0, (1 << 64) - 1, 512, buffer) == INVALID
    assert machine.method(block + 8, READ, 0, 0, 512, buffer) != SUCCESS


def test_nothing_is_written_unless_asked(machine: Machine) -> None:
    buffer = machine.put(b"x" * 512)
    block, disk = machine.of(machine.handles[0], BLOCK_IO), machine.of(machine.handles[0], DISK_IO)
    assert machine.method(block, WRITE, 0, 0, 512, buffer) == WRITE_PROTECTED
    assert machine.method(disk, WRITE_DISK, 0, 0, 512, buffer) == WRITE_PROTECTED


def test_what_is_written_is_read_again_and_not_in_the_image() -> None:
    machine = Machine(writable=True)
    buffer = machine.put(b"x" * 512)
    block, disk = machine.of(machine.handles[1], BLOCK_IO), machine.of(machine.handles[0], DISK_IO)
    assert machine.method(block, WRITE, 0, 100, 512, buffer) == SUCCESS
    assert machine.method(disk, WRITE_DISK, 0, 2149 * 512 + 10, 5, buffer) == SUCCESS
    assert (
        machine.medium.read(2148 * 512, 1034) == b"x" * 512 + DISK[2149 * 512 :][:10] + b"x" * 5 + DISK[2149 * 512 + 15 :][:507]
    )


def test_the_boot_program_knows_the_device_that_it_came_from(machine: Machine) -> None:
    image = machine.shim.boot_disk()
    protocol = machine.of(image.handle, LOADED_IMAGE)
    assert machine.value(protocol + DEVICE_HANDLE) == machine.handles[1]
    path = machine.value(protocol + FILE_PATH)
    assert to_text(machine.shim.guest.read(path, 64)) == "\\EFI\\BOOT\\BOOTX64.EFI"


def load_image(machine: Machine, parent: int, name: str, handle: int) -> int:
    """LoadImage of a file on the last of the handles."""
    path = machine.of(machine.handles[-1], DEVICE_PATH)
    nodes = machine.shim.guest.read(path, 200)
    prefix = nodes[: nodes.index(b"\x7f\xff\x04\0")]
    text = name.encode("utf-16-le") + b"\0\0"
    node = bytes((4, 4)) + (4 + len(text)).to_bytes(2, "little") + text
    return machine.bs("LoadImage", 0, parent, machine.put(prefix + node + b"\x7f\xff\x04\0"), 0, 0, handle)


def test_an_image_is_loaded_by_its_path_on_the_disk(machine: Machine) -> None:
    boot = machine.shim.boot_disk()
    handle = machine.cell()

    def load(name: str) -> int:
        return load_image(machine, boot.handle, name, handle)

    assert load("\\TOOLS\\other.efi") == SUCCESS
    protocol = machine.of(machine.value(handle), LOADED_IMAGE)
    assert machine.value(protocol + DEVICE_HANDLE) == machine.handles[1]
    path = machine.value(protocol + FILE_PATH)
    assert to_text(machine.shim.guest.read(path, 44)) == "\\TOOLS\\other.efi"
    assert load("\\tools\\none.efi") == NOT_FOUND
    assert load("\\tools") == NOT_FOUND
    assert load("\\text") not in (SUCCESS, NOT_FOUND)


def test_files_are_in_directories(machine: Machine) -> None:
    root, file, size = machine.cell(), machine.cell(), machine.cell(100)
    system = machine.of(machine.handles[1], FILE_SYSTEM)
    assert machine.method(system, 1, root) == SUCCESS
    directory = machine.cell()
    assert machine.method(machine.value(root), 1, directory, machine.text("tools"), 1, 0) == SUCCESS
    assert machine.method(machine.value(directory), 1, file, machine.text("..\\.\\text"), 1, 0) == SUCCESS
    buffer = machine.put(bytes(100))
    assert machine.method(machine.value(file), 4, size, buffer) == SUCCESS
    assert machine.shim.guest.read(buffer, machine.value(size)) == b"no program"
    assert machine.method(machine.value(file), 1, directory, machine.text("tools\\other.efi"), 1, 0) == SUCCESS
    assert machine.method(machine.value(root), 1, file, machine.text("text\\.."), 1, 0) == NOT_FOUND
    assert machine.method(machine.value(root), 1, file, machine.text(".."), 1, 0) == NOT_FOUND


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (bytes(1 << 16), "it has no FAT volume"),
        (make_disk({"\\text": b""}), "BOOTX64.EFI"),
        (DISK[: 1 << 20], "partition 1 of the GPT is not on the disk"),
    ],
    ids=["empty", "no program", "truncated"],
)
def test_a_disk_that_cannot_be_booted_is_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(DiskError, match=sentence):
        Machine(data).shim.boot_disk()


def test_a_path_through_a_directory_that_contains_itself_is_too_much_work() -> None:
    fat = {number: number + 1 for number in range(2, 101)} | {101: 0xFFF}
    inside = entry(b"D          ", 2, 0, DIRECTORY)
    data = small(12, fat=fat, root=inside, data=b"\xe5".ljust(32, b"\0") * 1599 + inside)
    machine = Machine(data)
    root, out = machine.cell(), machine.cell()
    assert machine.method(machine.of(machine.handles[0], FILE_SYSTEM), 1, root) == SUCCESS
    short, long = machine.text("\\d" * 5), machine.text("\\d" * 10_000)
    with machine.memory.work.bounded(RAM >> 12):
        assert machine.method(machine.value(root), 1, out, short, 1, 0) == SUCCESS
    with machine.memory.work.bounded(RAM >> 12), pytest.raises(TooMuchWork):
        machine.method(machine.value(root), 1, out, long, 1, 0)


def many_volumes(count: int) -> bytes:
    """A GPT of FAT volumes of four blocks."""
    volume = small(12, fat={}, root=b"", total_sectors_16=4)[: 4 * 512]
    starts = [200 + 4 * number for number in range(count)]
    rows = [GptEntry(type_guid=guid_bytes(GPT_ESP), starting_lba=start, ending_lba=start + 3) for start in starts]
    disk = gpt(rows, number_of_entries=count, last_usable_lba=1000)
    return bytes(disk[: 60 * 512]).ljust(200 * 512, b"\0") + volume * count + bytes(512)


def test_so_many_fat_volumes_of_a_disk_are_used() -> None:
    for count, problems in ((MOST_VOLUMES, 0), (100, 100 - MOST_VOLUMES)):
        machine = Machine(many_volumes(count))
        assert len(machine.handles) == 1 + count
        disks = machine.shim.disks
        assert disks is not None
        assert len(disks.problems) == problems
        with pytest.raises(DiskError, match="cannot be booted from") as error:
            machine.shim.boot_disk()
        assert error.value.sentence.count("is left out") == min(problems, 3)


def test_a_damaged_volume_is_an_error_of_the_device_to_load_image() -> None:
    machine = Machine(small(12, fat={2: 0}, root=entry(b"A       EFI", 2, 1000) + entry(b"B       EFI", 3, 0)))
    agent, handle = machine.shim.protocols.agent, machine.cell()
    assert load_image(machine, agent, "\\a.efi", handle) == DEVICE_ERROR
    assert load_image(machine, agent, "\\c.efi", handle) == NOT_FOUND


def test_a_malformed_path_on_another_handle_does_not_matter(machine: Machine) -> None:
    boot, handle, new = machine.shim.boot_disk(), machine.cell(), machine.cell()
    for guid, interface in ((DEVICE_PATH, machine.put(bytes(64))), (FILE_SYSTEM, machine.put(bytes(64)))):
        machine.ok("InstallProtocolInterface", new, machine.guid(guid), 0, interface)
    assert load_image(machine, boot.handle, "\\tools\\other.efi", handle) == SUCCESS


class OnlyFiles(Overrides):
    """Firmware that shows nothing of a disk but its file systems."""

    def has_protocol(self, guid: str) -> bool:
        return guid not in (BLOCK_IO, DISK_IO, DEVICE_PATH)


def test_a_file_system_whose_handle_has_nothing_else_has_one() -> None:
    lab = Lab(disk=Medium(DISK), overrides=OnlyFiles())
    disks = lab.shim.disks
    assert disks is not None
    handle, interface = disks.boot_file(BOOT_FILE).place.handle, lab.cell()
    assert handle
    lab.ok("HandleProtocol", handle, lab.guid(FILE_SYSTEM), interface)
