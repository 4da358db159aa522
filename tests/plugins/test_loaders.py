"""What the loaders that ship write for the kernel."""

from __future__ import annotations

import pytest
from efishim_plugins.grub_efi.loader import GrubEfi
from efishim_plugins.refind.loader import Refind
from efishim_plugins.shim_grub_efi.loader import ShimGrubEfi
from efishim_plugins.syslinux_efi.loader import SyslinuxEfi
from efishim_plugins.systemd_boot.loader import SystemdBoot

from efishim.errors import UsageError
from efishim.plugins import load_plugins
from efishim.provider import Loader, LoaderRequest

LOADERS: tuple[Loader, ...] = (GrubEfi(), SystemdBoot(), Refind(), SyslinuxEfi(), ShimGrubEfi())


def text(loader: Loader, way: str, command_line: bytes, *ramdisks: str) -> str:
    return loader.configuration(LoaderRequest(way, command_line, "\\vmlinuz", ramdisks))[-1].data.decode()


def test_they_are_registered_and_start_from_where_firmware_looks() -> None:
    registry = load_plugins()
    for one in LOADERS:
        assert one.name in registry.loaders
        assert "\\EFI\\BOOT\\BOOTX64.EFI" in [program.path for program in one.programs]
        for program in one.programs:
            assert all("=" not in source for source in program.sources), "no version is pinned"


def test_grub_is_told_by_commands_of_its_language() -> None:
    lines = text(GrubEfi(), "linux", b"a  it's $b", "\\initrd.img", "\\initrd1.img").splitlines()
    assert lines[1:4] == ["linux /vmlinuz 'a' 'it'\\''s' '$b'", "initrd /initrd.img /initrd1.img", "boot"]
    assert lines[-1] == "exit"
    lines = text(GrubEfi(), "efi", b"", "\\initrd.img").splitlines()
    assert lines[1] == "chainloader /vmlinuz  initrd=\\\\initrd.img"
    assert "initrd" not in text(GrubEfi(), "linux", b"quiet")
    assert text(ShimGrubEfi(), "linux", b"quiet") == text(GrubEfi(), "linux", b"quiet")


def test_systemd_boot_is_told_by_an_entry() -> None:
    entry = text(SystemdBoot(), "efi", b"quiet $b", "\\initrd.img")
    assert entry == "title efishim\nlinux /vmlinuz\ninitrd /initrd.img\noptions quiet $b\n"
    assert "options" not in text(SystemdBoot(), "efi", b"")


def test_refind_is_told_by_a_menu_entry() -> None:
    lines = [line.strip() for line in text(Refind(), "efi", b'a "b"', "\\initrd.img", "\\initrd1.img").splitlines()]
    assert lines[5:8] == ["loader /vmlinuz", "initrd /initrd.img", 'options "a ""b"" initrd=\\initrd1.img"']


def test_syslinux_is_told_by_a_label() -> None:
    lines = [line.strip() for line in text(SyslinuxEfi(), "linux", b"quiet", "\\initrd.img", "\\initrd1.img").splitlines()]
    assert lines[3:] == ["LINUX /vmlinuz", "INITRD /initrd.img,/initrd1.img", "APPEND quiet"]
    assert "APPEND" not in text(SyslinuxEfi(), "linux", b" ")


@pytest.mark.parametrize("loader", LOADERS, ids=[one.name for one in LOADERS])
@pytest.mark.parametrize("command_line", [b"a\nreboot", b"a\rb", b"\xff"])
def test_a_command_line_that_would_be_another_line_is_refused(loader: Loader, command_line: bytes) -> None:
    with pytest.raises(UsageError, match=r"line ends|UTF-8"):
        text(loader, loader.ways[0].name, command_line)
