"""Int 10h, without a display and with one."""

from __future__ import annotations

import pytest

from efishim.bios.config import Display
from efishim.bios.video import Teletype
from tests.bios.guest import BUFFER, HLT, After, Guest, call, load, start


@pytest.fixture
def bare() -> Guest:
    return start()


@pytest.fixture
def screen() -> Guest:
    return start(display=Display.TEXT)


def cells(guest: Guest, row: int, column: int, count: int) -> bytes:
    """Characters and attributes of page 0 as a program sees them at 0xb8000."""
    at = 2 * (80 * row + column)
    return b"".join(guest.machine.mmio.read(0xB8000 + at + n, 1).to_bytes(1, "little") for n in range(2 * count))


def test_without_a_display_no_register_changes(bare: Guest) -> None:
    """As SeaBIOS on QEMU's `-vga none`: the vector leads to code that does nothing."""
    given = {"ebx": 0x12345678, "ecx": 0x9ABC0001, "edx": 0xDEF00123, "esi": 1, "edi": 2, "ebp": BUFFER, "es": 0x10}
    functions = [*range(0x20), 0x4F, 0xFE, 0xFF]
    calls = [call(0x10, stc=True, eax=function << 8 | 0x41, **given) for function in functions]
    for function, after in zip(functions, bare.ask(*calls), strict=True):
        assert after["eax"] == function << 8 | 0x41
        assert {name: after[name] for name in given} == given
        assert after.carry  # as it was before


def test_the_data_area_names_no_mode(bare: Guest) -> None:
    assert bare.buffer(0x66 - 0x49, 0x449) == bytes(0x66 - 0x49)
    assert bare.buffer(7, 0x484) == bytes(7)


def teletype(text: str) -> list[bytes]:
    return [call(0x10, eax=0x0E00 | ord(character), ebx=7) for character in text]


def test_text_goes_to_the_console(bare: Guest) -> None:
    bare.ask(*teletype("Hi!\r\n"))
    assert "".join(bare.text) == "Hi!\r\n"
    assert bare.serial == b""  # the console is the caller's, not the guest's serial port


# Code page 437. Without a display nobody knows of rows; with one, text in another row begins a line.
STRINGS = {Display.NONE: "plainco───", Display.TEXT: "plain\r\nco───"}


@pytest.mark.parametrize("display", Display)
def test_strings(display: Display) -> None:
    guest = start(display=display)
    guest.machine.memory.write(BUFFER, b"plain")
    guest.machine.memory.write(BUFFER + 16, b"c\x01o\x02l")
    guest.ask(
        call(0x10, eax=0x1301, ebx=7, ecx=5, edx=0x0200, ebp=BUFFER),
        call(0x10, eax=0x1303, ebx=7, ecx=2, edx=0x0300, ebp=BUFFER + 16),
        call(0x10, eax=0x09C4, ebx=7, ecx=3),
    )
    assert "".join(guest.text) == STRINGS[display]


def test_code_page_and_control_characters() -> None:
    said: list[str] = []
    teletype_ = Teletype(said.append, known=False)
    for column, code in enumerate((7, 0, 27, 0x80, 0xDB, 8)):
        teletype_.put(code, 0, column)
    assert "".join(said) == "Ç█\b"


def draw(character: str, count: int = 1, function: int = 9) -> bytes:
    return call(0x10, eax=function << 8 | ord(character), ebx=7, ecx=count)


def cursor(row: int, column: int) -> bytes:
    return call(0x10, eax=0x0200, edx=row << 8 | column)


ONCE = {
    "drawn, then written": ([draw("A"), *teletype("A")], "A"),
    "drawn twice": ([draw("A"), draw("A")], "A"),
    "drawn by the function without attribute": ([draw("A", function=0xA), *teletype("A")], "A"),
    "coloured, then written": ([draw(" ", 5), *teletype("Hello")], "Hello"),
    "drawn and the cursor moved": ([draw("A"), cursor(0, 1), draw("B"), cursor(0, 2), draw("C")], "ABC"),
    "drawn with blanks between": ([draw("A"), cursor(0, 1), draw(" "), cursor(0, 2), draw("C")], "A C"),
    "blanks behind the text": ([draw("A"), cursor(0, 1), draw(" ", 70)], "A"),
    "a line, coloured as a whole": ([draw(" ", 80), *teletype("one two")], "one two"),
    "a run, then written over": ([draw("-", 3), *teletype("---")], "---"),
    "written elsewhere": ([draw("A"), cursor(0, 5), *teletype("A")], "AA"),
    "written with another character": ([draw("A"), *teletype("B")], "AB"),
    "written twice": (teletype("AA"), "AA"),
    "blanks that are written": (teletype("a  b"), "a  b"),
    "drawn again behind a cleared screen": ([draw("A"), call(0x10, eax=0x0003), draw("A")], "AA"),
}


@pytest.mark.parametrize("display", Display)
@pytest.mark.parametrize("name", ONCE)
def test_the_console_has_the_screen_once(display: Display, name: str) -> None:
    guest = start(display=display)
    calls, text = ONCE[name]
    guest.ask(*calls)
    assert "".join(guest.text) == text


def test_drawing_does_not_move_the_cursor(screen: Guest) -> None:
    answers = screen.ask(cursor(3, 4), draw("A", 7), call(0x10, eax=0x0300))
    assert answers[2]["dx"] == 0x0304
    assert cells(screen, 3, 4, 8) == b"A\x07" * 7 + b" \x07"


def test_a_huge_string_is_bounded(bare: Guest) -> None:
    bare.ask(call(0x10, eax=0x1300, ecx=0xFFFF, ebp=0x8000, es=0xF000), call(0x10, eax=0x0941, ecx=0xFFFF))
    assert len("".join(bare.text)) < 0x1200


def test_mode_and_adapter(screen: Guest) -> None:
    """SeaVGABIOS's answers on QEMU's `-vga std`, but for VBE, which this adapter does not have."""
    mode, cursor, combination, ega, vbe, edid, equipment = screen.ask(
        call(0x10, eax=0x0F00),
        call(0x10, eax=0x0300),
        call(0x10, eax=0x1A00),
        call(0x10, eax=0x1200, ebx=0x10),
        call(0x10, eax=0x4F00),
        call(0x10, eax=0x4F15),
        call(0x11),
    )
    assert (mode["ax"], mode["bh"]) == (0x5003, 0)
    assert (cursor["cx"], cursor["dx"]) == (0x0607, 0)
    assert (combination["al"], combination["bx"]) == (0x1A, 8)
    assert (ega["bx"], ega["cx"]) == (0x0003, 0x0009)
    assert (vbe["ax"], edid["ax"]) == (0x4F00, 0x4F15)
    assert equipment["ax"] & 0x30 == 0x20  # 80 by 25 with colour


def test_what_loaders_read_themselves(screen: Guest) -> None:
    """arch/x86/boot/video.c: columns at 0x44a, rows less one at 0x484, character height at 0x485."""
    memory = screen.machine.memory
    assert (memory.u8(0x449), memory.u16(0x44A), memory.u8(0x484), memory.u16(0x485)) == (3, 80, 24, 16)
    assert memory.u16(0x463) == 0x3D4


def test_teletype_moves_and_scrolls(screen: Guest) -> None:
    outcome = screen.ask(
        call(0x10, eax=0x0200, edx=0x184E),  # row 24, column 78
        *teletype("abc"),
        call(0x10, eax=0x0300),
        *teletype("\r\n\b"),
        call(0x10, eax=0x0300),
    )
    assert cells(screen, 22, 78, 2) == b"a\x07b\x07", "two lines were scrolled by since"
    assert cells(screen, 23, 0, 2) == b"c\x07 \x07"
    assert outcome[4]["dx"] == 0x1801
    assert outcome[8]["dx"] == 0x1800


def test_characters_at_the_cursor(screen: Guest) -> None:
    read = screen.ask(
        call(0x10, eax=0x0200, edx=0x0105),
        call(0x10, eax=0x0941, ebx=0x1E, ecx=3),
        call(0x10, eax=0x0A42, ecx=1),
        call(0x10, eax=0x0800),
        call(0x10, eax=0x0300),
    )
    assert cells(screen, 1, 5, 4) == b"B\x1eA\x1eA\x1e \x07"
    assert read[3]["ax"] == 0x1E42
    assert read[4]["dx"] == 0x0105  # it stayed


def test_scrolling_a_window(screen: Guest) -> None:
    screen.ask(
        *teletype("one\r\ntwo\r\nthree"),
        call(0x10, eax=0x0601, ebx=0x3000, ecx=0x0000, edx=0x0203),  # up, columns 0 to 3, rows 0 to 2
    )
    assert cells(screen, 0, 0, 3)[::2] == b"two"
    assert cells(screen, 1, 0, 5)[::2] == b"three"[:4] + b" "
    assert cells(screen, 2, 0, 5) == b" \x30" * 4 + b"e\x07"


def test_scrolling_down_and_clearing(screen: Guest) -> None:
    screen.ask(*teletype("x"), call(0x10, eax=0x0701, ebx=0x700, edx=0x184F))
    assert cells(screen, 1, 0, 1) == b"x\x07"
    cleared = start(display=Display.TEXT)
    cleared.ask(*teletype("x"), call(0x10, eax=0x0600, ebx=0x1F00, edx=0x184F))
    assert cells(cleared, 0, 0, 1) == b" \x1f"


def test_setting_the_mode(screen: Guest) -> None:
    after = screen.ask(*teletype("x"), call(0x10, eax=0x83), *teletype("y"), call(0x10, eax=3), call(0x10, eax=0x0300))
    assert after[-1]["dx"] == 0
    assert cells(screen, 0, 0, 1) == b" \x07"
    kept = start(display=Display.TEXT)
    kept.ask(*teletype("x"), call(0x10, eax=0x83), call(0x10, eax=0x13))
    assert cells(kept, 0, 0, 1) == b"x\x07"
    assert kept.machine.memory.u8(0x449) == 3  # mode 13h is not there


def test_cursor_page_and_font(screen: Guest) -> None:
    outcome = screen.ask(
        call(0x10, eax=0x0100, ecx=0x2000),
        call(0x10, eax=0x0502),
        call(0x10, eax=0x0200, ebx=0x0200, edx=0x0101),
        call(0x10, eax=0x0F00),
        call(0x10, eax=0x0300, ebx=0x0200),
        call(0x10, eax=0x1130),
    )
    assert outcome[3]["bh"] == 2
    assert (outcome[4]["cx"], outcome[4]["dx"]) == (0x2000, 0x0101)
    assert (outcome[5]["cx"], outcome[5]["dl"], outcome[5]["es"]) == (16, 24, 0xF000)
    assert screen.machine.memory.u16(0x44E) == 0x2000


@pytest.mark.slow
def test_nonsense_is_survived(screen: Guest) -> None:
    wild = [0, 0x7FFFFFFF, 0xFFFFFFFF, 0x80FF80FF]
    outcome: list[After] = screen.ask(
        *(call(0x10, eax=f << 8 | v & 0xFF, ebx=v, ecx=v, edx=v, ebp=v) for f in range(0x20) for v in wild)
    )
    assert len(outcome) == 0x20 * len(wild)


def test_the_guest_draws_itself(screen: Guest) -> None:
    screen.run(load("ds", 0xB800) + b"\xc7\x06\x04\x00\x58\x4f" + HLT)  # mov word [4], 4f58h
    assert cells(screen, 0, 2, 1) == b"X\x4f"
