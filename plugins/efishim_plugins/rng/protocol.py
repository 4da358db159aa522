"""EFI_RNG_PROTOCOL (UEFI 2.10, 37.5): random numbers derived from the run's seed."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from efishim.firmware.calling.dispatch import Handler
from efishim.firmware.calling.functions import functions
from efishim.firmware.calling.status import Status, demand
from efishim.firmware.protocols.base import ProtocolContext
from efishim.machine.entropy import Entropy
from efishim.wire import uefi_protocols
from efishim.wire.guids import EFI_RNG_ALGORITHM_RAW, EFI_RNG_PROTOCOL_GUID, guid_bytes

if TYPE_CHECKING:
    from efishim.firmware.shim import Shim

FUNCTIONS = functions(
    """
    RNG 37.5.1 GetInfo This:ptr RNGAlgorithmListSize:&uintn RNGAlgorithmList:ptr
    RNG 37.5.2 GetRNG This:ptr RNGAlgorithm:guid? RNGValueLength:uintn RNGValue:ptr
    """
)

LARGEST = 1 << 20
"""Most bytes of one request; more is EFI_UNSUPPORTED."""


class RngProtocol:
    """What efishim is told of the protocol."""

    name = "rng"
    summary = "EFI_RNG_PROTOCOL: random numbers from the run's seed"
    guid = UUID(EFI_RNG_PROTOCOL_GUID)
    functions = FUNCTIONS
    layout = uefi_protocols.RngProtocol

    def install(self, shim: Shim) -> None:
        """Put it on a handle of its own."""
        Rng(shim.context, shim.config.seed)


class Rng:
    """Offers one algorithm: raw."""

    def __init__(self, context: ProtocolContext, seed: int) -> None:
        self._guest = context.guest
        self._entropy = Entropy(f"efishim EFI_RNG_PROTOCOL {seed}".encode())
        handlers: dict[str, Handler] = {"GetInfo": self.get_info, "GetRNG": self.get_rng}
        self.interface = context.interface(FUNCTIONS, uefi_protocols.RngProtocol, handlers)
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
        self._guest.write(value, self._entropy.fresh(length))
        return Status.SUCCESS
