"""The shim under the real processor emulation: what the fake board cannot show.

The programs are a few dozen bytes each, assembled with nasm; their source stands beside them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from efishim.firmware.shim import Shim, ShimConfig
from efishim.machine.machine import Machine, Stop
from tests.firmware.fake import TOP
from tests.support.images import PE_AT, SectionSpec, build_pe
from tests.support.protocols import add_shipped

RAM = 64 << 20
TEXT = 0x1000
READ_WRITE_EXECUTE, READ_EXECUTE, READ_WRITE = 0xE0000020, 0x60000020, 0xC0000040


def image(code: str, *, characteristics: int = READ_WRITE_EXECUTE, data: bytes = b"") -> bytes:
    """An EFI application of the given instructions, and a data section at 0x2000."""
    text = bytes.fromhex(code)
    sections = [SectionSpec(b".text", TEXT, text, max(len(text), 0x200), characteristics)]
    if data:
        sections.append(SectionSpec(b".data", 0x2000, data, len(data), READ_WRITE))
    return build_pe(sections, size_of_image=0x3000)


def shim_on_machine(**config: Any) -> tuple[Shim, Machine, list[str]]:
    """A shim on a machine that has no devices, and its console."""
    machine = Machine()
    machine.memory.add(0, RAM)
    machine.power_on()
    console: list[str] = []
    chosen = replace(ShimConfig(memory=((0, 0xA0000, 1), (1 << 20, RAM - (1 << 20), 1))), **config)
    shim = Shim(machine, chosen, console.append, add_shipped)
    machine.on_fetch_fault = shim.on_fetch_fault
    machine.halt_ends = shim.events.halt_ends
    return shim, machine, console


def run(program: bytes, **config: Any) -> tuple[Stop, Shim, Machine, str]:
    """Boot a program; gives why the machine stopped, and the console."""
    shim, machine, console = shim_on_machine(**config)
    shim.boot(program)
    return machine.run(max_insns=20_000_000), shim, machine, "".join(console)


def test_a_program_that_returns() -> None:
    """mov eax, 0xbeef; ret"""
    stop, shim, _, _ = run(image("b8efbe0000c3"))
    assert stop.reason == "image returned 0xbeef"
    assert shim.result == 0xBEEF


HELLO = """4883ec28 488b4a40 488d1511000000 ff5108 4883c428 c3 909090909090909090
           4800 6900 0000"""
"""sub rsp, 0x28; mov rcx, [rdx+64] (ConOut); lea rdx, [text]; call [rcx+8] (OutputString); add rsp, 0x28; ret"""


@pytest.mark.parametrize("strict", [False, True])
def test_services_are_called_through_the_tables(strict: bool) -> None:
    program = image(HELLO, characteristics=READ_EXECUTE)
    stop, shim, _, console = run(program, strict_nx=strict)
    assert stop.reason == "image returned EFI_SUCCESS"
    assert console == "Hi"
    assert [call.service for call in shim.calls] == ["SimpleTextOutput.OutputString"]


TIMER = """
53564883ec38488b5a60b900020080ba080000004c8d059600000041b934120000488d05b80000004889442420ff53504885c075
74488b0da4000000ba0100000041b810270000ff53584885c0755a48b8887766554433221166480f6ec066480f6ee84889c64989
c2fd833d7f0000000372f79c5afc66480f7ec166490f7ee84839f1751f4939f0751a4939f275154839f07510f7c2000400007408
8b054e000000eb05b899000000fc4883c4385e5bc381fa341200007506ff0531000000660fefc0660fefed31c031c94d31c04d31
d24d31dbfcc390909090909090909090000000000000000000000000000000000000000000000000
"""
"""A periodic timer of 1 ms interrupts a loop until its notify function has counted to three. The loop holds a pattern in
RAX, R10, XMM0, XMM5 and the direction flag; the function clears them all. Gives the count, or 0x99 when one was lost.

    push rbx; push rsi; sub rsp, 0x38; mov rbx, [rdx+96]
    mov ecx, 0x80000200; mov edx, 8; lea r8, [notify]; mov r9d, 0x1234; lea rax, [event]; mov [rsp+0x20], rax
    call [rbx+0x50] (CreateEvent); test rax, rax; jnz out
    mov rcx, [event]; mov edx, 1; mov r8d, 10000; call [rbx+0x58] (SetTimer); test rax, rax; jnz out
    mov rax, 0x1122334455667788; movq xmm0, rax; movq xmm5, rax; mov rsi, rax; mov r10, rax; std
    wait: cmp dword [count], 3; jb wait
    pushfq; pop rdx; cld; movq rcx, xmm0; movq r8, xmm5
    (cmp rcx, r8, r10 and rax with rsi; test edx, 0x400; jne, jz bad) mov eax, [count]; jmp out; bad: mov eax, 0x99
    out: cld; add rsp, 0x38; pop rsi; pop rbx; ret
    notify: cmp edx, 0x1234; jne skip; inc dword [count]; skip: pxor xmm0, xmm0; pxor xmm5, xmm5
    xor eax, eax; xor ecx, ecx; xor r8, r8; xor r10, r10; xor r11, r11; cld; ret; event: dq 0, 0; count: dq 0
"""


def test_a_timer_interrupts_code_without_a_trace() -> None:
    stop, shim, machine, _ = run(image(TIMER))
    assert shim.result == 3, stop
    assert machine.clock.now >= 3_000_000
    assert shim.dispatcher.depth == 0


WAIT = """
534883ec30488b5a60b90000008031d24531c04531c9488d05430000004889442420ff5350488b0d34000000ba0200000041b800
2d3101ff5358b901000000488d151a0000004c8d051b000000ff53604883c4305bc3909090909090909090900000000000000000
00000000000000000000000000000000
"""
"""CreateEvent(EVT_TIMER), SetTimer(TimerRelative, 2 s), WaitForEvent; gives its status."""


def test_waiting_executes_next_to_nothing() -> None:
    stop, shim, machine, _ = run(image(WAIT))
    assert stop.reason == "image returned EFI_SUCCESS"
    assert 2_000_000_000 <= machine.clock.now < 2_001_000_000
    assert machine.insns < 1000
    assert machine.now() == machine.clock.now
    assert [call.service.partition(".")[2] for call in shim.calls] == ["CreateEvent", "SetTimer", "WaitForEvent"]


def test_an_exception_is_told() -> None:
    """ud2"""
    stop, shim, _, _ = run(image("0f0b"))
    fault = shim.environment.fault
    assert fault is not None
    assert fault.vector == 6
    assert fault.rip % 0x1000 == 0
    assert stop.reason.startswith("firmware exception: unhandled #UD")


JUMP_TO_DATA = "488d05f90f0000 ffe0"
"""lea rax, [0x2000]; jmp rax"""


def test_lax_firmware_runs_data() -> None:
    stop, shim, _, _ = run(image(JUMP_TO_DATA, characteristics=READ_EXECUTE, data=bytes.fromhex("b807000000c3")))
    assert shim.result == 7, stop


def test_strict_firmware_does_not() -> None:
    program = image(JUMP_TO_DATA, characteristics=READ_EXECUTE, data=bytes.fromhex("b807000000c3"))
    stop, shim, _, _ = run(program, strict_nx=True)
    fault = shim.environment.fault
    assert fault is not None
    assert (fault.vector, fault.error) == (14, 0x11), "a fetch from a present page"
    assert fault.rip == fault.cr2
    assert fault.rip % 0x1000 == 0
    assert "#PF" in stop.reason


STORE_TO_CODE = "c605f9ffffff00 c3"
"""mov byte [rip-7], 0; ret"""


def test_strict_firmware_protects_code() -> None:
    stop, shim, _, _ = run(image(STORE_TO_CODE, characteristics=READ_EXECUTE), strict_nx=True)
    fault = shim.environment.fault
    assert fault is not None
    assert (fault.vector, fault.error) == (14, 3), "a write to a present page"
    assert "#PF" in stop.reason
    lax, *_ = run(image(STORE_TO_CODE, characteristics=READ_EXECUTE))
    assert lax.reason.startswith("image returned")


def test_a_violation_names_the_section() -> None:
    program = image(JUMP_TO_DATA, characteristics=READ_EXECUTE, data=bytes.fromhex("b807000000c3"))
    assert run(program, strict_nx=True)[0].reason.endswith(": .data of the image may not be executed")
    program = image(STORE_TO_CODE, characteristics=READ_EXECUTE)
    assert run(program, strict_nx=True)[0].reason.endswith(": .text of the image may not be written to")


JUMP_TO_STACK = "6a c3 ffe4"
"""push 0xc3; jmp rsp"""


def test_a_violation_outside_of_images_names_the_memory() -> None:
    stop, *_ = run(image(JUMP_TO_STACK, characteristics=READ_EXECUTE), strict_nx=True)
    assert stop.reason.endswith(": memory of the type BOOT_SERVICES_DATA may not be executed")


@pytest.mark.parametrize("strict", [False, True])
def test_a_page_that_is_not_there_violates_nothing(strict: bool) -> None:
    """mov rax, 1 << 46; jmp rax"""
    stop, *_ = run(image("48b80000000000400000 ffe0", characteristics=READ_EXECUTE), strict_nx=strict)
    assert "#PF" in stop.reason
    assert not stop.reason.endswith("executed")


@pytest.mark.parametrize("characteristics", [READ_WRITE_EXECUTE, READ_WRITE])
def test_strict_firmware_leaves_an_image_without_code_as_it_is(characteristics: int) -> None:
    """ProtectUefiImage() gives up where no section is code (until edk2-stable202402)."""
    program = image(JUMP_TO_DATA, characteristics=characteristics, data=bytes.fromhex("b807000000c3"))
    assert run(program, strict_nx=True)[1].result == 7


@pytest.mark.parametrize("alignment", [0x20, 0x200, 0x800])
def test_strict_firmware_leaves_sections_that_share_pages_as_they_are(alignment: int) -> None:
    """5.10 is such an image."""
    program = bytearray(image(JUMP_TO_DATA, characteristics=READ_EXECUTE, data=bytes.fromhex("b807000000c3")))
    at = PE_AT + 24 + 32  # SectionAlignment in the optional header
    assert program[at : at + 4] == b"\0\x10\0\0"
    program[at : at + 4] = alignment.to_bytes(4, "little")
    assert run(bytes(program), strict_nx=True)[1].result == 7


@pytest.mark.parametrize("nx_compat", [False, True])
def test_strict_firmware_protects_images_with_nx_compat(nx_compat: bool) -> None:
    """memtest86+ has a section of code on pages of its own, writes to it, and runs on strict builds of EDK II, whose
    PcdImageProtectionPolicy leaves out images from disk.
    """
    text = SectionSpec(b".text", TEXT, bytes.fromhex(STORE_TO_CODE), 0x200, READ_EXECUTE)
    program = build_pe([text], size_of_image=0x3000, dll_characteristics=0x100 if nx_compat else 0)
    reason = run(program, strict_nx=True)[0].reason
    assert reason.endswith("may not be written to") if nx_compat else reason.startswith("image returned")


def test_a_handed_over_image_may_be_executed_and_written() -> None:
    """mov byte [rip], 0xb0; (mov al,) 7; movzx eax, al; ret: its loader has opened its memory."""
    for strict in (False, True):
        assert handed_over("c60500000000b0 0007 0fb6c0 c3", strict=strict)[1].result == 7


READ_CONTROL_REGISTERS = "0f20c0 0f20e1 48c1e120 4809c8 c3"
"""mov rax, cr0; mov rcx, cr4; shl rcx, 32; or rax, rcx; ret"""


def test_the_guest_sees_the_calling_state() -> None:
    """CR0 and CR4 as OVMF has them when it calls an image."""
    _, shim, _, _ = run(image(READ_CONTROL_REGISTERS))
    assert shim.result == (0x668 << 32 | 0x80010033) % TOP


PLACE = 0x1000000


def handed_over(code: str, *, strict: bool = False, **registers: int) -> tuple[Stop, Shim]:
    """Run code that a loader has put at PLACE, as a kernel at its handover entry: RDI is the image handle, RSI the system
    table.
    """
    shim, machine, _ = shim_on_machine(cmdline=b"quiet", reserved=((PLACE, 0x2000),), strict_nx=strict)
    machine.memory.write(PLACE, bytes.fromhex(code))
    image = shim.adopt(PLACE, 0x2000)
    known = {"rdi": image.handle, "rsi": shim.tables.system}
    shim.enter(PLACE, known | registers, image)
    return machine.run(max_insns=1_000_000), shim


OPTIONS = """
534883ec20488b5e604889f9488d15250000004c8d052e000000ff93980000004885c0750d488b051c000000488b40388b004883
c4205bc3a1311b5b6295d2118e3f00a0c969723b0000000000000000
"""
"""HandleProtocol(RDI, LoadedImage), then the first two characters of its LoadOptions; or the status.

    push rbx; sub rsp, 0x20; mov rbx, [rsi+96]; mov rcx, rdi; lea rdx, [guid]; lea r8, [interface]
    call [rbx+152]; test rax, rax; jnz out; mov rax, [interface]; mov rax, [rax+56]; mov eax, [rax]
    out: add rsp, 0x20; pop rbx; ret; guid: ...; interface: dq 0
"""


def test_a_handover_gets_its_command_line() -> None:
    stop, shim = handed_over(OPTIONS)
    assert shim.result == int.from_bytes("qu".encode("utf-16-le"), "little"), stop


EXIT = "488b4660 4889f9 ba07000000 4531c0 4531c9 4883ec28 ff90d8000000 0f0b"
"""mov rax, [rsi+96]; mov rcx, rdi; mov edx, 7; xor r8d, r8d; xor r9d, r9d; sub rsp, 0x28; call [rax+216] (Exit); ud2"""


def test_a_handover_can_leave_by_exit() -> None:
    stop, shim = handed_over(EXIT)
    assert stop.reason == "image returned EFI_WARN_RESET_REQUIRED"
    assert shim.images.current is None


def test_a_handover_gets_the_registers_of_its_loader() -> None:
    """mov rax, rdx; ret"""
    _, shim = handed_over("4889d0c3", rdx=0x9_0000)
    assert shim.result == 0x9_0000


HALTS = """
534883ec30488b5a60b900020080ba080000004c8d05400000004531c9488d053d0000004889442420ff5350488b0d2e000000ba
0100000041b810270000ff5358b9{tpl}000000ff5318f4f4f4f4f48b05150000004883c4305bc3ff0509000000c3000000000000
000000000000
"""
"""A periodic timer of 1 ms with a notify function at TPL_CALLBACK, which counts; RaiseTPL; HLT five times. Gives the count."""

HALTS_ALONE = "488b4260b9{tpl}0000004883ec28ff5018f4f4f431c04883c428c3"
"""RaiseTPL, HLT three times, and back."""

TICK = 10_000_000


@pytest.mark.parametrize("tpl", [8, 9, 16, 30])
def test_the_timer_ends_halt_where_it_notifies_nobody(tpl: int) -> None:
    """As iPXE halts, which runs at TPL_CALLBACK: EDK II's timer interrupt comes at every TPL below TPL_HIGH_LEVEL."""
    stop, shim, machine, _ = run(image(HALTS.format(tpl=f"{tpl:02x}")))
    assert stop.reason.startswith("image returned"), stop
    assert shim.result == 0
    assert machine.clock.now // TICK == 5


def test_a_notification_ends_halt() -> None:
    stop, shim, machine, _ = run(image(HALTS.format(tpl="04")))
    assert shim.result == 5, stop
    assert 5_000_000 <= machine.clock.now < TICK


@pytest.mark.parametrize("tpl", [4, 8, 16])
def test_the_timer_ends_halt_although_nobody_set_one(tpl: int) -> None:
    stop, _, machine, _ = run(image(HALTS_ALONE.format(tpl=f"{tpl:02x}")))
    assert stop.reason == "image returned EFI_SUCCESS"
    assert machine.clock.now // TICK == 3


def test_nothing_ends_halt_at_the_highest_tpl() -> None:
    """Interrupts are off there."""
    assert run(image(HALTS_ALONE.format(tpl="1f")))[0].reason == "halted"


def test_nothing_ends_halt_behind_boot_services() -> None:
    shim, machine, _ = shim_on_machine()
    shim.boot(image(HALTS_ALONE.format(tpl="04")))
    shim.events.active = False
    shim.events.arm_watchdog(0)
    assert machine.run(max_insns=1000).reason == "halted"
