"""The protocol handler services (UEFI 2.10, 7.3) over the handle database."""

from __future__ import annotations

from efishim.firmware.calling.device_path import beginning, ends_of_nodes, read_path
from efishim.firmware.calling.dispatch import Handler, Rest, Steps
from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.status import EfiError, Status, demand
from efishim.firmware.memory.memory_map import MemoryType
from efishim.firmware.memory.pool import Pool
from efishim.firmware.services.drivers import Drivers
from efishim.firmware.services.events import Events
from efishim.firmware.services.handles import (
    BY_CHILD_CONTROLLER,
    BY_DRIVER,
    BY_HANDLE_PROTOCOL,
    EXCLUSIVE,
    GET_PROTOCOL,
    TEST_PROTOCOL,
    HandleDatabase,
    Interface,
)
from efishim.wire.guids import EFI_DEVICE_PATH_PROTOCOL_GUID
from efishim.wire.uefi import OpenProtocolInformationEntry

ALL_HANDLES, BY_REGISTER_NOTIFY, BY_PROTOCOL = 0, 1, 2
"""EFI_LOCATE_SEARCH_TYPE (7.3.6)."""

PAIR_LIMIT = 256
"""Most GUID and interface pairs that the multiple services read before their NULL."""

_PASSIVE = BY_HANDLE_PROTOCOL | GET_PROTOCOL | TEST_PROTOCOL
_NEEDS_CONTROLLER = frozenset({BY_CHILD_CONTROLLER, BY_DRIVER, BY_DRIVER | EXCLUSIVE})
_ATTRIBUTES = frozenset({BY_HANDLE_PROTOCOL, GET_PROTOCOL, TEST_PROTOCOL, EXCLUSIVE, *_NEEDS_CONTROLLER})


class ProtocolServices:
    """`agent` is the firmware's own handle, in whose name HandleProtocol opens."""

    def __init__(self, guest: Guest, pool: Pool, handles: HandleDatabase, events: Events, drivers: Drivers) -> None:
        self._guest = guest
        self._pool = pool
        self.handles = handles
        self._events = events
        self._drivers = drivers
        self.agent = 0
        events.on_close = handles.forget

    def services(self) -> dict[str, Handler]:
        """By name in the boot services table."""
        return {
            "InstallProtocolInterface": self.install,
            "ReinstallProtocolInterface": self.reinstall,
            "UninstallProtocolInterface": self.uninstall,
            "HandleProtocol": self.handle_protocol,
            "RegisterProtocolNotify": self.register_protocol_notify,
            "LocateHandle": self.locate_handle,
            "LocateDevicePath": self.locate_device_path,
            "OpenProtocol": self.open_protocol,
            "CloseProtocol": self.close_protocol,
            "OpenProtocolInformation": self.open_protocol_information,
            "ProtocolsPerHandle": self.protocols_per_handle,
            "LocateHandleBuffer": self.locate_handle_buffer,
            "LocateProtocol": self.locate_protocol,
            "InstallMultipleProtocolInterfaces": self.install_multiple,
            "UninstallMultipleProtocolInterfaces": self.uninstall_multiple,
        }

    # -- installing ---------------------------------------------------------------------------------------------

    def add(self, handle: int, guid: str, address: int) -> int:
        """Install from the firmware's side or an image's: gives the handle, signals who registered for it."""
        handle = self.handles.install(handle, guid, address)
        self._announce(guid)
        return handle

    def _announce(self, guid: str) -> None:
        for event in self.handles.registered(guid):
            self._events.signal(event)

    def install(self, handle: int, protocol: int, kind: int, interface: int) -> int:
        """InstallProtocolInterface (7.3.2)."""
        demand(handle and protocol and kind == 0)
        guid = self._guest.guid(protocol)
        current = self._guest.uintn(handle)
        self._guest.put_uintn(handle, current)  # a pointer that cannot take the answer is refused before anything is done
        self._guest.put_uintn(handle, self.add(current, guid, interface))
        return Status.SUCCESS

    def _find(self, handle: int, guid: str, address: int) -> Interface:
        """The interface that is meant by handle, GUID and address. Raises EfiError(NOT_FOUND)."""
        interface = self.handles.protocols(handle).get(guid)
        if interface is None or interface.address != address:
            raise EfiError(Status.NOT_FOUND)
        return interface

    def reinstall(self, handle: int, protocol: int, old: int, new: int) -> int | Steps:
        """ReinstallProtocolInterface (7.3.4): drivers are detached, the interface changes, drivers are connected."""
        guid = self._guest.guid(protocol)
        return self._reinstall(self._find(handle, guid, old), new)

    def _reinstall(self, interface: Interface, new: int) -> Steps:
        yield from self._detach(interface)
        self.handles.replace(interface, new)
        self._announce(interface.guid)
        yield from self._drivers.connect(interface.handle, [], 0, recursive=True)
        return Status.SUCCESS

    def uninstall(self, handle: int, protocol: int, address: int) -> int | Steps:
        """UninstallProtocolInterface (7.3.3)."""
        guid = self._guest.guid(protocol)
        return self._uninstall(self._find(handle, guid, address))

    def _uninstall(self, interface: Interface) -> Steps:
        yield from self._detach(interface)
        self.handles.remove(interface)
        return Status.SUCCESS

    def _detach(self, interface: Interface) -> Steps:
        """Make drivers let go of an interface. Raises EfiError(ACCESS_DENIED) if one keeps it (7.3.3)."""
        controller = interface.handle
        drivers = [entry.agent for entry in interface.opens if entry.attributes & BY_DRIVER]
        try:
            yield from self._drivers.release(controller, drivers)
            kept = [entry for entry in interface.opens if not entry.attributes & _PASSIVE]
            demand(not kept, Status.ACCESS_DENIED)
        except EfiError:
            yield from self._drivers.connect(controller, [], 0, recursive=True)
            raise
        demand(self.handles.find(controller, interface.guid) is interface, Status.NOT_FOUND)
        interface.opens.clear()
        return Status.SUCCESS

    def _pairs(self, rest: Rest) -> list[tuple[str, int]]:
        """The variable arguments of the multiple services: GUID pointer and interface, up to a NULL GUID."""
        pairs: list[tuple[str, int]] = []
        while (protocol := rest(1 + 2 * len(pairs))) != 0:
            demand(len(pairs) < PAIR_LIMIT)
            pairs.append((self._guest.guid(protocol), rest(2 + 2 * len(pairs))))
        return pairs

    def install_multiple(self, handle: int, rest: Rest) -> int | Steps:
        """InstallMultipleProtocolInterfaces (7.3.17): all or nothing."""
        demand(handle)
        current = self._guest.uintn(handle)
        pairs = self._pairs(rest)
        for guid, address in pairs:
            if guid == EFI_DEVICE_PATH_PROTOCOL_GUID and self._path_taken(address):
                raise EfiError(Status.ALREADY_STARTED)
        done: list[tuple[str, int]] = []
        target = current
        try:
            for guid, address in pairs:
                target = self.handles.install(target, guid, address)
                done.append((guid, address))
        except EfiError:
            for guid, address in reversed(done):
                self.handles.remove(self._find(target, guid, address))
            raise
        self._guest.put_uintn(handle, target)
        for guid, _ in done:
            self._announce(guid)
        return Status.SUCCESS

    def _path_taken(self, address: int) -> bool:
        path = read_path(self._guest, address)
        for interface in self.handles.interfaces(EFI_DEVICE_PATH_PROTOCOL_GUID):
            try:
                if read_path(self._guest, interface.address) == path:
                    return True
            except EfiError:
                continue
        return False

    def uninstall_multiple(self, handle: int, rest: Rest) -> int | Steps:
        """UninstallMultipleProtocolInterfaces (7.3.18): all or nothing, else EFI_INVALID_PARAMETER."""
        return self._uninstall_multiple(handle, self._pairs(rest))

    def _uninstall_multiple(self, handle: int, pairs: list[tuple[str, int]]) -> Steps:
        done: list[tuple[str, int]] = []
        for guid, address in pairs:
            try:
                yield from self._uninstall(self._find(handle, guid, address))
                done.append((guid, address))
            except EfiError as error:
                alive = handle if handle in self.handles else 0
                for again, interface in reversed(done):
                    alive = self.handles.install(alive, again, interface)
                raise EfiError(Status.INVALID_PARAMETER) from error
        return Status.SUCCESS

    # -- opening ------------------------------------------------------------------------------------------------

    def handle_protocol(self, handle: int, protocol: int, out: int) -> int | Steps:
        """HandleProtocol (7.3.7)."""
        return self.open_protocol(handle, protocol, out, self.agent, 0, BY_HANDLE_PROTOCOL)

    def open_protocol(self, handle: int, protocol: int, out: int, agent: int, controller: int, attributes: int) -> int | Steps:
        """OpenProtocol (7.3.9)."""
        guid = self._guest.guid(protocol)
        demand(out or attributes == TEST_PROTOCOL)
        self.handles.check(handle)
        demand(attributes in _ATTRIBUTES)
        if agent or attributes in _NEEDS_CONTROLLER or attributes == EXCLUSIVE:
            self.handles.check(agent)
        if attributes in _NEEDS_CONTROLLER:
            self.handles.check(controller)
        demand(attributes != BY_CHILD_CONTROLLER or handle != controller)
        out = 0 if attributes == TEST_PROTOCOL else out
        if out:
            self._guest.put_uintn(out, 0)
        interface = self.handles.find(handle, guid)
        if interface is None:
            return Status.UNSUPPORTED
        return self._open(interface, out, agent, controller, attributes)

    def _open(self, interface: Interface, out: int, agent: int, controller: int, attributes: int) -> Steps:
        by_driver = [entry for entry in interface.opens if entry.attributes & BY_DRIVER]
        exclusive = any(entry.attributes & EXCLUSIVE for entry in interface.opens)
        if any((e.agent, e.controller, e.attributes) == (agent, controller, attributes) for e in by_driver):
            if out:
                self._guest.put_uintn(out, interface.address)
            return Status.ALREADY_STARTED
        if attributes & (BY_DRIVER | EXCLUSIVE):
            demand(not exclusive, Status.ACCESS_DENIED)
        if attributes & EXCLUSIVE:
            yield from self._drivers.release(interface.handle, [entry.agent for entry in by_driver])
        elif attributes & BY_DRIVER:
            demand(not by_driver, Status.ACCESS_DENIED)
        if agent:
            self.handles.note_open(interface, agent, controller, attributes)
        if out:
            self._guest.put_uintn(out, interface.address)
        return Status.SUCCESS

    def close_protocol(self, handle: int, protocol: int, agent: int, controller: int) -> int:
        """CloseProtocol (7.3.10)."""
        self.handles.check(handle)
        self.handles.check(agent)
        if controller:
            self.handles.check(controller)
        guid = self._guest.guid(protocol)
        interface = self.handles.find(handle, guid)
        demand(interface is not None, Status.NOT_FOUND)
        assert interface is not None
        left = [e for e in interface.opens if (e.agent, e.controller) != (agent, controller)]
        demand(len(left) < len(interface.opens), Status.NOT_FOUND)
        interface.opens[:] = left
        return Status.SUCCESS

    def open_protocol_information(self, handle: int, protocol: int, buffer: int, count: int) -> int:
        """OpenProtocolInformation (7.3.11): an array from boot services pool."""
        demand(buffer and count)
        self.handles.check(handle)
        interface = self.handles.find(handle, self._guest.guid(protocol))
        demand(interface is not None, Status.NOT_FOUND)
        assert interface is not None
        entries = [
            OpenProtocolInformationEntry(
                AgentHandle=entry.agent,
                ControllerHandle=entry.controller,
                Attributes=entry.attributes,
                OpenCount=entry.count,
            ).build(self._guest.width)
            for entry in interface.opens
        ]
        self._give_array(buffer, count, b"".join(entries), len(entries))
        return Status.SUCCESS

    def protocols_per_handle(self, handle: int, buffer: int, count: int) -> int:
        """ProtocolsPerHandle (7.3.14): an array of pointers to GUIDs."""
        demand(buffer and count)
        guids = list(self.handles.protocols(handle))
        self._give_words(buffer, count, [self.handles.guid_address(guid) for guid in guids])
        return Status.SUCCESS

    def _give_words(self, buffer: int, count: int, words: list[int]) -> None:
        data = b"".join(word.to_bytes(self._guest.width, "little") for word in words)
        self._give_array(buffer, count, data, len(words))

    def _give_array(self, buffer: int, count: int, data: bytes, number: int) -> None:
        self._guest.put_uintn(count, 0)
        self._guest.put_uintn(buffer, 0)
        address = self._pool.allocate(MemoryType.BOOT_SERVICES_DATA, max(len(data), 1))
        self._guest.write(address, data)
        self._guest.put_uintn(buffer, address)
        self._guest.put_uintn(count, number)

    # -- looking ------------------------------------------------------------------------------------------------

    def register_protocol_notify(self, protocol: int, event: int, registration: int) -> int:
        """RegisterProtocolNotify (7.3.5)."""
        demand(protocol and event and registration)
        guid = self._guest.guid(protocol)
        watcher = self._events.get(event)
        self._guest.put_uintn(registration, 0)
        self._guest.put_uintn(registration, self.handles.register(guid, watcher))
        return Status.SUCCESS

    def _search(self, kind: int, protocol: int, key: int, *, take: bool) -> list[int]:
        """The handles that LocateHandle and LocateHandleBuffer mean. Raises EfiError(NOT_FOUND) for none."""
        demand(kind <= BY_PROTOCOL)
        if kind == ALL_HANDLES:
            found = self.handles.handles()
        elif kind == BY_REGISTER_NOTIFY:
            demand(key)
            found = [self.handles.next_new(key, take=take).handle]
        else:
            found = [interface.handle for interface in self.handles.interfaces(self._guest.guid(protocol))]
        demand(found, Status.NOT_FOUND)
        return found

    def locate_handle(self, kind: int, protocol: int, key: int, size: int, buffer: int) -> int:
        """LocateHandle (7.3.6)."""
        demand(size)
        room = self._guest.uintn(size)
        found = self._search(kind, protocol, key, take=False)
        data = b"".join(handle.to_bytes(self._guest.width, "little") for handle in found)
        self._guest.put_uintn(size, len(data))
        demand(room >= len(data), Status.BUFFER_TOO_SMALL)
        demand(buffer)
        self._guest.write(buffer, data)
        self._search(kind, protocol, key, take=True)
        return Status.SUCCESS

    def locate_handle_buffer(self, kind: int, protocol: int, key: int, count: int, buffer: int) -> int:
        """LocateHandleBuffer (7.3.15)."""
        demand(count and buffer)
        self._guest.put_uintn(count, 0)
        self._guest.put_uintn(buffer, 0)
        self._give_words(buffer, count, self._search(kind, protocol, key, take=True))
        return Status.SUCCESS

    def locate_protocol(self, protocol: int, registration: int, out: int) -> int:
        """LocateProtocol (7.3.16). NULL comes back with EFI_NOT_FOUND."""
        demand(out)
        guid = self._guest.guid(protocol)
        self._guest.put_uintn(out, 0)
        if registration:
            self._guest.put_uintn(out, self.handles.next_new(registration).address)
            return Status.SUCCESS
        found = self.handles.interfaces(guid)
        demand(found, Status.NOT_FOUND)
        self._guest.put_uintn(out, found[0].address)
        return Status.SUCCESS

    def locate_device_path(self, protocol: int, path: int, device: int) -> int:
        """LocateDevicePath (7.3.8): the handle with the longest path that the given one starts with."""
        demand(path)
        guid = self._guest.guid(protocol)
        start = self._guest.uintn(path)
        demand(start)
        wanted = read_path(self._guest, start)
        ends = ends_of_nodes(wanted)
        best: tuple[int, int] | None = None
        for interface in self.handles.interfaces(EFI_DEVICE_PATH_PROTOCOL_GUID):
            if self.handles.find(interface.handle, guid) is None:
                continue
            size = beginning(self._guest, interface.address, wanted, ends)
            if size is not None and (best is None or size > best[0]):
                best = size, interface.handle
        if best is None:
            raise EfiError(Status.NOT_FOUND)
        demand(device)
        self._guest.put_uintn(device, best[1])
        self._guest.put_uintn(path, start + best[0])
        return Status.SUCCESS
