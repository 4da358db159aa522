"""The real-mode setup header as patched by LILO; the kernel's setup code gets everything else from the BIOS.

Source: Documentation/arch/x86/boot.rst ("Loading the rest of the kernel", "The kernel command line", "Running the kernel");
LILO's second stage (type_of_loader, heap, command line, ramdisk).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
    OptionKind,
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
from efishim_plugins.lilo.words import BY_NAME, HEAP_END, Words

if TYPE_CHECKING:
    from efishim.provider import Arena, BootRequest, GuestMemory, Loaded

CAN_USE_HEAP, LOADED_HIGH = 0x80, 0x01
COMMAND_LINE_ROOM = 0x1000
CL_MAGIC, CL_MAGIC_AT = 0xA33F, 0x20
SECTOR, DEFAULT_SETUP_SECTORS = 512, 4
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
    summary = "LILO, or linux16 of GRUB and SYSLINUX: the real-mode entry; the kernel's own setup code queries the BIOS"
    structure = "setup_header"
    specifications = (
        Specification("The Linux/x86 Boot Protocol", "https://docs.kernel.org/arch/x86/boot.html"),
        Specification("GNU GRUB manual, linux16", "https://www.gnu.org/software/grub/manual/grub/html_node/linux16.html"),
        Specification("LILO's user manual", "https://manpages.debian.org/bullseye/lilo/lilo.8.en.html"),
    )
    limits = (
        "The header has no fields for memory, ACPI or the display: the setup code queries the BIOS.",
        "LILO loads one ramdisk; of several, only the first is used. The others load them one behind the other.",
        "The command line is limited to 4095 bytes or the kernel's own limit, where GRUB and SYSLINUX would shorten it; `mem=`"
        " is left to the kernel, and of LILO `vga=` too.",
        "With SYSLINUX' words, boot sector and setup code lie at 0x10000 and the command line at 0x20000; zImages and kernels"
        " before protocol 2.02, which it loads elsewhere, are refused.",
        "Boot sector, setup code, heap, stack and command line lie between 0x90000 and 0x9a000, which must be free.",
    )
    entries = (Entry("linux16", "the setup code in real mode, 0x200 bytes into the image", through_shim=False),)
    options = (
        OptionHelp("cmdline", "new (cmd_line_ptr) or old (a magic number and an offset at 0x90020)", "new"),
        OptionHelp(
            "loader", "whose words the header gets: lilo, grub (linux16) or syslinux", "lilo", OptionKind.CHOICE, tuple(BY_NAME)
        ),
    )
    module_alignment = 4

    def runs_on(self, entry: str, options: Mapping[str, str]) -> MachineFirmware:
        """A BIOS."""
        return MachineFirmware.BIOS

    def refuses(self, entry: str, image: bytes, options: Mapping[str, str]) -> str:
        """What SYSLINUX loads in another way."""
        if _words(options).setup is None:
            return ""
        header = header_of(image)
        if header.version >= CMD_LINE_PTR_FROM and header.loadflags & LOADED_HIGH:
            return ""
        return "SYSLINUX loads zImages and kernels before protocol 2.02 in a way that is not imitated"

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        """Patch the header of the setup code in memory and put the command line behind it. Raises UsageError, ProviderError."""
        style = request.options.get("cmdline", "new")
        if style not in {"new", "old"}:
            raise UsageError(f"lilo.cmdline takes new or old, not {style!r}")
        words = _words(request.options)
        loaded = request.loaded.setup if request.loaded is not None else None
        if loaded is None:
            raise ProviderError("LILO needs the kernel's setup code in memory")
        if words.setup is not None and style == "old":
            raise UsageError("SYSLINUX passes the command line in the old way to old kernels only")
        command_line = b" ".join(part for part in (words.line, checked_command_line(request)) if part)
        room = min(COMMAND_LINE_ROOM - 1, max(header_of(request.image).cmdline_size, 255))
        if len(command_line) > room:
            raise ProviderError(
                f"the command line has {len(command_line)} bytes with {words.name}'s own words, and there is room for {room}"
            )
        setup = loaded
        if words.setup is not None:
            setup = arena.at(words.setup, words.line_at + len(command_line) + 1, what="the setup code")
            sectors = request.image[HEADER_START] or DEFAULT_SETUP_SECTORS
            memory.write(setup, request.image[: (1 + sectors) * SECTOR])
        end = JUMP_AT + 2 + request.image[JUMP_AT + 1]
        header = SetupHeader.parse(request.image[HEADER_START:end].ljust(SetupHeader.SIZE, b"\0"))
        header.type_of_loader = words.loader_type
        if header.version >= HEAP_FROM:
            header.heap_end_ptr = words.line_at - 0x200
            header.loadflags |= CAN_USE_HEAP
        if style == "new" and header.version >= CMD_LINE_PTR_FROM:
            header.cmd_line_ptr = setup + words.line_at
        else:
            # An offset below setup_move_size counts from the setup code itself, wherever it is.
            header.cmd_line_ptr, header.setup_move_size = 0, HEAP_END + len(command_line) + 1
            memory.write(setup + CL_MAGIC_AT, OldCommandLine(magic=CL_MAGIC, offset=HEAP_END).build())
        mode = words.video_mode(command_line)
        if mode is not None:
            header.vid_mode = mode
        if request.modules:
            first, last = request.modules[0], request.modules[-1 if words.all_ramdisks else 0]
            header.ramdisk_image, header.ramdisk_size = first.start, last.start + last.size - first.start
        memory.write(setup + HEADER_START, header.build()[: max(end - HEADER_START, 0)])
        memory.write(setup + words.line_at, command_line + b"\0")
        return Handover(setup, notes=_note(request, words))

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
                Provenance("command_line", "cmd_line_ptr or the old magic number; the loader puts BOOT_IMAGE= before it"),
                Provenance("modules", "ramdisk_image is one range"),
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

    def entry_state(self, request: BootRequest, memory: GuestMemory, handover: Handover) -> CpuState:
        """The same, with the stack of the loader whose words it has. Raises ProviderError."""
        if request.loaded is None:
            raise ProviderError("LILO needs the kernel's setup code in memory")
        state = self.cpu_state(request.entry, request.loaded, handover)
        return replace(state, registers={**state.registers, "rsp": _words(request.options).stack})


def _words(options: Mapping[str, str]) -> Words:
    name = options.get("loader", "lilo")
    if name not in BY_NAME:
        raise UsageError(f"lilo.loader takes {', '.join(BY_NAME)}, not {name!r}")
    return BY_NAME[name]


def _command_line_at(memory: GuestMemory, setup: int, header: SetupHeader) -> int:
    """Where the setup code finds the command line; 0 without one."""
    if header.cmd_line_ptr:
        return header.cmd_line_ptr
    old = OldCommandLine.parse(memory.read(setup + CL_MAGIC_AT, OldCommandLine.SIZE))
    if old.magic != CL_MAGIC:
        return 0
    return (setup if old.offset < header.setup_move_size else 0x9_0000) + old.offset


def _note(request: BootRequest, words: Words) -> tuple[str, ...]:
    if len(request.modules) < 2:
        return ()
    if words.all_ramdisks:
        return (f"{words.name} puts {len(request.modules)} ramdisks behind each other, and the header has them as one",)
    return (f"LILO loads one ramdisk: the first of {len(request.modules)} is passed on",)
