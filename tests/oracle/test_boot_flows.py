"""The table of ways against the routes that efishim has, and what is said when one does not apply."""

from __future__ import annotations

import pytest
from efishim_firmware_stubs import load, probe_elf, probe_kernel

from efishim.errors import RouteError, UsageError
from efishim.image.opened import Image, open_image
from efishim.oracle.boot_flows import BOOT_FLOWS, applicable, find_boot_flow, require
from efishim.plugins import load_plugins
from tests.support.images import build_bzimage, build_elf


@pytest.fixture(scope="module")
def probe() -> Image:
    return open_image(probe_kernel(), path="probe")


def test_every_way_stands_beside_a_route_of_efishim() -> None:
    registry = load_plugins()
    for flow in BOOT_FLOWS:
        entries = {entry.name for entry in registry.provider(flow.provider).entries}
        assert flow.entry.value in entries, flow.name
        assert flow.route == f"{flow.provider}/{flow.entry}"


def test_names_are_unique_and_every_route_has_a_way_without_variant() -> None:
    names = [flow.name for flow in BOOT_FLOWS]
    assert len(set(names)) == len(names)
    assert {flow.route for flow in BOOT_FLOWS} == {flow.route for flow in BOOT_FLOWS if not flow.variant}
    assert all(find_boot_flow(name).name == name for name in names)


def test_an_unknown_way_is_refused_with_the_list() -> None:
    with pytest.raises(UsageError, match="called grub/linux64") as error:
        find_boot_flow("grub/linux64")
    assert "grub/linux32+efi" in error.value.hint


def test_what_applies_to_the_probe_kernel(probe: Image) -> None:
    assert [flow.name for flow in applicable(probe)] == [flow.name for flow in BOOT_FLOWS if not flow.variant]


def test_an_elf_kernel_has_no_linux_entries() -> None:
    elf = open_image(probe_elf(), path="probe.elf")
    assert [flow.name for flow in applicable(elf)] == ["hvmlite/pvh"]
    with pytest.raises(RouteError, match="has no linux32 entry"):
        require(find_boot_flow("grub/linux32"), elf)


def test_a_kernel_that_cannot_kexec_says_so(probe: Image) -> None:
    with pytest.raises(RouteError, match="machine_kexec"):
        require(find_boot_flow("kexec/linux64"), probe)


def test_a_program_is_no_kernel() -> None:
    program = open_image(load("init/init.elf"), path="init")
    assert applicable(program) == []


def test_a_32_bit_kernel_is_refused_whatever_its_entries() -> None:
    banner = b"Linux version 6.99.0-test (someone@example.org) #1\n\0"
    vmlinux = build_elf([(0xC100_0000, 0x100_0000, banner, len(banner))], entry=0x100_0000, wide=False, machine=3)
    kernel = open_image(build_bzimage(vmlinux, xloadflags=0), path="i386")
    assert {"grub/linux32", "lilo/linux16"} <= {flow.name for flow in applicable(kernel)}
    with pytest.raises(RouteError, match="is a 32-bit kernel"):
        require(find_boot_flow("grub/linux32"), kernel)
