"""efishim against bare Unicorn: the same instructions from the same state, with and without everything that efishim adds.

    python -m benchmarks.vs_bare KERNEL [-n TIMES]

The instructions are those between two firmware calls of a kernel's EFI stub that lie furthest apart: its decompressor. A first
run finds them and the pages that firmware opens meanwhile. A second one stops at the first of the two calls and forks. The
child puts memory and registers under a Unicorn that has no hook but the one that ends it (OUT); the parent goes on as
always, observers on. Both run the same translated code from cold, on the same memory, one after the other.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import struct
import sys
import time
from itertools import pairwise
from typing import Any

import efishim_firmware_stubs
from unicorn import UC_ARCH_X86, UC_HOOK_INSN, UC_MODE_64, UC_PROT_ALL, Uc
from unicorn import x86_const as x86

from efishim.image.facts import KernelCache
from efishim.image.opened import open_image
from efishim.lab.boot.booted import Booted
from efishim.lab.boot.prepare import prepare
from efishim.lab.plan.plan import Blob, Plan
from efishim.machine.machine import Machine
from efishim.plugins import load_plugins


def boot(plan: Plan) -> tuple[Machine, Booted]:
    """A machine with the kernel at its EFI entry."""
    image = open_image(plan.image.read(), path=plan.image.label, cache=KernelCache())
    machine = Machine(seed=plan.seed)
    return machine, prepare(plan, image, machine, load_plugins(), lambda data: None)


def widest_gap(plan: Plan) -> tuple[int, list[tuple[int, int]]]:
    """Index of the call behind which the guest computes longest, and (call, address) of the pages opened meanwhile."""
    machine, booted = boot(plan)
    assert booted.shim is not None
    opened: list[tuple[int, int]] = []
    plain = machine.on_fetch_fault

    def note(address: int) -> bool:
        opened.append((len(booted.calls()), address))
        return plain(address)

    machine.on_fetch_fault = note
    booted.on_exit_boot_services(lambda: machine.stop("measured"))
    machine.run()
    counts = [call.insns for call in booted.calls()]
    gaps = [after - before for before, after in pairwise(counts)]
    return gaps.index(max(gaps)), opened


def bare(machine: Machine) -> tuple[float, int]:
    """Seconds for a bare Unicorn until the next OUT, and where that was. Called in the child."""
    uc: Any = Uc(UC_ARCH_X86, UC_MODE_64)
    for region in machine.memory:
        uc.mem_map_ptr(region.start, region.size, UC_PROT_ALL, ctypes.addressof(ctypes.c_char.from_buffer(region.host)))
    cpu = machine.cpu
    for register, number in (("cr4", x86.UC_X86_REG_CR4), ("cr3", x86.UC_X86_REG_CR3), ("cr0", x86.UC_X86_REG_CR0)):
        uc.reg_write(number, cpu.get(register))
    uc.msr_write(0xC0000080, cpu.get("efer"))
    for name in ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16))):
        uc.reg_write(getattr(x86, f"UC_X86_REG_{name.upper()}"), cpu.get(name))
    uc.reg_write(x86.UC_X86_REG_EFLAGS, cpu.get("eflags"))
    # The firmware's trap is the first OUT: stop where it stands, behind it as efishim does.
    uc.hook_add(UC_HOOK_INSN, lambda engine, *_: engine.emu_stop(), None, 1, 0, x86.UC_X86_INS_OUT)
    started = time.perf_counter()
    uc.emu_start(cpu.get("rip"), 0)
    return time.perf_counter() - started, uc.reg_read(x86.UC_X86_REG_RIP)


def measure(plan: Plan, index: int, opened: list[tuple[int, int]]) -> tuple[float, float, int]:
    """Seconds with efishim, seconds with bare Unicorn, instructions between the two calls."""
    machine, booted = boot(plan)
    shim = booted.shim
    assert shim is not None
    times: dict[str, float] = {}
    inner = machine._on_trap  # the one place where the machine is stopped between two calls
    assert inner is not None

    def trap(value: int) -> None:
        if "from" in times and "to" not in times:
            times["to"] = time.perf_counter()
            times["after"] = machine.insns
            machine.stop("measured")
            return
        inner(value)
        if len(booted.calls()) == index + 1 and "from" not in times:
            for _, address in (one for one in opened if one[0] == index + 1):
                shim.pages.on_fetch_fault(address, machine.cpu.get("cr3"))
            reader, writer = os.pipe()
            if os.fork() == 0:
                seconds, _ = bare(machine)
                os.write(writer, struct.pack("<d", seconds))
                os._exit(0)
            (times["bare"],) = struct.unpack("<d", os.read(reader, 8))
            os.wait()
            times["before"] = machine.insns
            times["from"] = time.perf_counter()

    machine._on_trap = trap
    machine.run()
    return times["to"] - times["from"], times["bare"], int(times["after"] - times["before"])


def main() -> int:
    """Print a line for each measurement and the median of the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vs_bare", description=__doc__.partition("\n")[0])
    parser.add_argument("kernel")
    parser.add_argument("-n", "--times", type=int, default=5)
    parser.add_argument("--require", type=float, help="fail if the median ratio is above this")
    arguments = parser.parse_args()
    plan = Plan(
        image=Blob.from_file(arguments.kernel),
        provider="firmware",
        entry="efi",
        platform="pc",
        initrds=(Blob.embedded("embedded:init", efishim_firmware_stubs.reporting_initrd()),),
    )
    index, opened = widest_gap(plan)
    ratios = []
    for number in range(arguments.times):
        with_efishim, alone, insns = measure(plan, index, opened)
        ratios.append(with_efishim / alone)
        print(
            f"{number + 1}: {insns:,} instructions, efishim {with_efishim:.3f} s, bare Unicorn {alone:.3f} s, {ratios[-1]:.2f}x"
        )
    median = statistics.median(ratios)
    print(f"median ratio {median:.2f}x (at most {max(ratios):.2f}, at least {min(ratios):.2f})")
    return int(arguments.require is not None and median > arguments.require)


if __name__ == "__main__":
    sys.exit(main())
