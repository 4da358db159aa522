"""A guest program from 16-bit over 32-bit to 64-bit code, for debuggers to walk through."""

from __future__ import annotations

import struct

from efishim.machine.machine import Machine
from tests.machine.guest import CODE32, CODE64, DATA, DATA32, GDT, ORIGIN, TABLES, real

POINTER = 0x7E00
LOOPS = 50
TOTAL = DATA + 0x10


def _code() -> tuple[bytes, int, int, int]:
    begin = b"\x0f\x01\x16" + struct.pack("<H", POINTER)  # lgdt [POINTER]
    begin += b"\x0f\x20\xc0\x0c\x01\x0f\x22\xc0"  # mov eax, cr0; or al, 1; mov cr0, eax
    narrow = ORIGIN + len(begin) + 8
    begin += b"\x66\xea" + struct.pack("<IH", narrow, CODE32)  # jmp CODE32:narrow
    middle = b"\x66\xb8" + struct.pack("<H", DATA32) + b"\x8e\xd8\x8e\xc0\x8e\xd0"  # ds, es, ss
    middle += b"\x0f\x20\xe0\x83\xc8\x20\x0f\x22\xe0"  # cr4 |= PAE
    middle += b"\xb8" + struct.pack("<I", TABLES) + b"\x0f\x22\xd8"  # cr3
    middle += b"\xb9\x80\x00\x00\xc0\x0f\x32\x80\xcc\x01\x0f\x30"  # EFER |= LME
    middle += b"\x0f\x20\xc0\x0d\x00\x00\x00\x80\x0f\x22\xc0"  # cr0 |= PG
    wide = narrow + len(middle) + 7
    middle += b"\xea" + struct.pack("<IH", wide, CODE64)
    end = b"\xb9" + struct.pack("<I", LOOPS)  # mov ecx, LOOPS
    loop = wide + len(end)
    end += b"\x48\x01\xc8"  # add rax, rcx
    end += b"\x48\x89\x04\x25" + struct.pack("<I", TOTAL)  # mov [TOTAL], rax
    end += b"\x90\xff\xc9\x75" + struct.pack("<b", -(3 + 8 + 1 + 2 + 2))  # nop; dec ecx; jnz loop
    end += b"\xf4"
    return begin + middle + end, narrow, wide, loop


CODE, NARROW, WIDE, LOOP = _code()
STORE, BEHIND = LOOP + 3, LOOP + 11


def switching() -> Machine:
    """The machine at the program's first instruction, in real mode."""
    machine = real(CODE)
    memory = machine.memory
    memory.write(POINTER, struct.pack("<HI", 31, GDT))
    memory.put_u64(TABLES, TABLES + 0x1003)
    memory.put_u64(TABLES + 0x1000, TABLES + 0x2003)
    for number in range(512):
        memory.put_u64(TABLES + 0x2000 + 8 * number, number << 21 | 0x83)
    return machine
