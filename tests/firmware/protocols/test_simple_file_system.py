"""The read-only file system on the boot image's device, read as a boot loader reads it (UEFI 2.10, 13.4 and 13.5)."""

from __future__ import annotations

import pytest

from efishim.errors import ProviderError
from efishim.firmware.protocols import simple_file_system
from tests.firmware.ia32 import At, Program, Wide
from tests.firmware.lab import (
    ACCESS_DENIED,
    DEVICE_ERROR,
    INVALID,
    NOT_FOUND,
    OUT_OF_RESOURCES,
    RAM,
    SUCCESS,
    TOO_SMALL,
    UNSUPPORTED,
    WILD,
    WRITE_PROTECTED,
    Lab,
)
from tests.firmware.programs import IMAGE

FILE_SYSTEM = "964e5b22-6459-11d2-8e39-00a0c969723b"
DEVICE_PATH = "09576e91-6d3f-11d2-8e39-00a0c969723b"
LOADED_IMAGE = "5b1b31a1-9562-11d2-8e3f-00a0c969723b"
FILE_INFO = "09576e92-6d3f-11d2-8e39-00a0c969723b"
SYSTEM_INFO = "09576e93-6d3f-11d2-8e39-00a0c969723b"
LABEL = "db47d7d3-fe81-11d3-9a35-0090273fc14d"

OPEN, CLOSE, DELETE, READ, WRITE, GET_POSITION, SET_POSITION, GET_INFO, SET_INFO, FLUSH = range(1, 11)
"""Functions behind the revision (13.5.1)."""
OPEN_VOLUME = 1
FOR_READING, FOR_WRITING, CREATE = 1, 3, 1 << 63 | 3
DELETE_FAILURE = 2
END = (1 << 64) - 1
DEVICE_HANDLE = 24
"""In EFI_LOADED_IMAGE_PROTOCOL (9.1.1)."""

CONFIG = b"[global]\nkernel=dom0\n"
FILES = (("xen.cfg", CONFIG), ("Dom0", bytes(range(256)) * 10), ("empty", b""))


class Medium(Lab):
    """A lab whose boot image comes from a device with files."""

    def __init__(self, files: tuple[tuple[str, bytes], ...] = FILES) -> None:
        super().__init__(files=files)
        image = self.shim.load(IMAGE)
        loaded = self.cell()
        self.ok("HandleProtocol", image.handle, self.guid(LOADED_IMAGE), loaded)
        self.device = self.value(self.value(loaded) + DEVICE_HANDLE)

    def root(self) -> int:
        """OpenVolume."""
        interface, root = self.cell(), self.cell()
        self.ok("HandleProtocol", self.device, self.guid(FILE_SYSTEM), interface)
        assert self.method(self.value(interface), OPEN_VOLUME, root) == SUCCESS
        return self.value(root)

    def open(self, directory: int, name: str, mode: int = FOR_READING) -> int:
        """Open, which must succeed."""
        out = self.cell()
        assert self.method(directory, OPEN, out, self.text(name), mode, 0) == SUCCESS
        return self.value(out)

    def try_open(self, directory: int, name: str, mode: int = FOR_READING, attributes: int = 0) -> int:
        """The status of Open."""
        return self.method(directory, OPEN, self.cell(), self.text(name), mode, attributes)

    def read(self, file: int, room: int) -> bytes:
        """Read."""
        size, buffer = self.cell(room), self.put(bytes(room))
        assert self.method(file, READ, size, buffer) == SUCCESS
        return self.memory.read(buffer, self.value(size))

    def position(self, file: int) -> int:
        """GetPosition."""
        out = self.cell()
        assert self.method(file, GET_POSITION, out) == SUCCESS
        return self.value(out)

    def info(self, file: int, kind: str) -> bytes:
        """GetInfo as programs call it: for the size, then for the information."""
        guid, size = self.guid(kind), self.cell()
        assert self.method(file, GET_INFO, guid, size, 0) == TOO_SMALL
        buffer = self.put(bytes(self.value(size)))
        assert self.method(file, GET_INFO, guid, size, buffer) == SUCCESS
        return self.memory.read(buffer, self.value(size))


@pytest.fixture
def medium() -> Medium:
    """With three files."""
    return Medium()


def number(data: bytes, at: int, size: int = 8) -> int:
    """A number of a structure."""
    return int.from_bytes(data[at : at + size], "little")


def name_of(info: bytes) -> str:
    """FileName of an EFI_FILE_INFO (13.5.16): behind 80 bytes."""
    assert number(info, 0) == len(info)
    assert info.endswith(b"\0\0")
    return info[80:-2].decode("utf-16-le")


def test_a_loader_reads_its_configuration(medium: Medium) -> None:
    """Step by step as Xen's loader does (xen/common/efi/boot.c)."""
    root = medium.root()
    file = medium.open(root, "xen.cfg")
    assert medium.method(file, SET_POSITION, END) == SUCCESS
    size = medium.position(file)
    assert size == len(CONFIG)
    assert medium.method(file, SET_POSITION, 0) == SUCCESS
    assert medium.read(file, size) == CONFIG
    assert medium.method(file, CLOSE) == SUCCESS
    assert medium.method(root, CLOSE) == SUCCESS


def test_without_files_there_is_no_protocol() -> None:
    medium = Medium(files=())
    assert medium.bs("HandleProtocol", medium.device, medium.guid(FILE_SYSTEM), medium.cell()) == UNSUPPORTED
    assert medium.bs("LocateProtocol", medium.guid(FILE_SYSTEM), 0, medium.cell()) == NOT_FOUND


def test_it_is_on_the_handle_with_the_device_path(medium: Medium) -> None:
    found = medium.cell()
    assert medium.bs("HandleProtocol", medium.device, medium.guid(DEVICE_PATH), found) == SUCCESS
    assert medium.value(medium.interface(FILE_SYSTEM)) == 0x10000, "revision 1"
    assert medium.value(medium.root()) == 0x10000, "revision 1"


@pytest.mark.parametrize("name", ["dom0", "DOM0", "\\Dom0", ".\\dom0", "\\.\\.\\dom0", "\\\\dom0"])
@pytest.mark.parametrize("where", ["", "xen.cfg"])
def test_ways_to_write_a_path(medium: Medium, name: str, where: str) -> None:
    """From the root and from the place of a file."""
    start = medium.open(medium.root(), where)
    assert medium.read(medium.open(start, name), 4) == b"\0\1\2\3"


@pytest.mark.parametrize(
    "name",
    ["..", "\\..\\dom0", "..\\..\\dom0", "dom", "dom0 ", "dom0\\", "dom0\\.", "dom0\\xen.cfg", "dom0\\..", "a/dom0", "\udc00"],
)
def test_paths_that_lead_nowhere(medium: Medium, name: str) -> None:
    """The root has no parent (13.5.2), a file has nothing in it."""
    root = medium.root()
    assert medium.try_open(root, name) == NOT_FOUND
    assert medium.try_open(root, name, FOR_WRITING) == NOT_FOUND
    assert medium.try_open(root, name, CREATE) == WRITE_PROTECTED


@pytest.mark.parametrize("name", ["", ".", "\\", "\\."])
def test_paths_to_the_root(medium: Medium, name: str) -> None:
    again = medium.open(medium.root(), name)
    assert name_of(medium.info(again, FILE_INFO)) == ""


@pytest.mark.parametrize(
    ("mode", "attributes", "status"),
    [
        (FOR_WRITING, 0, WRITE_PROTECTED),
        (CREATE, 0, WRITE_PROTECTED),
        (CREATE, 0x37, WRITE_PROTECTED),
        (CREATE, 0x08, INVALID),
        (CREATE, 1 << 63, INVALID),
        (FOR_READING, 1 << 63, SUCCESS),
        (0, 0, INVALID),
        (2, 0, INVALID),
        (1 << 63, 0, INVALID),
        (1 << 63 | 1, 0, INVALID),
        (5, 0, INVALID),
    ],
)
def test_modes(medium: Medium, mode: int, attributes: int, status: int) -> None:
    """Three combinations are allowed; attributes count for CREATE only (13.5.2)."""
    assert medium.try_open(medium.root(), "dom0", mode, attributes) == status


def test_reading_in_pieces(medium: Medium) -> None:
    data = FILES[1][1]
    file = medium.open(medium.root(), "dom0")
    assert [medium.read(file, 1000) for _ in range(4)] == [data[:1000], data[1000:2000], data[2000:], b""]
    assert medium.position(file) == len(data)


def test_handles_have_positions_of_their_own(medium: Medium) -> None:
    root = medium.root()
    first, second = medium.open(root, "xen.cfg"), medium.open(root, "xen.cfg")
    assert first != second
    assert medium.read(first, 8) == medium.read(second, 8) == CONFIG[:8]
    assert medium.method(first, CLOSE) == SUCCESS
    assert medium.read(second, 5) == CONFIG[8:13]


def test_behind_the_end(medium: Medium) -> None:
    """SetPosition goes there, Read does not (13.5.5); the end itself is no error."""
    file = medium.open(medium.root(), "xen.cfg")
    size, buffer = medium.cell(8), medium.put(bytes(8))
    for position, status in ((len(CONFIG), SUCCESS), (len(CONFIG) + 1, DEVICE_ERROR), (END - 1, DEVICE_ERROR)):
        assert medium.method(file, SET_POSITION, position) == SUCCESS
        assert medium.position(file) == position
        assert medium.method(file, READ, size, buffer) == status


def test_an_empty_file(medium: Medium) -> None:
    file = medium.open(medium.root(), "empty")
    assert medium.read(file, 10) == b""
    assert number(medium.info(file, FILE_INFO), 8) == 0


def test_the_root_lists_its_files(medium: Medium) -> None:
    root = medium.root()
    size, buffer = medium.cell(10), medium.put(bytes(200))
    assert medium.method(root, READ, size, buffer) == TOO_SMALL
    assert medium.value(size) == 80 + 2 * len("xen.cfg") + 2
    infos = [medium.read(root, 200) for _ in FILES]
    assert [name_of(info) for info in infos] == [name for name, _ in FILES]
    assert [number(info, 8) for info in infos] == [len(data) for _, data in FILES]
    assert medium.read(root, 200) == b"", "no more entries"
    assert medium.method(root, SET_POSITION, 0) == SUCCESS
    assert name_of(medium.read(root, 200)) == "xen.cfg"


def test_what_directories_cannot(medium: Medium) -> None:
    root = medium.root()
    assert medium.method(root, SET_POSITION, 1) == UNSUPPORTED
    assert medium.method(root, SET_POSITION, END) == UNSUPPORTED
    assert medium.method(root, GET_POSITION, medium.cell()) == UNSUPPORTED
    assert medium.method(root, WRITE, medium.cell(1), medium.cell()) == UNSUPPORTED


def test_information_about_a_file(medium: Medium) -> None:
    info = medium.info(medium.open(medium.root(), "DOM0"), FILE_INFO)
    assert name_of(info) == "Dom0", "as it is called, not as it was asked for"
    assert (number(info, 8), number(info, 16)) == (2560, 2560)
    assert [number(info, at, 2) for at in (24, 40, 56)] == [2001] * 3, "the day of second 1000000000"
    assert number(info, 26, 1) == 9
    assert number(info, 72) == 1, "EFI_FILE_READ_ONLY"


def test_information_about_the_root(medium: Medium) -> None:
    assert number(medium.info(medium.root(), FILE_INFO), 72) == 0x11, "a directory, to be read"


def test_information_about_the_medium(medium: Medium) -> None:
    info = medium.info(medium.open(medium.root(), "xen.cfg"), SYSTEM_INFO)
    assert number(info, 0) == len(info)
    assert info[8] == 1, "read-only"
    assert number(info, 16) == 512 + 2560
    assert number(info, 24) == 0, "nothing is free"
    assert number(info, 32, 4) == 512
    assert medium.info(medium.root(), LABEL) == info[36:]


def test_information_that_it_has_not(medium: Medium) -> None:
    root = medium.root()
    assert medium.method(root, GET_INFO, medium.guid(FILE_SYSTEM), medium.cell(100), medium.put(bytes(100))) == UNSUPPORTED
    assert medium.method(root, SET_INFO, medium.guid(FILE_SYSTEM), 8, medium.cell()) == UNSUPPORTED


@pytest.mark.parametrize("kind", [FILE_INFO, SYSTEM_INFO, LABEL])
def test_nothing_can_be_written(medium: Medium, kind: str) -> None:
    file = medium.open(medium.root(), "xen.cfg")
    assert medium.method(file, WRITE, medium.cell(1), medium.cell()) == ACCESS_DENIED
    assert medium.method(file, FLUSH) == ACCESS_DENIED
    assert medium.method(file, SET_INFO, medium.guid(kind), 100, medium.put(bytes(100))) == WRITE_PROTECTED


def test_delete_closes_and_keeps_the_file(medium: Medium) -> None:
    root = medium.root()
    file = medium.open(root, "xen.cfg")
    assert medium.method(file, DELETE) == DELETE_FAILURE
    assert medium.read(medium.open(root, "xen.cfg"), 8) == CONFIG[:8]


# Hostile programs


def functions(medium: Medium) -> list[int]:
    """Addresses of all functions, from an open file."""
    file = medium.root()
    return [medium.value(file + 8 * index) for index in range(1, 11)]


@pytest.mark.parametrize("index", range(10))
def test_handles_that_are_none(medium: Medium, index: int) -> None:
    """Closed, never opened, NULL, not even memory: each function says so."""
    function = functions(medium)[index]
    closed = medium.open(medium.root(), "dom0")
    assert medium.method(closed, CLOSE) == SUCCESS
    for this in (closed, 0, medium.cell(), WILD, END):
        assert medium.board.call(function, this, medium.cell(), medium.text("x"), 1, 0) == INVALID


def test_wild_pointers(medium: Medium) -> None:
    root = medium.root()
    file, cell, name, guid = medium.open(root, "dom0"), medium.cell(8), medium.text("dom0"), medium.guid(FILE_INFO)
    wrong: list[tuple[int, tuple[int, ...]]] = [
        (OPEN, (0, name, 1, 0)),
        (OPEN, (WILD, name, 1, 0)),
        (OPEN, (cell, 0, 1, 0)),
        (OPEN, (cell, WILD, 1, 0)),
        (READ, (0, cell)),
        (READ, (WILD, cell)),
        (READ, (cell, 0)),
        (READ, (cell, WILD)),
        (GET_POSITION, (0,)),
        (GET_POSITION, (WILD,)),
        (GET_INFO, (0, cell, cell)),
        (GET_INFO, (WILD, cell, cell)),
        (GET_INFO, (guid, 0, cell)),
        (GET_INFO, (guid, medium.cell(1000), 0)),
        (GET_INFO, (guid, medium.cell(1000), WILD)),
        (SET_INFO, (0, 8, cell)),
        (SET_INFO, (guid, 8, 0)),
        (WRITE, (0, cell)),
    ]
    for index, arguments in wrong:
        assert medium.method(file, index, *arguments) == INVALID, (index, arguments)
    assert medium.position(file) == 0, "a read that failed does not move"
    assert len(medium.read(file, 8)) == 8


def test_sizes_without_end(medium: Medium) -> None:
    """BufferSize says how much there would be room for, not how much is stored."""
    file, buffer, size = medium.open(medium.root(), "xen.cfg"), medium.put(bytes(64)), medium.cell(END)
    assert medium.method(file, READ, size, buffer) == SUCCESS
    assert medium.value(size) == len(CONFIG)
    assert medium.method(file, SET_POSITION, 0) == SUCCESS
    assert medium.method(file, READ, medium.cell(END), RAM - 4) == INVALID, "the buffer ends before the file"


def test_a_name_without_end(medium: Medium) -> None:
    address = medium.cell()
    medium.memory.write(0x1000000, b"a\0" * 0x20000)
    assert medium.method(medium.root(), OPEN, address, 0x1000000, 1, 0) == INVALID


def test_handles_run_out(medium: Medium) -> None:
    root, out, name = medium.root(), medium.cell(), medium.text("dom0")
    statuses = [medium.method(root, OPEN, out, name, 1, 0) for _ in range(300)]
    assert statuses[:255] == [SUCCESS] * 255
    assert set(statuses[255:]) == {OUT_OF_RESOURCES}
    assert medium.method(root, CLOSE) == SUCCESS
    assert medium.method(medium.interface(FILE_SYSTEM), OPEN_VOLUME, out) == SUCCESS


def test_a_program_that_frees_a_handle_itself(medium: Medium) -> None:
    root = medium.root()
    file = medium.open(root, "dom0")
    medium.ok("FreePool", file)
    assert medium.method(root, CLOSE) == SUCCESS
    close = medium.value(medium.root() + 8 * CLOSE)
    assert medium.board.call(close, file) in (SUCCESS, INVALID)


# What a medium can hold


@pytest.mark.parametrize("name", ["", ".", "..", "a\\b", "a/b", "a:b", "a*", "a\0b", "a\nb", "x" * 256])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(ProviderError):
        Medium(files=((name, b""),))


def test_two_files_of_one_name() -> None:
    with pytest.raises(ProviderError, match="two files are called XEN"):
        Medium(files=(("xen", b""), ("XEN", b"")))


def test_too_many_files() -> None:
    with pytest.raises(ProviderError, match="too many"):
        Medium(files=tuple((f"f{n}", b"") for n in range(257)))


# 32-bit firmware


def test_a_32_bit_program_reads_a_file() -> None:
    """Pointers of four bytes behind a revision of eight, positions of eight bytes on the stack."""
    program = Program(files=FILES)
    system, root, file = program.cell(), program.cell(), program.cell()
    size, buffer, position = program.cell(6), program.put(bytes(16)), program.cell(0, 0)

    def method(cell: int, index: int, *arguments: int | At | Wide) -> None:
        program.call(cell, 8 + 4 * (index - 1), At(cell), *arguments)

    program.bs("LocateProtocol", program.guid(FILE_SYSTEM), 0, system)
    method(system, OPEN_VOLUME, root)
    method(root, OPEN, file, program.text("\\DOM0"), Wide(FOR_READING), Wide(0))
    method(file, SET_POSITION, Wide(250))
    method(file, READ, size, buffer)
    method(file, GET_POSITION, position)
    method(file, SET_POSITION, Wide(1 << 40 | 5))
    method(file, CLOSE)
    method(root, OPEN, file, program.text("dom0"), Wide(CREATE), Wide(0))
    program.run()
    assert program.statuses() == [SUCCESS] * 8 + [WRITE_PROTECTED & 0xFFFFFFFF | 1 << 31]
    assert program.machine.memory.read(buffer, 8) == bytes((250, 251, 252, 253, 254, 255, 0, 0))
    assert program.word(position, 8) == 256


def test_directories_that_are_read_hold_so_many_entries_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simple_file_system, "ENTRIES_LIMIT", 2 * len(FILES))
    medium = Medium()
    roots = [medium.root() for _ in range(3)]
    size, buffer = medium.cell(200), medium.put(bytes(200))
    for root in roots[:2]:
        medium.read(root, 200)
    assert medium.method(roots[2], READ, size, buffer) == OUT_OF_RESOURCES
    assert medium.method(roots[0], READ, size, buffer) == SUCCESS, "what is being read already goes on"
    assert medium.method(roots[0], CLOSE) == SUCCESS
    assert medium.read(roots[2], 200)
