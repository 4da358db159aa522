"""What images get when the user says nothing: kernels a command line and a ramdisk, others what they have use for."""

from __future__ import annotations

import pytest

from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.default_words import wants
from efishim.lab.plan.plan import DEFAULT_CMDLINE, Blob, Plan
from efishim.lab.run import run_plan
from efishim.plugins import load_plugins
from tests.support.images import SectionSpec, build_bzimage, build_elf, build_pe

TEXT = SectionSpec(b".text", 0x1000, b"\x31\xc0\xc3", 0x200)
REGISTRY = load_plugins()


def uki(*names: bytes) -> bytes:
    """A program with sections of a unified kernel image."""
    more = [SectionSpec(name, 0x2000 + 0x1000 * at, b"x", 0x10, 0x40000040) for at, name in enumerate(names)]
    return build_pe([TEXT, *more], size_of_image=0x10000)


def plan(image: bytes, **words: object) -> Plan:
    return make_plan(REGISTRY, lambda: Blob.embedded("image", image), Words(**words))  # type: ignore[arg-type]


IMAGES = {
    # image: command line, ramdisk, words in the notes
    "kernel": (build_bzimage(), True, True, ()),
    "multiboot kernel": (build_elf([(0x100000, 0x100000, b"code", 4)], entry=0x100000), True, True, ()),
    "no image": (b"nothing", True, True, ()),
    "MS-DOS program": (b"MZ" + bytes(0x400), True, True, ()),
    "EFI program": (uki(), False, False, ("no command line, as it is an EFI program", "no ramdisk, as it is an EFI program")),
    "kernel and stub": (uki(b".linux"), True, True, ()),
    "own command line": (uki(b".linux", b".cmdline"), False, True, ("has its own in .cmdline",)),
    "own ramdisk": (uki(b".linux", b".initrd"), True, False, ("has its own in .initrd",)),
    "unified": (uki(b".osrel", b".cmdline", b".initrd", b".linux"), False, False, ("in .cmdline", "in .initrd")),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts of made images do not go to the user's cache."""
    monkeypatch.setenv("EFISHIM_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize("name", IMAGES)
def test_defaults(name: str) -> None:
    image, cmdline, ramdisk, said = IMAGES[name]
    chosen = plan(image)
    assert chosen.cmdline == (DEFAULT_CMDLINE if cmdline else b"")
    assert bool(chosen.initrds) is ramdisk
    assert len(chosen.notes) == len(said)
    assert all(words in note for words, note in zip(said, chosen.notes, strict=True))


@pytest.mark.parametrize("name", IMAGES)
def test_what_was_said_goes_before(name: str) -> None:
    chosen = plan(IMAGES[name][0], cmdline="quiet", no_initrd=True)
    assert (chosen.cmdline, chosen.initrds) == (b"quiet", ())


@pytest.mark.parametrize("name", IMAGES)
def test_the_command_to_reproduce_makes_the_same_plan(name: str) -> None:
    chosen = plan(IMAGES[name][0])
    again = plan(IMAGES[name][0], cmdline=chosen.cmdline.decode())
    assert (again.cmdline, again.initrds, again.notes) == (chosen.cmdline, chosen.initrds, chosen.notes)


def test_a_record_says_what_was_left_out() -> None:
    record = run_plan(plan(uki()), registry=REGISTRY)
    assert record.options.cmdline == ""
    assert record.options.initrds == []
    assert record.notes[:2] == list(plan(uki()).notes)


def test_a_file_that_ends_in_its_headers_is_left_to_the_run() -> None:
    assert not wants(Blob.embedded("cut", uki(b".linux")[:0x120])).no_cmdline
