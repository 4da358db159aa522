"""The console of a kernel on real firmware: QEMU with OVMF boots it with an initial ramdisk, cached per session.

A boot takes some seconds, and the same kernel is asked for by several tests; the answer depends only on what goes into
the key of the cache (kernel, ramdisk, command line, QEMU, OVMF), so it is kept in pytest's cache directory.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
from pathlib import Path

import pytest

from efishim.oracle.tools import QEMU, MissingTool, ovmf, qemu


def missing() -> str:
    """Why real firmware cannot be asked on this machine, with the package to install; empty when it can."""
    try:
        qemu()
        ovmf()
    except MissingTool as error:
        return str(error)
    return ""


def ovmf_command(kernel: Path, initrd: Path, cmdline: str, *, memory: int = 512) -> list[str]:
    """QEMU with TCG and OVMF as in shared/oracle, serial console on stdout; `memory` in MiB."""
    code, variables = ovmf()
    return [
        QEMU, "-machine", "pc,accel=tcg", "-cpu", "qemu64", "-m", str(memory), "-smp", "1",
        "-nodefaults", "-net", "none", "-display", "none", "-no-reboot", "-monitor", "none", "-serial", "stdio",
        "-drive", f"if=pflash,format=raw,readonly=on,file={code}",
        "-drive", f"if=pflash,format=raw,snapshot=on,file={variables}",
        "-kernel", str(kernel), "-initrd", str(initrd), "-append", cmdline,
    ]  # fmt: skip


def oracle_log(
    kernel: Path,
    initrd: bytes,
    cache: pytest.Cache,
    *,
    cmdline: str = "console=ttyS0",
    memory: int = 512,
    timeout: float = 600.0,
) -> str:
    """Everything that the kernel printed on QEMU with OVMF until it powered off. Skips the test, with the reason, where
    that cannot be had; fails it when the machine does not power off within `timeout` seconds.
    """
    reason = missing()
    if reason:
        pytest.skip(reason)
    place = cache.mkdir("oracle-log") / f"{_key(kernel, initrd, cmdline, memory)}.txt"
    if place.exists():
        return place.read_bytes().decode("utf-8")
    with tempfile.TemporaryDirectory(prefix="efishim-oracle-") as folder:
        ramdisk = Path(folder) / "initrd.cpio"
        ramdisk.write_bytes(initrd)
        command = ovmf_command(kernel, ramdisk, cmdline, memory=memory)
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired as late:
            tail = (late.stdout or b"")[-2000:].decode("utf-8", "backslashreplace")
            pytest.fail(f"{kernel.name} did not power off on QEMU within {timeout:.0f} s; it ended with:\n{tail}")
    if done.returncode:
        pytest.fail(f"QEMU failed with {kernel.name}: {done.stderr.decode('utf-8', 'backslashreplace')[-2000:]}")
    text = done.stdout.decode("utf-8", "backslashreplace")
    # Whole or not at all: another worker may read it meanwhile.
    partial = place.with_suffix(f".{hashlib.sha256(text.encode()).hexdigest()[:8]}.partial")
    partial.write_bytes(text.encode("utf-8"))
    partial.replace(place)
    return text


def _key(kernel: Path, initrd: bytes, cmdline: str, memory: int) -> str:
    version = subprocess.run([QEMU, "--version"], capture_output=True, timeout=30, check=True).stdout
    parts = (kernel.read_bytes(), initrd, cmdline.encode(), str(memory).encode(), version, ovmf()[0].read_bytes())
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:32]
