"""Real gdb on a guest program that goes from 16-bit over 32-bit to 64-bit code."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.debug.client import debugged
from tests.debug.program import BEHIND, LOOPS, NARROW, STORE, TOTAL, WIDE
from tests.machine.guest import ORIGIN, TABLES
from tests.machine.test_debugging import run

pytestmark = pytest.mark.slow


def gdb(folder: Path, *commands: str) -> str:
    """What gdb prints for a script."""
    program = shutil.which("gdb")
    assert program is not None, "gdb is not installed"
    script = folder / "script.gdb"
    script.write_text("\n".join(("set pagination off", "set confirm off", f"target remote {folder / 'gdb.sock'}", *commands)))
    done = subprocess.run(
        [program, "-nx", "-batch", "-x", str(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    return done.stdout + done.stderr


def test_a_session_steps_through_all_modes(tmp_path: Path) -> None:
    with debugged(tmp_path) as (guest, _):
        shown = gdb(
            tmp_path,
            *("monitor where", "p/x $cs", "p/x $cr0"),
            *("stepi", "stepi", "stepi", "stepi", "stepi", "monitor where", f"x/2xb {NARROW:#x}"),
            *("stepi 17", "monitor where", "p/x $efer", "p/x $cr3", "stepi"),
            *(
                f"break *{BEHIND:#x}",
                "continue",
                "p/x $rip",
                f"p/x *(long *){TOTAL:#x} == $rax",
                "p $ecx",
                "delete",
                "continue",
            ),
        )
        assert f"16-bit code at {ORIGIN:#x}" in shown
        assert f"32-bit code at {NARROW:#x}" in shown, shown
        assert f"64-bit code at {WIDE:#x}" in shown
        values = re.findall(r"^\$\d+ = (\S+)", shown, re.MULTILINE)
        assert values == [hex(ORIGIN >> 4), "0x10", "0x500", hex(TABLES), hex(BEHIND), "0x1", str(LOOPS)]
        assert "exited normally" in shown
        assert guest.over().reason == "halted"
        assert guest.machine.engine.native.blocks() == run()[0].engine.native.blocks()
        assert guest.machine.insns == run()[0].insns
        assert guest.machine.debugging is not None
        assert not guest.machine.debugging.written


def test_a_session_goes_to_the_last_mode_at_once(tmp_path: Path) -> None:
    with debugged(tmp_path) as (guest, _):
        shown = gdb(tmp_path, f"hbreak *{WIDE:#x}", "continue", "monitor where", "p/x $efer", "delete", "continue")
        assert f"64-bit code at {WIDE:#x}" in shown
        assert re.findall(r"^\$\d+ = (\S+)", shown, re.MULTILINE) == ["0x500"]
        assert guest.over().reason == "halted"


def test_watchpoints_and_changes_by_gdb(tmp_path: Path) -> None:
    with debugged(tmp_path) as (guest, _):
        shown = gdb(
            tmp_path,
            *(f"hbreak *{STORE:#x}", "continue", "delete", f"watch *(long *){TOTAL:#x}", "continue", "p/x $rip", "delete"),
            *("set $rcx = 1", "set $xmm1.v2_int64[0] = 0x1122334455667788", "p/x $xmm1.v2_int64[0]"),
            *(f"set *(int *){TOTAL + 0x100:#x} = 0x12345678", "kill"),
        )
        assert "Hardware watchpoint" in shown
        assert "New value" in shown
        assert re.findall(r"^\$\d+ = (\S+)", shown, re.MULTILINE) == [hex(BEHIND), "0x1122334455667788"]
        assert guest.over().reason == "interrupted"
        assert guest.machine.cpu.get("rcx") == 1
        assert guest.machine.debugging is not None
        assert guest.machine.debugging.written
        assert guest.machine.memory.u32(TOTAL + 0x100) == 0x12345678
