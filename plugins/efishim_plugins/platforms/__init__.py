"""The built-in platforms, registered through the public entry-point group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.hookspecs import hookimpl

if TYPE_CHECKING:
    from efishim.platform.definition import PlatformDefinition
    from efishim.provider import Platform


@hookimpl
def efishim_platforms() -> list[Platform]:
    """The platforms of this package."""
    from efishim_plugins.platforms.shipped import Shipped

    return [
        Shipped("pc", "bare metal: EFI firmware, serial console, ACPI; no display, keyboard or disks", _pc),
        Shipped("hvmlite", "a Xen 4.17 PVH guest: hypercalls, event channels, local APIC; no legacy devices, no PCI", _hvmlite),
        Shipped(
            "pc-qemu", "QEMU's machine `pc` without KVM, as `efishim oracle` starts it; no display, keyboard or disks", _pc_qemu
        ),
        Shipped("kvm", "the machine of `pc` as a guest of KVM: its CPUID leaves, kvmclock, hypercalls", _kvm),
    ]


def _pc() -> PlatformDefinition:
    from efishim.platform.machines.pc import PC

    return PC


def _pc_qemu() -> PlatformDefinition:
    from efishim.platform.machines.pc_qemu import PC_QEMU

    return PC_QEMU


def _kvm() -> PlatformDefinition:
    from efishim.platform.machines.kvm import KVM

    return KVM


def _hvmlite() -> PlatformDefinition:
    from efishim.platform.machines.hvmlite import HVMLITE

    return HVMLITE
