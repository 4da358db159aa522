"""Real gdb and a stock kernel: a session from reset to power-off, and the record that does not show it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from efishim.image.cachedir import cache_directory
from efishim.image.facts import KernelCache
from efishim.image.opened import open_image
from efishim.image.symbol_file import symbol_file
from efishim.lab import record as records
from tests.kernels.conftest import CMDLINE
from tests.support.runs import LIMIT, efishim_run

pytestmark = pytest.mark.kernel

TRACED = 25


def test_a_session_with_gdb_leaves_the_record_as_it_is(cloud_kernel: Path, shared: Path, tmp_path: Path) -> None:
    arguments = ("-p", "hvmlite", "-e", "pvh", "-a", CMDLINE)
    plain = efishim_run(shared / f"{cloud_kernel.name}-pvh", cloud_kernel, *arguments)
    image = open_image(cloud_kernel.read_bytes(), path=str(cloud_kernel), cache=KernelCache(cache_directory(os.environ)))
    assert image.kernel is not None
    assert image.symbols is not None
    startup, start_kernel = image.kernel.entry, image.symbols.address_of("start_kernel")
    assert start_kernel is not None
    gdb = shutil.which("gdb")
    assert gdb is not None, "gdb is not installed"
    script = tmp_path / "script.gdb"
    (tmp_path / "vmlinux.sym").write_bytes(symbol_file(image.symbols))
    commands = (
        *(
            "set pagination off",
            "set confirm off",
            f"symbol-file {tmp_path / 'vmlinux.sym'}",
            f"target remote {tmp_path / 'gdb.sock'}",
        ),
        *("monitor where", "stepi", f"hbreak *{startup:#x}", "break *start_kernel", "continue", "monitor where"),
        *("x/1xh $rsi + 0x206", "x/1xb $rsi + 0x210", "stepi 20", "continue", "monitor where", "p/x $pc", "continue"),
    )
    script.write_text("\n".join(commands))
    waiting = f"until [ -S {tmp_path}/gdb.sock ]; do sleep 0.1; done; exec {gdb} -nx -batch -x {script}"
    with subprocess.Popen(["sh", "-c", waiting], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as session:
        try:
            looked = efishim_run(
                tmp_path / "looked",
                cloud_kernel,
                *arguments,
                "--gdb",
                str(tmp_path / "gdb.sock"),
                "-S",
                "--break",
                "rest_init",
                "--trace",
                str(TRACED),
            )
            shown, _ = session.communicate(timeout=LIMIT)
        finally:
            session.kill()
    assert "32-bit code at" in shown, "the PVH entry"
    assert f"64-bit code at {startup:#x}" in shown
    assert "start_kernel+0x0" in shown
    # What the kernel's own PVH code writes (arch/x86/platform/pvh/enlighten.c): version and, without Xen, type_of_loader.
    assert re.findall(r"^0x[0-9a-f]+:\t(0x\w+)$", shown, re.MULTILINE) == ["0x020c", "0xb0"]
    assert f"= {start_kernel:#x}" in shown
    assert "exited normally" in shown
    assert looked.status == 0
    assert "break: rest_init, hit 1" in looked.stderr
    assert len(re.findall(r"^ +[\d,]+  0x[0-9a-f]{16}  ", looked.stderr, re.MULTILINE)) == TRACED
    assert looked.repeatable == plain.repeatable
    assert records.without_wall_clock(looked.record).coverage == records.without_wall_clock(plain.record).coverage
