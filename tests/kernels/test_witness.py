"""QEMU as a witness for coverage and ledger: the same image, entered through PVH, executes the same instructions there, and the
same of them touch ports, MSRs and CPUID. The probe kernel from its entry to power-off, a stock kernel up to start_kernel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from efishim_firmware_stubs import probe_elf, reporting_initrd

from efishim.image.opened import open_image
from efishim.machine.ledger import Kind
from tests.support.qemu import Boot, MissingTool
from tests.support.witness import MNEMONICS, Ours, executed_by_efishim, executed_by_qemu

pytestmark = pytest.mark.qemu

CMDLINE = "console=ttyS0 some thing=other"
CPU = "qemu64,-hypervisor,vendor=GenuineIntel,family=6"
"""efishim's processor says that it is Intel's and that nobody virtualizes it."""
PROBE = range(0x10_0300, 0x10_7000)
"""The probe's segment with its code, which is the beginning of its file (readelf -l)."""
KERNEL_HALF = 0xFFFF_FFFF_8000_0000


@dataclass(frozen=True)
class Explained:
    """Code that only one of the two machines executes."""

    where: range
    why: str


_TABLE = "the entry of the GDT is read where GDTR's limit is within memory that may be read: PVH leaves GDTR open"
_SMBIOS = "SeaBIOS has SMBIOS 2 with its anchor _SM_, efishim's machine has SMBIOS 3"
_XSDT = "SeaBIOS has an RSDT of ACPI 1.0 and a FADT without 64-bit fields, efishim's machine has an XSDT and those fields"
_ENABLED = "SeaBIOS's FADT has an SMI_CMD with which ACPI is switched on; efishim's machine is in ACPI mode from the start"
_S5 = "efishim's DSDT gives SLP_TYPa with a BytePrefix, SeaBIOS's as ZeroOp (ACPI 6.5, 20.2.3)"

ONLY_QEMU = (
    Explained(range(0x101000, 0x101093), _TABLE),
    Explained(range(0x103235, 0x10327C), _SMBIOS),
    Explained(range(0x106D4F, 0x106D6C), _ENABLED),
)
ONLY_OURS = (
    Explained(range(0x101099, 0x1010B4), _TABLE),
    Explained(range(0x102CE0, 0x102D4A), _XSDT),
    Explained(range(0x102D6E, 0x102D71), _XSDT),
    Explained(range(0x102E9A, 0x102EFB), _XSDT),
    Explained(range(0x10327C, 0x1032C1), _SMBIOS),
    Explained(range(0x106E84, 0x106E8C), _S5),
)
"""Addresses of the probe as it is embedded: they move when its sources change, and the tests then name the new ones."""


def unexplained(addresses: set[int], reasons: tuple[Explained, ...]) -> list[str]:
    """Addresses that no reason covers, hexadecimal."""
    return [f"{address:#x}" for address in sorted(addresses) if not any(address in reason.where for reason in reasons)]


def sites(executed: dict[int, str], kind: Kind) -> set[int]:
    """Where QEMU executed an instruction that touches such a thing."""
    return {address for address, mnemonic in executed.items() if MNEMONICS[kind].fullmatch(mnemonic)}


def through(order: Iterable[int], last: int) -> list[int]:
    """The addresses up to and with `last`. What is first executed behind the OUT that powers off tells how quickly QEMU's
    main loop was given the processor, and where efishim's last block ended. Raises ValueError when it is not there.
    """
    addresses = list(order)
    return addresses[: addresses.index(last) + 1]


@dataclass(frozen=True)
class Accounts:
    """What both say about one image."""

    qemu: dict[int, str]
    ours: Ours
    instructions: set[int]


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    """The probe kernel from its PVH entry to power-off."""
    folder = tmp_path_factory.mktemp("witness-probe")
    kernel, initrd = folder / "kernel", folder / "initrd"
    kernel.write_bytes(probe_elf())
    initrd.write_bytes(reporting_initrd())
    boot = Boot(kernel=kernel, initrd=initrd, append=CMDLINE, cpu=CPU)
    try:
        executed = executed_by_qemu(boot, [PROBE], folder, until=None, timeout=300)
    except MissingTool as error:
        pytest.skip(str(error))
    ours = executed_by_efishim(
        kernel,
        provider="hvmlite",
        entry="pvh",
        cmdline=CMDLINE,
        initrds=(str(initrd),),
        options=("platform.bios_area=1",),
    )
    code = probe_elf()[: len(PROBE)]
    off = ours.last_out()
    instructions = ours.instructions([PROBE], lambda pc, size: code[pc - PROBE.start :][:size])
    return Accounts({address: executed[address] for address in through(executed, off)}, ours, set(through(instructions, off)))


@pytest.fixture(scope="module")
def stock(cloud_kernel: Path, tmp_path_factory: pytest.TempPathFactory) -> Accounts:
    """Debian's kernel for clouds from its PVH entry to start_kernel. QEMU takes that way only for the unpacked kernel."""
    folder = tmp_path_factory.mktemp("witness-stock")
    image = open_image(cloud_kernel.read_bytes(), path=str(cloud_kernel))
    facts, symbols = image.kernel, image.symbols
    assert symbols is not None
    vmlinux = image.source.unpack()
    kernel, initrd = folder / "vmlinux", folder / "initrd"
    kernel.write_bytes(vmlinux)
    initrd.write_bytes(reporting_initrd())
    goal = symbols.address_of("start_kernel")
    assert goal is not None
    ranges = [
        part
        for segment in facts.segments
        for part in (
            range(segment.physical, segment.physical + segment.memory_size),
            range(segment.virtual, segment.virtual + segment.memory_size),
        )
        if segment.virtual >= KERNEL_HALF
    ]
    try:
        executed = executed_by_qemu(
            Boot(kernel=kernel, initrd=initrd, append=CMDLINE, cpu=CPU), ranges, folder, until=goal, timeout=300
        )
    except MissingTool as error:
        pytest.skip(str(error))
    finally:
        kernel.unlink()
    ours = executed_by_efishim(cloud_kernel, provider="hvmlite", entry="pvh", cmdline=CMDLINE, until="start_kernel")

    def read(pc: int, size: int) -> bytes:
        for segment in facts.segments:
            for start in (segment.physical, segment.virtual):
                if start <= pc < start + segment.file_size:
                    return vmlinux[segment.offset + pc - start :][:size]
        raise ValueError(f"{pc:#x} is nowhere in the kernel")

    return Accounts(executed, ours, set(ours.instructions(ranges, read)) - {goal})


def test_the_probe_executes_the_same_instructions(probe: Accounts) -> None:
    assert len(probe.qemu) > 1000
    assert probe.qemu[probe.ours.last_out()] == "outw"
    assert unexplained(probe.qemu.keys() - probe.instructions, ONLY_QEMU) == []
    assert unexplained(probe.instructions - probe.qemu.keys(), ONLY_OURS) == []


@pytest.mark.parametrize("kind", list(MNEMONICS), ids=lambda kind: str(kind.value))
def test_the_probe_touches_the_machine_from_the_same_places(probe: Accounts, kind: Kind) -> None:
    witnessed, told = sites(probe.qemu, kind), probe.ours.sites(kind)
    assert len(witnessed) > 2
    assert unexplained(witnessed - told, ONLY_QEMU) == []
    assert unexplained(told - witnessed, ONLY_OURS) == []


def test_every_exception_is_needed(probe: Accounts) -> None:
    for reasons, found in (
        (ONLY_QEMU, probe.qemu.keys() - probe.instructions),
        (ONLY_OURS, probe.instructions - probe.qemu.keys()),
    ):
        assert [reason for reason in reasons if not any(address in reason.where for address in found)] == []


def test_the_record_is_made_of_these_blocks(probe: Accounts) -> None:
    told = {int(offset, 16) for function in probe.ours.record.coverage.functions for offset in function.offsets.split()}
    assert told == {pc for pc, _, _ in probe.ours.blocks}
    last, _, _ = probe.ours.blocks[-1]
    assert {pc for pc in told if pc in PROBE} - probe.instructions <= {last}, "only behind the OUT that powers off"


@pytest.mark.kernel
def test_a_stock_kernel_executes_the_same_instructions(stock: Accounts) -> None:
    assert len(stock.qemu) > 500
    assert unexplained(stock.qemu.keys() - stock.instructions, ()) == []
    assert unexplained(stock.instructions - stock.qemu.keys(), ()) == []


@pytest.mark.kernel
@pytest.mark.parametrize("kind", list(MNEMONICS), ids=lambda kind: str(kind.value))
def test_a_stock_kernel_touches_the_machine_from_the_same_places(stock: Accounts, kind: Kind) -> None:
    assert stock.ours.sites(kind) == sites(stock.qemu, kind)
