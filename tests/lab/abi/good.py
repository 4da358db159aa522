"""One moment for each entry in which every rule holds, for tests that then break one."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import replace

from efishim.provider import Loaded
from efishim.provider.checking import Moment
from efishim.wire.bootparams import BootParams
from tests.lab.abi import moments
from tests.lab.abi.moments import Dump, fill, moment, with_registers, with_segment

BASE, SIZE = 0x20_0000, 0x10_0000
INFORMATION, STRING, LIST, MODULE, MAP = 0x9000, 0x9800, 0x9900, 0x40_0000, 0x9A00
BOOT_PARAMS, TABLE, STACK, LINE = 0x9_0000, 0x1F5E_B018, 0x1FEA_0978, 0x9_8000


def dumped(name: str) -> Moment:
    """A dump in which nothing is wrong."""
    return moment(Dump.read(name))


def pvh() -> Moment:
    """QEMU's, with the TSS that it forgets."""
    return with_segment(dumped("qemu-pvh"), "tr", limit=0x67)


def efi_handover() -> Moment:
    """OVMF's state, with the three arguments (boot.rst, "EFI Handover Protocol")."""
    one = dumped("ovmf-efi")
    params = BootParams()
    # A 64-bit entry behind its handover_offset, and limits as Linux 6.1 has them.
    header = {"header": 0x53726448, "version": 0x20F, "cmdline_size": 0x7FF, "cmd_line_ptr": LINE, "handover_offset": 0x1000}
    header |= {"ramdisk_image": 0x1000_0000, "ramdisk_size": 0x1000, "initrd_addr_max": 0x7FFF_FFFF, "xloadflags": 0x7F}
    fill(params, {f"hdr.{name}": value for name, value in header.items()})
    one.memory.write(BOOT_PARAMS, params.build())
    one.memory.write(LINE, b"console=ttyS0\0")
    registers = {"rdi": one.cpu.registers.rcx, "rsi": one.cpu.registers.rdx, "rdx": BOOT_PARAMS, "rip": BASE + 0x1200}
    return replace(with_registers(one, **registers), loaded=Loaded(BASE, SIZE, BASE + 0x1200))


def efi_ia32() -> Moment:
    """The 32-bit state of QEMU's PVH entry as UEFI has it for IA-32 (2.3.2): interrupts on, a stack with two arguments."""
    one = dumped("qemu-pvh")
    moments.system_table(one.memory, TABLE, 4)
    stack = STACK + 4
    one.memory.write(stack, struct.pack("<III", 0x1FEA_95F7, 0x1D7E_9418, TABLE))
    registers = {"rsp": stack, "eflags": 0x202, "rip": BASE + 0x600}
    floating = {"fcw": 0x27F, "mxcsr": 0x1F80}
    return replace(with_registers(one, **registers), loaded=Loaded(BASE, SIZE, BASE + 0x600), floating=floating)


def multiboot() -> Moment:
    """Memory, command line, one module, a memory map and a name (Multiboot 0.6.96, section 3.3), as its header wants."""
    one = dumped("qemu-pvh")
    memory = one.memory
    info = bytearray(116)
    struct.pack_into("<IIII", info, 0, 1 | 1 << 2 | 1 << 3 | 1 << 6 | 1 << 9, 639, 0x7_FB80, 0)
    struct.pack_into("<III", info, 16, STRING, 1, LIST)
    struct.pack_into("<II", info, 44, 2 * 24, MAP)
    struct.pack_into("<I", info, 64, STRING)
    memory.write(INFORMATION, info)
    memory.write(STRING, b"a string\0")
    memory.write(LIST, struct.pack("<IIII", MODULE, MODULE + 0x1000, STRING, 0))
    memory.write(MAP, struct.pack("<IQQI", 20, 0, 0x9_FC00, 1) + struct.pack("<IQQI", 20, 0x10_0000, 0x1FEE_0000, 1))
    flags = 1 << 0 | 1 << 1
    memory.write(BASE + 0x40, struct.pack("<III", 0x1BADB002, flags, -(0x1BADB002 + flags) & 0xFFFF_FFFF))
    registers = {"rax": 0x2BADB002, "rbx": INFORMATION, "rip": BASE + 0x100}
    return replace(with_registers(one, **registers), loaded=Loaded(BASE, SIZE, BASE + 0x100))


def tags() -> dict[str, bytes]:
    """The tags of `multiboot2`, by what they are (Multiboot2 2.0, section 3.6)."""
    rsdp = bytearray(struct.pack("<8sB6sBI", b"RSD PTR ", 0, b"TESTER", 0, 0x1000))
    rsdp[8] = -sum(rsdp) & 0xFF
    entries = struct.pack("<QQII", 0, 0x9_FC00, 1, 0) + struct.pack("<QQII", 0x10_0000, 0x1FEE_0000, 1, 0)
    return {
        "cmdline": struct.pack("<II", 1, 17) + b"a string\0",
        "module": struct.pack("<IIII", 3, 25, MODULE, MODULE + 0x1000) + b"a string\0",
        "meminfo": struct.pack("<IIII", 4, 16, 639, 0x7_FB80),
        "map": struct.pack("<IIII", 6, 16 + len(entries), 24, 0) + entries,
        "acpi": struct.pack("<II", 14, 8 + len(rsdp)) + bytes(rsdp),
        "end": struct.pack("<II", 0, 8),
    }


def information(parts: Mapping[str, bytes]) -> bytes:
    """Tags one behind the other, at multiples of 8."""
    body = b"".join(part.ljust(-(-len(part) // 8) * 8, b"\0") for part in parts.values())
    return struct.pack("<II", 8 + len(body), 0) + body


def multiboot2() -> Moment:
    """What a header asks for that wants a memory map, and modules on page boundaries."""
    one = dumped("qemu-pvh")
    one.memory.write(INFORMATION, information(tags()))
    request = struct.pack("<HHII", 1, 0, 12, 6).ljust(16, b"\0")
    header = request + struct.pack("<HHI", 6, 0, 8) + struct.pack("<HHI", 0, 0, 8)
    words = 0xE85250D6, 0, 16 + len(header)
    one.memory.write(BASE + 0x40, struct.pack("<IIII", *words, -sum(words) & 0xFFFF_FFFF) + header)
    registers = {"rax": 0x36D76289, "rbx": INFORMATION, "rip": BASE + 0x100}
    return replace(with_registers(one, **registers), loaded=Loaded(BASE, SIZE, BASE + 0x100))


GOOD: Mapping[str, Callable[[], Moment]] = {
    "linux64": lambda: dumped("kexec-efi-linux64"),
    "linux32": lambda: dumped("grub-linux32"),
    "linux16": lambda: dumped("grub-linux16"),
    "pvh": pvh,
    "efi": lambda: dumped("ovmf-efi"),
    "efi-handover": efi_handover,
    "efi-ia32": efi_ia32,
    "efi-mixed": efi_ia32,
    "multiboot": multiboot,
    "multiboot2": multiboot2,
}
"""By the name of the entry."""

FOUR_GIB_PAGES = moments.CR3_OF_TESTS + 0x2000
"""The first page directory of the tests' identity map."""
