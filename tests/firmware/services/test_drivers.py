"""A driver that an image brings: found, started, stopped, connected to children (UEFI 2.10, 7.3.12, 7.3.13, 11.1)."""

from __future__ import annotations

import struct

from tests.firmware.fake import Body, Compute
from tests.firmware.lab import ACCESS_DENIED, NOT_FOUND, OUT_OF_RESOURCES, SUCCESS, UNSUPPORTED, Lab
from tests.firmware.programs import IMAGE

BUS = "aaaaaaaa-1111-2222-3333-444444444444"
CHILD = "bbbbbbbb-1111-2222-3333-444444444444"
BINDING = "18a031ab-b443-4d1a-a5c0-0c09261e9f71"
BY_DRIVER, BY_CHILD, EXCLUSIVE = 16, 8, 32


class Driver:
    """A bus driver: opens BUS BY_DRIVER and makes one child with CHILD on it."""

    def __init__(self, lab: Lab, version: int = 0x10, *, supports: bool = True) -> None:
        self.lab = lab
        self.image = lab.shim.load(IMAGE).handle
        self.log: list[str] = []
        self.supports = supports
        self.child = 0
        functions = (lab.function(self.supported), lab.function(self.start), lab.function(self.stop))
        data = struct.pack("<3QI4xQQ", *functions, version, self.image, self.image)
        self.binding = lab.install(BINDING, lab.put(data), self.image)

    def supported(self, this: int, controller: int, *_: int) -> Body:
        guid = self.lab.guid(BUS)
        status = yield self.lab.calling("OpenProtocol", controller, guid, 0, self.image, controller, 4)
        self.log.append("supported")
        return status if self.supports else UNSUPPORTED

    def start(self, this: int, controller: int, *_: int) -> Body:
        lab = self.lab
        out = lab.cell()
        status = yield lab.calling("OpenProtocol", controller, lab.guid(BUS), out, self.image, controller, BY_DRIVER)
        self.log.append(f"start {status:#x}")
        if status:
            return status
        handle = lab.cell()
        yield lab.calling("InstallProtocolInterface", handle, lab.guid(CHILD), 0, 0x77)
        self.child = lab.value(handle)
        yield lab.calling("OpenProtocol", controller, lab.guid(BUS), out, self.image, self.child, BY_CHILD)
        return SUCCESS

    def stop(self, this: int, controller: int, count: int, children: int) -> Body:
        lab = self.lab
        self.log.append(f"stop {count}")
        if count:
            assert lab.value(children) == self.child
            yield lab.calling("CloseProtocol", controller, lab.guid(BUS), self.image, self.child)
            return (yield lab.calling("UninstallProtocolInterface", self.child, lab.guid(CHILD), 0x77))
        return (yield lab.calling("CloseProtocol", controller, lab.guid(BUS), self.image, controller))


def test_connect_and_disconnect(lab: Lab) -> None:
    driver = Driver(lab)
    controller = lab.install(BUS, 1)
    lab.ok("ConnectController", controller, 0, 0, 1)
    assert driver.log[:2] == ["supported", "start 0x0"]
    assert lab.interface(CHILD) == 0x77
    lab.ok("DisconnectController", controller, 0, 0)
    assert driver.log[-2:] == ["stop 1", "stop 0"]
    assert lab.bs("LocateProtocol", lab.guid(CHILD), 0, lab.cell()) == NOT_FOUND


def test_one_child_only(lab: Lab) -> None:
    """The last child takes the driver with it (7.3.13)."""
    driver = Driver(lab)
    controller = lab.install(BUS, 1)
    lab.ok("ConnectController", controller, 0, 0, 0)
    lab.ok("DisconnectController", controller, driver.image, driver.child)
    assert driver.log[-2:] == ["stop 1", "stop 0"]


def test_the_higher_version_is_asked_first(lab: Lab) -> None:
    old, new = Driver(lab, 0x10), Driver(lab, 0x20)
    controller = lab.install(BUS, 1)
    lab.ok("ConnectController", controller, 0, 0, 0)
    assert "start 0x0" in new.log
    assert f"start {ACCESS_DENIED:#x}" in old.log, "the controller has its driver already"


def test_the_caller_s_list_goes_before_versions(lab: Lab) -> None:
    old, new = Driver(lab, 0x10), Driver(lab, 0x20)
    controller = lab.install(BUS, 1)
    lab.ok("ConnectController", controller, lab.put(struct.pack("<QQ", old.image, 0)), 0, 0)
    assert "start 0x0" in old.log
    assert "start 0x0" not in new.log


def test_no_driver_supports_it(lab: Lab) -> None:
    driver = Driver(lab, supports=False)
    controller = lab.install(BUS, 1)
    assert lab.bs("ConnectController", controller, 0, 0, 0) == NOT_FOUND
    assert driver.log == ["supported"]


def test_uninstalling_stops_the_driver(lab: Lab) -> None:
    driver = Driver(lab)
    controller = lab.install(BUS, 1)
    lab.ok("ConnectController", controller, 0, 0, 0)
    lab.ok("UninstallProtocolInterface", controller, lab.guid(BUS), 1)
    assert driver.log[-1] == "stop 0"


def test_reinstalling_reconnects(lab: Lab) -> None:
    driver = Driver(lab)
    controller = lab.install(BUS, 1)
    lab.ok("ConnectController", controller, 0, 0, 0)
    lab.ok("ReinstallProtocolInterface", controller, lab.guid(BUS), 1, 2)
    assert driver.log.count("start 0x0") == 2


def test_exclusive_detaches_the_driver(lab: Lab) -> None:
    driver = Driver(lab)
    controller, other = lab.install(BUS, 1), lab.shim.load(IMAGE).handle
    lab.ok("ConnectController", controller, 0, 0, 0)
    lab.ok("OpenProtocol", controller, lab.guid(BUS), lab.cell(), other, 0, EXCLUSIVE)
    assert driver.log[-1] == "stop 0"


def test_a_driver_that_will_not_stop(lab: Lab) -> None:
    driver = Driver(lab)

    def refuse(*_: int) -> Body:
        return UNSUPPORTED
        yield Compute(0)

    controller = lab.install(BUS, 1)
    lab.ok("ConnectController", controller, 0, 0, 0)
    binding = lab.interface(BINDING)
    lab.memory.put_u64(binding + 16, lab.function(refuse))
    assert lab.bs("UninstallProtocolInterface", controller, lab.guid(BUS), 1) == ACCESS_DENIED
    assert lab.bs("DisconnectController", controller, driver.image, 0) == NOT_FOUND
    assert lab.interface(BUS) == 1


def test_nesting_has_a_limit(lab: Lab) -> None:
    """A driver that connects what it is asked about, for ever: it runs out of resources, nobody out of stack."""
    driver = Driver(lab)
    statuses: list[int] = []

    def supported(this: int, controller: int, *_: int) -> Body:
        statuses.append((yield lab.calling("ConnectController", controller, 0, 0, 0)))
        return UNSUPPORTED

    lab.memory.put_u64(lab.interface(BINDING), lab.function(supported))
    lab.cpu.set("rsp", lab.cpu.get("rsp"))
    controller = lab.install(BUS, 1)
    assert lab.bs("ConnectController", controller, 0, 0, 0) == NOT_FOUND
    assert statuses[0] == OUT_OF_RESOURCES
    assert 16 < len(statuses) < 200
    assert driver.log == []
