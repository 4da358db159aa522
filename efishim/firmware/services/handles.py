"""The handle database (UEFI 2.10, 7.3): the protocols of each handle, and the agents that have them open.

Pure bookkeeping: no guest function is called here. Handles are listed in the order of their creation, protocols in the
order of their installation, as EDK II does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.status import EfiError, Status, demand
from efishim.firmware.memory.memory_map import MemoryType
from efishim.firmware.memory.pool import Pool
from efishim.firmware.services.events import Event

BY_HANDLE_PROTOCOL, GET_PROTOCOL, TEST_PROTOCOL = 1, 2, 4
BY_CHILD_CONTROLLER, BY_DRIVER, EXCLUSIVE = 8, 0x10, 0x20
"""EFI_OPEN_PROTOCOL_* attributes (7.3.9)."""

HANDLE_SIZE = 0x20
HANDLE_LIMIT = 1 << 16
OPEN_LIMIT = 1 << 12
STEPS = 16
"""Of a search through these tables, for about as much of the host's time as one access to the guest's memory."""


@dataclass(slots=True, eq=False)
class Open:
    """One way in which an interface is in use."""

    agent: int
    controller: int
    attributes: int
    count: int = 1


@dataclass(slots=True, eq=False)
class Interface:
    """A protocol on a handle."""

    handle: int
    guid: str
    address: int
    order: int
    opens: list[Open] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Registration:
    """A RegisterProtocolNotify: `seen` is the order of the last installation that a search returned."""

    key: int
    guid: str
    event: Event
    seen: int


class HandleDatabase:
    """Handles by address. Handles live in boot services pool, so their addresses are those of real memory."""

    def __init__(self, guest: Guest, pool: Pool) -> None:
        self._guest = guest
        self._pool = pool
        self._handles: dict[int, dict[str, Interface]] = {}
        self._guids: dict[str, int] = {}
        self._registrations: dict[int, Registration] = {}
        self._order = count(1)
        self._last = 0

    def __contains__(self, handle: int) -> bool:
        return handle in self._handles

    def handles(self) -> list[int]:
        """All handles, the oldest first."""
        return list(self._handles)

    def check(self, handle: int) -> None:
        """Raises EfiError(INVALID_PARAMETER) for what is not a handle."""
        demand(handle in self._handles)

    def protocols(self, handle: int) -> dict[str, Interface]:
        """The interfaces of a handle by GUID. Raises EfiError(INVALID_PARAMETER)."""
        self.check(handle)
        return self._handles[handle]

    def find(self, handle: int, guid: str) -> Interface | None:
        """An interface, or None; also None for what is not a handle."""
        return self._handles.get(handle, {}).get(guid)

    def interfaces(self, guid: str) -> list[Interface]:
        """Everything that carries a protocol, in the order of installation."""
        self._guest.work.spend(len(self._handles) // STEPS)
        found = (protocols[guid] for protocols in self._handles.values() if guid in protocols)
        return sorted(found, key=lambda interface: interface.order)

    def all_interfaces(self) -> Iterator[Interface]:
        """Every interface of every handle."""
        for protocols in self._handles.values():
            yield from protocols.values()

    # -- installing ---------------------------------------------------------------------------------------------

    def install(self, handle: int, guid: str, address: int) -> int:
        """Put a protocol on a handle, on a new one when `handle` is 0. Gives the handle; registrations are notified
        by the caller (`registered`). Raises EfiError: INVALID_PARAMETER when it is there already.
        """
        if handle:
            self.check(handle)
            demand(guid not in self._handles[handle])
        else:
            demand(len(self._handles) < HANDLE_LIMIT, Status.OUT_OF_RESOURCES)
            handle = self._pool.allocate(MemoryType.BOOT_SERVICES_DATA, HANDLE_SIZE)
            self._handles[handle] = {}
        self._last = next(self._order)
        self._handles[handle][guid] = Interface(handle, guid, address, self._last)
        return handle

    def replace(self, interface: Interface, address: int) -> None:
        """ReinstallProtocolInterface: a new address, and new to everybody who watches."""
        interface.address = address
        self._last = next(self._order)
        interface.order = self._last

    def remove(self, interface: Interface) -> None:
        """Take a protocol off its handle; a handle without protocols ceases to be one."""
        protocols = self._handles[interface.handle]
        del protocols[interface.guid]
        if not protocols:
            del self._handles[interface.handle]
            if self._pool.holds(interface.handle):
                self._pool.free(interface.handle)

    def guid_address(self, guid: str) -> int:
        """Where a GUID lies in memory for ProtocolsPerHandle, which hands out pointers that are never freed."""
        if guid not in self._guids:
            address = self._pool.allocate(MemoryType.BOOT_SERVICES_DATA, 16)
            self._guest.put_guid(address, guid)
            self._guids[guid] = address
        return self._guids[guid]

    # -- watching -----------------------------------------------------------------------------------------------

    def register(self, guid: str, event: Event) -> int:
        """RegisterProtocolNotify: gives the registration key. Only later installations count as new."""
        demand(len(self._registrations) < HANDLE_LIMIT, Status.OUT_OF_RESOURCES)
        key = self._pool.allocate(MemoryType.BOOT_SERVICES_DATA, HANDLE_SIZE)
        self._registrations[key] = Registration(key, guid, event, self._last)
        return key

    def registered(self, guid: str) -> list[Event]:
        """The events to signal when a protocol was installed."""
        return [registration.event for registration in self._registrations.values() if registration.guid == guid]

    def forget(self, event: Event) -> None:
        """An event was closed: its registrations end."""
        for key in [key for key, registration in self._registrations.items() if registration.event is event]:
            del self._registrations[key]
            if self._pool.holds(key):
                self._pool.free(key)

    def next_new(self, key: int, *, take: bool = True) -> Interface:
        """The first interface that is new to a registration; with `take` it is not new afterwards.

        Raises EfiError: INVALID_PARAMETER for what is not a key, NOT_FOUND when nothing is new.
        """
        registration = self._registrations.get(key)
        if registration is None:
            raise EfiError(Status.INVALID_PARAMETER)
        for interface in self.interfaces(registration.guid):
            if interface.order > registration.seen:
                if take:
                    registration.seen = interface.order
                return interface
        raise EfiError(Status.NOT_FOUND)

    # -- in use -------------------------------------------------------------------------------------------------

    def note_open(self, interface: Interface, agent: int, controller: int, attributes: int) -> None:
        """Count one more use. Raises EfiError(OUT_OF_RESOURCES)."""
        for entry in interface.opens:
            if (entry.agent, entry.controller, entry.attributes) == (agent, controller, attributes):
                entry.count += 1
                return
        demand(len(interface.opens) < OPEN_LIMIT, Status.OUT_OF_RESOURCES)
        interface.opens.append(Open(agent, controller, attributes))

    def agents(self, controller: int) -> list[int]:
        """Who manages a controller: the agents that opened any of its protocols BY_DRIVER, each once."""
        found: dict[int, None] = {}
        for interface in self._handles.get(controller, {}).values():
            self._guest.work.spend(len(interface.opens) // STEPS)
            for entry in interface.opens:
                if entry.attributes & BY_DRIVER:
                    found[entry.agent] = None
        return list(found)

    def children(self, controller: int, agent: int | None = None) -> list[int]:
        """The child controllers of a controller (of one agent), each once."""
        found: dict[int, None] = {}
        for interface in self._handles.get(controller, {}).values():
            self._guest.work.spend(len(interface.opens) // STEPS)
            for entry in interface.opens:
                if entry.attributes & BY_CHILD_CONTROLLER and agent in (None, entry.agent):
                    found[entry.controller] = None
        return list(found)
