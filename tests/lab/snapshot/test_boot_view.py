"""The boot view: against dumps of real boots, against cases made by hand from the documents, against hostile memory."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from efishim.lab.record import BootView, SetupDataView, decode, encode
from efishim.lab.snapshot.boot_view import boot_view
from efishim.machine.memory import PhysicalMemory
from tests.records import a_record
from tests.views import cpu

ORACLE = Path(__file__).parents[3].parent / "shared" / "oracle"
DUMPS = sorted(ORACLE.glob("*/*/conv.json"))
NO_ORACLE = "the dumps of real firmware (shared/oracle) do not lie beside this tree"
CPU = cpu()

SHORT_TYPES = {
    "EfiReservedMemoryType": "Reserved",
    "EfiLoaderCode": "LoaderCode",
    "EfiLoaderData": "LoaderData",
    "EfiBootServicesCode": "BSCode",
    "EfiBootServicesData": "BSData",
    "EfiRuntimeServicesCode": "RTCode",
    "EfiRuntimeServicesData": "RTData",
    "EfiConventionalMemory": "Conventional",
    "EfiACPIReclaimMemory": "ACPIReclaim",
    "EfiACPIMemoryNVS": "ACPINVS",
    "EfiMemoryMappedIO": "MMIO",
}
TYPE_NUMBERS = {
    # UEFI 2.10, table 7.6
    "Reserved": 0, "LoaderCode": 1, "LoaderData": 2, "BSCode": 3, "BSData": 4, "RTCode": 5, "RTData": 6,
    "Conventional": 7, "ACPIReclaim": 9, "ACPINVS": 10, "MMIO": 11,
}  # fmt: skip


def document(view: BootView) -> Any:
    """The view as JSON has it."""
    return json.loads(encode(a_record(boot_view=view)))["boot_view"]


@pytest.fixture
def memory() -> PhysicalMemory:
    """512 MiB, as the machine of the dumps had."""
    ram = PhysicalMemory()
    ram.add(0, 512 << 20)
    return ram


class Page:
    """A zero page at 0x10000, written by offset."""

    def __init__(self, memory: PhysicalMemory) -> None:
        self.memory = memory

    def put(self, offset: int, form: str, *values: Any) -> Page:
        self.memory.write(0x10000 + offset, struct.pack("<" + form, *values))
        return self

    def view(self) -> BootView:
        return boot_view(self.memory, boot_params=0x10000, cpu=CPU)

    def node(self, at: int, following: int, kind: int, body: bytes, length: int | None = None) -> Page:
        head = struct.pack("<QII", following, kind, len(body) if length is None else length)
        self.memory.write(at, head + body)
        return self

    def chain(self, kind: int, body: bytes) -> SetupDataView:
        """The one node of a chain, decoded."""
        chain = self.put(0x250, "Q", 0x20000).node(0x20000, 0, kind, body).view().setup_data
        assert chain is not None
        assert chain.problem == ""
        (node,) = chain.nodes
        return node


@pytest.fixture
def page(memory: PhysicalMemory) -> Page:
    return Page(memory)


@pytest.mark.skipif(not DUMPS, reason=NO_ORACLE)
@pytest.mark.parametrize("dump", DUMPS, ids=lambda dump: "/".join(dump.parts[-3:-1]))
def test_a_real_boot(memory: PhysicalMemory, dump: Path) -> None:
    """The memory of the dumps, as far as they have it, gives what their makers read from the running machine."""
    facts = json.loads(dump.read_text())
    memory.write(int(facts["boot_params_pa"], 16), dump.with_name("boot_params.bin").read_bytes())
    memory.write(int(facts["cmdline_pa"], 16), facts["cmdline"].encode() + b"\0")
    for node in facts["setup_data"]:
        kind = {"PCI": 3, "EFI": 4}[node["type"]]
        memory.write(int(node["pa"], 16), struct.pack("<QII", 0, kind, node["len"]) + bytes.fromhex(node["body"]))
    efi_map = dump.with_name("efi_memmap.json")
    descriptors = json.loads(efi_map.read_text()) if efi_map.exists() else []
    for index, (kind, start, _, pages, virtual, attribute) in enumerate(descriptors):
        where = int(facts["efi_memmap"]["pa"], 16) + index * 0x30
        number = TYPE_NUMBERS[kind]
        memory.write(where, struct.pack("<QQQQQ", number, int(start, 16), int(virtual, 16), pages, int(attribute, 16)))

    view = boot_view(memory, boot_params=int(facts["boot_params_pa"], 16), cpu=CPU)

    assert view.problem == ""
    assert view.command_line is not None
    assert (view.command_line.text, view.command_line.problem) == (facts["cmdline"], "")
    assert view.initrd is not None
    assert (view.initrd.address, view.initrd.size) == (int(facts["ramdisk"]["pa"], 16), facts["ramdisk"]["size"])
    assert view.initrd.sha256 == hashlib.sha256(bytes(facts["ramdisk"]["size"])).hexdigest()
    assert [(entry.addr, entry.addr + entry.size - 1) for entry in view.e820] == [
        (int(start, 16), int(end, 16)) for start, end, _ in facts["decoded"]["e820"]
    ]
    assert view.setup_data is not None
    assert [(n.address, n.type_name, n.len, n.problem) for n in view.setup_data.nodes] == [
        (int(n["pa"], 16), f"SETUP_{n['type']}", n["len"], "") for n in facts["setup_data"]
    ]
    for node in view.setup_data.nodes:
        if node.type == 3:
            # -vga std is 1234:1111; the ROM is 39 KiB and lies behind 48 bytes of head; -M pc puts it at 00:02.0.
            rom = {"vendor": 0x1234, "devid": 0x1111, "segment": 0, "bus": 0, "device": 2, "function": 0}
            assert node.body == rom | {"pcilen": node.len - 48}
            assert node.rest.startswith("55aa")
    assert view.efi is not None
    if not descriptors:
        assert view.efi.memory_map is None
        return
    assert view.efi.loader_signature == "EL64"
    assert view.efi.memory_map is not None
    assert view.efi.memory_map.problem == ""
    assert [
        [
            SHORT_TYPES[d.type_name],
            f"{d.physical_start:#x}",
            f"{d.physical_start + d.number_of_pages * 4096 - 1:#x}",
            d.number_of_pages,
            f"{d.virtual_start:#x}",
            f"{d.attribute:#x}",
        ]
        for d in view.efi.memory_map.descriptors
    ] == descriptors


def test_the_system_table_and_its_configuration_tables(page: Page) -> None:
    ram = page.memory
    ram.write(0x31000, "EDK II".encode("utf-16-le") + b"\0\0")
    guid = bytes.fromhex("71e86888f1e4d311bc220080c73c8881")  # 8868e871-e4f1-11d3-bc22-0080c73c8881 as it lies in memory
    ram.write(0x32000, guid + struct.pack("<Q", 0x7F77D014) + bytes(range(16)) + struct.pack("<Q", 0x1234))
    ram.write(0x30000, struct.pack("<8sIIIIQI4x6QQQQQ", b"IBI SYST", 0x2000A, 120, 0, 0, 0x31000, 0x10000,
                                   0, 0, 0, 0, 0, 0, 0xAAAA, 0, 2, 0x32000))  # fmt: skip
    view = page.put(0x1C0, "4sI", b"EL64", 0x30000).view()
    assert view.efi is not None
    table = view.efi.system_table
    assert table is not None
    assert (table.signature, table.revision, table.vendor, table.problem) == ("IBI SYST", 0x2000A, "EDK II", "")
    assert (table.runtime_services, table.boot_services, table.firmware_revision) == (0xAAAA, 0, 0x10000)
    assert [(t.guid, t.name, t.address) for t in table.configuration_tables] == [
        ("8868e871-e4f1-11d3-bc22-0080c73c8881", "EFI_ACPI_20_TABLE_GUID", 0x7F77D014),
        ("03020100-0504-0706-0809-0a0b0c0d0e0f", "", 0x1234),
    ]


def test_a_32_bit_firmware(page: Page) -> None:
    ram = page.memory
    ram.write(0x31000, "x".encode("utf-16-le") + b"\0\0")
    ram.write(0x32000, bytes(16) + struct.pack("<I", 0x1234))
    ram.write(0x30000, struct.pack("<8s4I12I", b"IBI SYST", 0x2000A, 72, 0, 0, 0x31000, 7, *[0] * 6, 0xAAAA, 0, 1, 0x32000))
    view = page.put(0x1C0, "4sI", b"EL32", 0x30000).view()
    assert view.efi is not None
    assert view.efi.system_table is not None
    assert (view.efi.system_table.vendor, view.efi.system_table.runtime_services) == ("x", 0xAAAA)
    assert [t.address for t in view.efi.system_table.configuration_tables] == [0x1234]


def test_memory_attributes_have_names(page: Page) -> None:
    page.memory.write(0x40000, struct.pack("<QQQQQQ", 5, 0x1000, 0, 2, 0x800000000002100F, 0))
    page.memory.write(0x40030, struct.pack("<QQQQQQ", 99, 0x3000, 0, 1, 0x0000100000000000, 0))
    view = page.put(0x1C0, "4sIIIII", b"EL64", 0, 48, 1, 0x40000, 96).view()
    assert view.efi is not None
    assert view.efi.memory_map is not None
    first, second = view.efi.memory_map.descriptors
    assert first.attribute_names == ("UC", "WC", "WT", "WB", "WP", "RO", "RUNTIME")
    assert (second.type_name, second.attribute_names) == ("unknown", ("0x100000000000",))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0, 48, 1, 0x40000, 49), "not a whole number"),
        ((0, 8, 1, 0x40000, 48), "descriptors of 8 bytes"),
        ((0, 48, 1, 0xF0000000, 48), "is not memory"),
        ((0, 48, 1, 0, 48), "is null"),
        ((0, 48, 1, 0x40000, 0xFFFFFFFF), "only the first 4096"),
    ],
)
def test_impossible_memory_maps(page: Page, values: tuple[int, ...], words: str) -> None:
    view = page.put(0x1C0, "4sIIIII", b"EL64", *values).view()
    assert view.efi is not None
    assert view.efi.memory_map is not None
    assert words in view.efi.memory_map.problem
    assert view.efi.system_table is not None
    assert "null" in view.efi.system_table.problem


def test_no_efi_is_said_as_such(page: Page) -> None:
    efi = page.put(0x1C0, "4s", b"EL65").view().efi
    assert efi is not None
    assert (efi.loader_signature, efi.memory_map, efi.system_table) == ("EL65", None, None)


@pytest.mark.parametrize(
    ("kind", "body", "name", "expected"),
    [
        (4, struct.pack("<12Q", 1, 0, 3, 4, *[0] * 8), "SETUP_EFI", {"fw_vendor": 1, "tables": 3, "smbios": 4}),
        (2, struct.pack(">7I", 0xD00DFEED, 4096, 56, 512, 40, 17, 16), "SETUP_DTB", {"magic": 0xD00DFEED, "version": 17}),
        (5, struct.pack("<III", 100, 1, 3), "SETUP_APPLE_PROPERTIES", {"len": 100, "version": 1, "dev_count": 3}),
        (
            6,
            struct.pack("<HHHHQIIB255sI", 2, 1, 0x608, 4, 0xB0000000, 2400000, 1000000, 1, bytes([0, 1, 2, 3]), 3),
            "SETUP_JAILHOUSE",
            {"num_cpus": 4, "pci_mmconfig_base": 0xB0000000, "standard_ioapic": 1, "cpu_ids": "00010203", "flags": 3},
        ),
        (8, struct.pack("<QQ", 0x1000, 0x2000), "SETUP_IMA", {"addr": 0x1000, "size": 0x2000}),
        (10, struct.pack("<4Q", 1, 2, 3, 4), "SETUP_KEXEC_KHO", {"fdt_addr": 1, "scratch_size": 4}),
        (0, b"", "SETUP_NONE", {}),
        (77, b"abc", "unknown", {}),
    ],
)
def test_bodies_of_setup_data(page: Page, kind: int, body: bytes, name: str, expected: dict[str, int]) -> None:
    node = page.chain(kind, body)
    assert (node.type_name, node.len, node.problem) == (name, len(body), "")
    assert expected.items() <= node.body.items()
    assert node.sha256 == hashlib.sha256(body).hexdigest()


def test_a_random_seed_is_shown_and_hashed(page: Page) -> None:
    seed = bytes(range(32))
    node = page.chain(9, seed)
    assert (node.type_name, node.rest, node.sha256) == (
        "SETUP_RNG_SEED",
        seed.hex(),
        hashlib.sha256(seed).hexdigest(),
    )


def test_more_e820_entries(page: Page) -> None:
    node = page.chain(1, struct.pack("<QQIQQI", 0x100000000, 0x1000, 1, 0x200000000, 0x2000, 99))
    assert [(e.addr, e.size, e.type_name) for e in node.e820] == [
        (0x100000000, 0x1000, "RAM"),
        (0x200000000, 0x2000, "unknown"),
    ]


def test_indirect_nodes_and_the_cc_blob_lead_on(page: Page) -> None:
    page.memory.write(0x50000, b"seed" * 4)
    node = page.chain(0x80000000, struct.pack("<IIQQ", 0x80000009, 0, 16, 0x50000))
    assert node.body["type_name"] == "SETUP_INDIRECT|SETUP_RNG_SEED"
    assert node.body["target_sha256"] == hashlib.sha256(b"seed" * 4).hexdigest()
    page.memory.write(0x60000, struct.pack("<4sHHQIIQII", b"AMDE", 1, 0, 0x70000, 4096, 0, 0x71000, 4096, 0))
    blob = page.chain(7, struct.pack("<I", 0x60000))
    assert (blob.body["blob.magic"], blob.body["blob.cpuid_phys"]) == ("AMDE", 0x71000)


@pytest.mark.parametrize(
    ("kind", "body", "words"),
    [
        (0x80000000, struct.pack("<IIQQ", 0x80000009, 0, 16, 1 << 40), "is not memory"),
        (0x80000000, struct.pack("<IIQQ", 0x80000009, 0, 1 << 63, 0x50000), "more than"),
        (7, struct.pack("<I", 0xF0000000), "is not memory"),
    ],
)
def test_targets_that_are_not_there(page: Page, kind: int, body: bytes, words: str) -> None:
    assert words in str(page.chain(kind, body).body["problem"])


def test_a_body_that_is_too_short_is_named(page: Page) -> None:
    page.put(0x250, "Q", 0x20000).node(0x20000, 0, 3, b"\0" * 47)
    chain = page.view().setup_data
    assert chain is not None
    assert "47 bytes is shorter than the 48" in chain.nodes[0].problem


def test_chains_without_end(page: Page) -> None:
    page.put(0x250, "Q", 0x20000).node(0x20000, 0x21000, 0, b"").node(0x21000, 0x20000, 0, b"")
    chain = page.view().setup_data
    assert chain is not None
    assert len(chain.nodes) == 2
    assert "loop" in chain.problem
    for index in range(100):
        page.node(0x20000 + 16 * index, 0x20000 + 16 * (index + 1), 0, b"")
    chain = page.view().setup_data
    assert chain is not None
    assert (len(chain.nodes), "longer than 64" in chain.problem) == (64, True)


def test_chains_into_nowhere(page: Page) -> None:
    page.put(0x250, "Q", 0x20000).node(0x20000, 1 << 63, 9, b"", length=0xFFFFFFFF)
    chain = page.view().setup_data
    assert chain is not None
    assert "longer than the 0x1000000" in chain.nodes[0].problem
    assert "0x8000000000000000+0x10 is not memory" in chain.problem


def test_command_lines(page: Page) -> None:
    assert "null" in page.view().command_line.problem  # type: ignore[union-attr]
    page.put(0x228, "I", 0x99000).memory.write(0x99000, b"quiet \xff\0rest")
    assert page.view().command_line.text == "quiet \\xff"  # type: ignore[union-attr]
    page.memory.write(0x99000, b"a" * 5000)
    view = page.view().command_line
    assert view is not None
    assert (len(view.text), "does not end" in view.problem) == (2048, True)
    view = page.put(0x0C8, "I", 1).view().command_line
    assert view is not None
    assert (view.address, view.text, "no memory" in view.problem) == (0x100099000, "", True)


def test_initrds(page: Page) -> None:
    ram = page.memory
    ram.add(1 << 32, 64 << 20)
    ram.write(0x1_0010_0000, b"x" * 0x300000)
    page.put(0x218, "II", 0x100000, 0x300000).put(0x0C0, "I", 1)
    view = page.view().initrd
    assert view is not None
    assert (view.address, view.size) == (0x1_0010_0000, 0x300000)
    assert view.sha256 == hashlib.sha256(b"x" * 0x300000).hexdigest()
    view = page.put(0x0C4, "I", 1).view().initrd
    assert view is not None
    assert "larger than 1024 MiB" in view.problem
    view = page.put(0x0C0, "II", 2, 0).view().initrd
    assert view is not None
    assert (view.sha256, "is not memory" in view.problem) == ("", True)


def test_no_boot_params_at_all(memory: PhysicalMemory) -> None:
    for address in (0, 512 << 20, (512 << 20) - 1, 1 << 63):
        view = boot_view(memory, boot_params=address, cpu=CPU)
        assert view.problem != ""
        assert view.boot_params == {}
        assert document(view)["problem"] == view.problem


def test_too_many_e820_entries_are_said(page: Page) -> None:
    view = page.put(0x1E8, "B", 200).view()
    assert (len(view.e820), view.problem) == (128, "e820_entries is 200, the table holds 128")


def test_the_document_has_numbers_as_hexadecimal_text_only(page: Page) -> None:
    page.put(0x1E8, "B", 1).put(0x2D0, "QQI", 0, 0x9FC00, 1).put(0x202, "4s", b"HdrS").put(0x070, "Q", 2**64 - 1)
    found = document(page.view())
    assert found["boot_params"]["acpi_rsdp_addr"] == "0xffffffffffffffff"
    assert found["boot_params"]["hdr.header"] == "HdrS"
    assert found["e820"] == [{"addr": "0x0", "size": "0x9fc00", "type": "0x1", "type_name": "RAM"}]
    assert found["address"] == "0x10000"

    def numbers(value: Any) -> int:
        if isinstance(value, dict):
            return sum(numbers(item) for item in value.values())
        if isinstance(value, list):
            return sum(numbers(item) for item in value)
        return int(isinstance(value, int | float) and not isinstance(value, bool))

    assert numbers(found) == 0


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_hostile_memory_never_raises(data: st.DataObject) -> None:
    """Any bytes, with pointers drawn to land near and far, give a document that JSON can carry."""
    ram = PhysicalMemory()
    ram.add(0, 0x10000)
    ram.write(0, data.draw(st.binary(min_size=0x400, max_size=0x400)) * 0x40)
    pointer = st.one_of(st.integers(0, 0x10100), st.integers(0, 2**64 - 1))
    for offset in (0x250, 0x228, 0x218, 0x1C4, 0x1D0):
        size = 8 if offset == 0x250 else 4
        ram.write(0x1000 + offset, (data.draw(pointer) & (1 << 8 * size) - 1).to_bytes(size, "little"))
    for offset, value in ((0x0C0, 0), (0x0C4, 0), (0x0C8, 0), (0x1D8, 0), (0x1DC, 0)):
        if data.draw(st.booleans()):
            ram.put_u32(0x1000 + offset, value)
    if data.draw(st.booleans()):
        ram.write(0x11C0, data.draw(st.sampled_from([b"EL64", b"EL32"])))
    view = boot_view(ram, boot_params=data.draw(st.sampled_from([0x1000, 0x1001, 0xF001, 0])), cpu=CPU)
    written = encode(a_record(boot_view=view))
    assert len(written) < 2 << 20
    assert decode(written).boot_view == view
