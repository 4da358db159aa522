"""Every function of every table with every kind of wild pointer: a status comes back, and nothing breaks."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from efishim.disk.make import make_disk
from efishim.disk.medium import Medium
from efishim.firmware.calling.functions import SERVICES, Function, by_full_name
from efishim.firmware.catalogue import FUNCTIONS
from efishim.firmware.memory.memory_map import MemoryType
from efishim.plugins import load_plugins
from efishim.wire.guids import (
    EFI_BLOCK_IO_PROTOCOL_GUID,
    EFI_DISK_IO_PROTOCOL_GUID,
    EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID,
    EFI_LOAD_FILE2_PROTOCOL_GUID,
    EFI_MEMORY_ATTRIBUTE_PROTOCOL_GUID,
    EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID,
    EFI_SIMPLE_TEXT_INPUT_EX_PROTOCOL_GUID,
    EFI_SIMPLE_TEXT_INPUT_PROTOCOL_GUID,
    EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL_GUID,
)
from tests.firmware.lab import RAM, Lab
from tests.firmware.programs import IMAGE
from tests.support import protocols

WILD = (0, 1, 0xFFF, RAM - 1, RAM, 0xB8000, 1 << 47, 0xFFFF_8000_0000_0000, (1 << 64) - 1, (1 << 64) - 0x1000)


def _is_status(value: int) -> bool:
    return value < 0x100 or value >> 63 == 1


@pytest.mark.parametrize("function", list(SERVICES.values()), ids=lambda f: f.name)
def test_all_arguments_alike(lab: Lab, function: Function) -> None:
    for value in WILD:
        lab.board.stopped = None
        call = lab.bs if function.table == "BootServices" else lab.rs
        status = call(function.name, *([value] * 10))
        assert lab.board.stopped is not None or function.returns.name != "STATUS" or _is_status(status)
        lab.shim.exit.tried = False


WITHOUT_POINTERS = {"Stall", "ResetSystem", "RaiseTPL", "RestoreTPL"}
WAITS = {"WaitForEvent"}
POINTERS = [function for function in SERVICES.values() if function.name not in WITHOUT_POINTERS | WAITS]
PROTOCOLS = by_full_name((*(f for f in FUNCTIONS.values() if f.full_name not in SERVICES), *protocols.FUNCTIONS))
INTERFACES = {
    "LoadFile2": EFI_LOAD_FILE2_PROTOCOL_GUID,
    "SimpleTextOutput": EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL_GUID,
    "SimpleTextInput": EFI_SIMPLE_TEXT_INPUT_PROTOCOL_GUID,
    "SimpleTextInputEx": EFI_SIMPLE_TEXT_INPUT_EX_PROTOCOL_GUID,
    "GraphicsOutput": EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID,
    "MemoryAttribute": EFI_MEMORY_ATTRIBUTE_PROTOCOL_GUID,
    "BlockIo": EFI_BLOCK_IO_PROTOCOL_GUID,
    "DiskIo": EFI_DISK_IO_PROTOCOL_GUID,
    "SimpleFileSystem": EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID,
    "File": EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID,
    **{function.table: str(one.guid) for one in load_plugins().firmware_protocols for function in one.functions},
}
"""The protocol behind each table of functions; plugins tell theirs."""


@pytest.mark.parametrize("function", POINTERS, ids=lambda f: f.name)
def test_one_wild_argument(lab: Lab, function: Function) -> None:
    """The others are plausible: a page of zeroes."""
    page = lab.put(bytes(0x1000))
    call = lab.bs if function.table == "BootServices" else lab.rs
    count = max(len(function.parameters), 4)
    for place, value in product(range(count), WILD):
        arguments = [page] * count
        arguments[place] = value
        if function.name in ("SetMem", "CopyMem"):
            arguments[2 if function.name == "CopyMem" else 1] %= 0x1000
        status = call(function.name, *arguments)
        assert function.returns.name != "STATUS" or _is_status(status)
        lab.shim.exit.tried = False


def test_a_stack_that_is_not_there(lab: Lab) -> None:
    """Arguments five and up, and the return address, lie on the stack of the caller."""
    address = lab.address("BootServices.GetMemoryMap")
    for rsp in (RAM - 8, 1 << 47, (1 << 64) - 8):
        lab.cpu.set("rsp", rsp)
        lab.cpu.set("rip", address + 7)
        lab.board._traps[0xE4](0)
        assert lab.cpu.get("rax") >> 63 == 1


def test_an_out_from_anywhere_else_does_nothing(lab: Lab) -> None:
    before = dict(lab.cpu.registers)
    for rip in (0x3000000, 1 << 47, 0, (1 << 64) - 1):
        lab.cpu.set("rip", rip)
        lab.board._traps[0xE4](0)
    lab.cpu.set("rip", before["rip"])
    assert lab.cpu.registers == before
    assert lab.shim.calls == []


def test_jumping_into_the_firmware_s_own_stubs_ends_the_run(lab: Lab) -> None:
    for _ in range(2):
        lab.board.stopped = None
        lab.cpu.set("rip", lab.shim.placement.stubs + 2)  # behind the OUT of the return stub
        lab.board._traps[0xE4](0)
        assert lab.board.stopped is not None


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_protocols(name: str) -> None:
    """Protocol functions find their stubs by the log; they are called through their interfaces elsewhere."""
    function = PROTOCOLS[name]
    disk = Medium(make_disk({"\\file": b"contents"}), writable=True) if function.table in ("BlockIo", "DiskIo") else None
    lab = Lab(gop=True, strict_nx=True, initrds=(b"initrd",), files=(("file", b"contents"),), disk=disk)
    lab.shim.load(IMAGE)
    interface = lab.interface(INTERFACES[function.table])
    if function.table == "File":
        root = lab.cell()
        assert lab.method(interface, 1, root) == 0
        interface = lab.value(root)
    places = [f.name for f in PROTOCOLS.values() if f.table == function.table]
    index = places.index(function.name)
    if function.table in ("SimpleTextInput", "SimpleTextInputEx") and index >= 2:
        index += 1  # WaitForKey lies between
    if function.table in ("SimpleFileSystem", "File", "DiskIo"):
        index += 1  # Revision comes first
    if function.table == "BlockIo":
        index += 2  # Revision and Media come first
    address = lab.value(interface + 8 * index)
    for first, value in product((interface, *WILD), WILD):
        status = lab.board.call(address, first, *([value] * 9))
        assert _is_status(status)
        assert first == interface or status >> 63 == 1, "a wrong This pointer"


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_calls(data: st.DataObject) -> None:
    """Whatever is called in whatever order: every call comes back, the map stays whole."""
    lab = Lab()
    page = lab.put(bytes(0x1000))
    values = st.one_of(st.sampled_from([*WILD, page, page + 8, page + 0x100]), st.integers(0, 0x40))
    names = list(SERVICES)
    skipped = {
        "BootServices.WaitForEvent",
        "BootServices.Stall",
        "RuntimeServices.ResetSystem",
        "BootServices.SetMem",
        "BootServices.CopyMem",
    }
    for _ in range(12):
        name = data.draw(st.sampled_from([n for n in names if n not in skipped]))
        arguments = [data.draw(values) for _ in range(6)]
        table, _, service = name.partition(".")
        (lab.bs if table == "BootServices" else lab.rs)(service, *arguments)
        assert lab.board.stopped is None
    pages = sum(d.pages for d in lab.shim.memory_map.descriptors())
    assert pages == RAM // 0x1000
    assert lab.shim.memory_map.find(lab.shim.placement.stubs).type == MemoryType.RUNTIME_SERVICES_CODE  # type: ignore[union-attr]
