"""Puts nodes behind the setup_data chain that a provider wrote."""

from __future__ import annotations

from efishim.errors import ProviderError, RouteError
from efishim.image.loading import Piece
from efishim.lab.plan.plan import SetupNode
from efishim.lab.plan.setup_data import KERNEL
from efishim.machine.memory import BusError
from efishim.provider import PAGE, Arena, GuestMemory
from efishim.wire.bootparams import HDRS_MAGIC, SetupData, SetupHeader
from efishim.wire.linux_header import HEADER_START

SINCE = 0x209
MAX_NODES = 64
ALIGNMENT = 16
POINTER = next(leaf.offset for leaf in SetupHeader.leaves() if leaf.name == "setup_data")


def append(nodes: tuple[SetupNode, ...], memory: GuestMemory, arena: Arena, header: int | None, kernel: Piece | None) -> None:
    """Write the nodes and link them behind the last one. `header` is where boot_params, or the boot sector of the setup code,
    begins; `kernel` is the protected-mode code.

    Raises RouteError for a kernel whose protocol has no chain, and ProviderError.
    """
    if not nodes:
        return
    if header is None:
        raise ProviderError("the provider wrote no setup header that setup_data could be linked to")
    found = SetupHeader.parse(memory.read(header + HEADER_START, SetupHeader.SIZE))
    if found.header != HDRS_MAGIC or found.version < SINCE:
        raise RouteError(f"setup_data came with boot protocol 2.09, and this kernel has {found.version:#x}")
    try:
        link = _end(memory, header + HEADER_START + POINTER)
        for node in nodes:
            body = node.body.read()
            at = _place(node, SetupData.SIZE + len(body), arena, kernel)
            memory.write(at, SetupData(next=0, type=node.type, len=len(body)).build() + body)
            memory.write(link, at.to_bytes(8, "little"))
            link = at
    except BusError as error:
        raise ProviderError(f"setup_data cannot be put into memory: {error}") from error


def _end(memory: GuestMemory, link: int) -> int:
    """Where the pointer is that ends the chain. `next` is the first field of a node."""
    for _ in range(MAX_NODES):
        following = int.from_bytes(memory.read(link, 8), "little")
        if not following:
            return link
        link = following
    raise ProviderError("the setup_data chain of the provider has no end")


def _place(node: SetupNode, size: int, arena: Arena, kernel: Piece | None) -> int:
    """As high as may be, so that nothing of the early boot lies over it; or where the user said."""
    if not node.place:
        return arena.place(size, align=PAGE, high=True, what="setup_data")
    if node.place == KERNEL:
        if kernel is None:
            raise ProviderError("this entry has no kernel's file that setup_data could lie behind")
        end = kernel.address + len(kernel.data)
        at = -(-end // ALIGNMENT) * ALIGNMENT
    else:
        at = int(node.place, 16)
    arena.take(at, size)
    return at
