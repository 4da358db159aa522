"""Two-level event channels (common/event_channel.c, event_2l.c) and their delivery to the processor.

There is no other domain: channels lead to virtual interrupts, to the processor itself, or nowhere. The FIFO form
(EVTCHNOP_init_control) is refused with ENOSYS, as Xen before 4.4 did, so that guests use the bitmaps.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from efishim.platform.xen.guest import GuestCopy, own
from efishim.platform.xen.shared import SharedInfo
from efishim.wire import xen as abi
from efishim.wire.xen import DOMID, DOMID_SELF, Errno, Refused

HIGHEST_PORT = 1023
"""libxl's default for max_event_channels."""


@dataclass(frozen=True, slots=True)
class Channel:
    """What a port leads to; `what` is one of the STATUS numbers, `detail` the virtual interrupt or the remote domain."""

    what: int
    detail: int = 0


class EventChannels:
    """Ports and what is behind them. `upcall()` hears when the processor is to be interrupted."""

    def __init__(self, shared: SharedInfo, copy: GuestCopy, upcall: Callable[[], None]) -> None:
        self._shared = shared
        self._copy = copy
        self._upcall = upcall
        self._channels: dict[int, Channel] = {}
        self._virqs: dict[int, int] = {}
        self._backends: dict[int, Callable[[], None]] = {}
        self._operations: dict[int, Callable[[int], int]] = {
            abi.EVTCHNOP_ALLOC_UNBOUND: self._alloc_unbound,
            abi.EVTCHNOP_BIND_VIRQ: self._bind_virq,
            abi.EVTCHNOP_BIND_IPI: self._bind_ipi,
            abi.EVTCHNOP_BIND_VCPU: self._bind_vcpu,
            abi.EVTCHNOP_CLOSE: self._close,
            abi.EVTCHNOP_SEND: self._send,
            abi.EVTCHNOP_STATUS: self._status,
            abi.EVTCHNOP_UNMASK: self._unmask,
            abi.EVTCHNOP_RESET: self._reset,
            abi.EVTCHNOP_BIND_INTERDOMAIN: self._bind_interdomain,
        }

    def call(self, command: int, argument: int) -> int:
        """HYPERVISOR_event_channel_op. Raises Refused."""
        operation = self._operations.get(command)
        if operation is None:
            raise Refused(Errno.ENOSYS)
        return operation(argument)

    def open_backend(self, on_send: Callable[[], None]) -> int:
        """A port that the toolstack opened towards a backend, which hears when the guest sends. Raises Refused."""
        port = self._open(Channel(abi.STATUS_INTERDOMAIN))
        self._backends[port] = on_send
        return port

    def raise_virq(self, virq: int) -> None:
        """Raise a virtual interrupt; without a port bound to it, it is lost."""
        port = self._virqs.get(virq)
        if port is not None:
            self.notify(port)

    def notify(self, port: int) -> None:
        """An event arrives at a port."""
        if self._shared.set_pending(port):
            self.mark()

    def mark(self) -> None:
        """The processor has something pending: interrupt it, unless it knows."""
        if self._shared.mark_pending():
            self._upcall()

    def _open(self, channel: Channel) -> int:
        limit = min(HIGHEST_PORT + 1, self._shared.layout.ports)
        port = next((port for port in range(1, limit) if port not in self._channels), None)
        if port is None:
            raise Refused(Errno.ENOSPC)
        self._channels[port] = channel
        return port

    def _find(self, port: int) -> Channel:
        channel = self._channels.get(port)
        if channel is None:
            raise Refused(Errno.EINVAL)
        return channel

    def _answer(self, address: int, offset: int, port: int) -> int:
        self._copy.write(address + offset, port.to_bytes(4, "little"))
        return 0

    def _alloc_unbound(self, argument: int) -> int:
        domain, remote, _ = self._copy.take(argument, "HHI")
        own(domain)
        return self._answer(argument, 4, self._open(Channel(abi.STATUS_UNBOUND, DOMID if remote == DOMID_SELF else remote)))

    def _bind_interdomain(self, argument: int) -> int:
        remote, remote_port, _ = self._copy.take(argument, "H2xII")
        own(remote)
        if self._find(remote_port) != Channel(abi.STATUS_UNBOUND, DOMID):
            raise Refused(Errno.EINVAL)
        port = self._open(Channel(abi.STATUS_INTERDOMAIN, remote_port))
        self._channels[remote_port] = Channel(abi.STATUS_INTERDOMAIN, port)
        self.notify(port)
        return self._answer(argument, 8, port)

    def _bind_virq(self, argument: int) -> int:
        virq, vcpu, _ = self._copy.take(argument, "III")
        if virq >= abi.VIRQS or (virq in abi.GLOBAL_VIRQS and vcpu):
            raise Refused(Errno.EINVAL)
        if vcpu:
            raise Refused(Errno.ENOENT)
        if virq in self._virqs:
            raise Refused(Errno.EEXIST)
        port = self._open(Channel(abi.STATUS_VIRQ, virq))
        self._virqs[virq] = port
        return self._answer(argument, 8, port)

    def _bind_ipi(self, argument: int) -> int:
        vcpu, _ = self._copy.take(argument, "II")
        if vcpu:
            raise Refused(Errno.ENOENT)
        return self._answer(argument, 4, self._open(Channel(abi.STATUS_IPI)))

    def _bind_vcpu(self, argument: int) -> int:
        port, vcpu = self._copy.take(argument, "II")
        if vcpu:
            raise Refused(Errno.ENOENT)
        channel = self._find(port)
        if channel.what == abi.STATUS_IPI or (channel.what == abi.STATUS_VIRQ and channel.detail not in abi.GLOBAL_VIRQS):
            raise Refused(Errno.EINVAL)
        return 0

    def _close(self, argument: int) -> int:
        self._drop(self._copy.take(argument, "I")[0])
        return 0

    def _drop(self, port: int) -> None:
        channel = self._find(port)
        del self._channels[port]
        self._backends.pop(port, None)
        self._shared.clear_pending(port)
        if channel.what == abi.STATUS_VIRQ:
            del self._virqs[channel.detail]
        elif channel.what == abi.STATUS_INTERDOMAIN and channel.detail in self._channels:
            self._channels[channel.detail] = Channel(abi.STATUS_UNBOUND, DOMID)

    def _send(self, argument: int) -> int:
        port = self._copy.take(argument, "I")[0]
        channel = self._find(port)
        if channel.what == abi.STATUS_IPI:
            self.notify(port)
        elif channel.what == abi.STATUS_INTERDOMAIN:
            backend = self._backends.get(port)
            if backend is not None:
                backend()
            elif channel.detail:
                self.notify(channel.detail)
        elif channel.what != abi.STATUS_UNBOUND:
            raise Refused(Errno.EINVAL)
        return 0

    def _status(self, argument: int) -> int:
        domain, port = self._copy.take(argument, "H2xI")
        own(domain)
        if port > HIGHEST_PORT:
            raise Refused(Errno.EINVAL)
        channel = self._channels.get(port, Channel(abi.STATUS_CLOSED))
        detail = struct.pack("<I", channel.detail)
        if channel.what == abi.STATUS_INTERDOMAIN:
            detail = struct.pack("<H2xI", DOMID if channel.detail else 0, channel.detail)
        self._copy.write(argument + 8, struct.pack("<II", channel.what, 0) + detail)
        return 0

    def _unmask(self, argument: int) -> int:
        port = self._copy.take(argument, "I")[0]
        self._find(port)
        if self._shared.unmask(port):
            self.mark()
        return 0

    def _reset(self, argument: int) -> int:
        own(self._copy.take(argument, "H")[0])
        for port in sorted(self._channels):
            if port in self._channels:
                self._drop(port)
        return 0
