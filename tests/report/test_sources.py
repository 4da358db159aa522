"""Links for what rules cite."""

from __future__ import annotations

import pytest

from efishim.compare.explained import oracle_rules
from efishim.compare.rules import shipped_rules
from efishim.report.sources import LINUX, PROJECTS, cited


@pytest.mark.parametrize(
    ("source", "link"),
    [
        ("arch/x86/kernel/head_64.S, startup_64", f"{LINUX}arch/x86/kernel/head_64.S"),
        (
            "Xen, xen/include/public/arch-x86/hvm/start_info.h, struct",
            f"{PROJECTS['Xen']}xen/include/public/arch-x86/hvm/start_info.h",
        ),
        ("grub-core/lib/i386/relocator_common.S", f"{PROJECTS['GRUB']}grub-core/lib/i386/relocator_common.S"),
        ("hw/i386/x86.c of QEMU, x86_load_linux()", f"{PROJECTS['QEMU']}hw/i386/x86.c"),
        ("UEFI 2.10 section 7.4", "https://uefi.org/specs/UEFI/2.10/"),
        ("a book, chapter 3", ""),
    ],
)
def test_a_citation_leads_to_its_document(source: str, link: str) -> None:
    (one,) = cited(source)
    assert (one.text, one.link) == (source, link)


def test_a_generation_is_that_of_the_file() -> None:
    first, second = cited("mm/page_alloc.c (6.1) and mm/mm_init.c, build(); UEFI 2.10 section 1")
    assert first.link.endswith("mm/page_alloc.c?h=v6.1")
    assert second.link.startswith("https://uefi.org")


def test_nearly_every_source_of_the_shipped_rules_has_a_link() -> None:
    parts = [one for rule in (*shipped_rules(), *oracle_rules()) for one in cited(rule.source)]
    without = [one.text for one in parts if not one.link]
    assert len(without) < len(parts) / 5, without
