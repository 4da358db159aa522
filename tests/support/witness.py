"""Two accounts of which instructions of an image ran: QEMU's log of translations, and the blocks that efishim kept.

QEMU translates one instruction at a time (`-singlestep`) and only what it is about to execute, so that its `in_asm` log names
each executed address once, in the order of first execution, and says what the instruction is.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path

import capstone

from efishim.hookspecs import hookimpl
from efishim.lab.record import Record
from efishim.machine.ledger import Kind, Touch
from efishim.machine.machine import Machine
from efishim.plugins import GROUP, Registry
from efishim.provider import Observer
from efishim.testing import run
from tests.support.qemu import Boot, command

Read = Callable[[int, int], bytes]
"""The image's bytes at an address."""

MNEMONICS = {
    Kind.CPUID: re.compile("cpuid"),
    Kind.MSR: re.compile("(rd|wr)msr"),
    Kind.PORT: re.compile("(in|out)[bwl]?"),
}
"""What an instruction is called that touches a thing of each kind. MMIO cannot be told from memory by a mnemonic."""
LOG_LIMIT = 64 << 20
_INSTRUCTION = re.compile(r"^IN: .*\n0x([0-9a-f]+): +(?:[0-9a-f]{2} )+ *([a-z][a-z0-9]*)", re.MULTILINE)
_MODES = (capstone.CS_MODE_64, capstone.CS_MODE_32, capstone.CS_MODE_16)


def executed_by_qemu(
    boot: Boot, ranges: Sequence[range], scratch: Path, *, until: int | None, timeout: float
) -> dict[int, str]:
    """Mnemonics of what ran within the ranges by address, in the order of first execution, up to the address `until` or
    to the end. Raises MissingTool, and TimeoutError when that is not reached in `timeout` seconds of host time.

    The end is not exact: a power-off is a request to QEMU's main loop, and until that has heard it the processor goes on
    for as many instructions as the host happens to give it.
    """
    log = scratch / "executed"
    where = ",".join(f"{part.start:#x}+{len(part):#x}" for part in ranges)
    logged = replace(boot, extra=(*boot.extra, "-singlestep", "-d", "in_asm", "-dfilter", where, "-D", str(log)))
    deadline = time.monotonic() + timeout
    with subprocess.Popen(
        command(logged, scratch)[:-2], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            while True:
                ended = process.poll() is not None
                text = log.read_text() if log.exists() else ""
                found = {int(address, 16): mnemonic for address, mnemonic in _INSTRUCTION.findall(text)}
                if until in found:
                    order = list(found)
                    return {address: found[address] for address in order[: order.index(until)]}
                if ended and until is None:
                    return found
                if ended or time.monotonic() > deadline or len(text) > LOG_LIMIT:
                    raise TimeoutError(f"QEMU ran {len(found)} instructions and did not come to its end: {until=}")
                time.sleep(0.3)
        finally:
            process.kill()


@dataclass
class _Observer:
    """Keeps the machine's own lists, which are finer than the record."""

    name: str = "witness"
    summary: str = "keeps blocks and touches"
    blocks: list[tuple[int, int, int]] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)
    _machine: Machine | None = None

    def start(self, board: object) -> None:
        assert isinstance(board, Machine)
        self._machine = board

    def finish(self) -> list[str]:
        assert self._machine is not None
        self.blocks = self._machine.engine.native.blocks()
        self.touches = self._machine.ledger.touches()
        return ["heard"]


@dataclass(frozen=True)
class _Plugin:
    observer: _Observer
    name: str = "witness"

    def load(self) -> _Plugin:
        return self

    @hookimpl
    def efishim_observers(self) -> list[Observer]:
        return [self.observer]


@dataclass(frozen=True)
class Ours:
    """A run of efishim."""

    record: Record
    blocks: list[tuple[int, int, int]]
    """(pc, bytes, instructions) in the order of first translation."""
    touches: list[Touch]

    def instructions(self, within: Sequence[range], read: Read) -> list[int]:
        """The addresses of the instructions of all blocks that begin in the ranges, in the order of first translation.
        Raises ValueError for a block whose bytes in the image are not as many instructions as the processor executed.
        """
        return list(
            dict.fromkeys(
                address
                for pc, size, count in self.blocks
                if any(pc in part for part in within)
                for address in _addresses(read(pc, size), pc, count)
            )
        )

    def sites(self, kind: Kind) -> set[int]:
        """Where the code is that touched something of that kind."""
        return {touch.code for touch in self.touches if touch.kind is kind}

    def last_out(self) -> int:
        """The address of the last instruction that wrote to a port, which is the one that switches the machine off."""
        return max((touch for touch in self.touches if touch.kind is Kind.PORT and touch.write), key=lambda t: t.last).code


def executed_by_efishim(image: bytes | Path, **words: object) -> Ours:
    """Run an image; `words` are those of efishim.testing.run."""
    observer = _Observer()
    registry = Registry([*entry_points(group=GROUP), _Plugin(observer)])
    record = run(image, registry=registry, **words)
    assert "witness: heard" in record.notes, record.notes
    return Ours(record, observer.blocks, observer.touches)


def _addresses(code: bytes, pc: int, count: int) -> list[int]:
    for mode in _MODES:
        engine = capstone.Cs(capstone.CS_ARCH_X86, mode)  # type: ignore[no-untyped-call]
        decoded = list(engine.disasm_lite(code, pc))  # type: ignore[no-untyped-call]
        if len(decoded) == count and sum(size for _, size, _, _ in decoded) == len(code):
            return [address for address, _, _, _ in decoded]
    raise ValueError(f"the block at {pc:#x} is not {count} instructions: {code.hex()}")
