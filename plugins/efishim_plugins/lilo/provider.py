"""The real-mode setup header as patched by LILO; the kernel's setup code gets everything else from the BIOS.

Source: Documentation/arch/x86/boot.rst ("Loading the rest of the kernel", "The kernel command line", "Running the kernel");
LILO's second stage (type_of_loader, heap, command line, ramdisk).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from efishim.errors import ProviderError, UsageError
from efishim.provider import (
    BootInformation,
    CpuMode,
    CpuState,
    Entry,
    Handover,
    MachineFirmware,
    Module,
    OptionHelp,
    Provenance,
    Segment,
    Specification,
    Structure,
    text_at,
)
from efishim.wire.bootparams import HDRS_MAGIC, SetupHeader
from efishim.wire.layout import Layout, u16
from efishim.wire.linux_header import HEADER_START, JUMP_AT
from efishim_plugins.boot_params.header import checked_command_line, header_of

if TYPE_CHECKING:
    from efishim.provider import Arena, BootRequest, GuestMemory, Loaded

LOADER_TYPE = 0x02
"""LILO is type 0 of boot.rst; its second stage counts itself as version 2."""
CAN_USE_HEAP = 0x80
HEAP_END = 0x9000
"""Setup code, heap and stack have the segment up to here; the command line follows, all of it below 0x9a000."""
COMMAND_LINE_ROOM = 0x1000
CL_MAGIC, CL_MAGIC_AT = 0xA33F, 0x20
IMAGE_WORDS = b"auto BOOT_IMAGE=linux"
"""What LILO puts before its `append=` if nothing was typed; `linux` is the label of the image."""
HEAP_FROM, CMD_LINE_PTR_FROM = 0x201, 0x202
CODE_ATTRIBUTES, DATA_ATTRIBUTES, REAL_MODE_LIMIT = 0x009B, 0x0093, 0xFFFF


class OldCommandLine(Layout):
    """The old command line protocol: a magic number and an offset in the boot sector (boot.rst)."""

    SIZE = 4

    magic: int = u16(0)
    offset: int = u16(2)


class Lilo:
    """LILO: sectors to memory, a few fields of the header, and a far jump."""

    name = "lilo"
    summary = "LILO: the real-mode entry; the kernel's own setup code queries the BIOS"
    structure = "setup_header"
    specifications = (
        Specification("The Linux/x86 Boot Protocol", "https://docs.kernel.org/arch/x86/boot.html"),
        Specification("LILO's user manual", "https://manpages.debian.org/bullseye/lilo/lilo.8.en.html"),
    )
    limits = (
        "The header has no fields for memory, ACPI or the display: the setup code queries the BIOS.",
        "LILO loads one ramdisk; of several, only the first is used.",
        "The command line is limited to 4095 bytes or the kernel's own limit; `vga=` and `mem=` are left to the kernel.",
        "Boot sector, setup code, heap, stack and command line lie between 0x90000 and 0x9a000, which must be free.",
    )
    entries = (Entry("linux16", "the setup code in real mode, 0x200 bytes into the image", through_shim=False),)
    options = (OptionHelp("cmdline", "new (cmd_line_ptr) or old (a magic number and an offset at 0x90020)", "new"),)

    def runs_on(self, entry: str, options: Mapping[str, str]) -> MachineFirmware:
        """A BIOS."""
        return MachineFirmware.BIOS

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        """Patch the header of the setup code in memory and put the command line behind it. Raises UsageError, ProviderError."""
        style = request.options.get("cmdline", "new")
        if style not in {"new", "old"}:
            raise UsageError(f"lilo.cmdline takes new or old, not {style!r}")
        setup = request.loaded.setup if request.loaded is not None else None
        if setup is None:
            raise ProviderError("LILO needs the kernel's setup code in memory")
        command_line = b" ".join(part for part in (IMAGE_WORDS, checked_command_line(request)) if part)
        room = min(COMMAND_LINE_ROOM - 1, max(header_of(request.image).cmdline_size, 255))
        if len(command_line) > room:
            raise ProviderError(
                f"the command line has {len(command_line)} bytes with LILO's own words, and there is room for {room}"
            )
        end = JUMP_AT + 2 + request.image[JUMP_AT + 1]
        header = SetupHeader.parse(request.image[HEADER_START:end].ljust(SetupHeader.SIZE, b"\0"))
        header.type_of_loader = LOADER_TYPE
        if header.version >= HEAP_FROM:
            header.heap_end_ptr = HEAP_END - 0x200
            header.loadflags |= CAN_USE_HEAP
        if style == "new" and header.version >= CMD_LINE_PTR_FROM:
            header.cmd_line_ptr = setup + HEAP_END
        else:
            # An offset below setup_move_size counts from the setup code itself, wherever it is.
            header.cmd_line_ptr, header.setup_move_size = 0, HEAP_END + len(command_line) + 1
            memory.write(setup + CL_MAGIC_AT, OldCommandLine(magic=CL_MAGIC, offset=HEAP_END).build())
        if request.modules:
            header.ramdisk_image, header.ramdisk_size = request.modules[0].start, request.modules[0].size
        memory.write(setup + HEADER_START, header.build()[: max(end - HEADER_START, 0)])
        memory.write(setup + HEAP_END, command_line + b"\0")
        return Handover(setup, notes=_note(request))

    def read_back(self, memory: GuestMemory, handover: Handover) -> BootInformation:
        """Parse the header as the setup code does (copy_boot_params). Raises ProviderError for a wrong magic."""
        if handover.address is None:
            raise ProviderError("there is no setup header to read")
        header = SetupHeader.parse(memory.read(handover.address + HEADER_START, SetupHeader.SIZE))
        if header.header != HDRS_MAGIC:
            raise ProviderError(f"the setup header has the magic {header.header:#x}, it should be {HDRS_MAGIC:#x}")
        silent = [Provenance(one, "the setup header has no field for it") for one in ("rsdp", "smbios", "framebuffer")]
        module = Module(header.ramdisk_image, header.ramdisk_size)
        return BootInformation(
            memory_map=(),
            command_line=text_at(memory, _command_line_at(memory, handover.address, header)),
            modules=(module,) if module.size else (),
            provenance=(
                *silent,
                Provenance("memory_map", "the setup header has no field for it: the setup code asks int 15h"),
                Provenance("command_line", "cmd_line_ptr or the old magic number; LILO puts auto BOOT_IMAGE= before it"),
                Provenance("modules", "ramdisk_image is one range, and LILO loads one ramdisk"),
            ),
        )

    def structures(self, memory: GuestMemory, handover: Handover) -> tuple[Structure, ...]:
        """The header and the command line."""
        if handover.address is None:
            return ()
        at = handover.address
        header = SetupHeader.parse(memory.read(at + HEADER_START, SetupHeader.SIZE))
        line = _command_line_at(memory, at, header)
        found = [Structure("setup_header", at + HEADER_START, SetupHeader.SIZE, SetupHeader)]
        if line and not header.cmd_line_ptr:
            found.append(Structure("old command line protocol", at + CL_MAGIC_AT, OldCommandLine.SIZE, OldCommandLine))
        if line:
            found.append(Structure("command line", line, len(text_at(memory, line)) + 1))
        return tuple(found)

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        """Real mode in the setup code's segment, the stack at the heap's end, interrupts off. Raises ProviderError."""
        if entry != "linux16":
            raise ProviderError(f"the provider lilo has no native entry {entry!r}")
        base = handover.address or 0
        data = Segment(base >> 4, base, REAL_MODE_LIMIT, DATA_ATTRIBUTES)
        code = Segment((base >> 4) + 0x20, base + 0x200, REAL_MODE_LIMIT, CODE_ATTRIBUTES)
        segments = {"cs": code, **dict.fromkeys(("ds", "es", "fs", "gs", "ss"), data)}
        return CpuState(CpuMode.REAL, 0, {"rsp": HEAP_END, "eflags": 2}, segments)


def _command_line_at(memory: GuestMemory, setup: int, header: SetupHeader) -> int:
    """Where the setup code finds the command line; 0 without one."""
    if header.cmd_line_ptr:
        return header.cmd_line_ptr
    old = OldCommandLine.parse(memory.read(setup + CL_MAGIC_AT, OldCommandLine.SIZE))
    if old.magic != CL_MAGIC:
        return 0
    return (setup if old.offset < header.setup_move_size else 0x9_0000) + old.offset


def _note(request: BootRequest) -> tuple[str, ...]:
    if len(request.modules) < 2:
        return ()
    return (f"LILO loads one ramdisk: the first of {len(request.modules)} is passed on",)
