"""Hand-overs that are bad on purpose: what Debian's kernel makes of each on QEMU with real firmware, it makes of it here.

What it has to be is read in the sources that docs/bad-handovers.md names, and not in our own output.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from efishim.image.cachedir import cache_directory
from efishim.image.facts import KernelCache
from efishim.image.opened import Image, read_image_file
from efishim.lab.plan.plan import Blob
from efishim.oracle import faults, faulty
from efishim.oracle.faults import FAULTS, HEALTHY, Fault, Guest, find_fault
from efishim.oracle.faulty import Ending, Outcome, Subject
from efishim.oracle.tools import MissingTool
from tests.conftest import OFFLINE

CLASSES = [
    *("BSS not zeroed", "memory map too small", "misaligned load", "initrd above the limit", "command line unterminated"),
    *("e820 overlap", "wrong start_info magic", "missing note", "stale MapKey", "runtime memory not mapped"),
]
PAGE_TABLES = "alloc_low_pages: can not alloc memory"
FORTIFIED = r"early exception 0x06 IP 10:ffffffff\w{8} error 0"
IDLE_TASK = "Attempted to kill the idle task!"

EXPECTED = {
    "bss-junk": (Ending.USERSPACE, ""),
    "bss-junk-bzimage": (Ending.USERSPACE, ""),
    "memory-1m": (Ending.PANIC, PAGE_TABLES),
    "memory-without-kernel": (Ending.PANIC, "System is deadlocked on memory"),
    "no-e820": (Ending.PANIC, PAGE_TABLES),
    "misplaced-elf": (Ending.TRIPLE_FAULT, "at 0x1[0-9a-f]{6}"),
    "misplaced": (Ending.USERSPACE, ""),
    "misplaced-alignment": (Ending.GAVE_UP, "Destination physical address inappropriately aligned"),
    "initrd-beyond-ram": (Ending.PANIC, "VFS: Unable to mount root fs on .*"),
    "initrd-above-limit": (Ending.USERSPACE, ""),
    "initrd-too-large": (Ending.PANIC, f"Cannot find place for new RAMDISK of size {1 << 30}"),
    "cmdline-endless": (Ending.PANIC, FORTIFIED),
    "cmdline-endless-bzimage": (Ending.PANIC, FORTIFIED),
    "e820-overlap": (Ending.USERSPACE, ""),
    "wrong-magic": (Ending.TRIPLE_FAULT, "at 0xffffffff[0-9a-f]{8}"),
    "old-version": (Ending.TRIPLE_FAULT, "at 0xffffffff[0-9a-f]{8}"),
    "no-note": (Ending.REFUSED, ".*(without PVH ELF Note|no XEN_ELFNOTE_PHYS32_ENTRY note)"),
    "stale-key-once": (Ending.USERSPACE, ""),
    "stale-key": (Ending.RETURNED, "image returned EFI_INVALID_PARAMETER"),
    "no-runtime-code": (Ending.PANIC, IDLE_TASK),
    "no-runtime-data": (Ending.PANIC, IDLE_TASK),
    "short-runtime-data": (Ending.PANIC, IDLE_TASK),
}
TELLING = {
    "memory-1m": ["0 9efff"],
    "initrd-beyond-ram": ["RAMDISK: [mem 0x30000000-", "Move RAMDISK from [mem 0x30000000-", "VFS: Cannot open root device"],
    "initrd-above-limit": ["RAMDISK: [mem 0x81000000-"],
    "cmdline-endless": ["console=ttyS0 earlyprintk=serial,ttyS0 nokaslr panic=-1 endless=aaaa"],
    "cmdline-endless-bzimage": ["console=ttyS0 earlyprintk=serial,ttyS0 nokaslr panic=-1 endless=aaaa"],
    "e820-overlap": [
        # arch/x86/kernel/e820.c, e820__update_table: where ranges overlap, the highest type is it
        "00100000-0x0000000007ffffff usable",
        "08000000-0x0000000008ffffff reserved",
        "09000000-0x000000000bffffff usable",
        "0c000000-0x000000000cffffff reserved",
        "0d000000 usable",
    ],
    "no-runtime-code": ["supervisor instruction fetch in kernel mode", "error_code(0x0010) - not-present page"],
    "no-runtime-data": [
        *("supervisor read access in kernel mode", "error_code(0x0000) - not-present page"),
        *("efi_set_virtual_address_map+", "efi_set_virtual_address_map+"),
    ],
    "short-runtime-data": ["supervisor read access in kernel mode", "error_code(0x0000) - not-present page"],
}
"""How the lines begin that tell of the fault; those that are not named here have none."""

Outcomes = Callable[[str], tuple[Outcome, Outcome]]


@pytest.fixture(scope="module")
def image(cloud_kernel: Path) -> Image:
    """Debian's cloud kernel, opened."""
    return read_image_file(cloud_kernel, cache=KernelCache(cache_directory(os.environ)))


@pytest.fixture(scope="module")
def outcomes(cloud_kernel: Path, image: Image) -> Outcomes:
    """A function from the name of a fault to what comes of it: on QEMU, in efishim. A missing tool fails the test, or skips it
    under EFISHIM_OFFLINE=1, and is named.
    """
    subject = Subject(image, Blob.from_file(cloud_kernel))

    @cache
    def both(name: str) -> tuple[Outcome, Outcome]:
        fault = find_fault(name)
        try:
            return faulty.on_qemu(subject, fault, timeout=600.0), faulty.in_efishim(subject, fault, timeout=600.0)
        except MissingTool as error:
            if os.environ.get(OFFLINE) == "1":
                pytest.skip(str(error))
            pytest.fail(str(error))

    return both


def _id(fault: Fault) -> str:
    return f"{fault.kind}: {fault.name}"


@pytest.mark.kernel
@pytest.mark.qemu
@pytest.mark.parametrize("fault", FAULTS, ids=_id)
def test_the_same_comes_of_it(outcomes: Outcomes, fault: Fault) -> None:
    real, ours = outcomes(fault.name)
    ending, message = EXPECTED[fault.name]
    for one in (real, ours):
        assert one.ending is ending, one.console[-2000:]
        assert re.fullmatch(message, one.message), one.message
        begins = TELLING.get(fault.name, [])
        assert [line[: len(begin)] for line, begin in zip(one.telling, begins, strict=True)] == begins
    assert ours.telling == real.telling
    assert ours.complaints == real.complaints
    if ending is not Ending.REFUSED:  # each loader has its own words
        assert ours.message == real.message


@pytest.mark.kernel
@pytest.mark.qemu
@pytest.mark.parametrize("fault", HEALTHY, ids=lambda fault: fault.flow)
def test_nothing_comes_of_nothing(outcomes: Outcomes, fault: Fault) -> None:
    for one in outcomes(fault.name):
        assert (one.ending, one.message, one.telling, one.complaints) == (Ending.USERSPACE, "", (), ())


@pytest.mark.kernel
@pytest.mark.qemu
def test_where_the_processor_shuts_down(outcomes: Outcomes, image: Image) -> None:
    """BUG() without an interrupt table, in the function that looks at hvm_start_info."""
    symbols = image.symbols
    assert symbols is not None
    for name in ("wrong-magic", "old-version"):
        for one in outcomes(name):
            found = symbols.name_at(int(one.message.removeprefix("at "), 16))
            assert found is not None
            assert found[0] == "xen_prepare_pvh"


@pytest.mark.kernel
@pytest.mark.qemu
def test_the_stub_says_why_it_goes_back(outcomes: Outcomes) -> None:
    for one in outcomes("stale-key"):
        assert "EFI stub: ERROR: exit_boot() failed!" in one.console


@pytest.mark.kernel
@pytest.mark.qemu
def test_what_lies_behind_the_end_of_ram_differs(outcomes: Outcomes) -> None:
    """Nobody answers there. QEMU gives zeroes (softmmu/memory.c, unassigned_mem_read), which are an empty archive; a PC's bus
    gives ones, which are none.
    """
    real, ours = outcomes("initrd-beyond-ram")
    said = "Initramfs unpacking failed: invalid magic at start of compressed archive"
    assert (said in ours.console, said in real.console) == (True, False)


@pytest.mark.kernel
@pytest.mark.qemu
@pytest.mark.parametrize("code", [b"\xeb\xfe", b"\xf4\xeb\xfd", b"\x90\x90\xe9\xf9\xff\xff\xff"], ids=["jmp", "hlt", "loop"])
def test_a_kernel_that_hangs(cloud_kernel: Path, image: Image, code: bytes) -> None:
    """Interrupts are off at the entry, and nothing will ever end this."""

    def spoil(guest: Guest) -> None:
        guest.write(faults.SPARE, code)
        guest.set("rip", faults.SPARE)

    subject = Subject(image, Blob.from_file(cloud_kernel))
    fault = Fault("hangs", "", faults.PVH, "", spoil)
    for run in (faulty.on_qemu, faulty.in_efishim):
        assert run(subject, fault).ending is Ending.HUNG


# Without a machine


def test_every_class_of_mistakes_has_one() -> None:
    assert list(dict.fromkeys(fault.kind for fault in FAULTS)) == CLASSES
    names = [fault.name for fault in (*FAULTS, *HEALTHY)]
    assert len(set(names)) == len(names)
    assert set(EXPECTED) == {fault.name for fault in FAULTS}


def test_the_document_has_all_of_them() -> None:
    text = (Path(__file__).parents[2] / "docs" / "bad-handovers.md").read_text()
    rows = {line.split("|")[1].strip(" `") for line in text.splitlines() if line.startswith("| `")}
    assert rows == {fault.name for fault in FAULTS}


@pytest.mark.parametrize(
    ("console", "ending", "message"),
    [
        (b"[    1.0] Run /init as init process\r\nefishim-init: begin\r\n", Ending.USERSPACE, ""),
        (b"\n\nDestination gone\n\n -- System halted", Ending.GAVE_UP, "Destination gone"),
        (b"[ 0.0] Kernel panic - not syncing: No working init found.\r\n", Ending.PANIC, "No working init found."),
        (b"PANIC: early exception 0x0e IP 10:ff error 2 cr2 0x0", Ending.PANIC, "early exception 0x0e IP 10:ff error 2"),
        (b"Kernel panic - not syncing: A\nefishim-init: begin\n", Ending.PANIC, "A"),
    ],
)
def test_the_first_sign_on_the_console_counts(console: bytes, ending: Ending, message: str) -> None:
    found = faulty.sign_of(console)
    assert found is not None
    assert found[:2] == (ending, message)


@pytest.mark.parametrize("console", [b"", b"efishim-init: begin", b"Kernel panic - not syncing: half", b"the line -- System"])
def test_half_a_sign_is_none(console: bytes) -> None:
    assert faulty.sign_of(console) is None


def test_a_note_is_taken_away_and_nothing_else() -> None:
    from efishim_firmware_stubs import probe_elf  # noqa: PLC0415

    before = probe_elf()
    after = faults.without_note(before)
    changed = [at for at, (one, two) in enumerate(zip(before, after, strict=True)) if one != two]
    assert 0 < len(changed) <= 4
    assert changed[-1] - changed[0] < 4
