"""QEMU's monitor, read: excerpts of what QEMU 7.2 printed at three entries of Debian's 6.1 kernel."""

from __future__ import annotations

import pytest

from efishim.oracle.channels import OracleError
from efishim.oracle.cpu import parse_registers

LONG = """\r
CPU#0\r
RAX=000000001d7d6018 RBX=0000000000000000 RCX=000000001d7e9418 RDX=000000001f5eb018\r
RSI=0000000000000038 RDI=000000001d7d6018 RBP=000000001fea0ba8 RSP=000000001fea0978\r
R8 =00000000000000af R9 =000000001f4ebf01 R10=0000000000000025 R11=0000000000000000\r
R12=000000001d7d6040 R13=0000000000000000 R14=000000001fea0ad0 R15=0000000000000000\r
RIP=000000001c946e97 RFL=00000246 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0\r
ES =0030 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]\r
CS =0038 0000000000000000 ffffffff 00af9a00 DPL=0 CS64 [-R-]\r
SS =0030 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]\r
DS =0030 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]\r
FS =0030 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]\r
GS =0030 0000000000000000 ffffffff 00cf9300 DPL=0 DS   [-WA]\r
LDT=0000 0000000000000000 0000ffff 00008200 DPL=0 LDT\r
TR =0000 0000000000000000 0000ffff 00008b00 DPL=0 TSS64-busy\r
GDT=     000000001f5db000 00000047\r
IDT=     000000001f07b018 00000fff\r
CR0=80010033 CR2=0000000000000000 CR3=000000001f801000 CR4=00000668\r
DR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 DR3=0000000000000000 \r
DR6=00000000ffff0ff0 DR7=0000000000000400\r
EFER=0000000000000d00\r
FCW=037f FSW=0000 [ST=0] FTW=00 MXCSR=00001f80\r
"""
REAL = """\r
CPU#0\r
EAX=000000d6 EBX=00009f5d ECX=00000000 EDX=1ffd9b98\r
ESI=000000d6 EDI=0000919e EBP=1ffd9b91 ESP=00009000\r
EIP=00000000 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=0\r
ES =9000 00090000 0000ffff 00009300\r
CS =9020 00090200 0000ffff 00009e00\r
SS =9000 00090000 0000ffff 00009300\r
DS =9000 00090000 0000ffff 00009300\r
FS =9000 00090000 0000ffff 00009300\r
GS =9000 00090000 0000ffff 00009300\r
LDT=0000 00000000 0000ffff 00008200\r
TR =0000 00000000 0000ffff 00008b00\r
GDT=     00008170 00000028\r
IDT=     00000000 000003ff\r
CR0=00000010 CR2=00000000 CR3=00000000 CR4=00000000\r
EFER=0000000000000000\r
"""


def test_long_mode() -> None:
    values = parse_registers(LONG)
    assert (values["rax"], values["r8"], values["r12"], values["rip"]) == (0x1D7D6018, 0xAF, 0x1D7D6040, 0x1C946E97)
    assert (values["eflags"], values["cr0"], values["cr3"], values["efer"]) == (0x246, 0x80010033, 0x1F801000, 0xD00)
    assert (values["cs"], values["cs.base"], values["cs.limit"], values["cs.flags"]) == (0x38, 0, 0xFFFFFFFF, 0xAF9A00)
    assert (values["tr"], values["tr.limit"], values["ldtr.flags"]) == (0, 0xFFFF, 0x8200)
    assert (values["gdtr.base"], values["gdtr.limit"]) == (0x1F5DB000, 0x47)
    assert (values["idtr.base"], values["idtr.limit"]) == (0x1F07B018, 0xFFF)


def test_real_mode() -> None:
    values = parse_registers(REAL)
    assert (values["rax"], values["rbp"], values["rsp"], values["rip"]) == (0xD6, 0x1FFD9B91, 0x9000, 0)
    assert (values["eflags"], values["cr0"]) == (2, 0x10)
    assert (values["cs"], values["cs.base"], values["cs.flags"]) == (0x9020, 0x90200, 0x9E00)
    assert "r8" not in values


def test_what_is_missing_is_named() -> None:
    with pytest.raises(OracleError, match=r"does not show cs\.flags, idtr\.limit"):
        parse_registers(LONG.replace("CS =", "XX =").replace("IDT=     000000001f07b018 00000fff", ""))
