"""boot_params as filled in by GRUB 2.06, in its i386-pc and EFI builds.

Source: grub-core/loader/i386/linux.c (`linux`), grub-core/loader/i386/efi/linux.c (`linuxefi`), grub-core/mmap/efi/mmap.c,
grub-core/lib/cmdline.c; the values agree with what GRUB left in memory on real firmware.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from efishim.errors import ProviderError, UsageError
from efishim.provider import (
    PAGE,
    BootInformation,
    CpuState,
    Entry,
    Handover,
    MachineFirmware,
    OptionHelp,
    Provenance,
    Specification,
    Structure,
    ramdisk_files,
)
from efishim.wire.bootparams import EFI64_LOADER_SIGNATURE
from efishim.wire.x86 import CR0_ET, CR0_MP, CR0_NE, CR0_PE, CR0_WP, CR4_DE, CR4_MCE, CR4_OSFXSR, CR4_OSXMMEXCPT, EFER_NXE
from efishim_plugins.boot_params import memory_map as e820
from efishim_plugins.boot_params import states, structures
from efishim_plugins.boot_params.header import (
    CAPABILITY_64BIT_BASE,
    LOW_HALF,
    VIDEO_TYPE_EFI,
    VIDEO_TYPE_VGAC_TEXT,
    VIDEO_TYPE_VLFB,
    command_line_room,
    fresh,
    lacks_header,
    set_command_line,
    set_framebuffer,
    set_ramdisk,
)
from efishim_plugins.boot_params.reading import read_back

if TYPE_CHECKING:
    from efishim.provider import Arena, BootRequest, EfiFacts, GuestMemory, Loaded
    from efishim.wire.bootparams import BootParams

IMAGE_WORD = b"BOOT_IMAGE=/vmlinuz"
"""GRUB puts the path of the kernel before its arguments; here the path is always this."""
LOADER_TYPE, LINUXEFI_LOADER_TYPE = 0x72, 0x21
REAL_MODE_TOP = 0x9_0000
"""boot_params and command line end here at most: the traditional place of the real-mode code."""
HEAP_END = 0x8E00
CL_MAGIC, CL_OFFSET = 0xA33F, 0x1000
CAN_USE_HEAP, QUIET = 0x80, 0x20
MEMORY_K = 32 << 10
"""GRUB always says 32 MiB in ext_mem_k and alt_mem_k; Linux has the e820 table."""
FONT_POINTS, TEXT_COLUMNS, TEXT_LINES, TEXT_MODE = 16, 80, 25, 3
VESA_UNIT = 16
"""VESA framebuffers are counted in units of 64 KiB."""
ROOT_RAM0 = 0x100
SECTOR, MAX_SETUP_SECTS = 512, 64
E820_SIZE, SLACK = 20, PAGE
HIGHEST_FOR_EFI = 0x3FFF_FFFF
SECURE_BOOT_DISABLED = 2
GRUB_TYPES: Mapping[int, int] = {**e820.STUB_TYPES, 5: 20}
"""GRUB's own numbers go into the table: runtime services code is 20, which e820 does not define."""
AFTER_LONG_MODE = {
    "cr0": CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP,
    "cr4": CR4_DE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT,
    "efer": EFER_NXE,
    "eflags": 0x20_0006,
}
"""What stays of the firmware's control registers when GRUB leaves long mode: paging, PAE and LME go. CR3 and IDTR
keep the firmware's tables, as they did on OVMF.
"""
GDT_LIMIT = 8 * len(states.GDT32)
"""GRUB loads the size of its table as the limit, which is one too many (relocator_common.S, gdtdesc)."""


class Grub:
    """GRUB 2's `linux` and `linuxefi` commands."""

    name = "grub"
    summary = "GRUB 2: boot_params as filled in by the `linux` command, on BIOS or EFI"
    structure = "boot_params"
    specifications = (
        Specification("The Linux/x86 Boot Protocol", "https://docs.kernel.org/arch/x86/boot.html"),
        Specification("Zero Page", "https://docs.kernel.org/arch/x86/zero-page.html"),
        Specification("GNU GRUB manual, linux", "https://www.gnu.org/software/grub/manual/grub/html_node/linux.html"),
    )
    limits = (
        "GRUB never uses the 64-bit entry itself: `linux64` passes its boot_params there, in the state that boot.rst requires.",
        "acpi_rsdp_addr is 0, as GRUB leaves it: kernel and shim search the BIOS area or the EFI tables.",
        "On a BIOS, screen_info is 80 by 25 text with the cursor at 0,0: GRUB claims it on a machine without a display too,"
        " and a machine without one has GRUB's console on its serial line, whose cursor does not count.",
        "A framebuffer is told only where the machine has one; there is no EDD, EDID, APM or IST data: `linux` never asks.",
        "At most 128 ranges of memory are told; GRUB has no SETUP_E820_EXT.",
        "Several ramdisks become one: they lie behind each other, each padded to 4 bytes, and Linux unpacks all of them.",
        "`mem=` does not move the ramdisk, and arguments that the kernel's cmdline_size has no room for are dropped.",
    )
    entries = (
        Entry(
            "linux32", "the 32-bit entry, used by `linux` on a BIOS and, after leaving long mode, on EFI", through_shim=False
        ),
        Entry("linux64", "the 64-bit entry with the same boot_params", through_shim=False),
        Entry(
            "efi", "the EFI stub, on a shim built from boot_params, or through LoadImage with platform=efi", through_shim=True
        ),
        Entry("efi-handover", "the EFI handover entry, used by `linuxefi` in GRUB's EFI build", through_shim=True),
    )
    options = (
        OptionHelp("platform", "pc or efi: the machine's firmware, and so the build of GRUB", "pc; efi for efi-handover"),
        OptionHelp("command", "linux or chainloader: what starts the kernel at the entry efi with platform=efi", "linux"),
        OptionHelp(
            "gfxpayload", "text or keep: the display mode that GRUB leaves on a BIOS machine with a framebuffer", "text"
        ),
    )
    module_alignment = 4

    def runs_on(self, entry: str, options: Mapping[str, str]) -> MachineFirmware:
        """BIOS or EFI, as `platform` says. Raises UsageError."""
        return MachineFirmware.EFI if _on_efi(entry, options) else MachineFirmware.BIOS

    def refuses(self, entry: str, image: bytes, options: Mapping[str, str]) -> str:
        """`linux` takes kernels only; on EFI firmware the image is loaded by LoadImage, which takes any program."""
        return "" if entry == "efi" and _on_efi(entry, options) else lacks_header(image)

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        """Write boot_params and the command line. Raises UsageError, ProviderError."""
        efi = _on_efi(request.entry, request.options)
        if _chainloads(request.entry, request.options):
            words = [request.command_line, *(b"initrd=\\" + one.encode() for one in ramdisk_files(request.ramdisks))]
            return Handover(None, load_options=b" ".join(word for word in words if word), ramdisks_on_disk=True)
        if efi and request.entry == "efi":
            return Handover(None, load_options=IMAGE_WORD + b" " + request.command_line, notes=_modules_note(request))
        command_line, dropped = _command_line(request)
        notes = _modules_note(request)
        if dropped:
            notes += (f"GRUB had no room on the command line for {dropped} of its arguments",)
        if request.entry == "efi-handover":
            return Handover(_linuxefi(request, memory, arena, command_line), EFI64_LOADER_SIGNATURE, notes=notes)
        facts = request.facts
        if efi and facts.efi is None:
            raise ProviderError("GRUB on EFI needs to know the firmware's system table and memory map")
        params = _params(request, command_line, facts.efi)
        table = e820.from_efi(facts.efi, GRUB_TYPES) if facts.efi is not None else e820.ranges(facts.memory_map)
        left_out = e820.put_table(params, table)
        if left_out:
            notes += (f"the memory map has {left_out} ranges more than e820_table holds",)
        offset, size = _layout(request.image, len(table))
        firmware_map = facts.efi.memory_map if facts.efi is not None else b""
        address = arena.place(
            size + len(firmware_map), align=PAGE, above=0x1_0000, below=REAL_MODE_TOP, high=True, what="boot_params"
        )
        set_command_line(params, address + offset)
        if facts.efi is not None:
            _efi_info(params, facts.efi, address + size)
            memory.write(address + size, firmware_map)
        memory.write(address + offset, command_line + b"\0")
        memory.write(address, params.build())
        if facts.efi is None:
            return Handover(address, notes=notes)
        interrupts, limit = facts.efi.interrupts
        left = {"idtr.base": interrupts, "idtr.limit": limit, "cr3": facts.efi.page_tables}
        return Handover(address, EFI64_LOADER_SIGNATURE, notes=notes, left=left)

    def read_back(self, memory: GuestMemory, handover: Handover) -> BootInformation:
        """Parse boot_params. Raises ProviderError."""
        prefix = Provenance("command_line", "hdr.cmd_line_ptr; GRUB puts BOOT_IMAGE= before it")
        return read_back(memory, handover.address, (prefix,))

    def structures(self, memory: GuestMemory, handover: Handover) -> tuple[Structure, ...]:
        """boot_params and what it points to."""
        return structures.of(memory, handover.address)

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        """The state of boot.rst, the stack below boot_params; control registers as left by firmware. Raises ProviderError."""
        at = handover.address or 0
        if entry == "linux32":
            left = {**AFTER_LONG_MODE, **handover.left} if handover.magic == EFI64_LOADER_SIGNATURE else {}
            return states.protected(loaded.entry_point, at, **{"rsp": at, "gdtr.limit": GDT_LIMIT, **left})
        if entry == "linux64":
            return states.long(loaded.entry_point, at, rsp=at)
        raise ProviderError(f"the provider grub has no native entry {entry!r}")


def _on_efi(entry: str, options: Mapping[str, str]) -> bool:
    platform = options.get("platform", "efi" if entry == "efi-handover" else "pc")
    if platform not in {"pc", "efi"}:
        raise UsageError(f"grub.platform takes pc or efi, not {platform!r}")
    if entry == "efi-handover" and platform == "pc":
        raise UsageError("a handover entry is for EFI machines", hint="leave --option grub.platform=pc out")
    return platform == "efi"


def _chainloads(entry: str, options: Mapping[str, str]) -> bool:
    """Is it the command chainloader that starts the kernel? Raises UsageError."""
    command = options.get("command", "linux")
    if command not in {"linux", "chainloader"}:
        raise UsageError(f"grub.command takes linux or chainloader, not {command!r}")
    return command == "chainloader" and entry == "efi" and _on_efi(entry, options)


def _command_line(request: BootRequest) -> tuple[bytes, int]:
    """BOOT_IMAGE= and the arguments, and how many of them did not fit."""
    words = request.command_line.partition(b"\0")[0].split()
    room, line = command_line_room(request.image), IMAGE_WORD
    for done, word in enumerate(words):
        if len(line) + 1 + len(word) > room:
            return line, len(words) - done
        line += b" " + word
    return line, 0


def _modules_note(request: BootRequest) -> tuple[str, ...]:
    if len(request.modules) < 2:
        return ()
    return (f"GRUB puts {len(request.modules)} ramdisks behind each other, and boot_params has them as one",)


def _layout(image: bytes, entries: int) -> tuple[int, int]:
    """Offset of the command line from boot_params, and the size of all: it shall fit where the real-mode code would be."""
    table = -(-(entries * E820_SIZE + SLACK) // PAGE) * PAGE
    offset = max(-(-(table + PAGE) // PAGE) * PAGE, -(-min(image[0x1F1], MAX_SETUP_SECTS) * SECTOR // PAGE) * PAGE)
    return offset, offset + -(-(command_line_room(image) + 1) // PAGE) * PAGE


def _params(request: BootRequest, command_line: bytes, efi: EfiFacts | None) -> BootParams:
    params = fresh(request.image)
    header, screen = params.hdr, params.screen_info
    base = request.loaded.base if request.loaded is not None else header.pref_address
    header.code32_start = base & LOW_HALF
    if header.relocatable_kernel and base != header.pref_address:
        # The loop that lowers the alignment until a place is found counts once more when it has found one.
        header.kernel_alignment >>= 1
    header.boot_flag = 0  # GRUB clears what it takes for ps_mouse
    header.type_of_loader, header.heap_end_ptr = LOADER_TYPE, HEAP_END
    header.loadflags |= CAN_USE_HEAP
    if any(word.startswith(b"quiet") for word in command_line.split()):
        header.loadflags |= QUIET
    screen.cl_magic, screen.cl_offset = CL_MAGIC, CL_OFFSET
    header.ramdisk_image = header.ramdisk_size = 0
    if request.modules:
        set_ramdisk(params, request.modules)
        header.root_dev = ROOT_RAM0
    screen.ext_mem_k, params.alt_mem_k, screen.orig_video_points = MEMORY_K, MEMORY_K, FONT_POINTS
    _display(params, request, efi is not None)
    return params


def _display(params: BootParams, request: BootRequest, efi: bool) -> None:
    """A framebuffer if there is one and GRUB leaves it on; else text, which only a BIOS has."""
    screen, framebuffer = params.screen_info, request.facts.framebuffer
    payload = request.options.get("gfxpayload", "text")
    if payload not in {"text", "keep"}:
        raise UsageError(f"grub.gfxpayload takes text or keep, not {payload!r}")
    if framebuffer is not None and (efi or payload == "keep"):
        set_framebuffer(params, framebuffer, VIDEO_TYPE_EFI if efi else VIDEO_TYPE_VLFB)
        units = -(-screen.lfb_size >> VESA_UNIT)
        screen.lfb_size = units << VESA_UNIT if efi else units
        if efi:
            screen.capabilities |= CAPABILITY_64BIT_BASE
    elif not efi:
        screen.orig_video_isVGA, screen.orig_video_mode = VIDEO_TYPE_VGAC_TEXT, TEXT_MODE
        screen.orig_video_cols, screen.orig_video_lines = TEXT_COLUMNS, TEXT_LINES


def _efi_info(params: BootParams, efi: EfiFacts, memory_map: int) -> None:
    info = params.efi_info
    info.efi_loader_signature = EFI64_LOADER_SIGNATURE
    info.efi_systab, info.efi_systab_hi = efi.system_table & LOW_HALF, efi.system_table >> 32
    info.efi_memdesc_size, info.efi_memdesc_version = efi.descriptor_size, efi.descriptor_version
    info.efi_memmap, info.efi_memmap_hi = memory_map & LOW_HALF, memory_map >> 32
    info.efi_memmap_size = len(efi.memory_map)
    params.secure_boot = SECURE_BOOT_DISABLED


def _linuxefi(request: BootRequest, memory: GuestMemory, arena: Arena, command_line: bytes) -> int:
    """The boot_params of `linuxefi`: the header, where things are, and nothing else."""
    params = fresh(request.image)
    params.hdr.type_of_loader = LINUXEFI_LOADER_TYPE
    if request.loaded is not None:
        params.hdr.code32_start = request.loaded.base & LOW_HALF
    set_ramdisk(params, request.modules)
    text = arena.place(len(command_line) + 1, align=PAGE, below=HIGHEST_FOR_EFI, high=True, what="the command line")
    address = arena.place(4 * PAGE, align=PAGE, below=HIGHEST_FOR_EFI, high=True, what="boot_params")
    set_command_line(params, text)
    memory.write(text, command_line + b"\0")
    memory.write(address, params.build())
    return address
