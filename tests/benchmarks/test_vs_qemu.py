"""The measuring itself: marks of a process, the conversation with a gdb stub, and the arithmetic."""

from __future__ import annotations

import resource
import socket
import sys
import threading

import pytest

from benchmarks import vs_qemu
from benchmarks.qemu import Breakpoint
from benchmarks.timed import run_timed

SCRIPT = """
import sys, time
print("nothing", flush=True)
time.sleep(0.2)
print("efishim: startup_64 after 1 instructions", file=sys.stderr, flush=True)
time.sleep(1.5)
print("efishim-init: begin", flush=True)
print("efishim-init: begin", flush=True)
held = bytearray(64 << 20)
held[::4096] = b"x" * len(held[::4096])
time.sleep(1.5)
sys.exit(3)
"""


def test_marks_are_noted_when_they_arrive() -> None:
    markers = {"startup_64": "startup_64 after", "userspace": "efishim-init: begin", "never": "never"}
    done = run_timed([sys.executable, "-c", SCRIPT], markers, timeout=30)
    assert set(done.marks) == {"startup_64", "userspace"}
    assert 0.2 < done.marks["startup_64"] < done.marks["userspace"] - 0.15
    assert done.marks["userspace"] < done.exit - 0.15
    assert (done.status, done.output.count("begin")) == (3, 2)
    # A process begins with the peak of the one that started it (fs/exec.c, exec_mmap()), which is that of these tests.
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
    assert 64 << 20 < done.peak <= max(200 << 20, ours)


def test_what_takes_too_long_is_ended() -> None:
    with pytest.raises(SystemExit, match="longer than 1 s"):
        run_timed([sys.executable, "-c", "import time; print('x', flush=True); time.sleep(60)"], {}, timeout=1)


class Stub(threading.Thread):
    """A gdb stub that answers as QEMU does, in pieces of a few bytes."""

    def __init__(self, arguments: list[str], answers: dict[str, str]) -> None:
        super().__init__()
        self.path = arguments[1].split("path=")[1]
        self.answers = answers
        self.asked: list[str] = []

    def run(self) -> None:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(self.path)
            data = b""
            while True:
                if b"#" not in data[:-2]:
                    more = peer.recv(64)
                    if not more:
                        return
                    data += more.lstrip(b"+") if not data else more
                    continue
                packet = data[data.index(b"$") + 1 : data.index(b"#")]
                data = data[data.index(b"#") + 3 :]
                self.asked.append(packet.decode())
                answer = self.answers[packet.decode()[:1]]
                text = f"+${answer}#{sum(answer.encode()) & 0xFF:02x}".encode()
                for at in range(0, len(text), 3):
                    peer.sendall(text[at : at + 3])


def conversation(answers: dict[str, str]) -> list[str]:
    breakpoint_ = Breakpoint()
    stub = Stub(breakpoint_.arguments, answers)
    stub.start()
    try:
        assert breakpoint_.wait(0x1600000, b"\x48\x8d", timeout=10) > 0
    finally:
        breakpoint_.close()
        stub.join(10)
    return stub.asked


def test_the_breakpoint_is_set_reached_and_checked() -> None:
    asked = conversation({"Z": "OK", "c": "T05thread:01;", "m": "488d"})
    assert asked == ["Z1,1600000,1", "c", "m1600000,2"]


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ({"Z": "E22", "c": "T05", "m": "488d"}, "refuses"),
        ({"Z": "OK", "c": "W00", "m": "488d"}, "another reason: W00"),
        ({"Z": "OK", "c": "T05", "m": "9090"}, "is not the kernel"),
    ],
)
def test_other_answers_are_errors(answers: dict[str, str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        conversation(answers)


def test_ratios_are_of_medians_and_the_spread_is_shown() -> None:
    def sample(seconds: float, peak: float) -> vs_qemu.Sample:
        return {"startup_64": seconds, "userspace": 2 * seconds, "exit": 3 * seconds, "peak": peak}

    ours = [sample(1.0, 300), sample(2.0, 310), sample(1.5, 305)]
    theirs = [sample(6.0, 700), sample(6.0, 700), sample(12.0, 710)]
    assert vs_qemu.ratio(ours, theirs, "exit") == pytest.approx(4.0)
    lines = vs_qemu.table(ours, theirs).splitlines()
    assert lines[1].split() == ["startup_64", "1.50", "s", "6.00", "s", "4.00x", "3.00", "to", "8.00"]
    assert lines[-1].split() == ["peak", "memory", "310", "MiB", "710", "MiB"]


def test_where_the_kernel_says_that_it_is() -> None:
    console = "| 01500000-1eaa0000 : System RAM\n|   01600000-025fffff : Kernel code\n|   02800000-02ffffff : Kernel rodata\n"
    placed = vs_qemu.KERNEL_CODE.search(console)
    assert placed is not None
    assert placed[1] == "01600000"


@pytest.mark.parametrize(
    "arguments", [["k", "-a", "console=ttyS0"], ["k", "-n", "0"], ["k", "--require", "lunch=2"], ["k", "--require", "exit=x"]]
)
def test_requests_that_make_no_sense(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        vs_qemu.main(arguments)
    assert refused.value.code == 2
