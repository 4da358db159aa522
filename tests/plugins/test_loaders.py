"""What the loaders that ship write for the kernel."""

from __future__ import annotations

import pytest
from efishim_plugins.grub_efi.loader import GrubEfi
from efishim_plugins.refind.loader import Refind
from efishim_plugins.shim_grub_efi.loader import ShimGrubEfi
from efishim_plugins.syslinux_efi.loader import SyslinuxEfi
from efishim_plugins.systemd_boot.loader import SystemdBoot
from efishim_plugins.uki.loader import BOOT, UnifiedKernelImage
from efishim_plugins.uki.sections import with_sections

from efishim.errors import UsageError
from efishim.image.pe import layout_pe, parse_pe
from efishim.plugins import load_plugins
from efishim.provider import Loader, LoaderRequest
from tests.firmware.programs import IMAGE

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


def test_a_unified_kernel_image_has_everything_in_sections() -> None:
    request = LoaderRequest("efi", b"quiet", "\\vmlinuz", ("\\initrd.img", "\\initrd1.img"))
    files = {BOOT: IMAGE, "\\vmlinuz": b"kernel" * 1000, "\\initrd.img": b"one", "\\initrd1.img": b"two"}
    loader = UnifiedKernelImage()
    (made,) = loader.assemble(request, files)
    assert loader.configuration(request) == ()
    assert made.path == BOOT
    pe = parse_pe(made.data)
    layout = layout_pe(made.data, pe)
    parts = {one.name: bytes(one.data) for one in layout.pieces if one.name in (".cmdline", ".initrd", ".linux")}
    assert parts == {".cmdline": b"quiet", ".initrd": b"one\0two\0", ".linux": b"kernel" * 1000}
    old = parse_pe(IMAGE)
    assert (pe.entry_rva, pe.subsystem) == (old.entry_rva, old.subsystem)
    ends = [0]
    for one in layout.pieces:
        assert one.rva >= ends[-1]
        ends.append(one.end)
    assert ends[-1] <= layout.size_of_image
    (bare,) = loader.assemble(LoaderRequest("efi", b"", "\\vmlinuz", ()), files)
    assert {b".cmdline", b".initrd"}.isdisjoint(bare.data[:0x400].split(b"\0"))


def test_a_stub_without_room_is_one_sentence() -> None:
    with pytest.raises(UsageError, match="no PE image"):
        with_sections(b"MZ", {".a": b"a"})
    with pytest.raises(UsageError, match="no room for 100 more"):
        with_sections(IMAGE, {f".{number}": b"a" for number in range(100)})


@pytest.mark.parametrize("loader", LOADERS, ids=[one.name for one in LOADERS])
@pytest.mark.parametrize("command_line", [b"a\nreboot", b"a\rb", b"\xff"])
def test_a_command_line_that_would_be_another_line_is_refused(loader: Loader, command_line: bytes) -> None:
    with pytest.raises(UsageError, match=r"line ends|UTF-8"):
        text(loader, loader.ways[0].name, command_line)
