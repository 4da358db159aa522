"""One program of BIOS calls, run by efishim's BIOS and by SeaBIOS on QEMU: what comes back in the registers and flags.

Each call's registers go out of the serial port as they are behind the INT. What may differ is told in EXPLAINED.
"""

from __future__ import annotations

import struct
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from efishim.bios.config import Display
from tests.bios.guest import GENERAL, SAVED, call
from tests.bios.linux16 import load
from tests.stubs.conftest import missing_tools_named
from tests.support.qemu import Boot, run

DUMP = bytes.fromhex(
    "fc89e583c502b924008a4600c0e804e813008a4600240fe80b0045e2ecb00ae80b00c224000430"
    "3c39760204275250bafd03eca82074fb58baf803ee5ac3"
)
"""Prints the 36 bytes that `call` leaves on the stack, and takes them off."""
SCRATCH = 0x3000
"""A segment for buffers."""
HEADER_AT, CODE_AT, SETUP_SECTORS = 0x1F1, 0x260, 63

pytestmark = pytest.mark.qemu

VIDEO = {
    f"10/{name}": call(0x10, stc=True, **registers)
    for name, registers in {
        "mode 3": {"eax": 0x0003},
        "mode": {"eax": 0x0F00},
        "cursor at the beginning": {"eax": 0x0300},
        "shape": {"eax": 0x0100, "ecx": 0x0607},
        "move": {"eax": 0x0200, "edx": 0x0305},
        "moved": {"eax": 0x0300},
        "draw": {"eax": 0x0941, "ebx": 0x1E, "ecx": 3},
        "drawn": {"eax": 0x0300},
        "read": {"eax": 0x0800},
        "draw plainly": {"eax": 0x0A42, "ebx": 0x70, "ecx": 1},
        "read the attribute that stayed": {"eax": 0x0800},
        "write": {"eax": 0x0E43, "ebx": 7},
        "written": {"eax": 0x0300},
        "line feed": {"eax": 0x0E0A},
        "carriage return": {"eax": 0x0E0D},
        "behind the line": {"eax": 0x0300},
        "backspace": {"eax": 0x0E08},
        "bell": {"eax": 0x0E07},
        "tab": {"eax": 0x0E09},
        "behind the tab": {"eax": 0x0300},
        "scroll": {"eax": 0x0601, "ebx": 0x0700, "edx": 0x184F},
        "scrolled": {"eax": 0x0300},
        "scroll down": {"eax": 0x0701, "ebx": 0x0700, "edx": 0x184F},
        "other page": {"eax": 0x0501},
        "mode on the page": {"eax": 0x0F00},
        "cursor of the page": {"eax": 0x0300, "ebx": 0x0100},
        "first page": {"eax": 0x0500},
        "cursor of a page that is not": {"eax": 0x0300, "ebx": 0x0900},
        "move to the last cell": {"eax": 0x0200, "edx": 0x184F},
        "write to the last cell": {"eax": 0x0E44, "ebx": 7},
        "scrolled by that": {"eax": 0x0300},
        "string": {"eax": 0x1301, "ebx": 7, "ecx": 3, "edx": 0x0400, "ebp": 0x200, "es": SCRATCH},
        "behind the string": {"eax": 0x0300},
        "string without the cursor": {"eax": 0x1300, "ebx": 7, "ecx": 3, "edx": 0x0600, "ebp": 0x200, "es": SCRATCH},
        "as before the string": {"eax": 0x0300},
        "palette": {"eax": 0x1003, "ebx": 1},
        "font": {"eax": 0x1130, "ebx": 0x0600},
        "ega": {"eax": 0x1200, "ebx": 0x10},
        "scan lines": {"eax": 0x1202, "ebx": 0x30},
        "palette loading": {"eax": 0x1200, "ebx": 0x31},
        "video addressing": {"eax": 0x1200, "ebx": 0x32},
        "grey": {"eax": 0x1200, "ebx": 0x33},
        "cursor emulation": {"eax": 0x1200, "ebx": 0x34},
        "combination": {"eax": 0x1A00},
        "set the combination": {"eax": 0x1A01, "ebx": 8},
        "combination otherwise": {"eax": 0x1A02},
        "function 4": {"eax": 0x0400, "ebx": 0x1234, "ecx": 0x5678, "edx": 0x9ABC},
        "display switch": {"eax": 0x1200, "ebx": 0x35},
        "refresh": {"eax": 0x1200, "ebx": 0x36},
        "function 15": {"eax": 0x1500},
        "function fe": {"eax": 0xFE00},
        "mode 3 again": {"eax": 0x0083},
    }.items()
}
OTHERS = {
    **{f"13/{drive:02x}/{ah:02x}": call(0x13, eax=ah << 8 | 1, edx=drive, es=SCRATCH, ebx=0x100, ecx=1)
       for drive in (0x80, 0x81, 0xFF) for ah in (0, 1, 2, 3, 4, 8, 0xC, 0xD, 0x10, 0x11, 0x15, 0x41, 0x42, 0x48, 0x4B)},
    **{f"15/{ax:04x}": call(0x15, eax=ax, ebx=0x1234, ecx=0x5678, edx=0x9ABC)
       for ax in (0x0000, 0x2402, 0x2404, 0x4F1E, 0x5300, 0x8000, 0x8200, 0x8300, 0x8600, 0x8302, 0x8301, 0x8400, 0x8500,
                  0x9000, 0x9100, 0xC200, 0xC300, 0xC400, 0xC900, 0xD800, 0xE800, 0xE802, 0xE881, 0xE980, 0xEC01, 0xFFFF)},
    **{f"16/{ax:04x}": call(0x16, eax=ax, ecx=0x1E61)
       for ax in (0x0100, 0x1100, 0x0200, 0x1200, 0x0300, 0x0305, 0x0400, 0x0500, 0x0100, 0x0000, 0x0600, 0x0900, 0x0A00,
                  0x9200, 0xA200, 0xFF00)},
    **{f"1a/{ax:04x}": call(0x1A, eax=ax, ecx=0x1234, edx=0x5678)
       for ax in (0x0600, 0x0700, 0x0800, 0x0900, 0x0B00, 0x8000, 0xB000, 0xBB00, 0xFF00)},
    **{f"14/{ah:02x}": call(0x14, eax=ah << 8, edx=3) for ah in (0, 1, 2, 3, 4)},
    **{f"14/{ah:02x}, carry clear": call(0x14, stc=False, eax=ah << 8, edx=dx) for ah, dx in ((3, 3), (9, 0))},
    **{f"17/{ah:02x}": call(0x17, eax=ah << 8, edx=3) for ah in (0, 1, 2, 3)},
}  # fmt: skip
CALLS = {Display.NONE: OTHERS, Display.TEXT: VIDEO}
VGA = {Display.NONE: "none", Display.TEXT: "std"}

EXPLAINED = {
    "10/mode 3.zero": "no function of int 10h says what ZF is; the option ROM's own code sets it",
    "13/80/00.zero": "nor does int 13h",
    "10/font.e[sb]*": "the font lies in the BIOS's ROM; QEMU's adapter has one of its own",
    "13/*/4b.*": "there is no CD whose emulation could be ended",
    "15/5300.*": "there is no APM BIOS",
    "15/c200.*": "there is no mouse port",
    "1a/0[67]00.*": "alarms are not set: nothing here calls int 4Ah",
    "1a/bb00.*": "there is no TCG BIOS",
}
"""Patterns of call and register, and why they may differ."""


def kernel(calls: dict[str, bytes]) -> bytes:
    """A setup part that makes the calls; the protected-mode part is never reached."""
    code = bytearray(b"\xe9" + struct.pack("<H", len(DUMP)) + DUMP)
    for one in calls.values():
        code += one
        code += b"\xe8" + struct.pack("<h", 3 - (len(code) + 3))
    code += b"\x31\xc0\x8e\xd8\x0f\x01\x1e\x00\x7c\xcc"  # a descriptor table of zeroes, INT3
    image = bytearray(CODE_AT) + code
    assert len(image) <= (SETUP_SECTORS + 1) * 512
    image = image.ljust((SETUP_SECTORS + 2) * 512, b"\0")
    struct.pack_into("<BHIHHHH", image, HEADER_AT, SETUP_SECTORS, 0, 1, 0, 0, 0, 0xAA55)
    image[0x200:0x202] = b"\xeb" + bytes([CODE_AT - 0x202])
    struct.pack_into("<4sH", image, 0x202, b"HdrS", 0x0203)
    struct.pack_into("<BHI", image, 0x211, 1, 0x8000, 0x100000)
    struct.pack_into("<I", image, 0x22C, 0x37FF_FFFF)
    return bytes(image)


def answers(calls: dict[str, bytes], serial: str) -> dict[str, int]:
    """Each register behind each call."""
    lines = [line for line in serial.split("\n") if len(line) == 2 * SAVED.size]
    assert len(lines) == len(calls), serial[-500:]
    found: dict[str, int] = {}
    for name, line in zip(calls, lines, strict=True):
        *general, es, flags = SAVED.unpack(bytes.fromhex(line))
        found |= {f"{name}.{register}": value for register, value in zip(reversed(GENERAL), general, strict=True)}
        found |= {f"{name}.es": es, f"{name}.carry": flags & 1, f"{name}.zero": flags >> 6 & 1}
        del found[f"{name}.esp"]
    return found


@pytest.mark.parametrize("display", Display, ids=lambda one: one.value)
def test_the_same_answers(display: Display, tmp_path: Path) -> None:
    calls = CALLS[display]
    image = kernel(calls)
    (tmp_path / "kernel").write_bytes(image)
    (tmp_path / "initrd").write_bytes(b"none")
    boot = Boot(kernel=tmp_path / "kernel", initrd=tmp_path / "initrd", append="", extra=("-vga", VGA[display]))
    with missing_tools_named():
        real = run(boot, tmp_path)
    ours = load(image, "", display=display)
    ours.run(max_insns=20_000_000)
    mine, theirs = answers(calls, ours.serial.decode("latin-1").replace("\r", "")), answers(calls, real.serial)
    different = {name for name, value in mine.items() if theirs[name] != value}
    unexplained = {name for name in different if not any(fnmatchcase(name, pattern) for pattern in EXPLAINED)}
    idle = {pattern for pattern in EXPLAINED if any(fnmatchcase(name, pattern) for name in mine)}
    idle -= {pattern for pattern in EXPLAINED if any(fnmatchcase(name, pattern) for name in different)}
    assert not idle, "these explain nothing"
    assert not unexplained, "\n".join(f"{name}: {mine[name]:#x}, SeaBIOS {theirs[name]:#x}" for name in sorted(unexplained))
