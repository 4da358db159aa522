"""Decodes the setup_data chain of boot_params: every node, and the body of each type known to the kernel.

Source: Documentation/arch/x86/boot.rst ("setup_data", "setup_indirect"), arch/x86/include/uapi/asm/setup_data.h. The
kernel itself walks the chain without bounds; here loops and wild pointers end it and are named.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from efishim.lab.record import E820View, Fields, Hex, SetupDataChain, SetupDataView
from efishim.lab.record.views import MAX_E820, MAX_NODES
from efishim.lab.snapshot.guest_read import Unreadable, read, read_layout
from efishim.machine.memory import PhysicalMemory
from efishim.wire import bootparams
from efishim.wire.bootparams import E820_TYPES, SETUP_INDIRECT, SETUP_TYPES, E820Entry, SetupData, SetupIndirect
from efishim.wire.devicetree import FdtHeader
from efishim.wire.layout import Layout

MAX_BODY = 16 << 20
"""Longest body that is read, bytes; real ones (an option ROM, a device tree) stay far below."""
MAX_SHOWN = 64
"""Bytes of a body without known structure that are shown; its hash covers all of it."""

Body = dict[str, int | str]


def type_name(kind: int) -> str:
    """SETUP_PCI, SETUP_INDIRECT|SETUP_PCI, or `unknown`."""
    if kind in SETUP_TYPES:
        return SETUP_TYPES[kind]
    inner = SETUP_TYPES.get(kind & ~SETUP_INDIRECT)
    return f"SETUP_INDIRECT|{inner}" if kind & SETUP_INDIRECT and inner else "unknown"


def e820_view(entry: E820Entry) -> E820View:
    """An entry with the kernel's name of its type."""
    return E820View(Hex(entry.addr), Hex(entry.size), Hex(entry.type), E820_TYPES.get(entry.type, "unknown"))


def setup_data_chain(memory: PhysicalMemory, first: int) -> SetupDataChain:
    """Decode the chain whose first node is at physical `first`; 0 is an empty chain. Never raises."""
    nodes: list[SetupDataView] = []
    seen: set[int] = set()
    address = first
    while address:
        if address in seen:
            return SetupDataChain(tuple(nodes), f"the chain is a loop: it comes back to {address:#x}")
        if len(nodes) == MAX_NODES:
            return SetupDataChain(tuple(nodes), f"the chain is longer than {MAX_NODES} nodes; the rest is not shown")
        seen.add(address)
        try:
            head = read_layout(memory, address, SetupData, "setup_data")
        except Unreadable as error:
            return SetupDataChain(tuple(nodes), str(error))
        nodes.append(_node(memory, address, head))
        address = head.next
    return SetupDataChain(tuple(nodes))


def _node(memory: PhysicalMemory, address: int, head: SetupData) -> SetupDataView:
    place, kind, size = Hex(address), Hex(head.type), Hex(head.len)
    try:
        if head.len > MAX_BODY:
            raise Unreadable(f"a body of {head.len:#x} bytes is longer than the {MAX_BODY:#x} that are decoded")
        data = read(memory, address + SetupData.SIZE, head.len, "its body") if head.len else b""
        body, rest, e820 = _decode(memory, head.type, data)
    except Unreadable as error:
        return SetupDataView(place, kind, type_name(head.type), size, problem=str(error))
    return SetupDataView(
        place,
        kind,
        type_name(head.type),
        size,
        body=Fields.of(body),
        rest=rest[:MAX_SHOWN].hex(),
        e820=e820,
        sha256=hashlib.sha256(data).hexdigest(),
    )


def _decode(memory: PhysicalMemory, kind: int, data: bytes) -> tuple[Body, bytes, tuple[E820View, ...]]:
    """Fields, what follows them, and memory map entries of a body."""
    if kind == 1:
        count = len(data) // E820Entry.SIZE
        entries = tuple(e820_view(E820Entry.parse(data[i * 20 : i * 20 + 20])) for i in range(min(count, MAX_E820)))
        return {"entries": count}, data[count * E820Entry.SIZE :], entries
    if kind & SETUP_INDIRECT:
        fields, rest = _fields(SetupIndirect, data)
        indirect = SetupIndirect.parse(data)
        fields["type_name"] = type_name(indirect.type)
        fields.update(_indirect(memory, indirect))
        return fields, rest, ()
    if kind == 7:
        fields, rest = _fields(bootparams.CcSetupData, data)
        fields.update(_cc_blob(memory, bootparams.CcSetupData.parse(data).cc_blob_address))
        return fields, rest, ()
    decoder = _DECODERS.get(kind)
    return (*decoder(data), ()) if decoder else ({}, data, ())


def _fields(layout: type[Layout], data: bytes) -> tuple[Body, bytes]:
    if len(data) < layout.SIZE:
        raise Unreadable(f"a body of {len(data)} bytes is shorter than the {layout.SIZE} of its type")
    return layout.parse(data).values(), data[layout.SIZE :]


def _indirect(memory: PhysicalMemory, indirect: SetupIndirect) -> Body:
    """The hash of what an indirect node points to; one more level of indirection is not followed (boot.rst)."""
    if indirect.len > MAX_BODY:
        return {"problem": f"it points to {indirect.len:#x} bytes, more than the {MAX_BODY:#x} that are read"}
    try:
        data = read(memory, indirect.addr, indirect.len, "what it points to")
    except Unreadable as error:
        return {"problem": str(error)}
    return {"target": data[:MAX_SHOWN].hex(), "target_sha256": hashlib.sha256(data).hexdigest()}


def _cc_blob(memory: PhysicalMemory, address: int) -> Body:
    try:
        blob = read_layout(memory, address, bootparams.CcBlobSevInfo, "cc_blob_sev_info")
    except Unreadable as error:
        return {"problem": str(error)}
    return {f"blob.{name}": value for name, value in blob.values().items()}


def _dtb(data: bytes) -> tuple[Body, bytes]:
    if len(data) < FdtHeader.SIZE:
        raise Unreadable(f"a body of {len(data)} bytes is shorter than the head of a device tree")
    return _fields(FdtHeader, data)


def _jailhouse(data: bytes) -> tuple[Body, bytes]:
    fields, rest = _fields(bootparams.JailhouseSetupData, data)
    if fields["version"] != 1 and len(data) >= bootparams.JailhouseSetupDataV2.SIZE:
        return _fields(bootparams.JailhouseSetupDataV2, data)
    return fields, rest


def _plain(layout: type[Layout]) -> Callable[[bytes], tuple[Body, bytes]]:
    return lambda data: _fields(layout, data)


_DECODERS: dict[int, Callable[[bytes], tuple[Body, bytes]]] = {
    2: _dtb,
    3: _plain(bootparams.PciSetupRom),
    4: _plain(bootparams.EfiSetupData),
    5: _plain(bootparams.PropertiesHeader),
    6: _jailhouse,
    8: _plain(bootparams.ImaSetupData),
    10: _plain(bootparams.KhoData),
}
