"""Where the sources that rules cite can be read: links for kernel files, other projects' files and specifications."""

from __future__ import annotations

import re
from dataclasses import dataclass

LINUX = "https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/"
STABLE = "https://git.kernel.org/pub/scm/linux/kernel/git/stable/linux.git/tree/"

PROJECTS = {
    "QEMU": "https://gitlab.com/qemu-project/qemu/-/blob/master/",
    "GRUB": "https://git.savannah.gnu.org/cgit/grub.git/tree/",
    "Xen": "https://xenbits.xen.org/gitweb/?p=xen.git;a=blob;hb=HEAD;f=",
    "SeaBIOS": "https://git.seabios.org/cgit/seabios.git/tree/",
    "EDK2": "https://github.com/tianocore/edk2/blob/master/",
}
"""Sources of other projects by the name that stands before or behind a file."""

DIRECTORIES = {
    "xen/include/": "Xen",
    "docs/misc/pvh": "Xen",
    "hw/i386/": "QEMU",
    "grub-core/": "GRUB",
    "MdeModulePkg/": "EDK2",
    "OvmfPkg/": "EDK2",
}
"""Files that say by their directory whose they are; all others are the kernel's."""

DOCUMENTS = {
    "UEFI": "https://uefi.org/specs/UEFI/2.10/",
    "ACPI": "https://uefi.org/specs/ACPI/6.5/",
    "SMBIOS": "https://www.dmtf.org/standards/smbios",
    "Multiboot2": "https://www.gnu.org/software/grub/manual/multiboot2/multiboot.html",
    "Multiboot": "https://www.gnu.org/software/grub/manual/multiboot/multiboot.html",
    "SDM": "https://www.intel.com/content/www/us/en/developer/articles/technical/intel-sdm.html",
}
"""Specifications by the first word of a citation."""

_FILE = re.compile(r"(?<![\w/])(?:[\w+-]+/)+[\w.+-]+\.(?:c|h|S|rst|txt|pandoc|lds|asl|py)\b")
_WHOSE = re.compile(r"of (QEMU|GRUB|Xen|SeaBIOS|EDK2)\b|^(QEMU|GRUB|Xen|SeaBIOS|EDK2),")
_GENERATION = re.compile(r"\((\d+\.\d+)\)")


@dataclass(frozen=True, slots=True)
class Cited:
    """One part of a source, as it is written, and where it can be read; an empty link where that is not known."""

    text: str
    link: str


def cited(source: str) -> tuple[Cited, ...]:
    """The parts of a source, which semicolons divide."""
    return tuple(Cited(part, _link(part)) for part in source.split("; ") if part)


def _link(part: str) -> str:
    file = _FILE.search(part)
    if file is not None:
        whose = _WHOSE.search(part)
        project = (whose[1] or whose[2]) if whose else _owner(file[0])
        if project:
            return PROJECTS[project] + file[0]
        generation = _GENERATION.search(part)
        return f"{STABLE}{file[0]}?h=v{generation[1]}" if generation else LINUX + file[0]
    return DOCUMENTS.get(re.split(r"[ ,]", part, maxsplit=1)[0], "")


def _owner(file: str) -> str:
    return next((project for directory, project in DIRECTORIES.items() if file.startswith(directory)), "")
