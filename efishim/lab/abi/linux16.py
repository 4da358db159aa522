"""The real-mode entry of a Linux kernel: the setup code, 0x200 bytes into the image, with the header patched in place."""

from __future__ import annotations

from efishim.lab.abi import ramdisk
from efishim.lab.abi.segments import interrupts_off
from efishim.lab.snapshot.guest_read import Unreadable, read
from efishim.machine.memory import BusError
from efishim.provider.checking import Findings, Moment, Requirement
from efishim.wire.bootparams import HDRS_MAGIC, BootParams, SetupHeader
from efishim.wire.linux_header import BOOT_FLAG, DEFAULT_SETUP_SECTS, HEADER_START, HEAP_END_BIAS, LOADED_HIGH, SETUP_STACK_SIZE

BOOT_RST = "Documentation/arch/x86/boot.rst"
RUNNING = f'{BOOT_RST}, "Running the Kernel"'
SEGMENT_STEP = 0x20
SEGMENT_SIZE = 0x1_0000
CAN_USE_HEAP = 1 << 7
HIGH_KERNEL, CONVENTIONAL_END = 0x10_0000, 0xA_0000
OLD_LINE_MAGIC = 0xA33F
CMD_LINE_PTR_FROM = 0x202

MODE = Requirement("linux16/mode", "The processor is in real mode", RUNNING)
ENTRY = Requirement(
    "linux16/entry-point", "The kernel is entered at offset 0 of the segment 0x20 behind its real-mode part", RUNNING
)
DATA = Requirement("linux16/data", "DS, ES and SS point to the start of the real-mode part", RUNNING)
OTHERS = Requirement("linux16/fs-gs", "FS and GS are as DS, ES and SS, to guard against bugs in the kernel", RUNNING)
STACK = Requirement("linux16/stack", "SP leaves room for a stack above the setup code", RUNNING)
INTERRUPTS = Requirement("linux16/interrupts", "Interrupts are disabled", RUNNING)
MEMORY = Requirement("linux16/setup", "Boot sector and setup code are in conventional memory", f'{BOOT_RST}, "Memory Layout"')
HEADER = Requirement(
    "linux16/header", "The setup header is as in the image: 0xaa55 and HdrS", f'{BOOT_RST}, "The Real-Mode Kernel Header"'
)
LOADER = Requirement("linux16/loader", "type_of_loader names a boot loader", f'{BOOT_RST}, "type_of_loader"')
HIGH = Requirement(
    "linux16/loadflags", "LOADED_HIGH tells a kernel at 0x100000 from one at 0x10000", f'{BOOT_RST}, "loadflags"'
)
CODE32 = Requirement("linux16/code32-start", "code32_start is where the protected-mode code is", f'{BOOT_RST}, "code32_start"')
HEAP = Requirement(
    "linux16/heap",
    "With CAN_USE_HEAP heap_end_ptr + 0x200 ends a heap behind the setup code, in its segment",
    f'{BOOT_RST}, "heap_end_ptr"',
)
LINE = Requirement(
    "linux16/command-line",
    "cmd_line_ptr points to a command line that ends, between the end of the setup heap and 0xa0000",
    f'{BOOT_RST}, "The Kernel Command Line"',
)
OLD_LINE = Requirement(
    "linux16/old-command-line",
    "With 0xa33f at 0x20 the offset at 0x22 leads to a command line that ends in the real-mode part's segment",
    f'{BOOT_RST}, "The Kernel Command Line", protocols before 2.02',
)
REQUIREMENTS = (
    MODE, ENTRY, DATA, OTHERS, STACK, INTERRUPTS, MEMORY, HEADER, LOADER, HIGH, CODE32, HEAP, LINE, OLD_LINE,
    ramdisk.BOTH, ramdisk.HIGHEST,
)  # fmt: skip


def check(moment: Moment, findings: Findings) -> None:
    """Processor, and the header where the setup code lies."""
    cpu, setup = moment.cpu, moment.loaded.setup
    findings.demand(MODE, cpu.mode == "real16", f"the mode is {cpu.mode}")
    interrupts_off(findings, moment, INTERRUPTS)
    if not findings.demand(MEMORY, setup is not None, "it is not loaded") or setup is None:
        return
    segments = {name: cpu.segments.named(name).selector for name in ("cs", "ds", "es", "ss", "fs", "gs")}
    start, offset = segments["ds"] << 4, cpu.registers.rip
    good = (segments["cs"] << 4) + offset == setup + (SEGMENT_STEP << 4) and offset == 0
    findings.demand(ENTRY, good, f"CS:IP is {segments['cs']:#x}:{offset:#x}, the real-mode part is at {setup:#x}")
    same = len({segments["ds"], segments["es"], segments["ss"]}) == 1 and start == setup
    findings.demand(DATA, same, ", ".join(f"{name.upper()} is {segments[name]:#x}" for name in ("ds", "es", "ss")))
    equal = segments["fs"] == segments["gs"] == segments["ds"]
    findings.demand(OTHERS, equal, f"FS is {segments['fs']:#x} and GS {segments['gs']:#x}")
    try:
        raw = read(moment.memory, setup, BootParams.SIZE, "the setup code")
    except Unreadable as error:
        findings.demand(MEMORY, False, str(error))
        return
    findings.demand(MEMORY, setup + SEGMENT_SIZE <= CONVENTIONAL_END, f"it is at {setup:#x}")
    header = SetupHeader.parse(raw[HEADER_START:])
    magics = header.boot_flag == BOOT_FLAG and header.header == HDRS_MAGIC
    if findings.demand(HEADER, magics, f"there is {header.boot_flag:#x} and {header.header:#x}"):
        _header(moment, findings, setup, header)
        _old_line(moment, findings, setup, raw)


def _header(moment: Moment, findings: Findings, setup: int, header: SetupHeader) -> None:
    base = moment.loaded.base
    code = ((header.setup_sects or DEFAULT_SETUP_SECTS) + 1) * 512
    stack = moment.cpu.registers.rsp & 0xFFFF or SEGMENT_SIZE
    findings.demand(STACK, code + SETUP_STACK_SIZE <= stack, f"SP is {stack:#x} and the setup code has {code:#x} bytes")
    findings.demand(LOADER, header.type_of_loader != 0, "it is 0, which is for loaders before protocol 2.00")
    high = bool(header.loadflags & LOADED_HIGH)
    findings.demand(HIGH, high == (base >= HIGH_KERNEL), f"it is {int(high)} and the kernel is at {base:#x}")
    findings.demand(CODE32, header.code32_start == base, f"it is {header.code32_start:#x} and the kernel is at {base:#x}")
    end = code
    if header.loadflags & CAN_USE_HEAP:
        end = header.heap_end_ptr + HEAP_END_BIAS
        findings.demand(HEAP, code <= end <= SEGMENT_SIZE, f"it ends at {end:#x}, the setup code at {code:#x}")
    if header.version >= CMD_LINE_PTR_FROM:
        at = header.cmd_line_ptr
        text = _text(moment, at, CONVENTIONAL_END)
        findings.demand(LINE, text and setup + end <= at, f"it is {at:#x} and the heap ends at {setup + end:#x}")
    ramdisk.check(findings, header, header.ramdisk_image, header.ramdisk_size, None)


def _old_line(moment: Moment, findings: Findings, setup: int, raw: bytes) -> None:
    screen = BootParams.parse(raw).screen_info
    if screen.cl_magic == OLD_LINE_MAGIC:
        ends = _text(moment, setup + screen.cl_offset, setup + SEGMENT_SIZE)
        findings.demand(OLD_LINE, ends, f"at {setup + screen.cl_offset:#x} there is none")


def _text(moment: Moment, start: int, end: int) -> bool:
    """Is there a string that ends before `end`?"""
    if not 0 < start < end:
        return False
    try:
        return len(moment.memory.c_string(start, end - start)) < end - start
    except BusError:
        return False
