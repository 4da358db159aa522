"""LoadImage, StartImage, Exit, UnloadImage (UEFI 2.10, 7.4)."""

from __future__ import annotations

import struct

import pytest

from efishim.errors import ImageError
from efishim.firmware.load_options import LoadOptions
from efishim.firmware.memory.memory_map import MemoryType
from tests.firmware.fake import Body
from tests.firmware.lab import INVALID, LOAD_ERROR, NOT_FOUND, SUCCESS, TOO_SMALL, Lab
from tests.firmware.programs import BASE, CODE, DATA, IMAGE, POINTER_AT, TEXT, program

LOADED_IMAGE = "5b1b31a1-9562-11d2-8e3f-00a0c969723b"
LOADED_IMAGE_PATH = "bc62157e-3e33-4fec-9920-2d3b36d750df"
DEVICE_PATH = "09576e91-6d3f-11d2-8e39-00a0c969723b"
LOAD_FILE2 = "4006c0c1-fcb3-403e-996d-4a6c8724e06d"
LOAD_FILE = "56ec3091-954c-11d2-8e3f-00a0c969723b"
ABORTED = 1 << 63 | 21


def load(lab: Lab, data: bytes = IMAGE, path: int = 0) -> int:
    out = lab.cell()
    lab.ok("LoadImage", 0, lab.shim.protocols.agent, path, lab.put(data), len(data), out)
    return lab.value(out)


def loaded(lab: Lab, handle: int) -> tuple[int, ...]:
    """Fields of EFI_LOADED_IMAGE_PROTOCOL by the layout of 9.1.1."""
    out = lab.cell()
    lab.ok("HandleProtocol", handle, lab.guid(LOADED_IMAGE), out)
    return struct.unpack("<I4x5QI4xQQQIIQ", lab.memory.read(lab.value(out), 96))


def becomes(lab: Lab, handle: int, body: object) -> None:
    """Make an image's entry point a guest function in Python."""
    lab.shim.images.get(handle).entry = lab.function(body)  # type: ignore[arg-type]


def test_the_loaded_image_protocol(lab: Lab) -> None:
    path = lab.put(bytes.fromhex("7fff0400"))
    handle = load(lab, path=path)
    revision, parent, system, device, file, reserved, size, options, base, length, code, data, unload = loaded(lab, handle)
    assert (revision, parent, system) == (0x1000, lab.shim.protocols.agent, lab.shim.tables.system)
    assert (device, reserved, size, options, unload) == (0, 0, 0, 0, 0)
    assert lab.memory.read(file, 4) == bytes.fromhex("7fff0400")
    assert (length, code, data) == (0x4000, 1, 2)
    found = lab.shim.memory_map.find(base)
    assert found is not None
    assert found.type == MemoryType.LOADER_CODE


def test_sections_relocations_and_zeroes(lab: Lab) -> None:
    # Dirty memory first: what an image does not bring must be zero all the same.
    out = lab.cell()
    lab.ok("AllocatePages", 0, 1, 4, out)
    lab.memory.fill(lab.value(out), 0x4000, 0xAA)
    lab.ok("FreePages", lab.value(out), 4)
    base = loaded(lab, load(lab))[8]
    assert base == lab.value(out), "the same pages again"
    assert lab.memory.read(base + TEXT, len(CODE)) == CODE
    assert lab.memory.read(base + DATA, 16) == b"0123456789abcdef"
    assert lab.memory.u64(base + POINTER_AT) == base + DATA
    assert lab.memory.read(base + DATA + 0x18, 0x800) == bytes(0x800)
    assert lab.memory.read(base + TEXT + 0x20, 0xFE0) == bytes(0xFE0)
    assert (base, 0x4000) in lab.board.flushed


def test_an_image_without_relocations_goes_to_its_address(lab: Lab) -> None:
    data = program(relocatable=False)
    base = loaded(lab, load(lab, data))[8]
    assert base == BASE
    assert lab.memory.u64(base + POINTER_AT) == BASE + DATA
    out = lab.cell()
    assert lab.bs("LoadImage", 0, lab.shim.protocols.agent, 0, lab.put(data), len(data), out) == LOAD_ERROR


@pytest.mark.parametrize(("subsystem", "kind"), [(10, 1), (11, 3), (12, 5)])
def test_memory_types_by_subsystem(lab: Lab, subsystem: int, kind: int) -> None:
    """7.4.1, table 7.6: applications, boot service drivers, runtime drivers."""
    *_, base, _, code, data, _ = loaded(lab, load(lab, program(subsystem=subsystem)))
    found = lab.shim.memory_map.find(base)
    assert found is not None
    assert (found.type, code, data) == (kind, kind, kind + 1)


def test_start_runs_the_entry_point_and_unloads_an_application(lab: Lab) -> None:
    handle = load(lab)
    seen: list[tuple[int, ...]] = []

    def entry(*arguments: int) -> Body:
        seen.append(arguments[:2])
        return (yield lab.calling("AllocatePool", 2, 10, lab.cell()))

    becomes(lab, handle, entry)
    assert lab.bs("StartImage", handle, 0, 0) == SUCCESS
    assert seen == [(handle, lab.shim.tables.system)]
    assert lab.bs("StartImage", handle, 0, 0) == INVALID


def test_a_driver_stays_unless_it_fails(lab: Lab) -> None:
    good, bad = load(lab, program(subsystem=11)), load(lab, program(subsystem=11))
    becomes(lab, bad, lambda *_: iter_return(ABORTED))
    assert lab.bs("StartImage", good, 0, 0) == SUCCESS
    assert lab.bs("StartImage", bad, 0, 0) == ABORTED
    loaded(lab, good)
    assert lab.bs("HandleProtocol", bad, lab.guid(LOADED_IMAGE), lab.cell()) == INVALID


def iter_return(value: int) -> Body:
    return value
    yield


def test_exit_unwinds_to_start_image_with_its_data(lab: Lab) -> None:
    handle = load(lab)
    text = "enough".encode("utf-16-le") + b"\0\0"

    def deep(*_: int) -> Body:
        yield lab.calling("Exit", handle, ABORTED, len(text), lab.put(text))
        raise AssertionError("Exit came back")

    def entry(*_: int) -> Body:
        # From within a notification, to have several frames to unwind.
        yield lab.calling("SignalEvent", event)
        raise AssertionError("Exit did not unwind")

    event = lab.event(0x200, 8, lab.function(deep))
    becomes(lab, handle, entry)
    size, data = lab.cell(), lab.cell()
    assert lab.bs("StartImage", handle, size, data) == ABORTED
    assert lab.memory.read(lab.value(data), lab.value(size)) == text
    lab.ok("FreePool", lab.value(data))
    assert lab.shim.dispatcher.depth == 0
    assert lab.shim.events.tpl == 4, "the TPL is that of StartImage's caller"


def test_images_start_images(lab: Lab) -> None:
    outer, inner = load(lab), load(lab)
    order: list[str] = []

    def inner_entry(*_: int) -> Body:
        order.append("inner")
        status = yield lab.calling("Exit", outer, 0, 0, 0)
        order.append(f"exit of the outer image: {status == INVALID}")
        yield lab.calling("Exit", inner, ABORTED, 0, 0)
        raise AssertionError

    def outer_entry(*_: int) -> Body:
        status = yield lab.calling("StartImage", inner, 0, 0)
        order.append(f"inner gave {status == ABORTED}")
        return 5

    becomes(lab, inner, inner_entry)
    becomes(lab, outer, outer_entry)
    assert lab.bs("StartImage", outer, 0, 0) == 5
    assert order == ["inner", "exit of the outer image: True", "inner gave True"]


def test_unload_asks_a_driver(lab: Lab) -> None:
    handle = load(lab, program(subsystem=11))
    assert lab.bs("StartImage", handle, 0, 0) == SUCCESS
    answers = [ABORTED, 0]
    asked: list[int] = []

    def unload(image: int, *_: int) -> Body:
        asked.append(image)
        return answers.pop(0)
        yield

    lab.memory.put_u64(lab.shim.images.get(handle).protocol + 88, lab.function(unload))
    assert lab.bs("UnloadImage", handle) == ABORTED
    assert lab.bs("UnloadImage", handle) == SUCCESS
    assert asked == [handle, handle]
    assert lab.bs("UnloadImage", handle) == INVALID


def test_unloading_gives_everything_back(lab: Lab) -> None:
    before = lab.shim.memory_map.descriptors()
    opened = lab.install("aaaaaaaa-1111-2222-3333-444444444444")
    handle = load(lab)
    guid = lab.guid("aaaaaaaa-1111-2222-3333-444444444444")
    lab.ok("OpenProtocol", opened, guid, lab.cell(), handle, 0, 0x20)
    lab.ok("UnloadImage", handle)
    lab.ok("UninstallProtocolInterface", opened, guid, 0x1234)
    assert lab.shim.memory_map.descriptors() == before


@pytest.mark.parametrize("guid", [LOAD_FILE2, LOAD_FILE])
def test_load_from_a_device_path(lab: Lab, guid: str) -> None:
    node, rest = bytes.fromhex("01040500 07"), bytes.fromhex("04040600 4100")
    end = bytes.fromhex("7fff0400")
    data = IMAGE
    asked: list[bytes] = []

    def load_file(this: int, path: int, policy: int, size: int) -> Body:
        asked.append(lab.memory.read(path, len(rest + end)))
        assert policy == 1
        buffer = lab.value(lab.cpu.get("rsp") + 0x28)  # the fifth argument, above return address and shadow space
        room = lab.value(size)
        lab.memory.put_u64(size, len(data))
        if room < len(data):
            return TOO_SMALL
        lab.memory.write(buffer, data)
        return SUCCESS
        yield

    interface = lab.cell(lab.function(load_file))
    handle = lab.install(DEVICE_PATH, lab.put(node + end))
    lab.install(guid, interface, handle)
    out = lab.cell()
    lab.ok("LoadImage", 1, lab.shim.protocols.agent, lab.put(node + rest + end), 0, 0, out)
    assert asked == [rest + end] * 2, "asked for the size, then for the bytes, with the rest of the path"
    assert loaded(lab, lab.value(out))[9] == 0x4000
    unknown = lab.put(rest + end)
    assert lab.bs("LoadImage", 1, lab.shim.protocols.agent, unknown, 0, 0, out) == NOT_FOUND


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "LOAD_ERROR"), (b"not a program", "LOAD_ERROR"), (program(machine=0xAA64), "not an EFI program")],
)
def test_a_boot_image_that_is_none(lab: Lab, data: bytes, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        lab.shim.load(data)


def test_the_boot_image_gets_its_command_line() -> None:
    """UTF-8 becomes UTF-16 with a NUL; a character beyond the BMP takes a surrogate pair; junk becomes U+FFFD."""
    lab = Lab(cmdline="ä \N{GRINNING FACE} ".encode() + b"\xff")
    image = lab.shim.load(IMAGE)
    _, parent, _, device, file, _, size, options, *_ = loaded(lab, image.handle)
    expected = [0xE4, 0x20, 0xD83D, 0xDE00, 0x20, 0xFFFD, 0]
    assert [lab.value(options + 2 * n, 2) for n in range(size // 2)] == expected
    assert parent == lab.shim.protocols.agent
    lab.ok("HandleProtocol", device, lab.guid(DEVICE_PATH), lab.cell())
    lab.ok("HandleProtocol", image.handle, lab.guid(LOADED_IMAGE_PATH), lab.cell())
    assert lab.memory.read(file, 2) == b"\x04\x04", "a file path node"


@pytest.mark.parametrize(
    ("form", "cmdline", "expected"),
    [
        (LoadOptions(), b"quiet", "quiet\0".encode("utf-16-le")),
        (LoadOptions(terminated=False), b"quiet", "quiet".encode("utf-16-le")),
        (LoadOptions(terminated=False), b"", b""),
        (LoadOptions(raw=b"\x01\0\0\0binary"), b"quiet", b"\x01\0\0\0binary"),
        (LoadOptions(raw=b""), b"quiet", b""),
        (LoadOptions(raw=bytes(3)), b"", bytes(3)),
    ],
)
def test_load_options_as_firmware_has_them(form: LoadOptions, cmdline: bytes, expected: bytes) -> None:
    lab = Lab(cmdline=cmdline, load_options=form)
    size, options = loaded(lab, lab.shim.load(IMAGE).handle)[6:8]
    assert size == len(expected)
    assert lab.memory.read(options, size) == expected if size else options == 0


@pytest.mark.parametrize("there", [False, True])
def test_file_path(there: bool) -> None:
    lab = Lab(load_options=LoadOptions(file_path=there))
    image = lab.shim.load(IMAGE)
    assert bool(loaded(lab, image.handle)[4]) is there
    lab.ok("HandleProtocol", image.handle, lab.guid(LOADED_IMAGE_PATH), lab.cell())


def test_booting_ends_when_the_image_returns(lab: Lab) -> None:
    image = lab.shim.boot(IMAGE)
    assert lab.cpu.get("rip") == image.entry
    assert lab.cpu.get("rcx") == image.handle
    assert lab.cpu.get("rdx") == lab.shim.tables.system
    lab.cpu.set("rip", image.entry + 5)  # the RET of the program; the fake board knows no more of it
    lab.cpu.set("rax", ABORTED)
    lab.board.run()
    assert lab.board.stopped == "image returned EFI_ABORTED"
    assert lab.shim.result == ABORTED


def test_strict_protection_follows_the_sections() -> None:
    lab = Lab(strict_nx=True)
    base = loaded(lab, load(lab, program(nx=True)))[8]
    nx, writable = 1 << 63, 2
    text, data = (lab.shim.pages.entry(base + rva)[1] for rva in (TEXT, DATA))
    assert not text & nx
    assert not text & writable
    assert data & nx
    assert data & writable
    assert not lab.shim.on_fetch_fault(base + DATA), "nothing is opened by running into it"
