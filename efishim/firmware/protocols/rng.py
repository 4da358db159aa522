"""EFI_RNG_PROTOCOL (UEFI 2.10, 37.5): numbers that only the run's seed decides."""

from __future__ import annotations

import hashlib

from efishim.firmware.calling.dispatch import Handler
from efishim.firmware.calling.status import Status, demand
from efishim.firmware.protocols.base import ProtocolContext
from efishim.wire.guids import EFI_RNG_ALGORITHM_RAW, EFI_RNG_PROTOCOL_GUID, guid_bytes
from efishim.wire.uefi_protocols import RngProtocol

LARGEST = 1 << 20
"""Most bytes of one request; more is EFI_UNSUPPORTED."""


class Generator:
    """SHA-256 in counter mode over the seed: the same on every machine and version."""

    def __init__(self, seed: int, purpose: str) -> None:
        self._key = f"efishim {purpose} {seed}".encode()
        self._counter = 0

    def take(self, size: int) -> bytes:
        """The next bytes."""
        out = bytearray()
        while len(out) < size:
            out += hashlib.sha256(self._key + self._counter.to_bytes(8, "little")).digest()
            self._counter += 1
        return bytes(out[:size])


class Rng:
    """Offers one algorithm: raw."""

    def __init__(self, context: ProtocolContext, seed: int) -> None:
        self._guest = context.guest
        self._generator = Generator(seed, "EFI_RNG_PROTOCOL")
        handlers: dict[str, Handler] = {"GetInfo": self.get_info, "GetRNG": self.get_rng}
        self.interface = context.interface("RNG", RngProtocol, handlers)
        self.handle = context.install(0, EFI_RNG_PROTOCOL_GUID, self.interface)

    def get_info(self, this: int, size: int, algorithms: int) -> int:
        """GetInfo (37.5.1)."""
        demand(this == self.interface and size)
        room = self._guest.uintn(size)
        listed = guid_bytes(EFI_RNG_ALGORITHM_RAW)
        self._guest.put_uintn(size, len(listed))
        demand(room >= len(listed), Status.BUFFER_TOO_SMALL)
        demand(algorithms)
        self._guest.write(algorithms, listed)
        return Status.SUCCESS

    def get_rng(self, this: int, algorithm: int, length: int, value: int) -> int:
        """GetRNG (37.5.2). No algorithm means the default one."""
        demand(this == self.interface and length and value)
        if algorithm:
            demand(self._guest.guid(algorithm) == EFI_RNG_ALGORITHM_RAW, Status.UNSUPPORTED)
        demand(length <= LARGEST, Status.UNSUPPORTED)
        self._guest.read(value, length)  # a buffer that is not there takes nothing out of the generator
        self._guest.write(value, self._generator.take(length))
        return Status.SUCCESS
