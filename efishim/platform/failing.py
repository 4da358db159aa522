"""Devices and hypercalls that fail on purpose, whatever machine they are of."""

from __future__ import annotations

from collections.abc import Callable

from efishim.errors import UsageError
from efishim.injection import DEVICE, Injections
from efishim.machine.bus import Device
from efishim.machine.cpu import Board
from efishim.wire import kvm


class Silent:
    """A device that does not answer at times: it is then as if nothing were there."""

    def __init__(self, device: Device, service: str, injections: Injections) -> None:
        self._device = device
        self._service = service
        self._injections = injections

    def read(self, offset: int, size: int) -> int:
        """All ones when it does not answer."""
        if self._injections.strike(self._service) is not None:
            return (1 << 8 * size) - 1
        return self._device.read(offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """Lost when it does not answer."""
        if self._injections.strike(self._service) is None:
            self._device.write(offset, size, value)


def silence_devices(board: Board, injections: Injections) -> None:
    """Put the devices that faults name behind what makes them fail. Raises UsageError for one that the machine lacks."""
    wanted = {fault.service for fault in injections.faults if fault.service.startswith(DEVICE)}
    buses = (board.ports, board.mmio)
    known = sorted({one.name for bus in buses for one in bus.attachments})
    for service in sorted(wanted):
        name = service.removeprefix(DEVICE)
        if name not in known:
            raise UsageError(f"the machine has no device {name!r} on a bus", hint=f"it has: {', '.join(known)}")
        for bus in buses:
            bus.interpose(name, lambda device, service=service: Silent(device, service, injections))  # type: ignore[misc]


def failing_kvm(board: Board, hypercall: Callable[[], int], injections: Injections) -> Callable[[], int]:
    """Answers KVM's hypercalls as `hypercall` does, except those that are to fail: `send_ipi`."""
    names = {call.value: call.name.lower() for call in kvm.Call}

    def answered() -> int:
        number = board.cpu.get("rax") & 0xFFFF_FFFF
        error = injections.strike(names.get(number, f"{number:#x}"))
        if error is None:
            return hypercall()
        board.cpu.set("rax", error & (1 << 64) - 1)
        return number << 32

    return answered
