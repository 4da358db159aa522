"""The instructions that the machine executes itself, found in bytes; a disassembler is the witness."""

from __future__ import annotations

import capstone
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from efishim.machine.intercepts import IN_DX, Intercept, Op, find_intercepts, find_port_accesses
from efishim.machine.machine import Machine
from tests.machine.guest import ORIGIN, long_mode, protected, real

BASE = 0x1000
MODES = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}
OURS = {op.value: op for op in Op if op not in (Op.TRAP, Op.PORT)}
PIECES = [
    *(
        bytes((byte,))
        for byte in b"\x66\x67\xf2\xf3\x2e\x64\x48\x41\x40\x4f\x0f\x31\x90\xc7\xf0\xff\x01\xf9\xe6\xe4\x30\xb8\x00"
    ),
    *(b"\x0f\x31", b"\x0f\x32", b"\x0f\x30", b"\x0f\x01\xf9", b"\xf3\x90", b"\xe6\xe4", b"\xf3\x0f\xc7\xf9"),
    *(b"\x0f\xc7" + bytes((modrm,)) for modrm in (0xF0, 0xF7, 0xF8, 0xFC, 0xC8, 0x08)),
]
codes = st.one_of(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join), st.binary(max_size=40))
modes = st.sampled_from([16, 32, 64])


def names(register: str) -> tuple[int, int]:
    """Number and size in bits of a general register by its assembler name."""
    rows = {
        16: ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di", *(f"r{n}w" for n in range(8, 16))],
        32: ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", *(f"r{n}d" for n in range(8, 16))],
        64: ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16))],
    }
    return next((row.index(register), bits) for bits, row in rows.items() if register in row)


def witness(code: bytes, mode: int) -> tuple[dict[int, Intercept], set[int]]:
    """The sites that a disassembler finds, and every address at which it sees an instruction begin."""
    engine = capstone.Cs(capstone.CS_ARCH_X86, MODES[mode])
    found: dict[int, Intercept] = {}
    begins: set[int] = set()
    for address, length, name, operands in engine.disasm_lite(code, BASE):
        begins.add(address)
        raw = code[address - BASE : address - BASE + length]
        mnemonic = name.split()[-1]
        # LOCK makes each of them undefined (SDM volume 2, LOCK); beside REPNE the disassembler forgets to say so.
        locked = "lock" in name or b"\xf0" in raw[: max(raw.find(b"\x0f"), 0)]
        if locked or (mnemonic == "pause" and raw[-2:] != b"\xf3\x90"):
            continue
        if mnemonic == "out" and raw == b"\xe6\xe4":
            found[address] = Intercept(address, 2, Op.TRAP)
        elif mnemonic in OURS:
            op = OURS[mnemonic]
            register, bits = names(operands) if operands else (0, 32)
            start = length - 2 if op is Op.PAUSE else 0
            found[address + start] = Intercept(address + start, length - start, op, register, bits)
    return found, begins


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(codes, modes)
@example(b"\x40\x0f\xc7\xf0", 32)
@example(b"\x48\x0f\x31", 64)
@example(b"\x0f\xc7\xf3\x90", 64)
@example(b"\x66\x0f\xc7\xf0", 16)
@example(b"\xb8\x0f\xc7\xf3\x90", 16)
@example(b"\xf0\xf2\x0f\x31", 16)
def test_against_a_disassembler(code: bytes, mode: int) -> None:
    expected, begins = witness(code, mode)
    found = {site.address: site for site in find_intercepts(BASE, code, mode)}
    for address, site in expected.items():
        if site.op in (Op.RDRAND, Op.RDSEED) and (b"\xf2" in code or b"\xf3" in code):
            continue  # with a repeat prefix they are undefined; the disassembler does not say so
        assert found.get(address) == site
    for address, site in found.items():
        if address in begins and site.op is not Op.PAUSE:
            assert address in expected or b"\xf0" in code or site.op in (Op.RDRAND, Op.RDSEED, Op.RDPID), site


@pytest.mark.parametrize(
    ("code", "site"),
    [
        ("0f31", Intercept(BASE, 2, Op.RDTSC)),
        ("0f32", Intercept(BASE, 2, Op.RDMSR)),
        ("0f30", Intercept(BASE, 2, Op.WRMSR)),
        ("0f01f9", Intercept(BASE, 3, Op.RDTSCP)),
        ("f390", Intercept(BASE, 2, Op.PAUSE)),
        ("e6e4", Intercept(BASE, 2, Op.TRAP)),
        ("0fc7f0", Intercept(BASE, 3, Op.RDRAND, 0, 32)),
        ("480fc7f3", Intercept(BASE, 4, Op.RDRAND, 3, 64)),
        ("490fc7f7", Intercept(BASE, 4, Op.RDRAND, 15, 64)),
        ("66410fc7f1", Intercept(BASE, 5, Op.RDRAND, 9, 16)),
        ("0fc7fa", Intercept(BASE, 3, Op.RDSEED, 2, 32)),
        ("f30fc7f9", Intercept(BASE, 4, Op.RDPID, 1, 64)),
        ("480f31", Intercept(BASE, 3, Op.RDTSC)),
        ("2e660f32", Intercept(BASE, 4, Op.RDMSR)),
    ],
)
def test_64_bit_encodings(code: str, site: Intercept) -> None:
    assert site in find_intercepts(BASE, bytes.fromhex(code), 64)


def test_cmpxchg8b_is_none() -> None:
    assert find_intercepts(BASE, bytes.fromhex("0fc708480fc70e"), 64) == []


# Port accesses


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=40),
        st.lists(st.sampled_from([*PIECES, b"\xec", b"\xef", b"\x6d", b"\x6e", b"\xe5\x60"])).map(b"".join),
    ),
    modes,
)
def test_port_accesses_against_a_disassembler(code: bytes, mode: int) -> None:
    engine = capstone.Cs(capstone.CS_ARCH_X86, MODES[mode])
    engine.skipdata = True
    expected = {}
    for address, length, name, operands in engine.disasm_lite(code, BASE):
        mnemonic = name.split()[-1] if name else ""
        if mnemonic not in {"in", "out", "insb", "insw", "insd", "outsb", "outsw", "outsd"}:
            continue
        if mnemonic in {"in", "out"}:
            data, port = operands.split(", ") if mnemonic == "in" else reversed(operands.split(", "))
            bits = {"al": 8, "ax": 16, "eax": 32}[data]
            expected[address] = (length, IN_DX if port == "dx" else int(port, 0) & 0xFF, bits)
        else:
            expected[address] = (length, IN_DX, {"b": 8, "w": 16, "d": 32}[mnemonic[-1]])
    found = {site.address: (site.length, site.register, site.bits) for site in find_port_accesses(BASE, code, mode)}
    assert found == expected


# And on the machine


def ran(machine: Machine) -> Machine:
    assert machine.run(max_insns=100).reason == "halted"
    return machine


def test_prefixed_rdtsc_is_ours_too() -> None:
    # REX.W RDTSC; MOV ESI, EAX; HLT: the same twice only if the host's time stamp counter is not read
    code = b"\x48\x0f\x31\x89\xc6\xf4"
    first, second = ran(long_mode(code)), ran(long_mode(code))
    assert first.cpu.get("rsi") == second.cpu.get("rsi") < 1000


def test_inc_before_rdrand_in_32_bit_code() -> None:
    machine = ran(protected(b"\xb8\x05\x00\x00\x00\x40\x89\xc6\x40\x0f\xc7\xf3\xf4"))
    assert machine.cpu.get("rsi") == 6
    assert machine.cpu.get("rax") == 7, "INC EAX, not a prefix"
    assert machine.cpu.get("rbx") == ran(protected(b"\x0f\xc7\xf3\xf4")).cpu.get("rbx") != 0


def test_rdrand_has_16_bits_in_16_bit_code() -> None:
    machine = ran(real(b"\x66\xbb\x78\x56\x34\x12\x0f\xc7\xf3\xf4"))
    assert machine.cpu.get("rbx") >> 16 == 0x1234
    machine = ran(real(b"\x66\x0f\xc7\xf3\xf4"))
    assert machine.cpu.get("rbx") >> 16 != 0


def test_a_site_within_another_instruction_never_fires() -> None:
    # MOV EAX, 0x9090310F has RDTSC in its operand
    machine = ran(protected(b"\xb8\x0f\x31\x90\x90\xf4"))
    assert machine.cpu.get("rax") == 0x9090310F
    # ... and jumping into it executes that
    machine = ran(protected(b"\xeb\x01\xb8\x0f\x31\x90\x90\xf4"))
    assert machine.cpu.get("rax") < 1000
    assert machine.cpu.get("rip") == ORIGIN + 8


def patching(first: bytes, second: bytes) -> bytes:
    """64-bit code that executes `first`, writes `second` (8 bytes both) over it and executes that, counting in EBX."""
    code = b"\x31\xdb" + first  # XOR EBX, EBX
    code += b"\xff\xc3\x83\xfb\x02"  # INC EBX; CMP EBX, 2
    tail = b"\x48\xbf" + (ORIGIN + 2).to_bytes(8, "little") + b"\x48\xb8" + second + b"\x48\x89\x07"
    back = -(len(code) + 2 + len(tail) + 2 - 2)
    return code + b"\x74" + bytes((len(tail) + 2,)) + tail + b"\xeb" + bytes((back & 0xFF,)) + b"\xf4"


@pytest.mark.parametrize(
    "second",
    [
        "0faee80f31909090",  # LFENCE; RDTSC, as kernels make it of RDTSC (arch/x86/include/asm/msr.h, rdtsc_ordered())
        "0f01f99090909090",  # RDTSCP
        "90900f3190909090",  # NOP; NOP; RDTSC
        "31c031d290909090",  # no site at all
    ],
)
def test_code_that_is_patched_is_what_runs(second: str) -> None:
    code = patching(bytes.fromhex("0f31909090909090"), bytes.fromhex(second))
    machine = ran(long_mode(code))
    assert machine.cpu.get("rbx") == 2
    assert machine.cpu.get("rip") == ORIGIN + len(code)
    again = ran(long_mode(code))
    assert machine.cpu.get("rax") == again.cpu.get("rax") < 1000
    if second.startswith("31c0"):
        assert machine.cpu.get("rax") == 0
