"""Plans that compare a dump with routes: the routes are told what the dump tells, the user's words before it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import efishim_firmware_stubs
import pytest

from efishim.errors import UsageError
from efishim.image.opened import open_image
from efishim.lab.plan.arguments import Words
from efishim.lab.plan.dump_routes import plan_dump_routes
from efishim.lab.plan.from_dump import KERNEL, RAMDISK
from efishim.lab.plan.plan import Blob, Plan
from efishim.plugins import load_plugins
from efishim.wire.start_info import HvmModlistEntry, HvmStartInfo
from tests.support.cores import MIB, Core, Stopped, stopped

PROBE = Blob.embedded("embedded:probe", efishim_firmware_stubs.probe_kernel())


def plans(path: Path, *routes: str, kernel: bool = True, **words: object) -> list[Plan]:
    """Those of `efishim compare --from`."""
    values: dict[str, object] = {"platform": "", "memory": "", **words}
    found, without = plan_dump_routes(
        load_plugins(),
        str(path),
        (lambda: PROBE) if kernel else None,
        lambda blob: open_image(blob.read(), path=blob.label),
        routes,
        Words(**values),  # type: ignore[arg-type]
    )
    assert without == []
    return found


def with_module(one: Stopped, content: bytes) -> Stopped:
    """A PVH handover with one module more than none."""
    info = one.registers["rbx"]
    at = max(start for start in one.memory if start <= info)
    page = bytearray(one.memory[at])
    told = HvmStartInfo.parse(page[info - at :])
    told.nr_modules, told.modlist_paddr = 1, 0x300_0000
    page[info - at : info - at + HvmStartInfo.SIZE] = told.build()
    entry = HvmModlistEntry(paddr=0x301_0000, size=len(content)).build()
    return replace(one, memory={**one.memory, at: bytes(page), 0x300_0000: entry, 0x301_0000: content})


def test_the_routes_are_told_what_the_dump_tells(tmp_path: Path) -> None:
    core = Core(with_module(stopped("hvmlite", "pvh"), b"a ramdisk")).write(tmp_path / "core")
    reference, other, dump = plans(core, "hvmlite/pvh", "grub/linux32@pc")
    assert [one.route for one in (reference, other, dump)] == ["hvmlite/pvh", "grub/linux32", "dump/pvh"]
    assert {one.cmdline for one in (reference, other, dump)} == {b"console=ttyS0 told"}
    assert {one.memory for one in (reference, other, dump)} == {64 * MIB}
    assert (reference.platform, other.platform, dump.platform) == ("pc-qemu", "pc", "pc-qemu")
    assert [(one.label, one.read()) for one in reference.initrds] == [(RAMDISK, b"a ramdisk")]
    assert any("the ramdisk is that of the dump" in note for note in reference.notes)
    assert dump.initrds == ()
    assert {one.image for one in (reference, other, dump)} == {PROBE}


def test_without_routes_the_reference_is_the_provider_of_the_entry(tmp_path: Path) -> None:
    one = stopped("grub", "linux32")
    reference, dump = plans(Core(one).write(tmp_path / "core"), kernel=False)
    assert (reference.route, dump.route) == ("grub/linux32", "dump/linux32")
    assert reference.image.label == dump.image.label == KERNEL


def test_what_the_user_says_comes_first_and_the_dump_stays_as_it_is(tmp_path: Path) -> None:
    core = Core(stopped("hvmlite", "pvh")).write(tmp_path / "core")
    words: dict[str, Any] = {"cmdline": "other", "no_initrd": True, "memory": "96M", "platform": "pc"}
    reference, dump = plans(core, options=("hvmlite.version=0",), **words)
    assert (reference.cmdline, reference.initrds, reference.memory, reference.platform) == (b"other", (), 96 * MIB, "pc")
    assert (dump.cmdline, dump.memory, dump.platform) == (b"console=ttyS0 told", 96 * MIB, "pc")
    assert (reference.options, dump.options) == ((("hvmlite.version", "0"),), ())
    with pytest.raises(UsageError):
        plans(core, options=("grub.platform=efi",))
