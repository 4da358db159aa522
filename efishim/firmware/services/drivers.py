"""ConnectController and DisconnectController (UEFI 2.10, 7.3.12 and 7.3.13).

The shim brings no drivers; an image may install EFI_DRIVER_BINDING_PROTOCOL and expects the search of 7.3.12.
"""

from __future__ import annotations

from collections.abc import Generator

from efishim.firmware.calling.device_path import END, END_ENTIRE
from efishim.firmware.calling.dispatch import Call, Handler, Idle, Steps
from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.status import EfiError, Status, demand, is_error
from efishim.firmware.memory.memory_map import MemoryType
from efishim.firmware.memory.pool import Pool
from efishim.firmware.services.handles import HandleDatabase
from efishim.wire.guids import (
    EFI_BUS_SPECIFIC_DRIVER_OVERRIDE_PROTOCOL_GUID,
    EFI_DRIVER_BINDING_PROTOCOL_GUID,
    EFI_DRIVER_FAMILY_OVERRIDE_PROTOCOL_GUID,
    EFI_PLATFORM_DRIVER_OVERRIDE_PROTOCOL_GUID,
)
from efishim.wire.uefi_protocols import DriverBindingProtocol

SUPPORTED, START, STOP = 0, 1, 2
DRIVER_LIMIT = 1024

Bindings = Generator[Call | Idle, int, list[int]]


class Drivers:
    """The two services; also used by those that must detach drivers first."""

    def __init__(self, guest: Guest, pool: Pool, handles: HandleDatabase) -> None:
        self._guest = guest
        self._pool = pool
        self._handles = handles

    def services(self) -> dict[str, Handler]:
        """By name in the boot services table."""
        return {"ConnectController": self.connect_controller, "DisconnectController": self.disconnect_controller}

    def connect_controller(self, controller: int, drivers: int, remaining: int, recursive: int) -> int | Steps:
        """`drivers` is an array of driver handles that ends with NULL."""
        self._handles.check(controller)
        wanted: list[int] = []
        while drivers and len(wanted) < DRIVER_LIMIT:
            handle = self._guest.uintn(drivers + len(wanted) * self._guest.width)
            if handle == 0:
                break
            wanted.append(handle)
        return self.connect(controller, wanted, remaining, recursive=bool(recursive))

    def connect(self, controller: int, wanted: list[int], remaining: int, *, recursive: bool) -> Steps:
        """Start every driver that supports the controller; with `recursive` also on the children that appear.

        Each controller is met once, and those below it before its next sibling: handles may be each other's children.
        """
        status = yield from self._connect_one(controller, wanted, remaining)
        met, waiting = {controller}, [iter(self._handles.children(controller) if recursive else ())]
        while waiting:
            child = next(waiting[-1], None)
            if child is None:
                waiting.pop()
            elif child in self._handles and child not in met:
                met.add(child)
                yield from self._connect_one(child, [], 0)
                waiting.append(iter(self._handles.children(child)))
        return status

    def _connect_one(self, controller: int, wanted: list[int], remaining: int) -> Steps:
        bindings = yield from self._candidates(controller, wanted)
        started = False
        progress = True
        while progress and controller in self._handles:
            progress = False
            for binding in list(bindings):
                if controller not in self._handles:
                    break
                arguments = (binding, controller, remaining)
                if (yield Call(self._function(binding, SUPPORTED), arguments)) != Status.SUCCESS:
                    continue
                bindings.remove(binding)
                progress = True
                if not is_error((yield Call(self._function(binding, START), arguments))):
                    started = True
        if started or (remaining and self._is_end(remaining)):
            return Status.SUCCESS
        return Status.NOT_FOUND

    def _candidates(self, controller: int, wanted: list[int]) -> Bindings:
        """Driver bindings in the order of 7.3.12: the caller's, the overrides', then by version, the highest first."""
        ordered: list[int] = []

        def add(image_or_driver: int) -> None:
            interface = self._handles.find(image_or_driver, EFI_DRIVER_BINDING_PROTOCOL_GUID)
            if interface is not None and interface.address not in ordered:
                ordered.append(interface.address)

        for handle in wanted:
            add(handle)
        for platform in self._handles.interfaces(EFI_PLATFORM_DRIVER_OVERRIDE_PROTOCOL_GUID)[:1]:
            yield from self._ask_override(platform.address, (platform.address, controller), add)
        family = self._handles.interfaces(EFI_DRIVER_FAMILY_OVERRIDE_PROTOCOL_GUID)
        versions: list[tuple[int, int]] = []
        for interface in family:
            function = self._guest.uintn(interface.address)
            rank = yield Call(function, (interface.address,))
            versions.append((rank & 0xFFFFFFFF, interface.handle))
        for _, handle in sorted(versions, key=lambda pair: -pair[0]):
            add(handle)
        bus = self._handles.find(controller, EFI_BUS_SPECIFIC_DRIVER_OVERRIDE_PROTOCOL_GUID)
        if bus is not None:
            yield from self._ask_override(bus.address, (bus.address,), add)
        version = DriverBindingProtocol.leaf("Version", self._guest.width).offset
        everyone = [interface.address for interface in self._handles.interfaces(EFI_DRIVER_BINDING_PROTOCOL_GUID)]
        everyone.sort(key=lambda address: -self._guest.number(address + version, 4))
        return ordered + [address for address in everyone if address not in ordered]

    def _ask_override(self, interface: int, arguments: tuple[int, ...], add: object) -> Steps:
        """GetDriver is the first function of both override protocols: each answer asks for the one after it."""
        assert callable(add)
        place = self._pool.allocate(MemoryType.BOOT_SERVICES_DATA, self._guest.width)
        self._guest.put_uintn(place, 0)
        for _ in range(DRIVER_LIMIT):
            if is_error((yield Call(self._guest.uintn(interface), (*arguments, place)))):
                break
            add(self._guest.uintn(place))
        self._pool.free(place)
        return Status.SUCCESS

    def _function(self, binding: int, index: int) -> int:
        return self._guest.uintn(binding + index * self._guest.width)

    def _is_end(self, path: int) -> bool:
        return self._guest.read(path, 2) == bytes((END, END_ENTIRE))

    # -- disconnecting ------------------------------------------------------------------------------------------

    def disconnect_controller(self, controller: int, driver: int, child: int) -> int | Steps:
        """DisconnectController: one driver or all, one child or all."""
        self._handles.check(controller)
        for handle in (driver, child):
            if handle:
                self._handles.check(handle)
        return self.disconnect(controller, driver, child)

    def disconnect(self, controller: int, driver: int = 0, child: int = 0) -> Steps:
        """Stop drivers on a controller. SUCCESS also when no driver manages it and none was named."""
        agents = [driver] if driver else self._handles.agents(controller)
        stopped = 0
        for agent in agents:
            binding = self._handles.find(agent, EFI_DRIVER_BINDING_PROTOCOL_GUID)
            if binding is None:
                raise EfiError(Status.INVALID_PARAMETER)
            if agent not in self._handles.agents(controller):
                continue
            children = self._handles.children(controller, agent)
            if child and child not in children:
                continue
            status = yield from self._stop(binding.address, controller, children, child)
            stopped += not is_error(status)
        return Status.SUCCESS if stopped or not agents else Status.NOT_FOUND

    def _stop(self, binding: int, controller: int, children: list[int], child: int) -> Steps:
        function = self._function(binding, STOP)
        targets = [child] if child else children
        status = int(Status.SUCCESS)
        if targets:
            width = self._guest.width
            array = self._pool.allocate(MemoryType.BOOT_SERVICES_DATA, len(targets) * width)
            self._guest.write(array, b"".join(target.to_bytes(width, "little") for target in targets))
            status = yield Call(function, (binding, controller, len(targets), array))
            self._pool.free(array)
        if not is_error(status) and (not child or len(children) == 1):
            status = yield Call(function, (binding, controller, 0, 0))
        return status

    def release(self, controller: int, opens: list[int]) -> Steps:
        """Detach the drivers `opens` from a controller before an interface goes. ACCESS_DENIED when one stays."""
        for agent in opens:
            try:
                status = yield from self.disconnect(controller, agent)
            except EfiError as error:
                status = error.status
            demand(not is_error(status), Status.ACCESS_DENIED)
        return Status.SUCCESS
