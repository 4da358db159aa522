"""The handle database through its services (UEFI 2.10, 7.3)."""

from __future__ import annotations

from efishim.wire.guids import guid_text
from tests.firmware.lab import ACCESS_DENIED, INVALID, NOT_FOUND, SUCCESS, TOO_SMALL, UNSUPPORTED, Lab
from tests.firmware.programs import IMAGE

A = "aaaaaaaa-1111-2222-3333-444444444444"
B = "bbbbbbbb-1111-2222-3333-444444444444"
DEVICE_PATH = "09576e91-6d3f-11d2-8e39-00a0c969723b"
SIGNAL, CALLBACK = 0x200, 8
BY_HANDLE, GET, TEST, BY_CHILD, BY_DRIVER, EXCLUSIVE = 1, 2, 4, 8, 16, 32


def image(lab: Lab) -> int:
    return lab.shim.load(IMAGE).handle


def test_install_and_find(lab: Lab) -> None:
    handle = lab.install(A, 0x1111)
    assert lab.install(B, 0x2222, handle) == handle
    out = lab.cell()
    lab.ok("HandleProtocol", handle, lab.guid(B), out)
    assert lab.value(out) == 0x2222
    assert lab.interface(A) == 0x1111


def test_a_handle_ends_with_its_last_protocol(lab: Lab) -> None:
    handle = lab.install(A, 1)
    lab.ok("UninstallProtocolInterface", handle, lab.guid(A), 1)
    assert lab.bs("HandleProtocol", handle, lab.guid(A), lab.cell()) == INVALID


def test_locate_protocol_leaves_null_behind(lab: Lab) -> None:
    out = lab.cell(0x55)
    assert lab.bs("LocateProtocol", lab.guid(A), 0, out) == NOT_FOUND
    assert lab.value(out) == 0


def test_locate_handle_gives_all_in_the_order_of_installation(lab: Lab) -> None:
    handles = [lab.install(A, n) for n in range(3)]
    size, buffer = lab.cell(8), lab.put(bytes(64))
    assert lab.bs("LocateHandle", 2, lab.guid(A), 0, size, buffer) == TOO_SMALL
    assert lab.value(size) == 24
    lab.ok("LocateHandle", 2, lab.guid(A), 0, size, buffer)
    assert [lab.value(buffer + 8 * n) for n in range(3)] == handles


def test_locate_handle_buffer_comes_from_pool(lab: Lab) -> None:
    handles = [lab.install(A, n) for n in range(3)]
    count, buffer = lab.cell(), lab.cell()
    lab.ok("LocateHandleBuffer", 2, lab.guid(A), 0, count, buffer)
    assert lab.value(count) == 3
    assert [lab.value(lab.value(buffer) + 8 * n) for n in range(3)] == handles
    lab.ok("FreePool", lab.value(buffer))
    lab.ok("LocateHandleBuffer", 0, 0, 0, count, buffer)
    assert lab.value(count) > 3


def test_registrations_see_each_new_interface_once(lab: Lab) -> None:
    log: list[tuple[int, ...]] = []
    lab.install(A, 1)
    event = lab.event(SIGNAL, CALLBACK, lab.board.constant(0, log))
    key = lab.cell()
    lab.ok("RegisterProtocolNotify", lab.guid(A), event, key)
    registration, out = lab.value(key), lab.cell()
    assert lab.bs("LocateProtocol", lab.guid(A), registration, out) == NOT_FOUND, "what was there is not new"
    lab.install(A, 2)
    lab.install(A, 3)
    assert len(log) == 2
    found = []
    while lab.bs("LocateProtocol", lab.guid(A), registration, out) == SUCCESS:
        found.append(lab.value(out))
    assert found == [2, 3]
    handle = lab.install(A, 4)
    size, buffer = lab.cell(8), lab.cell()
    lab.ok("LocateHandle", 1, 0, registration, size, buffer)
    assert lab.value(buffer) == handle
    assert lab.bs("LocateHandle", 1, 0, registration, size, buffer) == NOT_FOUND
    lab.ok("CloseEvent", event)
    assert lab.bs("LocateHandle", 1, 0, registration, size, buffer) == INVALID


def test_reinstall(lab: Lab) -> None:
    log: list[tuple[int, ...]] = []
    handle = lab.install(A, 1)
    lab.ok("RegisterProtocolNotify", lab.guid(A), lab.event(SIGNAL, CALLBACK, lab.board.constant(0, log)), lab.cell())
    lab.ok("ReinstallProtocolInterface", handle, lab.guid(A), 1, 2)
    assert lab.interface(A) == 2
    assert len(log) == 1


def test_protocols_per_handle(lab: Lab) -> None:
    handle = lab.install(A)
    lab.install(B, 1, handle)
    buffer, count = lab.cell(), lab.cell()
    lab.ok("ProtocolsPerHandle", handle, buffer, count)
    pointers = [lab.value(lab.value(buffer) + 8 * n) for n in range(lab.value(count))]
    assert [guid_text(lab.memory.read(pointer, 16)) for pointer in pointers] == [A, B]


def test_open_information(lab: Lab) -> None:
    handle, agent = lab.install(A, 9), image(lab)
    for _ in range(2):
        lab.ok("OpenProtocol", handle, lab.guid(A), lab.cell(), agent, 0, GET)
    lab.ok("OpenProtocol", handle, lab.guid(A), lab.cell(), agent, handle, BY_DRIVER)
    buffer, count = lab.cell(), lab.cell()
    lab.ok("OpenProtocolInformation", handle, lab.guid(A), buffer, count)
    at = lab.value(buffer)
    entries = [
        (lab.value(at), lab.value(at + 8), lab.value(at + 16, 4), lab.value(at + 20, 4))
        for at in range(at, at + 24 * lab.value(count), 24)
    ]
    assert entries == [(agent, 0, GET, 2), (agent, handle, BY_DRIVER, 1)]
    lab.ok("CloseProtocol", handle, lab.guid(A), agent, 0)
    lab.ok("OpenProtocolInformation", handle, lab.guid(A), buffer, count)
    assert lab.value(count) == 1


def test_exclusive_and_driver_exclude_each_other(lab: Lab) -> None:
    handle, one, two = lab.install(A), image(lab), image(lab)
    guid, out = lab.guid(A), lab.cell()
    lab.ok("OpenProtocol", handle, guid, out, one, 0, EXCLUSIVE)
    assert lab.bs("OpenProtocol", handle, guid, out, two, 0, EXCLUSIVE) == ACCESS_DENIED
    assert lab.bs("OpenProtocol", handle, guid, out, two, handle, BY_DRIVER) == ACCESS_DENIED
    lab.ok("OpenProtocol", handle, guid, out, two, 0, GET)
    assert lab.bs("UninstallProtocolInterface", handle, guid, 0x1234) == ACCESS_DENIED
    lab.ok("CloseProtocol", handle, guid, one, 0)
    lab.ok("UninstallProtocolInterface", handle, guid, 0x1234)


def test_a_driver_that_cannot_be_stopped_keeps_its_protocol(lab: Lab) -> None:
    """The agent has no driver binding, so nobody can ask it to let go (7.3.9, EXCLUSIVE; 7.3.3)."""
    handle, agent, other = lab.install(A), image(lab), image(lab)
    lab.ok("OpenProtocol", handle, lab.guid(A), lab.cell(), agent, handle, BY_DRIVER)
    assert lab.bs("OpenProtocol", handle, lab.guid(A), lab.cell(), other, 0, EXCLUSIVE) == ACCESS_DENIED
    assert lab.bs("UninstallProtocolInterface", handle, lab.guid(A), 0x1234) == ACCESS_DENIED


def test_install_multiple_is_all_or_nothing(lab: Lab) -> None:
    handle = lab.cell()
    lab.ok("InstallMultipleProtocolInterfaces", handle, lab.guid(A), 1, lab.guid(B), 2, 0)
    assert lab.interface(A) == 1
    assert lab.interface(B) == 2
    other = lab.cell()
    status = lab.bs("InstallMultipleProtocolInterfaces", other, lab.guid(A), 3, lab.guid(B), 4, lab.guid(A), 5, 0)
    assert status == INVALID
    assert lab.value(other) == 0
    size = lab.cell(64)
    lab.ok("LocateHandle", 2, lab.guid(A), 0, size, lab.put(bytes(64)))
    assert lab.value(size) == 8, "the first two were taken off again"


def test_uninstall_multiple_is_all_or_nothing(lab: Lab) -> None:
    handle = lab.install(A, 1)
    lab.install(B, 2, handle)
    arguments = (handle, lab.guid(A), 1, lab.guid(B), 99, 0)
    assert lab.bs("UninstallMultipleProtocolInterfaces", *arguments) == INVALID
    assert lab.interface(A) == 1
    lab.ok("UninstallMultipleProtocolInterfaces", handle, lab.guid(A), 1, lab.guid(B), 2, 0)
    assert lab.bs("LocateProtocol", lab.guid(A), 0, lab.cell()) == NOT_FOUND


def test_a_list_of_pairs_without_end(lab: Lab) -> None:
    guid = lab.guid(A)
    assert lab.bs("InstallMultipleProtocolInterfaces", lab.cell(), *([guid, 1] * 300)) == INVALID


NODE = bytes.fromhex("01 04 14 00") + bytes(range(16))
TAIL = bytes.fromhex("04 04 08 00 41 00 00 00")
END = bytes.fromhex("7f ff 04 00")


def test_locate_device_path_finds_the_longest_prefix(lab: Lab) -> None:
    short = lab.install(DEVICE_PATH, lab.put(NODE + END))
    lab.install(A, 1, short)
    long = lab.install(DEVICE_PATH, lab.put(NODE + NODE + END))
    lab.install(A, 2, long)
    unrelated = lab.install(DEVICE_PATH, lab.put(TAIL + END))
    lab.install(A, 3, unrelated)
    start = lab.put(NODE + NODE + TAIL + END)
    path, device = lab.cell(start), lab.cell()
    lab.ok("LocateDevicePath", lab.guid(A), path, device)
    assert lab.value(device) == long
    assert lab.value(path) == start + 2 * len(NODE)
    path = lab.cell(start)
    assert lab.bs("LocateDevicePath", lab.guid(B), path, device) == NOT_FOUND
    assert lab.value(path) == start


def test_a_part_of_a_node_is_no_prefix(lab: Lab) -> None:
    handle = lab.install(DEVICE_PATH, lab.put(NODE + END))
    lab.install(A, 1, handle)
    longer = bytes.fromhex("01 04 18 00") + NODE[4:] + bytes(4)
    assert lab.bs("LocateDevicePath", lab.guid(A), lab.cell(lab.put(longer + END)), lab.cell()) == NOT_FOUND


def test_attributes_of_open_protocol(lab: Lab) -> None:
    handle = lab.install(A, 5)
    out = lab.cell(0x77)
    lab.ok("OpenProtocol", handle, lab.guid(A), out, 0, 0, TEST)
    assert lab.value(out) == 0x77, "TEST_PROTOCOL gives no interface"
    assert lab.bs("OpenProtocol", handle, lab.guid(B), 0, 0, 0, TEST) == UNSUPPORTED
    assert lab.bs("OpenProtocol", handle, lab.guid(B), out, 0, 0, GET) == UNSUPPORTED
    assert lab.value(out) == 0, "NULL with EFI_UNSUPPORTED"
