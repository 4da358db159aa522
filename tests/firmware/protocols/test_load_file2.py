"""The initial ramdisk as the kernel's stub fetches it (libstub, efi_load_initrd_dev_path)."""

from __future__ import annotations

import pytest

from efishim.errors import ProviderError
from tests.firmware.lab import INVALID, NOT_FOUND, RAM, SUCCESS, TOO_SMALL, UNSUPPORTED, Lab

LOAD_FILE2 = "4006c0c1-fcb3-403e-996d-4a6c8724e06d"
PATH = bytes.fromhex("0403140027e46855fc683d4fac74ca555231cc687fff0400")
END = bytes.fromhex("7fff0400")


def fetch(lab: Lab) -> bytes:
    """The three steps of the stub."""
    path, handle, interface, size = lab.cell(lab.put(PATH)), lab.cell(), lab.cell(), lab.cell()
    lab.ok("LocateDevicePath", lab.guid(LOAD_FILE2), path, handle)
    lab.ok("HandleProtocol", lab.value(handle), lab.guid(LOAD_FILE2), interface)
    this, rest = lab.value(interface), lab.value(path)
    assert lab.memory.read(rest, 4) == END
    assert lab.method(this, 0, rest, 0, size, 0) == TOO_SMALL
    pages = lab.cell((1 << 32) - 1)
    lab.ok("AllocatePages", 1, 2, lab.value(size) // 0x1000 + 1, pages)
    assert lab.method(this, 0, rest, 0, size, lab.value(pages)) == SUCCESS
    return lab.memory.read(lab.value(pages), lab.value(size))


def test_one_ramdisk_arrives_as_it_is() -> None:
    data = bytes(range(256)) * 5000 + b"odd"
    assert fetch(Lab(initrds=(data,))) == data


def test_several_arrive_as_one_padded_to_four() -> None:
    assert fetch(Lab(initrds=(b"12345", b"678", b"9abc"))) == b"12345\0\0\0" + b"678\0" + b"9abc"


PLACE = 0x1000000


def test_a_module_is_read_when_it_is_asked_for() -> None:
    lab = Lab({PLACE: b"from a loader"}, modules=((PLACE, 13),))
    assert fetch(lab) == b"from a loader"
    lab.memory.write(PLACE + 5, b"the ")
    assert fetch(lab) == b"from the ader"


def test_modules_come_before_ramdisks_of_the_firmware() -> None:
    lab = Lab({PLACE: b"12345", PLACE + 0x800: b"abcd"}, modules=((PLACE, 5), (PLACE + 0x800, 4)), initrds=(b"xyz",))
    assert fetch(lab) == b"12345\0\0\0" + b"abcd" + b"xyz\0"


def test_a_module_of_more_than_a_chunk() -> None:
    data = bytes(range(251)) * 9000
    lab = Lab({PLACE: data}, modules=((PLACE, len(data)),))
    assert fetch(lab) == data


def test_a_module_is_not_allocated_over() -> None:
    lab = Lab({PLACE: b"from a loader"}, modules=((PLACE, 13),))
    held = lab.shim.memory_map.find(PLACE)
    assert held is not None
    assert (held.start, held.end, held.type) == (PLACE, PLACE + 0x1000, 2), "EfiLoaderData"
    assert lab.bs("AllocatePages", 2, 2, 1, lab.cell(PLACE)) == NOT_FOUND
    assert lab.bs("AllocatePages", 2, 2, 1, lab.cell(PLACE + 0x1000)) == SUCCESS


def test_a_module_of_nothing_is_none() -> None:
    lab = Lab(modules=((PLACE, 0),))
    assert lab.bs("LocateDevicePath", lab.guid(LOAD_FILE2), lab.cell(lab.put(PATH)), lab.cell()) == NOT_FOUND


@pytest.mark.parametrize("module", [(RAM - 4, 5), (1 << 40, 1), (PLACE, 1 << 62), (PLACE, -1), (-8, 4)])
def test_a_module_outside_of_memory(module: tuple[int, int]) -> None:
    with pytest.raises(ProviderError, match="does not lie in the guest's memory"):
        Lab(modules=(module,))


def test_without_ramdisk_there_is_no_protocol(lab: Lab) -> None:
    assert lab.bs("LocateDevicePath", lab.guid(LOAD_FILE2), lab.cell(lab.put(PATH)), lab.cell()) == NOT_FOUND


def test_an_empty_ramdisk_is_one() -> None:
    lab = Lab(initrds=(b"",))
    this, size = lab.interface(LOAD_FILE2), lab.cell()
    assert lab.method(this, 0, lab.put(END), 0, size, 0) == TOO_SMALL
    assert lab.value(size) == 0


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("end", 1, "size", "buffer"), UNSUPPORTED),
        ((0, 0, "size", "buffer"), INVALID),
        (("end", 0, 0, "buffer"), INVALID),
        (("path", 0, "size", "buffer"), NOT_FOUND),
        (("end", 0, "small", "buffer"), TOO_SMALL),
    ],
)
def test_errors(arguments: tuple[int | str, ...], status: int) -> None:
    lab = Lab(initrds=(b"ramdisk",))
    words = {
        "end": lab.put(END),
        "path": lab.put(PATH),
        "size": lab.cell(100),
        "small": lab.cell(6),
        "buffer": lab.cell(),
    }
    values = [words[a] if isinstance(a, str) else a for a in arguments]
    assert lab.method(lab.interface(LOAD_FILE2), 0, *values) == status
