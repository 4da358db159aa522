"""The 64-bit entry of a Linux kernel's ELF file: `startup_64` of the kernel proper, with RSI pointing to boot_params.

Firecracker enters a vmlinux without a PVH note there, without a decompressor and without a boot loader. No document is its
specification: it is entered in the state of the 64-bit boot protocol (boot.rst), which the comment at startup_64 in
arch/x86/kernel/head_64.S asks for again, at the physical address that the linker script puts into e_entry
(arch/x86/kernel/vmlinux.lds.S, phys_startup_64).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from efishim.provider import Requirement, Specification
from efishim.wire.elf import MACHINE_X86_64

if TYPE_CHECKING:
    from efishim.image.entries import Door
    from efishim.image.loading import LoadPlan, Room
    from efishim.image.opened import Image
    from efishim.provider import Findings, Moment

ENTRY = Requirement(
    "elf64/entry-point",
    "The kernel is entered at e_entry of its ELF file",
    'System V ABI, "ELF Header"; arch/x86/kernel/vmlinux.lds.S, phys_startup_64',
)


class Elf64:
    """e_entry of the ELF file, which a bzImage has in its payload."""

    name = "elf64"
    summary = "e_entry of the kernel's ELF file in 64-bit mode, with boot_params: how VMMs start vmlinux"
    specifications = (
        Specification("The Linux/x86 Boot Protocol, 64-bit Boot Protocol", "https://docs.kernel.org/arch/x86/boot.html"),
        Specification("System V ABI, Object Files", "https://www.sco.com/developers/gabi/latest/contents.html"),
    )
    follows = "linux64"
    # It is entered elsewhere, and it lies where it is linked: alignments are for loaders that choose a place.
    leaves_out = ("linux64/entry-point", "boot_params/alignment")
    requirements = (ENTRY,)

    def find(self, image: Image) -> Door:
        """A Linux kernel of 64 bits, as it is or in the payload of a bzImage."""
        from efishim.image.entries import Door

        parts = image.parts
        if parts.elf is None and image.source.bzimage is None:
            return Door(self.name, reason=parts.elf_problem or "the image is not an ELF file and contains none")
        kernel = image.kernel
        if kernel.machine != MACHINE_X86_64 or not kernel.wide:
            return Door(self.name, reason="its ELF file is not one of 64 bits for x86-64")
        if not kernel.linux:
            return Door(self.name, reason="its ELF file is no Linux kernel, so nothing says how it is entered")
        if not kernel.entry_code:
            return Door(self.name, reason=f"e_entry {kernel.entry:#x} lies in none of its segments")
        return Door(self.name, where=f"physical {kernel.entry:#x}")

    def load(self, image: Image, room: Room, *, high: bool) -> LoadPlan:
        """To where the program headers say; VMMs do not move it."""
        from efishim.image.loading import plan_kernel

        del high
        return plan_kernel(image, room, image.kernel.entry)

    def check(self, moment: Moment, findings: Findings) -> None:
        """RIP; all else are the rules of the 64-bit boot protocol."""
        at, wanted = moment.cpu.registers.rip, moment.loaded.entry_point
        findings.demand(ENTRY, at == wanted, f"RIP is {at:#x}, e_entry is {wanted:#x}")
