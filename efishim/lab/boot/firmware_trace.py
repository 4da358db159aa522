"""Traces calls of firmware that runs as guest code, by the addresses in its own tables.

The host's shim logs its calls because it answers them. Firmware in the guest answers them itself; what can be seen is that the
guest comes to the address that a table has for a service, and later back to where it came from. Tables are read in guest
memory: the boot and runtime services, the consoles, and the interface of each known protocol that was handed out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from efishim.firmware.calling.architecture import convention_of
from efishim.firmware.calling.call_log import CallLog
from efishim.firmware.calling.functions import SERVICES, Function
from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.status import EfiError
from efishim.lab.boot.firmware_protocols import CONSOLE_IN, CONSOLE_OUT, Traced
from efishim.machine.machine import Machine
from efishim.wire.uefi import BOOT_SERVICES, RUNTIME_SERVICES, BootServicesTable, RuntimeServicesTable, SystemTable, TableHeader

CONSOLES = (("ConOut", CONSOLE_OUT), ("ConIn", CONSOLE_IN))
GIVERS = {"BootServices.HandleProtocol": 2, "BootServices.LocateProtocol": 2, "BootServices.OpenProtocol": 2}
"""Services that give an interface away: which argument points to where it is put."""
EXIT, MOVE = "BootServices.ExitBootServices", "RuntimeServices.SetVirtualAddressMap"
WIDTH = 8


@dataclass
class Cost:
    """What the calls of a service came to."""

    calls: int = 0
    insns: int = 0
    """Instructions of the guest from the service's first one to its return, those of what it calls included."""


class FirmwareTrace:
    """The calls of 64-bit firmware whose system table is at an address. `is_firmware` tells its code: what it calls of itself
    is no call of the guest's. `protocols`, by GUID, are followed from when they are handed out.
    """

    def __init__(self, machine: Machine, is_firmware: Callable[[int], bool], protocols: Mapping[str, Traced]) -> None:
        self._machine = machine
        self._is_firmware = is_firmware
        self._protocols = protocols
        guest = Guest(machine.cpu, WIDTH)
        self._guest = guest
        self._convention = convention_of(guest)
        self.log = CallLog(guest, insns=lambda: machine.insns)
        self._watched: dict[int, Function] = {}
        self._runtime = 0
        self.costs: dict[str, Cost] = {}
        """By service, in the order of the first calls."""
        self.shared: set[str] = set()
        """Services that have one function between them, which cannot be told apart: those that the firmware lacks."""

    def start(self, system_table: int) -> None:
        """The image is about to run. Raises EfiError when there is no system table."""
        table = SystemTable.parse(self._guest.read(system_table, SystemTable.sizeof(WIDTH)), WIDTH)
        self._runtime = table.RuntimeServices
        self._watch_table("BootServices", BootServicesTable, BOOT_SERVICES, table.BootServices)
        self._watch_runtime()
        for field, protocol in CONSOLES:
            self._watch_interface(protocol, getattr(table, field))

    def _watch_runtime(self) -> None:
        self._watch_table("RuntimeServices", RuntimeServicesTable, RUNTIME_SERVICES, self._runtime)

    def _watch_table(self, name: str, layout: type[TableHeader], services: Iterable[str], address: int) -> None:
        table = layout.parse(self._guest.read(address, layout.sizeof(WIDTH)), WIDTH)
        self._watch_functions((SERVICES.get(f"{name}.{service}"), getattr(table, service)) for service in services)

    def _watch_interface(self, protocol: Traced, address: int) -> None:
        if address:
            layout = protocol.layout
            table = layout.parse(self._guest.read(address, layout.sizeof(WIDTH)), WIDTH)
            self._watch_functions((function, getattr(table, function.name)) for function in protocol.functions)

    def _watch_functions(self, found: Iterable[tuple[Function | None, int]]) -> None:
        by_address: dict[int, list[Function]] = {}
        for function, address in found:
            if function is not None and address:
                by_address.setdefault(address, []).append(function)
        for address, functions in by_address.items():
            if len(functions) > 1:
                self.shared |= {function.full_name for function in functions}
            elif address not in self._watched:
                self._watched[address] = functions[0]
                self._arm(address)

    def _arm(self, address: int) -> None:
        self._machine.watches.add(address, partial(self._called, address))

    def _called(self, address: int) -> None:
        """The guest is at the first instruction of a service."""
        function, convention = self._watched.get(address), self._convention
        if function is None:
            return
        stack = convention.stack
        try:
            back = convention.return_address(stack)
            values = convention.arguments(stack, function)
        except EfiError:
            return
        number = None if self._is_firmware(back) else self.log.begin(function, values, back, 0)
        before = self._machine.insns
        self._machine.watches.add(back, partial(self._returned, address, function, values, number, before))

    def _returned(self, address: int, function: Function, values: Sequence[int], number: int | None, before: int) -> None:
        """The guest is where the service was called from."""
        if address in self._watched:
            self._arm(address)
        if number is None:
            return
        cost = self.costs.setdefault(function.full_name, Cost())
        cost.calls += 1
        cost.insns += self._machine.insns - before
        result = self._convention.result()
        self.log.end(number, function, values, result)
        if result:
            return
        name = function.full_name
        if name in GIVERS:
            self._given(values)
        elif name == EXIT:
            self._forget(keep=("RuntimeServices",))
        elif name == MOVE:
            self._forget()
            self._watch_runtime()

    def _given(self, values: Sequence[int]) -> None:
        """An interface was handed out: its functions are called without the tables."""
        for guid in values[:2]:
            try:
                protocol = self._protocols.get(self._guest.guid(guid))
                if protocol is not None:
                    self._watch_interface(protocol, self._guest.uintn(values[2]))
            except EfiError:
                continue

    def _forget(self, keep: tuple[str, ...] = ()) -> None:
        """The other functions are not there any more, and other code may come to lie where they were."""
        gone = [address for address, function in self._watched.items() if function.table not in keep]
        for address in gone:
            del self._watched[address]
            self._machine.watches.discard(address)
