"""Traces the firmware calls of a kernel on real firmware, with breakpoints on the functions of its tables.

The log and its decoding are the shim's own, so that both sides speak the same words. Only calls out of the image, and
of the kernel proper later, are kept: firmware calls its own services too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar

from efishim.firmware.calling.call_log import CallLog
from efishim.firmware.calling.functions import BOOT_FUNCTIONS, RUNTIME_FUNCTIONS, Function
from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.status import EfiError
from efishim.lab import record as rec
from efishim.lab.boot.firmware_protocols import CONSOLE_IN, CONSOLE_OUT, Traced
from efishim.lab.collect import firmware_calls
from efishim.lab.observe.address_names import KERNEL_HALF, AddressNames
from efishim.machine.cpu import GuestFault
from efishim.machine.memory import BusError
from efishim.oracle.session import Session
from efishim.wire import uefi
from efishim.wire.layout import Layout

GIVERS = MappingProxyType({"BootServices.HandleProtocol": 2, "BootServices.LocateProtocol": 2, "BootServices.OpenProtocol": 2})
"""Services that give an interface, and the number of the argument that says where it is put."""

PROTOCOL_ARGUMENT = MappingProxyType(
    {"BootServices.HandleProtocol": 1, "BootServices.LocateProtocol": 0, "BootServices.OpenProtocol": 1}
)


ARGUMENT_REGISTERS = ("rcx", "rdx", "r8", "r9")

PATIENCE = 200
"""A service that firmware itself called so often while the image never did is watched no longer: a timer tick raises
and restores the TPL some times, and each costs a stop.
"""


@dataclass
class _Pending:
    """A call that has not returned yet."""

    function: Function
    values: tuple[int, ...]
    number: int | None
    rsp: int


L = TypeVar("L", bound=Layout)


@dataclass
class CallTrace:
    """The trace of one boot. `system_table` is physical, as all of it is until SetVirtualAddressMap; `protocols` are those
    that are watched from when the kernel gets hold of one, by their GUIDs.
    """

    session: Session
    names: AddressNames
    system_table: int
    protocols: Mapping[str, Traced]
    on_exit_boot_services: Callable[[], None] = lambda: None
    _log: CallLog = field(init=False)
    _guest: Guest = field(init=False)
    _pending: list[_Pending] = field(default_factory=list)
    _watched: dict[int, Function] = field(default_factory=dict)
    _foreign: Counter[str] = field(default_factory=Counter)
    _given_up: list[str] = field(default_factory=list)
    _runtime: int = 0

    def __post_init__(self) -> None:
        self._guest = Guest(self.session.cpu())
        self._log = CallLog(self._guest)

    def arm(self) -> None:
        """Watch both tables and the console that the system table names."""
        table = self._table(uefi.SystemTable, self.system_table)
        self._runtime = table.RuntimeServices
        self._watch(BOOT_FUNCTIONS, uefi.BootServicesTable, table.BootServices)
        self._watch(RUNTIME_FUNCTIONS, uefi.RuntimeServicesTable, self._runtime)
        self._watch(*CONSOLE_OUT, table.ConOut)
        self._watch(*CONSOLE_IN, table.ConIn)

    def calls(self) -> list[rec.FirmwareCall]:
        """The calls so far, as a record has them."""
        return firmware_calls(self._log.calls, self.names)

    def notes(self) -> list[str]:
        """What a reader of the calls has to know."""
        if not self._given_up:
            return []
        return [f"not traced after {PATIENCE} calls by firmware itself and none by the image: {', '.join(self._given_up)}"]

    def _table(self, layout: type[L], address: int) -> L:
        try:
            return layout.parse(self.session.qemu.ram.read(address, layout.sizeof()))
        except BusError:
            return layout()

    def _watch(self, functions: Sequence[Function], layout: type[Layout], address: int) -> None:
        table = self._table(layout, address)
        declared = {function.name: function for function in functions}
        for place in layout.names():
            target: int = getattr(table, place)
            function = declared.get(place)
            if function is None or not target or target in self._watched:
                continue
            self._watched[target] = function
            self.session.on(target, lambda target=target: self._called(self._watched[target]))  # type: ignore[misc]

    def _called(self, function: Function) -> None:
        registers = self.session.registers
        rsp = registers["rsp"]
        try:
            caller = self._guest.number(rsp, 8)
            if not self._ours(caller):
                self._not_ours(function)
                return
            values = tuple(self._argument(index, p.width) for index, p in enumerate(function.parameters))
        except (EfiError, GuestFault):
            return
        number = self._log.begin(function, values, caller, len(self._pending))
        self._pending.append(_Pending(function, values, number, rsp))
        self.session.on(caller, lambda: self._returned(caller))

    def _not_ours(self, function: Function) -> None:
        name = function.full_name
        self._foreign[name] += 1
        if self._foreign[name] > PATIENCE and all(call.service != name for call in self._log.calls):
            self._forget(lambda other: other.full_name == name)
            self._given_up.append(name)

    def _forget(self, which: Callable[[Function], bool]) -> None:
        for address in [address for address, function in self._watched.items() if which(function)]:
            self.session.off(address)
            del self._watched[address]

    def _ours(self, caller: int) -> bool:
        base = self.names.image_base
        return base <= caller < base + self.names.image_size or caller >= KERNEL_HALF

    def _argument(self, index: int, width: int) -> int:
        """Microsoft's calling convention for x64, which UEFI follows (2.3.4.2)."""
        registers = self.session.registers
        if index < len(ARGUMENT_REGISTERS):
            value = registers[ARGUMENT_REGISTERS[index]]
        else:
            value = self._guest.number(registers["rsp"] + 8 + 8 * index, 8)
        return value & ((1 << 8 * width) - 1) if width else value

    def _returned(self, caller: int) -> None:
        if not self._pending or self.session.registers["rsp"] != self._pending[-1].rsp + 8:
            return
        self.session.off(caller)
        call = self._pending.pop()
        result = self.session.registers["rax"]
        self._log.end(call.number, call.function, call.values, result)
        if not result >> 63:
            self._succeeded(call)

    def _succeeded(self, call: _Pending) -> None:
        name = call.function.full_name
        if name == "BootServices.ExitBootServices":
            self._leave()
        elif name == "RuntimeServices.SetVirtualAddressMap":
            # The pointers in the table are virtual from now on.
            self._watch(RUNTIME_FUNCTIONS, uefi.RuntimeServicesTable, self._runtime)
        elif name in GIVERS:
            try:
                guid = self._guest.guid(call.values[PROTOCOL_ARGUMENT[name]])
                interface = self._guest.uintn(call.values[GIVERS[name]])
            except EfiError:
                return
            if guid in self.protocols:
                self._watch(*self.protocols[guid], interface)

    def _leave(self) -> None:
        """Boot services are gone, and their memory becomes the kernel's."""
        self._forget(lambda function: function.table != "RuntimeServices")
        self.on_exit_boot_services()
