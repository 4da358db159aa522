"""A stock kernel's own setup code on the BIOS: what it asks, what it makes of the answers, and that userspace comes up."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest

from efishim.bios.config import Display
from efishim.image.opened import open_image
from efishim.lab.record import BootView
from efishim.lab.snapshot.boot_view import boot_view
from efishim.lab.snapshot.processor import capture_cpu
from efishim.platform.definition import MIB
from tests.bios.linux16 import Boot, load

pytestmark = pytest.mark.kernel

PLACEMENT = 2 * MIB
COMMAND_LINE = "console=ttyS0 nokaslr panic=-1"


def at_startup_64(boot: Boot, image: bytes, path: Path) -> BootView:
    """Run to the decompressed kernel's first instruction and decode what it was given."""
    kernel = open_image(image, path=str(path)).kernel
    seen: list[BootView] = []

    def arrived(_pc: int) -> None:
        machine = boot.machine
        state = capture_cpu(machine.cpu, machine.memory)
        seen.append(boot_view(machine.memory, boot_params=machine.cpu.get("rsi"), cpu=state))
        machine.stop("seen")

    boot.machine.watches.add_code(PLACEMENT - 1, kernel.entry % PLACEMENT, kernel.entry_code[:16], arrived)
    assert boot.run(max_insns=500_000_000).reason == "seen"
    return seen[0]


@pytest.mark.parametrize(
    ("display", "screen"),
    [
        # arch/x86/boot/video.c and video-vga.c with an adapter whose int 10h changes nothing: it counts as CGA.
        (Display.NONE, {"mode": 0, "isVGA": 0, "ega_bx": 0x10, "points": 0, "cols": 80, "lines": 25}),
        # As in the dumps of SeaBIOS with a VGA.
        (Display.TEXT, {"mode": 3, "isVGA": 1, "ega_bx": 3, "points": 16, "cols": 80, "lines": 25}),
    ],
    ids=["none", "text"],
)
def test_what_the_kernel_is_told(cloud_kernel: Path, display: Display, screen: dict[str, int]) -> None:
    image = cloud_kernel.read_bytes()
    boot = load(image, COMMAND_LINE, display=display)
    view = at_startup_64(boot, image, cloud_kernel)
    told = view.boot_params
    names = {"mode": "orig_video_mode", "cols": "orig_video_cols", "lines": "orig_video_lines", "points": "orig_video_points"}
    names |= {"isVGA": "orig_video_isVGA", "ega_bx": "orig_video_ega_bx"}
    assert {short: told[f"screen_info.{name}"] for short, name in names.items()} == {**screen}
    memory = [(piece.start, piece.size, piece.kind.value) for piece in boot.bios.memory_map()]
    table = [(entry.addr, entry.size, entry.type) for entry in view.e820]
    assert table == memory
    assert told["acpi_rsdp_addr"] == 0xF0000  # found by its anchor
    assert told["screen_info.ext_mem_k"] == 0xFC00
    assert told["alt_mem_k"] == (memory[3][0] + memory[3][1] - 16 * MIB) // 1024 // 64 * 64 + 0x3C00
    assert (told["eddbuf_entries"], told["edd_mbr_sig_buf_entries"], told["kbd_status"]) == (0, 0, 0)
    assert view.command_line is not None
    assert view.command_line.text == COMMAND_LINE


def test_to_userspace_and_what_was_asked(cloud_kernel: Path) -> None:
    boot = load(cloud_kernel.read_bytes(), "console=ttyS0")
    stop = boot.run(max_insns=4_000_000_000)
    assert stop.reason == "shutdown"
    serial = boot.serial.decode("utf-8", "replace")
    assert "Run /init as init process" in serial
    assert "efishim-init: end" in serial
    assert "".join(boot.text) == "Probing EDD (edd=off to disable)... ok\r\n"
    # The order of arch/x86/boot/main.c: CPU mode, memory, keyboard, IST, EDD (edd.c asks 16 disks), video.
    asked = [name for name, _ in groupby(call.service for call in boot.bios.calls)]
    disks = ["int 13h/41", "int 13h/02"] * 16
    assert asked[: 8 + 32 + 1] == [
        "int 15h/EC00",
        "int 15h/E820",
        "int 15h/E801",
        "int 15h/88",
        "int 16h/02",
        "int 16h/03",
        "int 15h/E980",
        "int 10h/0E",
        *disks,
        "int 10h/0E",
    ]
    assert {name.split("/")[0] for name in asked[41:]} == {"int 10h"}
    assert boot.bios.notes() == ["the BIOS has no int 15h/E980"]
    assert all(call.insns < 1_000_000 for call in boot.bios.calls), "the kernel proper calls nobody"
