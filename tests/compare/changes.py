"""Changes of every part of a record, one at a time: what a defect would do to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import structs

from efishim.lab.record import Argument, CodeRef, FirmwareCall, Hex, LedgerEntry, LedgerKind, Reason, Record

MIB = 1 << 20

Change = Callable[[Record], Record]


def at(path: str, change: Callable[[Any], Any]) -> Change:
    """Replace what lies at a path of attributes, keys and indices."""
    steps = [int(step) if step.isdigit() else step for step in path.split("/")]

    def apply(value: Any, rest: list[int | str]) -> Any:
        if not rest:
            return change(value)
        step, further = rest[0], rest[1:]
        if isinstance(value, list | tuple) and isinstance(step, int):
            return [apply(one, further) if index == step else one for index, one in enumerate(value)]
        if isinstance(value, dict):
            return type(value)({**value, step: apply(value[step], further)})
        return structs.replace(value, **{str(step): apply(getattr(value, str(step)), further)})

    return lambda one: apply(one, steps)


def to(value: Any) -> Callable[[Any], Any]:
    return lambda _: Hex(value) if isinstance(value, int) and not isinstance(value, bool) else value


def field(name: str, value: Any) -> Change:
    return at("boot_view/boot_params", lambda params: type(params)({**params, name: to(value)(0)}))


def line(old: str, new: str) -> Change:
    """Replace the first occurrence of a text in the console."""

    def change(one: Record) -> Record:
        assert old in one.console, old
        return structs.replace(one, console=one.console.replace(old, new, 1))

    return change


def said(text: str) -> Change:
    """The kernel says one thing more."""
    return line("Run /init", f"{text}\nRun /init")


def warned(text: str) -> Change:
    return line("efishim-init: end", f"| <4> {text}\nefishim-init: end")


def called(service: str, status: str, *names: str) -> Change:
    call = FirmwareCall(
        service=service,
        args=[Argument(name=f"a{index}", value=name) for index, name in enumerate(names)],
        status=status,
        insns=1,
        caller=CodeRef(address=Hex(0x1000)),
    )
    return lambda one: structs.replace(one, firmware_calls=[*one.firmware_calls, call])


def touched(group: str, what: str) -> Change:
    def change(one: Record) -> Record:
        like = one.ledger[0]
        entry = structs.replace(like, kind=LedgerKind.PORT, what=what, group=group)
        assert isinstance(entry, LedgerEntry)
        return structs.replace(one, ledger=[*one.ledger, entry])

    return change


def e820(change: Callable[[list[Any]], list[Any]]) -> Change:
    return at("boot_view/e820", change)


def hole(ranges: list[Any]) -> list[Any]:
    """64 MiB of the largest range are reserved."""
    largest = max(ranges, key=lambda one: one.size)
    rest = [one for one in ranges if one is not largest]
    end = largest.addr + largest.size
    cut = end - 64 * MIB
    first = structs.replace(largest, size=Hex(cut - largest.addr))
    second = structs.replace(largest, addr=Hex(cut), size=Hex(end - cut), type=Hex(2), type_name="RESERVED")
    return sorted([*rest, first, second], key=lambda one: one.addr)


def retyped(kind: str, other: str, number: int) -> Change:
    """The largest range of one type of the EFI memory map gets another."""

    def change(descriptors: list[Any]) -> list[Any]:
        largest = max((one for one in descriptors if one.type_name == kind), key=lambda one: one.number_of_pages)
        return [structs.replace(one, type=Hex(number), type_name=other) if one is largest else one for one in descriptors]

    return at("boot_view/efi/memory_map/descriptors", change)


def shrunk(descriptors: list[Any]) -> list[Any]:
    less = structs.replace(descriptors[3], number_of_pages=Hex(descriptors[3].number_of_pages - 1))
    return [*descriptors[:3], less, *descriptors[4:]]


INFO = "efi_info."
CHANGES: dict[str, Change] = {
    # the machine
    "CPUID": at("machine/cpuid/1/ecx", lambda value: Hex(value ^ 1)),
    "a leaf more": at("machine/cpuid", lambda leaves: [*leaves, structs.replace(leaves[0], leaf=Hex(0x99))]),
    "MSR": at("machine/msrs/0/value", lambda value: Hex(value ^ 2)),
    "ACPI table": at("machine/acpi/0/sha256", to("0" * 64)),
    "ACPI table gone": at("machine/acpi", lambda tables: tables[1:]),
    "machine memory": at("machine/memory_map/0/type", to("RESERVED")),
    "feature": at("machine/features/rdrand", to(0)),
    # the entry
    "entry mode": at("entry_view/cpu/mode", to("virtual86")),
    "entry cr0": at("entry_view/cpu/control/cr0", to(0x10)),
    "entry cr4": at("entry_view/cpu/control/cr4", to(7)),
    "entry efer": at("entry_view/cpu/control/efer", to(0x100)),
    "entry flags": at("entry_view/cpu/registers/eflags", to(0x402)),
    "ramdisk at null": at("entry_view/modules/0/address", to(0)),
    "another ramdisk": at("entry_view/modules/0/sha256", to("1" * 64)),
    "ramdisk size": at("entry_view/modules/0/size", to(7)),
    # boot_params
    "type of loader": field("hdr.type_of_loader", 0x50),
    "loadflags": field("hdr.loadflags", 0x41),
    "version": field("hdr.version", 0x999),
    "boot flag": field("hdr.boot_flag", 0xAA54),
    "header": field("hdr.header", "HdrX"),
    "vid_mode": field("hdr.vid_mode", 0x1234),
    "root_dev": field("hdr.root_dev", 0x801),
    "root_flags": field("hdr.root_flags", 0x77),
    "setup_sects": field("hdr.setup_sects", 0x99),
    "payload": field("hdr.payload_length", 0x7FFF_FFFF),
    "alignment": field("hdr.kernel_alignment", 0x12_3456),
    "init_size": field("hdr.init_size", 0x123),
    "code32_start": field("hdr.code32_start", 0x7),
    "ext_loader_type": field("hdr.ext_loader_type", 0x7),
    "ramdisk_image": field("hdr.ramdisk_image", 0x10),
    "ramdisk_size": field("hdr.ramdisk_size", 1),
    "cmd_line_ptr": field("hdr.cmd_line_ptr", 0x10),
    "alt_mem_k": field("alt_mem_k", 0x1_2345),
    "e820_entries": field("e820_entries", 0x70),
    "rsdp": field("acpi_rsdp_addr", 0x20_0000),
    "screen": field("screen_info.orig_video_cols", 0x91),
    "framebuffer": field("screen_info.lfb_base", 0xE000_0000),
    "secure boot": field("secure_boot", 0x9),
    "systab": field(INFO + "efi_systab", 0),
    "efi_memmap_size": field(INFO + "efi_memmap_size", 0x490),
    "efi_memdesc_version": field(INFO + "efi_memdesc_version", 7),
    "signature": field(INFO + "efi_loader_signature", "EL16"),
    # what it leads to
    "e820 hole": e820(hole),
    "e820 without its last": e820(lambda ranges: ranges[:-1]),
    "command line": at("boot_view/command_line/text", to("console=ttyS0 init=/bin/sh")),
    "command line at null": at("boot_view/command_line/address", to(0)),
    "initrd sha256": at("boot_view/initrd/sha256", to("2" * 64)),
    "initrd over the kernel's page 0": at("boot_view/initrd/address", to(0)),
    "free memory as runtime data": retyped("EfiConventionalMemory", "EfiRuntimeServicesData", 6),
    "runtime code as free memory": retyped("EfiRuntimeServicesCode", "EfiConventionalMemory", 7),
    "ACPI tables as boot services": retyped("EfiACPIReclaimMemory", "EfiBootServicesData", 4),
    "NVS as reserved": retyped("EfiACPIMemoryNVS", "EfiReservedMemoryType", 0),
    "a page less": at("boot_view/efi/memory_map/descriptors", shrunk),
    "vendor": at("boot_view/efi/system_table/signature", to("IBI SYSX")),
    "revision": at("boot_view/efi/system_table/revision", to(0x7_0000)),
    "a table at null": at("boot_view/efi/system_table/configuration_tables/0/address", to(0)),
    "startup_64 cr4": at("boot_view/cpu/control/cr4", to(0)),
    # what the kernel did
    "milestone": lambda one: structs.replace(one, milestones=one.milestones[:-1]),
    "outcome": lambda one: structs.replace(one, outcome=structs.replace(one.outcome, reason=Reason.TRIPLE_FAULT, met=False)),
    "SetVirtualAddressMap": called("RuntimeServices.SetVirtualAddressMap", "EFI_INVALID_PARAMETER"),
    "HandleProtocol": called("BootServices.HandleProtocol", "EFI_UNSUPPORTED", "EFI_LOADED_IMAGE_PROTOCOL_GUID"),
    "AllocatePages": called("BootServices.AllocatePages", "EFI_OUT_OF_RESOURCES"),
    "a port": touched("keyboard controller", "0x64"),
    # what it said
    "WARNING": said("WARNING: CPU: 0 PID: 1 at kernel/fork.c:1 foo+0x1/0x2"),
    "BUG": said("BUG: kernel NULL pointer dereference, address: 0000000000000000"),
    "Oops": said("Oops: 0000 [#1] PREEMPT SMP NOPTI"),
    "Call Trace": said("Call Trace:"),
    "Firmware Bug": said("[Firmware Bug]: the BIOS has corrupted hw-PMU resources"),
    "EFI stub: ERROR": said("EFI stub: ERROR: Failed to allocate memory"),
    "Unable to": said("efi: Unable to switch EFI into virtual mode (status=2)!"),
    "a warning of the report alone": warned("WARNING: CPU: 0 PID: 1 at kernel/fork.c:1 foo+0x1/0x2"),
    "another warning of the report alone": warned("something is odd"),
    "e820 in the log": line("BIOS-e820: [mem 0x0000000000100000", "BIOS-e820: [mem 0x0000000000200000"),
    "e820 kind in the log": line("ACPI data", "ACPI NVS"),
    "node in the log": line("node   0: [mem 0x0000000000100000", "node   0: [mem 0x0000000000300000"),
    "nosave in the log": line("nosave memory: [mem 0x00000000", "nosave memory: [mem 0x00001000"),
    "ramdisk in the log": line("RAMDISK: [mem 0x1", "RAMDISK: [mem 0x0"),
    "Memory: total halved": lambda one: structs.replace(one, console=halved(one.console, "K available")),
    "MemTotal": lambda one: structs.replace(one, console=halved(one.console, " kB")),
    "iomem": line("00100000-", "00200000-"),
    "iomem name": line("System RAM", "Reserved"),
    "a part of the kernel": line(": Kernel code", ": Kernel cod"),
    "tainted": line("tainted]\r\n| 0", "tainted]\r\n| 512"),
    "/proc/cmdline": line("[/proc/cmdline]\r\n| ", "[/proc/cmdline]\r\n| init=/bin/sh "),
    "Command line": line("Command line: ", "Command line: init=/bin/sh "),
}


def halved(text: str, behind: str) -> str:
    """The number in front of a text is halved."""
    end = text.index(behind)
    start = end
    while text[start - 1].isdigit():
        start -= 1
    return f"{text[:start]}{int(text[start:end]) // 2}{text[end:]}"
