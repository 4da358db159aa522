"""The boot flows of real firmware and boot loaders, one for each efishim route that has one.

A boot flow names the firmware, the media it boots from, and the entry point at which the kernel is caught.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from efishim_firmware_stubs import kexec_initrd

from efishim.errors import RouteError, UsageError
from efishim.image.entries import Entry
from efishim.image.opened import Image
from efishim.oracle import entry_points, grub
from efishim.oracle.efi_entry_point import EfiEntryPoint
from efishim.oracle.entry_points import EntryPoint
from efishim.oracle.qemu import Boot, Firmware

MIB = 1 << 20
MEMORY_LIMIT = entry_points.MAX_PLACES * entry_points.ALIGNMENT
"""Most guest memory, bytes."""

KEXEC_SYMBOL = "machine_kexec"
"""Of a kernel that can load another one: what it calls last."""
FIRST_KERNEL = "console=ttyS0 nokaslr loglevel=4"
"""Command line of the kernel that does the kexec. Its addresses are known, and what it says is not part of the record."""


@dataclass(frozen=True)
class Wanted:
    """What is to be booted: the image, its command line, its ramdisk (all of them behind each other), memory in bytes."""

    image: Image
    cmdline: bytes
    initrd: bytes
    memory: int


@dataclass(frozen=True)
class Prepared:
    """What QEMU is started with, where the kernel is awaited, and what else is worth knowing."""

    boot: Boot
    entry_point: EntryPoint
    first_kernel: bool = False
    """Another kernel runs before; it is armed when that one leaves."""


@dataclass(frozen=True)
class BootFlow:
    """One boot flow. `variant` is empty for the one that a route stands for."""

    route: str
    variant: str
    help: str
    firmware: Firmware
    entry: Entry
    prepare: Callable[[Wanted, Path], Prepared]
    options: tuple[tuple[str, str], ...] = ()
    """What efishim's route is told to be like this flow."""
    adds: bytes = b""
    """What comes behind the command line when there is a ramdisk."""

    @property
    def profile(self) -> str:
        """The name of the firmware profile that imitates the firmware, empty for a BIOS."""
        return "ovmf" if self.firmware is Firmware.OVMF else ""

    @property
    def name(self) -> str:
        """`provider/entry`, with `+variant` for another flow to the same entry."""
        return f"{self.route}+{self.variant}" if self.variant else self.route

    @property
    def provider(self) -> str:
        """The first half of the route."""
        return self.route.partition("/")[0]


def _file(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def _initrd(wanted: Wanted, folder: Path) -> Path | None:
    return _file(folder, "initrd", wanted.initrd) if wanted.initrd else None


def _boot(wanted: Wanted, firmware: Firmware, **parts: object) -> Boot:
    return Boot(firmware=firmware, memory=wanted.memory // MIB, vga="std", **parts)  # type: ignore[arg-type]


def _direct(wanted: Wanted, folder: Path, firmware: Firmware, kernel: bytes, append: bytes | str | None = None) -> Boot:
    return _boot(
        wanted,
        firmware,
        kernel=_file(folder, "kernel", kernel),
        initrd=_initrd(wanted, folder),
        append=wanted.cmdline if append is None else append,
    )


def _ovmf(wanted: Wanted, folder: Path) -> Prepared:
    return Prepared(_direct(wanted, folder, Firmware.OVMF, wanted.image.data), EfiEntryPoint(wanted.image))


def _ovmf_shell(wanted: Wanted, folder: Path) -> Prepared:
    disk = folder / "disk"
    disk.mkdir()
    _file(disk, "vmlinuz.efi", wanted.image.data)
    line = b"vmlinuz.efi"
    if wanted.initrd:
        _file(disk, "initrd.img", wanted.initrd)
        line += b" initrd=\\initrd.img"
    _file(disk, "startup.nsh", b"fs0:\r\n" + line + b" " + wanted.cmdline + b"\r\n")
    return Prepared(_boot(wanted, Firmware.OVMF, fat=disk), EfiEntryPoint(wanted.image))


def _by_grub(wanted: Wanted, folder: Path, firmware: Firmware, command: str, initrd: str = "") -> Boot:
    files = {"vmlinuz": wanted.image.data}
    lines = f"{command} /vmlinuz {grub.words(wanted.cmdline)}\n"
    if wanted.initrd and initrd:
        files["initrd.img"] = wanted.initrd
        lines += f"{initrd} /initrd.img\n"
    return _boot(wanted, firmware, cdrom=grub.iso(folder, firmware, lines, files))


def _grub_linux(firmware: Firmware) -> Callable[[Wanted, Path], Prepared]:
    def prepare(wanted: Wanted, folder: Path) -> Prepared:
        entry_point = entry_points.linux32(wanted.image, wanted.memory)
        return Prepared(_by_grub(wanted, folder, firmware, "linux", "initrd"), entry_point)

    return prepare


def _grub_linux16(wanted: Wanted, folder: Path) -> Prepared:
    entry_point = entry_points.linux16(wanted.image)
    return Prepared(_by_grub(wanted, folder, Firmware.SEABIOS, "linux16", "initrd16"), entry_point)


def _grub_chain(wanted: Wanted, folder: Path) -> Prepared:
    entry_point = EfiEntryPoint(wanted.image)
    files = {"vmlinuz.efi": wanted.image.data}
    line = grub.words(wanted.cmdline)
    if wanted.initrd:
        files["initrd.img"] = wanted.initrd
        line = f"'initrd=\\initrd.img' {line}"
    disk = grub.efi_disk(folder, f"chainloader /vmlinuz.efi {line}", files)
    return Prepared(_boot(wanted, Firmware.OVMF, fat=disk), entry_point)


def _linuxboot(wanted: Wanted, folder: Path) -> Prepared:
    entry_point = entry_points.linux16(wanted.image)
    return Prepared(_direct(wanted, folder, Firmware.SEABIOS, wanted.image.data), entry_point)


def _pvh(wanted: Wanted, folder: Path) -> Prepared:
    entry_point = entry_points.pvh(wanted.image)
    return Prepared(_direct(wanted, folder, Firmware.SEABIOS, wanted.image.source.unpack()), entry_point)


def _kexec(firmware: Firmware) -> Callable[[Wanted, Path], Prepared]:
    def prepare(wanted: Wanted, folder: Path) -> Prepared:
        entry_point = entry_points.linux64(wanted.image, wanted.memory)
        try:
            cmdline = wanted.cmdline.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError("kexec is only tried with a command line that is UTF-8") from error
        first = kexec_initrd(wanted.image.source.data, cmdline, wanted.initrd or None)
        boot = _boot(
            wanted,
            firmware,
            kernel=_file(folder, "kernel", wanted.image.data),
            initrd=_file(folder, "first", first),
            append=FIRST_KERNEL,
        )
        return Prepared(boot, entry_point, first_kernel=True)

    return prepare


def _grub_multiboot(number: int) -> Callable[[Wanted, Path], Prepared]:
    def prepare(wanted: Wanted, folder: Path) -> Prepared:
        entry_point = entry_points.multiboot(wanted.image, number)
        suffix = "2" if number == 2 else ""
        return Prepared(_by_grub(wanted, folder, Firmware.SEABIOS, f"multiboot{suffix}", f"module{suffix}"), entry_point)

    return prepare


BOOT_FLOWS = (
    BootFlow("firmware/efi", "", "OVMF starts the kernel that QEMU hands it", Firmware.OVMF, Entry.EFI, _ovmf,
        adds=b" initrd=initrd"),
    BootFlow("firmware/efi", "shell", "OVMF's shell starts it from a FAT disk", Firmware.OVMF, Entry.EFI, _ovmf_shell),
    BootFlow("grub/efi", "", "GRUB on OVMF, command chainloader", Firmware.OVMF, Entry.EFI, _grub_chain,
        (("grub.platform", "efi"),)),
    BootFlow("grub/linux32", "", "GRUB on SeaBIOS, command linux", Firmware.SEABIOS, Entry.LINUX32,
        _grub_linux(Firmware.SEABIOS)),
    BootFlow("grub/linux32", "efi", "GRUB on OVMF leaves long mode, command linux", Firmware.OVMF, Entry.LINUX32,
        _grub_linux(Firmware.OVMF), (("grub.platform", "efi"),)),
    BootFlow("lilo/linux16", "", "GRUB on SeaBIOS, command linux16", Firmware.SEABIOS, Entry.LINUX16, _grub_linux16),
    BootFlow("lilo/linux16", "linuxboot", "QEMU's own loader on SeaBIOS", Firmware.SEABIOS, Entry.LINUX16, _linuxboot),
    BootFlow("hvmlite/pvh", "", "QEMU's PVH loader on SeaBIOS", Firmware.SEABIOS, Entry.PVH, _pvh),
    BootFlow("kexec/linux64", "", "the same kernel, booted by SeaBIOS, loads it", Firmware.SEABIOS, Entry.LINUX64,
        _kexec(Firmware.SEABIOS)),
    BootFlow("kexec/linux64", "efi", "the same kernel, booted by OVMF, loads it", Firmware.OVMF, Entry.LINUX64,
        _kexec(Firmware.OVMF), (("kexec.source", "efi"),)),
    BootFlow("multiboot/multiboot", "", "GRUB on SeaBIOS, command multiboot", Firmware.SEABIOS, Entry.MULTIBOOT,
        _grub_multiboot(1)),
    BootFlow("multiboot2/multiboot2", "", "GRUB on SeaBIOS, command multiboot2", Firmware.SEABIOS, Entry.MULTIBOOT2,
        _grub_multiboot(2)),
)  # fmt: skip
"""All of them, those that stand for their routes among them."""


def find_boot_flow(name: str) -> BootFlow:
    """The boot flow of that name. Raises UsageError with the list."""
    for flow in BOOT_FLOWS:
        if flow.name == name:
            return flow
    raise UsageError(
        f"there is no way of real firmware called {name}", hint=f"there are: {', '.join(flow.name for flow in BOOT_FLOWS)}"
    )


def applicable(image: Image) -> list[BootFlow]:
    """The flows that stand for routes, whose entry the image has."""
    return [flow for flow in BOOT_FLOWS if not flow.variant and flow.entry in image.entries]


def require_wide(image: Image) -> None:
    """Raises RouteError for a 32-bit Linux: it has no startup_64 to stop at, and the oracle's OVMF is for X64."""
    if image.is_32_bit_linux:
        raise RouteError(
            f"{image.path} is a 32-bit kernel, and the oracle follows 64-bit ones", hint="`efishim run` and `compare` take it"
        )


def require(flow: BootFlow, image: Image) -> None:
    """Raises RouteError with the reason when the image lacks its entry."""
    image.require(flow.entry)
    require_wide(image)
    if flow.entry in {Entry.LINUX16, Entry.LINUX32, Entry.LINUX64} and image.source.bzimage is None:
        raise RouteError(f"{image.path} has no Linux setup header")
    if flow.entry is Entry.LINUX64:
        symbols = image.symbols
        if symbols is None or symbols.address_of(KEXEC_SYMBOL) is None:
            raise RouteError(f"{image.path} has no {KEXEC_SYMBOL}, so it cannot load itself by kexec")
