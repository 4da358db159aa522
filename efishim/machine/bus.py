"""The port bus and the MMIO bus: address decoding, and the value of addresses without a device.

A device implements `Device`; offsets are relative to the start of the range that it was attached to.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from efishim.errors import MachineError


class Device(Protocol):
    """Something on a bus. `size` is 1, 2, 4 or 8 bytes; values are little-endian and unsigned."""

    def read(self, offset: int, size: int) -> int:
        """Value at an offset."""

    def write(self, offset: int, size: int, value: int) -> None:
        """Store a value at an offset."""


@dataclass(frozen=True)
class Attachment:
    """A device and where it sits on a bus."""

    start: int
    size: int
    device: Device
    name: str


class Bus:
    """Address ranges and their devices. An unclaimed read gives all ones, an unclaimed write is dropped."""

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self._limit = limit
        self._starts: list[int] = []
        self._attachments: list[Attachment] = []

    def attach(self, start: int, size: int, device: Device, name: str) -> None:
        """Put a device on the bus. Raises MachineError when the range is taken or outside the bus."""
        if start < 0 or size <= 0 or start + size > self._limit:
            raise MachineError(f"{name} at {start:#x} lies outside the {self.name} bus")
        for other in self._attachments:
            if start < other.start + other.size and other.start < start + size:
                raise MachineError(f"{name} and {other.name} both claim {start:#x} on the {self.name} bus")
        index = bisect_right(self._starts, start)
        self._starts.insert(index, start)
        self._attachments.insert(index, Attachment(start, size, device, name))

    def find(self, address: int) -> Attachment | None:
        """Who answers at this address, if anybody."""
        index = bisect_right(self._starts, address) - 1
        if index >= 0:
            attachment = self._attachments[index]
            if address < attachment.start + attachment.size:
                return attachment
        return None

    def interpose(self, name: str, wrap: Callable[[Device], Device]) -> None:
        """Put something between the bus and every device of that name."""
        self._attachments = [replace(one, device=wrap(one.device)) if one.name == name else one for one in self._attachments]

    @property
    def attachments(self) -> tuple[Attachment, ...]:
        """Everything on the bus, by address."""
        return tuple(self._attachments)

    def read(self, address: int, size: int) -> int:
        """What the guest reads; all ones if no device answers."""
        mask = (1 << (8 * size)) - 1
        attachment = self.find(address)
        if attachment is None:
            return mask
        return attachment.device.read(address - attachment.start, size) & mask

    def write(self, address: int, size: int, value: int) -> None:
        """What the guest writes; dropped if no device answers."""
        attachment = self.find(address)
        if attachment is not None:
            attachment.device.write(address - attachment.start, size, value)
