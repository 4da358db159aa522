"""ExitBootServices (UEFI 2.10, 7.4.6) and the tables after it."""

from __future__ import annotations

import struct
import zlib

from efishim.firmware.memory.memory_map import MemoryType
from tests.firmware.fake import Body, Compute
from tests.firmware.lab import INVALID, SUCCESS, SYSTEM_BOOT, UNSUPPORTED, Lab
from tests.firmware.programs import IMAGE

SIGNAL, CALLBACK, NOTIFY = 0x200, 8, 16
BEFORE = "8be0e274-3970-4b44-80c5-1ab9502f3bfc"
TABLE_OF_ATTRIBUTES = "dcfa911d-26eb-469f-a220-38b7dc461220"


def started(lab: Lab) -> int:
    image = lab.shim.load(IMAGE)
    image.started = True
    return image.handle


def noting(lab: Lab, log: list[str], name: str) -> int:
    def body(*_: int) -> Body:
        log.append(name)
        return 0
        yield Compute(0)

    return lab.function(body)


def test_events_in_their_order(lab: Lab) -> None:
    log: list[str] = []
    lab.event(0x201, CALLBACK, noting(lab, log, "exit, callback"))
    lab.event(0x201, NOTIFY, noting(lab, log, "exit, notify"))
    lab.event(SIGNAL, CALLBACK, noting(lab, log, "before"), 0, BEFORE)
    lab.ok("ExitBootServices", started(lab), lab.map_key())
    assert log == ["before", "exit, notify", "exit, callback"]


def test_a_stale_key_fails_and_leaves_memory_services(lab: Lab) -> None:
    log: list[str] = []
    lab.event(0x201, CALLBACK, noting(lab, log, "exit"))
    lab.event(SIGNAL, CALLBACK, noting(lab, log, "before"), 0, BEFORE)
    image, key = started(lab), lab.map_key()
    buffer = lab.cell()
    lab.ok("AllocatePool", 2, 5000, buffer)
    assert lab.bs("ExitBootServices", image, key) == INVALID
    assert log == ["before"]
    assert lab.bs("LocateProtocol", lab.guid(BEFORE), 0, lab.cell()) == UNSUPPORTED
    lab.ok("FreePool", lab.value(buffer))
    lab.ok("ExitBootServices", image, lab.map_key())
    assert log == ["before", "exit"], "the first group is signaled only once"


def test_an_image_that_cannot_go_on_may_leave(lab: Lab) -> None:
    image, key = started(lab), lab.map_key()
    lab.ok("AllocatePool", 2, 5000, lab.cell())
    assert lab.bs("ExitBootServices", image, key) == INVALID
    other = lab.shim.load(IMAGE).handle
    lab.ok("Exit", other, 0, 0, 0)
    leave = lab.address("BootServices.Exit")
    lab.exit_boot_services()
    assert lab.board.call(leave, image, 0, 0, 0) == UNSUPPORTED


def test_timers_are_dead(lab: Lab) -> None:
    log: list[str] = []
    event = lab.event(0x80000000 | SIGNAL, CALLBACK, noting(lab, log, "tick"))
    lab.ok("SetTimer", event, 1, 100_000)
    lab.shim.events.arm_watchdog(1)
    lab.exit_boot_services()
    lab.board.clock.advance_to(10**10)
    lab.board.clock.fire()
    assert log == []
    assert lab.board.stopped is None


def test_the_system_table_afterwards(lab: Lab) -> None:
    boot = lab.shim.tables.boot
    allocate = lab.address("BootServices.AllocatePool")
    lab.exit_boot_services()
    system = lab.shim.tables.system
    data = bytearray(lab.memory.read(system, 120))
    (crc,) = struct.unpack_from("<I", data, 16)
    data[16:20] = bytes(4)
    assert zlib.crc32(data) == crc
    fields = struct.unpack_from("<9Q", data, 40)
    assert fields[:6] == (0, 0, 0, 0, 0, 0), "the consoles"
    assert fields[6] == lab.shim.tables.runtime
    assert lab.value(system + SYSTEM_BOOT) == 0
    assert lab.memory.read(boot, 376) == bytes(376)
    assert lab.board.call(allocate, 2, 8, lab.cell()) == UNSUPPORTED, "who kept the pointer gets an answer"
    assert not lab.cpu.get("eflags") & 0x200, "interrupts are off"


def test_protocols_are_boot_services_too(lab: Lab) -> None:
    rng = lab.interface("3152bca5-eade-433d-862e-c01cdc291f44")
    lab.exit_boot_services()
    assert lab.method(rng, 1, 0, 8, lab.put(bytes(8))) == UNSUPPORTED


def test_the_memory_attributes_table(lab: Lab) -> None:
    """It covers every runtime range of the map, code read-only and data not executable (4.6.4)."""
    lab.ok("AllocatePages", 0, MemoryType.RUNTIME_SERVICES_CODE, 300, lab.cell())
    lab.exit_boot_services()
    address = dict(lab.shim.tables.entries)[TABLE_OF_ATTRIBUTES]
    version, count, size, _ = struct.unpack("<4I", lab.memory.read(address, 16))
    assert (version, size) == (1, 48)
    rows = [struct.unpack("<I4xQQQQ", lab.memory.read(address + 16 + size * n, 40)) for n in range(count)]
    runtime = [d for d in lab.shim.memory_map.descriptors() if d.attributes >> 63]
    assert [(r[0], r[1], r[3]) for r in rows] == [(d.type, d.start, d.pages) for d in runtime]
    assert len(rows) >= 3
    for kind, _, virtual, _, attributes in rows:
        assert virtual == 0
        protection = 1 << 17 if kind == MemoryType.RUNTIME_SERVICES_CODE else 1 << 14
        assert attributes == 1 << 63 | protection


def test_the_callback_and_the_second_time(lab: Lab) -> None:
    told: list[int] = []
    lab.shim.exit.on_exit = lambda: told.append(1)
    exit_boot_services = lab.address("BootServices.ExitBootServices")
    lab.exit_boot_services()
    assert told == [1]
    assert lab.board.call(exit_boot_services, 0, 0) == UNSUPPORTED
    assert told == [1]
    assert lab.rs("GetTime", lab.put(bytes(16)), 0) == SUCCESS
