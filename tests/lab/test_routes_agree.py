"""What `inspect` says of a route is what `run` does: for images of many kinds, whole and wrong, and every route."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterator

import efishim_firmware_stubs
import pytest

from efishim.errors import EfishimError, RouteError
from efishim.image.opened import open_image
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Milestone
from efishim.lab.run import run_plan
from efishim.report.image import describe
from tests.hostile.programs import REGISTRY
from tests.image.test_entries import COMPAT, TEXT, X86_ELF, elf_with, multiboot1, multiboot2
from tests.image.test_hostile import SEEDS
from tests.support.images import build_bzimage, build_elf, build_kernel_elf, build_pe, elf_note

MIB = 1 << 20


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def tag(kind: int, *values: int, optional: bool = False) -> bytes:
    raw = struct.pack("<HHI", kind, optional, 8 + 4 * len(values)) + words(*values)
    return raw.ljust(-(-len(raw) // 8) * 8, b"\0")


def pvh(*segments: tuple[int, int, bytes, int], entry: int, wide: bool = True) -> bytes:
    note = elf_note(b"Xen", 18, words(entry))
    return build_elf(segments, entry=entry, notes=note, wide=wide, machine=62 if wide else 3)


def multiboot_at(address: int, size: int = 3) -> bytes:
    segments = [(address, address, b"low", size), (MIB, MIB, multiboot1() + b"\x90" * 64, 0x1000)]
    return build_elf(segments, entry=MIB + 12, wide=False, machine=3)


def kludge(header: int, load: int, load_end: int = 0, bss_end: int = 0) -> bytes:
    return multiboot1(0x10003, header, load, load_end, bss_end, header + 0x20) + b"\xf4" * 64


FIXED = {0x234: b"\0"}
PES: dict[str, bytes] = {
    "pe": build_pe([TEXT]),
    "pe of another machine": build_pe([TEXT], machine=0xAA64),
    "pe32": build_pe([TEXT], machine=0x14C, plus=False),
    "pe with .compat": build_pe([TEXT, COMPAT]),
    "pe for Windows": build_pe([TEXT], subsystem=3),
    "pe without entry": build_pe([TEXT], entry=0),
    "pe entered outside of itself": build_pe([TEXT], entry=0x900000),
    "pe for one place": build_pe([TEXT], characteristics=0x0207),
    "pe for a place that nobody has": build_pe([TEXT], characteristics=0x0207, image_base=0),
    "pe larger than all": build_pe([TEXT], size_of_image=0x7000_0000),
    "pe of no size": build_pe([TEXT], size_of_image=0),
    "a unified kernel image": SEEDS["uki"],
}
LINUX: dict[str, bytes] = {
    **{f"protocol {version:#x}": build_bzimage(protocol=version) for version in (0x200, 0x204, 0x20A, 0x20B, 0x20C, 0x20F)},
    "a kernel of 32 bits": build_bzimage(xloadflags=0),
    "zImage": build_bzimage(patches={0x211: b"\0"}),
    "zImage that is too large": build_bzimage(b"x" * 0x90000, patches={0x211: b"\0"}),
    "an alignment of 0": build_bzimage(patches={0x230: words(0)}),
    "an alignment of 3": build_bzimage(patches={0x230: words(3)}),
    "init_size of gigabytes": build_bzimage(patches={0x260: words(0xF000_0000)}),
    "fixed": build_bzimage(patches=FIXED),
    "fixed over devices": build_bzimage(patches=FIXED | {0x214: words(0x1000)}),
    "fixed behind 4 GiB": build_bzimage(patches=FIXED | {0x214: words(0xFFFF_0000)}),
    "setup code of 35 KiB": build_bzimage(setup_sects=70),
    "handover_offset of 0": build_bzimage(handover=0),
    "no command line": build_bzimage(patches={0x238: words(0)}),
    "with PVH": build_bzimage(gzip.compress(build_kernel_elf(notes=elf_note(b"Xen", 18, words(0x1000000))), mtime=0)),
}
OTHERS: dict[str, bytes] = {
    "the probe": efishim_firmware_stubs.probe_kernel(),
    "low segments": multiboot_at(0x9000),
    "a segment at 0": multiboot_at(0),
    "a segment in the display": multiboot_at(0xA0000),
    "a segment among devices": multiboot_at(0xD000_0000),
    "a segment behind 4 GiB": build_elf([(MIB, 1 << 32, multiboot1() + b"\x90" * 64, 0x1000)], entry=MIB + 12),
    "a video mode": elf_with(multiboot1(0x7, 0, 0, 0, 0, 0, 0, 800, 600, 32)),
    "a flag that nobody defines": elf_with(multiboot1(8)),
    "addresses": kludge(MIB, MIB),
    "addresses before the file": kludge(MIB, 2 * MIB),
    "addresses behind the file": kludge(MIB, MIB, 9 * MIB),
    "gigabytes of bss": kludge(MIB, MIB, MIB + 0x60, 0xF000_0000),
    "pvh": pvh(*X86_ELF, entry=MIB + 0x10, wide=False),
    "pvh over the display": pvh((0, 0, b"\xf4" * 64, 2 * MIB), entry=0x10),
    "pvh among devices": pvh((0xD000_0000, 0xD000_0000, b"\xf4" * 64, 64), entry=0xD000_0010),
    "gigabytes of pvh": pvh((MIB, MIB, b"\xf4" * 64, 0xA000_0000), entry=MIB + 0x10),
    "no entry at all": build_elf(X86_ELF, entry=MIB),
}
HEADERS = {
    "no tags": b"",
    "addresses": tag(2, MIB, MIB, 0, 0) + tag(3, MIB + 0x80),
    "addresses without entry": tag(2, MIB, MIB, 0, 0),
    "short addresses": tag(2, 0) + tag(3, MIB),
    "movable": tag(10, 2 * MIB, 128 * MIB, 0x1000, 1),
    "moved by odd steps": tag(10, 2 * MIB, 128 * MIB, 0x1001, 1),
    "moved within too little": tag(10, 2 * MIB, 2 * MIB + 0x100, 0x1000, 1),
    "boot services": tag(7) + tag(9, MIB + 0x80),
    "an unknown tag": tag(77),
    "an unknown optional tag": tag(77, optional=True),
    "sections": tag(1, 9, 6),
    "unknown information": tag(1, 99),
    "a console": tag(4, 1),
}
MULTIBOOT2 = {f"multiboot2 with {name}": elf_with(multiboot2(tags)) for name, tags in HEADERS.items()}
MACHINES = "pvh over the display", "hvmlite/pvh"
"""Machines of hypervisors have memory where a PC has its display: `inspect`, which asks for no platform, says yes."""
IMAGES = PES | LINUX | OTHERS | MULTIBOOT2


def told(name: str) -> Iterator[tuple[str, bool, str, str]]:
    """(route, does it apply, why not, what came of running it) for every route without options on `pc`."""
    document = describe(open_image(IMAGES[name], path=name), REGISTRY.providers.values(), REGISTRY.entries)
    for row in document["routes"]:
        provider, entry = row["route"].split("/")
        plan = Plan(
            image=Blob.embedded(name, IMAGES[name]),
            provider=provider,
            entry=entry,
            platform="pc",
            cmdline=b"",
            memory=128 * MIB,
            until=Milestone.ENTRY,
            observers=False,
        )
        came = ""
        try:
            assert run_plan(plan, registry=REGISTRY).outcome.reached
        except RouteError as error:
            came = f"77: {error.sentence}"
        except EfishimError as error:
            came = f"{error.exit_status}: {error.sentence}"
        yield row["route"], row["applies"], row["reason"], came


@pytest.mark.slow
@pytest.mark.parametrize("name", IMAGES)
def test_inspect_and_run_agree(name: str) -> None:
    routes = list(told(name))
    assert len(routes) > 12
    for route, applies, reason, came in routes:
        if applies and (name, route) == MACHINES:
            assert "not all of that is free memory" in came
        elif applies:
            assert not came, route
        else:
            assert came.startswith("77: "), route
            assert came.endswith(reason), route


def test_the_images_take_every_route_and_miss_every_route() -> None:
    """What never applies, or always does, would hold above whatever `inspect` said."""
    found: dict[str, set[bool]] = {}
    for name, data in IMAGES.items():
        for row in describe(open_image(data, path=name), REGISTRY.providers.values(), REGISTRY.entries)["routes"]:
            found.setdefault(row["route"], set()).add(row["applies"])
    assert all(ways == {True, False} for ways in found.values()), found
