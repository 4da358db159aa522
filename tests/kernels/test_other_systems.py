"""Systems that are not Linux, as Debian ships them: Xen, GNU Mach, GRUB and Memtest86+, each through the doors that it has.

None of them knows efishim. Where QEMU boots the same image, the lines that both print are compared; what comes from the machine
itself (its processor, its ACPI tables, the end of its RAM) differs and is looked at by itself.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from efishim_firmware_stubs import reporting_initrd

from efishim.lab.record import Reason
from tests.stubs.conftest import missing_tools_named
from tests.support import grub
from tests.support.grub_images import GrubPlatform, image
from tests.support.qemu import Boot, Ending, Firmware, Outcome, Until, run
from tests.support.runs import Finished, efishim_run, one_at_a_time

pytestmark = pytest.mark.kernel

XEN_LINE = "console=com1 com1=115200,8n1 loglvl=all sync_console"
MACH_LINE = "console=com0"
MEMTEST_LINE = "console=ttyS0,115200"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

Fetch = Callable[[str], Path]
OnQemu = Callable[..., str]
LONG_ENOUGH = 300.0
"""Host seconds for a boot on QEMU, which ends by itself or with what is waited for."""
BANNER = r"Memtest86\+ v[0-9.]+"


def plain(text: str) -> str:
    """A console without carriage returns and terminal control."""
    return ESCAPE.sub("", text.replace("\r", ""))


def console(done: Finished) -> str:
    """What the guest printed."""
    return plain(done.record.console)


@pytest.fixture(scope="session")
def on_qemu(shared: Path) -> OnQemu:
    """A function that boots something on QEMU, once for all test workers, and gives what it printed."""

    def boot(name: str, make: Callable[[Path], Boot], ending: Ending, until: Until | None = None) -> str:
        folder = shared / f"qemu-{name}"
        told = folder / "told"
        with one_at_a_time(folder):
            if not told.exists():
                (folder / "cd").mkdir(exist_ok=True)
                with missing_tools_named():
                    outcome: Outcome = run(make(folder), folder, timeout=LONG_ENOUGH, until=until)
                assert outcome.ending is ending, f"{outcome.ending}\n{outcome.serial[-2000:]}\n{outcome.stderr}"
                told.write_text(outcome.serial)
        return plain(told.read_text())

    return boot


# Xen


@pytest.fixture(scope="session")
def xen(debian_kernel: Fetch) -> Path:
    """Xen 4.17: an ELF file with both Multiboot headers."""
    return debian_kernel("xen-hypervisor-4.17-amd64")


@pytest.fixture(scope="session", params=["multiboot", "multiboot2"])
def xen_entry(request: pytest.FixtureRequest) -> str:
    """Its two doors for boot loaders."""
    entry: str = request.param
    return entry


@pytest.fixture(scope="session")
def xen_run(xen: Path, xen_entry: str, shared: Path) -> Finished:
    """Xen with a ramdisk where it wants a kernel for dom0. Named as GRUB 2 it takes the command line from its first word."""
    name = ("--option", f"{xen_entry}.loader_name=GRUB 2 of sorts")
    return efishim_run(
        shared / f"xen-{xen_entry}", xen, "-p", xen_entry, "-e", xen_entry, "-a", XEN_LINE, *name, "--max-insns", "200000000"
    )


@pytest.fixture(scope="session")
def xen_on_qemu(xen: Path, xen_entry: str, on_qemu: OnQemu) -> str:
    """The same behind GRUB on SeaBIOS."""
    module = "module2" if xen_entry == "multiboot2" else "module"
    files = {"xen": gzip.decompress(xen.read_bytes()), "initrd": reporting_initrd()}

    def make(folder: Path) -> Boot:
        return Boot(cdrom=grub.iso(folder / "cd", Firmware.SEABIOS, f"{xen_entry} /xen {XEN_LINE}\n{module} /initrd", files))

    return on_qemu(f"xen-{xen_entry}", make, Ending.RESET)


def xen_lines(text: str) -> list[str]:
    """What Xen said."""
    return [line.removeprefix("(XEN) ") for line in text.split("\n") if line.startswith("(XEN) ")]


def xen_map(text: str) -> list[tuple[int, int, str]]:
    """(first byte, last byte, kind) of the memory map that Xen prints."""
    rows = re.findall(r"^\(XEN\)  \[([0-9a-f]{16}), ([0-9a-f]{16})\] \((.+)\)$", text, re.MULTILINE)
    return [(int(first, 16), int(last, 16), kind) for first, last, kind in rows]


def test_xen_comes_to_its_complaint_about_dom0_and_resets(xen_run: Finished) -> None:
    lines = xen_lines(console(xen_run))
    assert re.match(r"Xen version 4\.17\.", lines[0])
    assert "Could not construct domain 0" in lines
    assert lines[lines.index("Could not construct domain 0") - 1] == "Panic on CPU 0:"
    assert "ELF: not an ELF binary" in lines, "it looked into the module"
    assert xen_run.status == 1
    assert xen_run.record.outcome.reason is Reason.RESET


def test_xen_on_qemu_says_the_same(xen_run: Finished, xen_on_qemu: str) -> None:
    """Line by line, but for what is the machine's: nearly everything that Xen prints on both."""
    ours, real = xen_lines(console(xen_run)), xen_lines(xen_on_qemu)
    common = [line for line in ours if line in real]
    assert [line for line in real if line in ours] == common, "in the same order"
    assert ours[:2] == real[:2], "version and build"
    expected = (
        f"Command line: {XEN_LINE}",
        " [0000000000000000, 000000000009fbff] (usable)",
        " No VGA detected",
        "SMP: Allowing 1 CPUs (0 hotplug CPUs)",
        "Enabling APIC mode.  Using 1 I/O APICs",
        "..TIMER: vector=0xF0 apic1=0 pin1=2 apic2=-1 pin2=-1",
        "Brought up 1 CPUs",
        "NX (Execute Disable) protection active",
        "*** Building a PV Dom0 ***",
        "ELF: not an ELF binary",
        "Could not construct domain 0",
        "Reboot in five seconds...",
    )
    assert [line for line in expected if line not in common] == []
    assert len(common) > 50


def test_xen_has_the_whole_memory(xen_run: Finished) -> None:
    text = console(xen_run)
    told = xen_map(text)
    assert [kind for _, _, kind in told][:4] == ["usable", "reserved", "reserved", "usable"]
    usable = sum(last + 1 - first for first, last, kind in told if kind == "usable")
    assert 511 << 20 < usable < 512 << 20
    pages = sum((last + 1 & ~0xFFF) - first for first, last, kind in told if kind == "usable")
    assert f"(XEN) System RAM: {pages >> 20}MB ({pages >> 10}kB)" in text


def test_xen_is_loaded_as_its_header_asks(xen_run: Finished, xen_on_qemu: str, xen_entry: str) -> None:
    """Multiboot2 with a relocatable header that prefers the highest place: the last 2 MiB step below the end of RAM in which it
    fits, less what is in the way. Multiboot 1 cannot say a load address.
    """
    found = [re.search(r"Xen image load base address: (\S+)", text) for text in (console(xen_run), xen_on_qemu)]
    ours, real = (int(match[1], 16) for match in found if match)
    if xen_entry == "multiboot":
        assert ours == real == 0
    else:
        assert ours % 0x200000 == real % 0x200000 == 0
        assert ours >= 0x1F000000
        assert real >= 0x1E000000


def test_xen_finds_the_tables_of_a_machine_with_a_bios(xen_run: Finished) -> None:
    text = console(xen_run)
    for table in ("RSDP", "XSDT", "FACP", "DSDT", "FACS", "APIC"):
        assert re.search(rf"^\(XEN\) ACPI: {table} [0-9A-F]{{8}}", text, re.MULTILINE), table
    assert "(XEN) SMBIOS 3.0 present." in text


def test_without_a_boot_loader_named_grub_xen_drops_the_first_word(xen: Path, shared: Path) -> None:
    done = efishim_run(
        shared / "xen-dropped", xen, "-p", "multiboot", "-e", "multiboot", "-a", XEN_LINE, "--max-insns", "2000000"
    )
    assert console(done) == "", "the first word said where its console is"


GRUB_NAME = ("--option", "multiboot2.loader_name=GRUB 2 of sorts")


@pytest.fixture(scope="session")
def xen_mb2_efi_run(xen: Path, shared: Path) -> Finished:
    """Behind a boot loader on EFI, which leaves boot services to it as its Multiboot2 header asks."""
    way = ("-p", "multiboot2", "-e", "multiboot2", "--option", "multiboot2.platform=efi", *GRUB_NAME)
    return efishim_run(shared / "xen-mb2-efi-run", xen, *way, "-a", XEN_LINE, "--max-insns", "200000000")


def test_xen_with_boot_services_left_by_multiboot2(xen_mb2_efi_run: Finished) -> None:
    """It ends them itself, and makes its memory map out of the firmware's."""
    text = console(xen_mb2_efi_run)
    lines = xen_lines(text)
    assert re.match(r"Xen version 4\.17\.", lines[0])
    assert "EFI RAM map:" in lines
    assert lines[lines.index("Could not construct domain 0") - 1] == "Panic on CPU 0:"
    assert "ELF: not an ELF binary" in lines
    usable = sum(last + 1 - first for first, last, kind in xen_map(text) if kind == "usable")
    assert 500 << 20 < usable < 512 << 20
    assert "exit_boot_services" in [point.name for point in xen_mb2_efi_run.record.milestones]
    assert xen_mb2_efi_run.record.outcome.reason is Reason.RESET


def test_xen_behind_grub_on_ovmf_says_the_same(xen_mb2_efi_run: Finished, xen: Path, on_qemu: OnQemu) -> None:
    files = {"xen": gzip.decompress(xen.read_bytes()), "initrd": reporting_initrd()}

    def make(folder: Path) -> Boot:
        commands = f"multiboot2 /xen {XEN_LINE}\nmodule2 /initrd"
        return Boot(firmware=Firmware.OVMF, cdrom=grub.iso(folder / "cd", Firmware.OVMF, commands, files))

    ours, real = xen_lines(console(xen_mb2_efi_run)), xen_lines(on_qemu("xen-mb2-efi", make, Ending.RESET))
    common = [line for line in ours if line in real]
    assert [line for line in real if line in ours] == common, "in the same order"
    assert ours[:2] == real[:2], "version and build"
    expected = (
        f"Command line: {XEN_LINE}",
        "EFI RAM map:",
        " [0000000000000000, 000000000009ffff] (usable)",
        "EFI memory map:",
        "*** Building a PV Dom0 ***",
        "ELF: not an ELF binary",
        "Could not construct domain 0",
    )
    assert [line for line in expected if line not in common] == []
    assert len(common) > 40


XEN_CONFIG = f"[global]\ndefault=test\n\n[test]\noptions={XEN_LINE}\nkernel=dom0\n"


@pytest.fixture(scope="session")
def xen_efi(debian_kernel: Fetch) -> Path:
    """The same Xen as an EFI application."""
    return debian_kernel("xen-hypervisor-4.17-amd64/boot/xen-4.17-amd64.efi")


@pytest.fixture(scope="session")
def xen_efi_run(xen_efi: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """With its configuration and a ramdisk as dom0 beside it. The first word of its load options is its name."""
    folder = tmp_path_factory.mktemp("xen-efi")
    (folder / "test.cfg").write_text(XEN_CONFIG)
    (folder / "dom0").write_bytes(reporting_initrd())
    files = ("-i", folder / "test.cfg", "-i", folder / "dom0", "--option", "shim.files=1")
    return efishim_run(shared / "xen-efi-run", xen_efi, *files, "-a", "xen.efi -cfg=test.cfg", "--max-insns", "200000000")


@pytest.fixture(scope="session")
def xen_efi_on_qemu(xen_efi: Path, on_qemu: OnQemu) -> str:
    """The same from a FAT medium on OVMF, where its configuration has its own name."""

    def make(folder: Path) -> Boot:
        place = folder / "fat" / "EFI" / "BOOT"
        place.mkdir(parents=True, exist_ok=True)
        (place / "BOOTX64.EFI").write_bytes(xen_efi.read_bytes())
        (place / "BOOTX64.cfg").write_text(XEN_CONFIG)
        (place / "dom0").write_bytes(reporting_initrd())
        return Boot(firmware=Firmware.OVMF, fat=folder / "fat")

    return on_qemu("xen-efi", make, Ending.RESET)


def test_xen_as_an_efi_application_says_what_it_lacks(xen_efi: Path, shared: Path) -> None:
    """Its loader reads a configuration file beside itself; unless there are files the firmware has no file system."""
    done = efishim_run(shared / "xen-efi", xen_efi)
    assert re.match(r"Xen 4\.17\.\d+ .*EFI loader\n", console(done))
    assert "Couldn't obtain the File System Protocol Interface" in console(done)
    assert done.record.outcome.reason is Reason.EXIT


def test_xen_as_an_efi_application_without_its_configuration(xen_efi: Path, shared: Path) -> None:
    """The ramdisk is the only file on the medium, and the image's name has no end that Xen could replace."""
    (shared / "dom0").write_bytes(reporting_initrd())
    done = efishim_run(shared / "xen-efi-bare", xen_efi, "-i", shared / "dom0", "--option", "shim.files=1")
    assert "No configuration file found." in console(done)
    assert done.record.outcome.reason is Reason.EXIT


def test_xen_as_an_efi_application_comes_to_its_complaint_about_dom0(xen_efi_run: Finished) -> None:
    text = console(xen_efi_run)
    assert re.match(r"Xen 4\.17\.\d+ .*EFI loader\ndom0: 0x[0-9a-f]{16}-0x[0-9a-f]{16}\n", text)
    lines = xen_lines(text)
    assert re.match(r"Xen version 4\.17\.", lines[0])
    assert "Bootloader: EFI" in lines
    assert lines[lines.index("Could not construct domain 0") - 1] == "Panic on CPU 0:"
    assert "ELF: not an ELF binary" in lines, "it looked into the file"
    assert xen_efi_run.record.outcome.reason is Reason.RESET
    assert "exit_boot_services" in [point.name for point in xen_efi_run.record.milestones]


def test_xen_on_ovmf_says_the_same(xen_efi_run: Finished, xen_efi_on_qemu: str) -> None:
    """Line by line, but for what is the machine's, its firmware's and its processor's."""
    ours, real = xen_lines(console(xen_efi_run)), xen_lines(xen_efi_on_qemu)
    common = [line for line in ours if line in real]
    assert [line for line in real if line in ours] == common, "in the same order"
    assert ours[:2] == real[:2], "version and build"
    expected = (
        "Bootloader: EFI",
        f"Command line: {XEN_LINE}",
        "EFI RAM map:",
        " [0000000000000000, 000000000009ffff] (usable)",
        "SMP: Allowing 1 CPUs (0 hotplug CPUs)",
        "EFI memory map:",
        "Enabling APIC mode.  Using 1 I/O APICs",
        "..TIMER: vector=0xF0 apic1=0 pin1=2 apic2=-1 pin2=-1",
        "Brought up 1 CPUs",
        "NX (Execute Disable) protection active",
        "*** Building a PV Dom0 ***",
        "ELF: not an ELF binary",
        "Could not construct domain 0",
        "Reboot in five seconds...",
    )
    assert [line for line in expected if line not in common] == []
    assert len(common) > 40
    loader = re.compile(r"^Xen 4\.17\..* EFI loader$", re.MULTILINE)
    assert loader.findall(console(xen_efi_run)) == loader.findall(xen_efi_on_qemu)


def test_xen_as_an_efi_application_has_the_whole_memory(xen_efi_run: Finished) -> None:
    """Its map follows from the firmware's: what is free when boot services are over, in pages."""
    told = xen_map(console(xen_efi_run))
    usable = sum(last + 1 - first for first, last, kind in told if kind == "usable")
    assert 500 << 20 < usable < 512 << 20
    rows = re.findall(r"^\(XEN\)  ([0-9a-f]{13})-([0-9a-f]{13}) type=(\d+) attr=", console(xen_efi_run), re.MULTILINE)
    # Loader code and data, boot services code and data, conventional memory
    free = sum(int(last, 16) + 1 - int(first, 16) for first, last, kind in rows if kind in {"1", "2", "3", "4", "7"})
    assert free == usable


# GNU Mach


@pytest.fixture(scope="session")
def mach(debian_kernel: Fetch) -> Path:
    """GNU Mach 1.8, a 64-bit ELF file with a Multiboot header."""
    return debian_kernel("gnumach-image-1.8-486")


def test_gnu_mach(mach: Path, shared: Path, on_qemu: OnQemu) -> None:
    """To the module, which is no bootstrap program: on QEMU it ends with the same assertion."""
    done = efishim_run(shared / "mach", mach, "-p", "multiboot", "-e", "multiboot", "-a", MACH_LINE, "--max-insns", "100000000")
    files = {"mach": gzip.decompress(mach.read_bytes()), "initrd": reporting_initrd()}

    def make(folder: Path) -> Boot:
        # QEMU's own loader takes no 64-bit ELF files
        return Boot(cdrom=grub.iso(folder / "cd", Firmware.SEABIOS, f"multiboot /mach {MACH_LINE}\nmodule /initrd", files))

    ours = console(done).split("\n")
    real = on_qemu("mach", make, Ending.RESET).split("\n")
    real = real[real.index(ours[0]) :]
    assert re.match(r"GNU Mach 1\.8", ours[0])
    the_machines = re.compile(r"biosmem: 0|vm_page: |RTC time is ")
    same = [line for line in ours if line and not the_machines.match(line)]
    assert same == [line for line in real if line and not the_machines.match(line)]
    assert "Loading single multiboot module in compat mode: " in same
    assert ours[2] == real[2] == "biosmem: 000000000000000000:00000000000009f000, available"
    pages = [next(line for line in text if line.startswith("vm_page: DMA: pages")) for text in (ours, real)]
    assert pages[0] == pages[1]
    assert "RTC time is 2016-04-07" in console(done), "the run's own epoch"
    assert [point.name for point in done.record.milestones] == ["entry"], "it is no Linux, and has no startup_64"


# GRUB

PROMPT = "\ngrub> "
TO_THE_PROMPT = {GrubPlatform.PC: "60000000", GrubPlatform.XEN_PVH: "15000000", GrubPlatform.EFI: "15000000"}
"""Instructions: the first unpacks itself (LZMA). No more than a third to spare: while GRUB waits for a key it reads the time
without end, and each reading is work for the host.
"""
WAITING = {Reason.INSN_LIMIT, Reason.ENDLESS_LOOP}
"""For somebody to type: nothing new happens any more, as the watchdog of the run may have noticed already."""


@pytest.fixture(scope="session")
def grub_image(tmp_path_factory: pytest.TempPathFactory) -> Callable[[GrubPlatform], Path]:
    """A function that makes GRUB for a platform."""

    def make(platform: GrubPlatform) -> Path:
        with missing_tools_named():
            return image(platform, tmp_path_factory.mktemp("grub"))

    return make


@pytest.mark.parametrize(
    ("platform", "arguments"),
    [
        (GrubPlatform.PC, ("-p", "multiboot", "-e", "multiboot")),
        (GrubPlatform.XEN_PVH, ("-p", "hvmlite", "-e", "pvh", "--platform", "hvmlite")),
        (GrubPlatform.EFI, ("-p", "firmware", "-e", "efi")),
        (GrubPlatform.EFI, ("-p", "hvmlite", "-e", "efi")),
        (GrubPlatform.EFI, ("-p", "multiboot2", "-e", "efi")),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value[1]}-{value[3]}",
)
def test_grub_comes_to_its_prompt(
    grub_image: Callable[[GrubPlatform], Path], platform: GrubPlatform, arguments: tuple[str, ...], tmp_path: Path
) -> None:
    done = efishim_run(tmp_path, grub_image(platform), *arguments, "--max-insns", TO_THE_PROMPT[platform])
    assert done.record.outcome.reason in WAITING
    assert "GNU GRUB  version 2.06" in console(done)
    assert console(done).endswith(PROMPT)


def test_grub_as_pvh_kernel_needs_xen(grub_image: Callable[[GrubPlatform], Path], tmp_path: Path) -> None:
    """Built for Xen, it looks for Xen's CPUID leaves, and halts where there are none."""
    done = efishim_run(tmp_path, grub_image(GrubPlatform.XEN_PVH), "-p", "hvmlite", "-e", "pvh", "--max-insns", "60000000")
    assert done.record.outcome.reason is Reason.HALTED
    assert console(done) == ""


def test_grub_as_multiboot_kernel_on_qemu(grub_image: Callable[[GrubPlatform], Path], tmp_path: Path, on_qemu: OnQemu) -> None:
    kernel = grub_image(GrubPlatform.PC)
    done = efishim_run(tmp_path, kernel, "-p", "multiboot", "-e", "multiboot", "--max-insns", "60000000")
    real = on_qemu("grub-multiboot", lambda folder: Boot(kernel=kernel), Ending.SEEN, lambda sent: plain(sent).endswith(PROMPT))
    assert real.endswith(PROMPT)
    banner = real[real.index("GNU GRUB") :]
    assert console(done).endswith(banner)


# Memtest86+


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("memtest86+x64.bin", ("-p", "grub", "-e", "linux64", "--max-insns", "12000000")),
        ("memtest86+x64.bin", ("-p", "grub", "-e", "linux32", "--max-insns", "12000000")),
        # Without a graphics output protocol it gives up: set_screen_info() failed.
        ("memtest86+x64.efi", ("-p", "firmware", "-e", "efi", "--option", "shim.gop=1", "--max-insns", "40000000")),
        ("memtest86+ia32.efi", ("-p", "firmware", "-e", "efi", "--option", "shim.gop=1", "--max-insns", "40000000")),
    ],
    ids=["linux64", "linux32", "efi", "efi-ia32"],
)
def test_memtest_tests(debian_kernel: Fetch, file: str, arguments: tuple[str, ...], shared: Path) -> None:
    kernel = debian_kernel(f"memtest86+/boot/{file}")
    done = efishim_run(shared / f"{file}-{arguments[3]}", kernel, *arguments, "-a", MEMTEST_LINE)
    text = console(done)
    assert re.search(r"Memtest86\+ v\d", text)
    assert re.search(r"Memory  :  5\d\dMB", text)
    assert re.search(r"Testing: .*?\[\d+MB of 5\d\dMB\]|ing: \d+KB - \d+MB \[\d+MB of 5\d\dMB\]", text)
    assert done.record.outcome.reason is Reason.INSN_LIMIT


def test_memtest_on_qemu(debian_kernel: Fetch, shared: Path, on_qemu: OnQemu) -> None:
    kernel = debian_kernel("memtest86+/boot/memtest86+x64.bin")
    arguments = ("-p", "grub", "-e", "linux64", "-a", MEMTEST_LINE, "--max-insns", "12000000")
    done = efishim_run(shared / "memtest86+x64.bin-linux64", kernel, *arguments)
    # With the processor that QEMU takes by itself, an AMD on an Intel chipset, it stops before its first line.
    machine = Boot(kernel=kernel, append=MEMTEST_LINE, cpu="max")
    real = on_qemu(
        "memtest", lambda folder: machine, Ending.SEEN, lambda sent: bool(re.search(BANNER + "[^0-9.]", plain(sent)))
    )
    banners = [re.search(BANNER, text) for text in (console(done), real)]
    versions = [found[0] for found in banners if found is not None]
    assert len(versions) == 2
    assert versions[0] == versions[1]
