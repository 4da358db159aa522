"""efishim against QEMU TCG with OVMF: the same kernel, ramdisk and command line, side by side in one run.

    python -m benchmarks.vs_qemu KERNEL [-n PAIRS] [-i INITRD] [-a CMDLINE] [--require startup_64=4 ...]

The runs alternate, so that whatever else the machine does hits both. Every time is wall time from just before the
process is started, on both sides.

* startup_64: efishim says so on stderr as it happens. QEMU is asked through its gdb stub, in a run of its own that ends
  there, so that the other times come from an unobserved QEMU (see qemu.py on what the breakpoint costs). The
  address is where the kernel itself reported its code (/proc/iomem, from the reporting init), which is the same in every
  boot with `nokaslr`; that the kernel's entry code lies there is checked at the stop.
* userspace: the first line of the reporting init arrives, by the same rule on both sides.
* exit: the process has ended after power-off.

efishim runs as its users run it, with all observers on and a record written.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import efishim_firmware_stubs

from benchmarks import qemu
from benchmarks.timed import Timed, run_timed
from efishim.image.cachedir import cache_directory
from efishim.image.deb import parse_reference, system_store
from efishim.image.opened import open_image

POINTS = ("startup_64", "userspace", "exit")
USERSPACE = "efishim-init: begin"
KERNEL_CODE = re.compile(r"^\| +([0-9a-f]+)-[0-9a-f]+ : Kernel code", re.MULTILINE)
TIMEOUT = 300.0

Sample = dict[str, float]


@dataclass(frozen=True)
class Job:
    """What both sides boot."""

    kernel: Path
    initrd: Path
    cmdline: str
    memory: int
    folder: Path


def efishim_sample(job: Job) -> Sample:
    """One run of efishim; seconds, and `peak` in MiB."""
    record = job.folder / "record.json"
    command = [
        str(Path(sys.executable).with_name("efishim")), "run", str(job.kernel), "-i", str(job.initrd), "-a", job.cmdline,
        "--no-cache", "-m", f"{job.memory}M", "--record", str(record),
    ]  # fmt: skip
    # The milestone's line begins with the program's name; the console has no such lines.
    done = run_timed(command, {"startup_64": "efishim: startup_64 ", "userspace": USERSPACE}, timeout=TIMEOUT)
    return _checked(done, "efishim", ("startup_64", "userspace"))


def qemu_plain(job: Job) -> tuple[Sample, str]:
    """One run of QEMU without a breakpoint, and its console."""
    command = qemu.command(job.kernel, job.initrd, job.cmdline, job.memory)
    done = run_timed(command, {"userspace": USERSPACE}, timeout=TIMEOUT)
    return _checked(done, "QEMU", ("userspace",)), done.output


def qemu_startup(job: Job, address: int, code: bytes) -> float:
    """Seconds from starting QEMU to the kernel's first instruction at `address`."""
    breakpoint_ = qemu.Breakpoint()
    command = qemu.command(job.kernel, job.initrd, job.cmdline, job.memory) + breakpoint_.arguments
    start = time.perf_counter()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        return breakpoint_.wait(address, code, timeout=TIMEOUT) - start
    finally:
        process.kill()
        process.wait()
        breakpoint_.close()


def measure(job: Job, pairs: int, say: Callable[[str], None]) -> tuple[list[Sample], list[Sample]]:
    """Samples of efishim and of QEMU, as many as `pairs`, taken in turns after one of each to warm the caches up."""
    image = open_image(job.kernel.read_bytes(), path=str(job.kernel)).kernel
    say("warming up")
    efishim_sample(job)
    _, console = qemu_plain(job)
    placed = KERNEL_CODE.search(console)
    if placed is None:
        raise SystemExit("QEMU's console has no report of /proc/iomem: use the reporting init, or an init that prints it")
    address = int(placed[1], 16) + image.entry - image.load_start
    ours, theirs = [], []
    for pair in range(pairs):
        ours.append(efishim_sample(job))
        plain, _ = qemu_plain(job)
        theirs.append({"startup_64": qemu_startup(job, address, image.entry_code[:16]), **plain})
        say(
            f"pair {pair + 1} of {pairs}: "
            + ", ".join(f"{point} {ours[-1][point]:.2f} / {theirs[-1][point]:.2f} s" for point in POINTS)
        )
    return ours, theirs


def table(ours: list[Sample], theirs: list[Sample]) -> str:
    """Medians, and by how much efishim is faster: the ratio of the medians, and that of the worst and the best pair."""
    rows = [f"{'':<12}{'efishim':>10}{'QEMU':>10}{'ratio':>8}   pair by pair"]
    for point in POINTS:
        mine, other = [s[point] for s in ours], [s[point] for s in theirs]
        pairs = [b / a for a, b in zip(mine, other, strict=True)]
        rows.append(
            f"{point:<12}{statistics.median(mine):>8.2f} s{statistics.median(other):>8.2f} s{ratio(ours, theirs, point):>7.2f}x"
            f"   {min(pairs):.2f} to {max(pairs):.2f}"
        )
    peaks = [max(s["peak"] for s in side) for side in (ours, theirs)]
    rows.append(f"{'peak memory':<12}{peaks[0]:>6.0f} MiB{peaks[1]:>6.0f} MiB")
    return "\n".join(rows)


def ratio(ours: list[Sample], theirs: list[Sample], point: str) -> float:
    """How many times faster efishim is to a point, by medians."""
    return statistics.median(s[point] for s in theirs) / statistics.median(s[point] for s in ours)


def machine() -> str:
    """Where this was measured."""
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"^model name\s*: (.*)$", facts, re.MULTILINE)
    emulator = subprocess.run([qemu.QEMU, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    return (
        f"{model[1] if model else platform.processor() or 'unknown processor'}, {os.cpu_count()} processors, "
        f"load {os.getloadavg()[0]:.2f}; Python {platform.python_version()}, unicorn {version('unicorn')}, "
        f"{emulator.splitlines()[0]}"
    )


def _checked(done: Timed, who: str, needed: tuple[str, ...]) -> Sample:
    missing = [name for name in needed if name not in done.marks]
    if done.status or missing:
        wrong = f"status {done.status}" if done.status else f"without {', '.join(missing)}"
        raise SystemExit(f"{who} ended with {wrong}:\n{done.output[-2000:]}")
    return {**done.marks, "exit": done.exit, "peak": done.peak / (1 << 20)}


def _requirement(text: str) -> tuple[str, float]:
    point, _, factor = text.partition("=")
    if point not in POINTS:
        raise argparse.ArgumentTypeError(f"one of {', '.join(POINTS)} and a factor, such as startup_64=4")
    return point, float(factor)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and fail (1) when a requirement is not met."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else None)
    parser.add_argument("kernel", help="path, or deb:PACKAGE")
    parser.add_argument("-n", "--pairs", type=int, default=5, help="measured pairs (default 5)")
    parser.add_argument("-i", "--initrd", type=Path, help="initial ramdisk (default: the reporting init)")
    parser.add_argument("-a", "--append", default="console=ttyS0 nokaslr", help="command line of both (default: %(default)s)")
    parser.add_argument("-m", "--memory", type=int, default=512, help="MiB of guest memory (default 512)")
    parser.add_argument("--require", type=_requirement, action="append", default=[], metavar="POINT=FACTOR",
                        help="fail unless efishim is that many times faster to the point")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the samples there")
    options = parser.parse_args(arguments)
    if "nokaslr" not in options.append.split():
        parser.error("the command line needs nokaslr: the breakpoint in QEMU needs an address")
    if options.pairs < 1:
        parser.error("at least one pair")
    with tempfile.TemporaryDirectory(prefix="efishim-bench-") as folder:
        kernel = Path(options.kernel)
        if options.kernel.startswith("deb:"):
            kernel = system_store(cache_directory(os.environ), os.environ).fetch(parse_reference(options.kernel)).path
        initrd = options.initrd or Path(folder) / "initrd.cpio"
        if options.initrd is None:
            initrd.write_bytes(efishim_firmware_stubs.reporting_initrd())
        job = Job(kernel, initrd, options.append, options.memory, Path(folder))
        where = machine()
        ours, theirs = measure(job, options.pairs, lambda text: print(text, file=sys.stderr, flush=True))
    print(f"{kernel.name}, {options.pairs} pairs, {job.cmdline!r}, {job.memory} MiB\n{where}\n\n{table(ours, theirs)}")
    if options.json:
        document = {"kernel": kernel.name, "machine": where, "efishim": ours, "qemu": theirs}
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    unmet = [(point, factor) for point, factor in options.require if ratio(ours, theirs, point) < factor]
    for point, factor in unmet:
        print(f"not met: {point} {ratio(ours, theirs, point):.2f} times faster, {factor:g} required", file=sys.stderr)
    return 1 if unmet else 0


if __name__ == "__main__":
    sys.exit(main())
