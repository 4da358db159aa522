"""The registers that a stub shows, as QEMU's does, and their description in XML.

Sources: QEMU's gdb-xml/i386-64bit.xml for order and sizes; "Debugging with GDB", appendix "Target Descriptions", section "i386
Features" for the names that gdb must find.
"""

from __future__ import annotations

from efishim.errors import MachineError
from efishim.machine.cpu import GuestFault
from efishim.machine.extended import FLOATING_REGISTERS, VECTOR_REGISTERS
from efishim.machine.extended import NAMES as EXTENDED
from efishim.machine.machine import Machine
from efishim.wire.x86 import CR0_PE, EFLAGS_VM, segment_descriptor

_GENERAL = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)), "rip")
_SEGMENTS = ("cs", "ss", "ds", "es", "fs", "gs")
_SYSTEM = ("fs_base", "gs_base", "k_gs_base", "cr0", "cr2", "cr3", "cr4", "cr8", "efer")
_STATUS = ("fcw", "fsw", "ftw", "fiseg", "fioff", "foseg", "fooff", "fop")
REGISTERS = (
    # name and size in bytes, in the order of the `g` packet
    *((name, 8) for name in _GENERAL),
    ("eflags", 4),
    *((name, 4) for name in _SEGMENTS),
    *((name, 8) for name in _SYSTEM),
    *((name, 10) for name in FLOATING_REGISTERS),
    *((name, 4) for name in _STATUS),
    *((name, 16) for name in VECTOR_REGISTERS),
    ("mxcsr", 4),
)
SIZES = dict(REGISTERS)
FIXED = frozenset({"cr2", "cr8", *FLOATING_REGISTERS, "fsw", "ftw", "fiseg", "fioff", "foseg", "fooff", "fop"})
"""Shown, but not written."""
_NAMES = dict(zip(_STATUS, ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"), strict=True))
_TYPES = {"rip": "code_ptr", "rsp": "data_ptr", "rbp": "data_ptr", "eflags": "i386_eflags", "mxcsr": "i386_mxcsr"}
KERNEL_GS_BASE = 0xC0000102

_EFLAGS = (
    "CF",
    "",
    "PF",
    "",
    "AF",
    "",
    "ZF",
    "SF",
    "TF",
    "IF",
    "DF",
    "OF",
    "",
    "",
    "NT",
    "",
    "RF",
    "VM",
    "AC",
    "VIF",
    "VIP",
    "ID",
)
_MXCSR = ("IE", "DE", "ZE", "OE", "UE", "PE", "DAZ", "IM", "DM", "ZM", "OM", "UM", "PM", "", "", "FZ")
_VECTOR = """<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/>\
<vector id="v16i8" type="int8" count="16"/><vector id="v8i16" type="int16" count="8"/>\
<vector id="v4i32" type="int32" count="4"/><vector id="v2i64" type="int64" count="2"/>\
<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>\
<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/><field name="v4_int32" type="v4i32"/>\
<field name="v2_int64" type="v2i64"/><field name="uint128" type="uint128"/></union>"""


def _flags(name: str, bits: tuple[str, ...]) -> str:
    fields = "".join(f'<field name="{bit}" start="{at}" end="{at}"/>' for at, bit in enumerate(bits))
    return f'<flags id="{name}" size="4">{fields}</flags>'


def description() -> str:
    """target.xml: an x86-64 at all times, as of QEMU, whatever mode the processor is in."""

    def rows(names: tuple[str, ...]) -> str:
        out = []
        for number, (name, size) in enumerate(REGISTERS):
            if name in names:
                kind = "i387_ext" if size == 10 else "vec128" if size == 16 else _TYPES.get(name, f"int{8 * size}")
                group = ' group="float"' if name in _STATUS else ""
                shown = _NAMES.get(name, name)
                out.append(f'<reg name="{shown}" bitsize="{8 * size}" type="{kind}" regnum="{number}"{group}/>')
        return "\n".join(out)

    core = rows((*_GENERAL, "eflags", *_SEGMENTS, *_SYSTEM, *FLOATING_REGISTERS, *_STATUS))
    return f"""<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target version="1.0">
<architecture>i386:x86-64</architecture>
<feature name="org.gnu.gdb.i386.core">{_flags("i386_eflags", _EFLAGS)}
{core}
</feature>
<feature name="org.gnu.gdb.i386.sse">{_VECTOR}{_flags("i386_mxcsr", _MXCSR)}
{rows((*VECTOR_REGISTERS, "mxcsr"))}
</feature>
</target>
"""


def read(machine: Machine, name: str) -> bytes:
    """A register as it stands in a `g` packet."""
    return _value(machine, name).to_bytes(SIZES[name], "little")


def _value(machine: Machine, name: str) -> int:
    if name == "k_gs_base":
        return machine.engine.processor.model_specific(KERNEL_GS_BASE)
    if name in ("fiseg", "fioff", "foseg", "fooff", "fop"):
        return 0
    value = machine.engine.processor.extended(name) if name in EXTENDED else machine.cpu.get(name)
    return value & ((1 << 8 * SIZES[name]) - 1)


def write(machine: Machine, name: str, data: bytes) -> bool:
    """Change a register; False when that cannot be. The guest is outside of the emulation."""
    value = int.from_bytes(data, "little")
    if read(machine, name) == data:
        return True
    if name in FIXED:
        return False
    if name in _SEGMENTS:
        return _load(machine, name, value)
    if name == "k_gs_base":
        machine.engine.processor.set_model_specific(KERNEL_GS_BASE, value)
        return True
    if name in EXTENDED:
        machine.engine.processor.set_extended(name, value)
        return True
    try:
        machine.cpu.set(name, value)
        machine.cpu.sync()
    except (KeyError, MachineError):
        return False
    return True


def _load(machine: Machine, name: str, selector: int) -> bool:
    """A segment register as by the processor: with its descriptor, where it is protected."""
    cpu = machine.cpu
    selector &= 0xFFFF
    if not cpu.get("cr0") & CR0_PE or cpu.get("eflags") & EFLAGS_VM:
        cpu.load_segment(name, selector, base=selector << 4, limit=0xFFFF, flags=0x9B00 if name == "cs" else 0x9300)
        cpu.sync()
        return True
    if selector & 4 or selector >> 3 == 0:
        return False
    if (selector | 7) > cpu.get("gdtr.limit"):
        return False
    try:
        raw = cpu.read(cpu.get("gdtr.base") + (selector & ~7), 8)
    except GuestFault:
        return False
    found = segment_descriptor(int.from_bytes(raw, "little"))
    if not found.present or not found.flags & 1 << 12 or found.code is not (name == "cs"):
        return False
    cpu.load_segment(name, selector, base=found.base, limit=found.limit, flags=found.flags)
    cpu.sync()
    return True
