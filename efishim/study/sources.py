"""What was said, by whom and where: verbatim with a link, or a paraphrase without one.

The messages were read in public archives of linux-kernel and xen-devel. What could not be found there word for word stands as
a paraphrase that is not attributed to a person.
"""

from __future__ import annotations

from efishim.study.model import Source

LKML = "https://lkml.iu.edu/hypermail/linux/kernel/"
WIKI = "https://kernelnewbies.org/KernelProjects/x86-xen-efi"

RODRIGUEZ, DUNLAP, VRABEL, FLEMING = "Luis R. Rodriguez", "George Dunlap", "David Vrabel", "Matt Fleming"
WILK = "Konrad Rzeszutek Wilk"
UNREAD = "a message to linux-kernel"
"""The part of it that could be read does not name its author."""


def said(author: str, date: str, link: str, text: str) -> Source:
    """The very words."""
    return Source(text=text, author=author, date=date, link=link)


def paraphrase(text: str) -> Source:
    """What was said by the sense."""
    return Source(text=text)


ZERO_PAGE_STUB = said(
    "wiki page of the proposal",
    "",
    WIKI,
    "all they do is take a custom data structure, and interpret it to set the x86 zero page page, and later hand off to the "
    "proper native startup_32() / startup_64() entry point",
)
SUBARCH = said(
    UNREAD,
    "January 2016",
    LKML + "1601.3/02686.html",
    "we should consider on relying on hardware_subarch and hardware_subarch_data to fetch the hvmlite_start_info",
)
NOT_FOR_HYPERVISORS = said(
    UNREAD, "February 2016", LKML + "1602.0/04547.html", "As per hpa subarch was not designed for defining a hypervisor"
)
ALL_SAFE = said(
    UNREAD,
    "February 2016",
    LKML + "1602.0/04547.html",
    "how about the rest of the code during and after startup_32() and startup_64() -- are we sure that's all safe ?",
)
FADT_NO_VGA = said(
    RODRIGUEZ,
    "5 April 2016",
    LKML + "1604.0/03320.html",
    "The HVMLite document talks about using ACPI_FADT_NO_VGA -- we don't use this yet upstream but I have some "
    "pending changes which should make it easy to integrate its use on HVMLite",
)
MINIMAL_STUBS = said(
    RODRIGUEZ,
    "5 April 2016",
    LKML + "1604.0/03584.html",
    "Minimal EFI stubs for guests * GetMemoryMap() * ExitBootServices() * EFI stubs which may be needed for guests * "
    "Exit() * Variable operation functions",
)
STUBS_NOT_NEEDED = said(
    RODRIGUEZ,
    "5 April 2016",
    LKML + "1604.0/03584.html",
    "EFI stubs not needed for guests * GetTime()/SetTime() * SetVirtualAddressMap() * ResetSystem()",
)
ALREADY_DOES = said(
    RODRIGUEZ,
    "8 April 2016",
    LKML + "1604.1/00519.html",
    "Its more of a hypothetical -- can an EFI entry be used instead given it already does exactly what the new small "
    "entry does ?",
)
EMULATE = said(
    WILK,
    "14 April 2016",
    LKML + "1604.1/05923.html",
    "But to make that work you have to emulate EFI firmware in the hypervisor. Is that work you are signing up for?",
)
INSIDE_XEN = said(
    VRABEL,
    "6 April 2016",
    LKML + "1604.1/00519.html",
    "I think needing any EFI emulation inside Xen (which is where it would need to be for dom0) is not suitable because of "
    "the increase in hypervisor ABI.",
)
EXTRA_WORK = said(
    DUNLAP,
    "13 April 2016",
    LKML + "1604.1/05918.html",
    "Adding the necessary EFI support into Xen would be a significant chunk of extra work",
)
MORE_COMPLICATED = said(
    DUNLAP,
    "13 April 2016",
    LKML + "1604.1/05918.html",
    "Being called both on real hardware and under Xen would make the EFI entry point more complicated",
)
UNIKERNEL_STYLE = said(
    DUNLAP,
    "15 April 2016",
    LKML + "1604.1/06193.html",
    "For this use case, even an extra megabyte of guest RAM and an extra second of boot time is a significant cost.",
)
OPEN_QUESTION = said(
    DUNLAP,
    "15 April 2016",
    LKML + "1604.1/06193.html",
    "Whether a stripped-down EFI support would be sufficiently low memory / latency for such workloads is an open question "
    "that would take time and engineering effort to discover.",
)
ANOTHER_BOOTLOADER = said(
    DUNLAP,
    "15 April 2016",
    LKML + "1604.1/06193.html",
    "it would certainly require the maintenance of Yet Another Bootloader in the Xen source tree",
)
OTHER_DOM0S = said(
    DUNLAP,
    "13 April 2016",
    LKML + "1604.1/05918.html",
    "Requiring PVH mode to implement EFI would make it more difficult for other kernes (NetBSD, FreeBSD) to act as dom0s.",
)
NATIVE_MODE = said(
    FLEMING,
    "13 April 2016",
    LKML + "1604.1/03951.html",
    "The PE/COFF stub in Linux does assume that it is executing in native cpu mode and does not perform any mode switching, "
    "i.e. from 32-bit protected to long mode.",
)
NO_ELF_NOTES = said(
    FLEMING,
    "13 April 2016",
    LKML + "1604.1/03951.html",
    "I'm not aware of a direct equivalent for ELF notes in the PE/COFF format.",
)
