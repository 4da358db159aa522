"""Our own entries: nothing is wrong at any route's, and they are as QEMU showed them on real loaders but for what
our_entries.toml explains.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from efishim_firmware_stubs import probe_kernel

from efishim.image.opened import open_image
from efishim.lab.abi import CHECKERS
from efishim.lab.plan.plan import Blob
from efishim.plugins import load_plugins
from efishim.wire.bootparams import SetupHeader
from efishim.wire.linux_header import HEADER_START
from tests.lab.abi.moments import DUMPS, Dump, check, moment
from tests.lab.abi.ours import at_entry, kernel, processor, structure
from tests.support import explained
from tests.support.explained import Comparison

PROBE = Blob.embedded("embedded:probe", probe_kernel())
NEEDS = {"grub/efi-handover": (("grub.platform", "efi"),)}
PROBES = {door.entry for door in open_image(probe_kernel(), path="probe").doors if door.applies}
ROUTES = [(p.name, e.name, NEEDS.get(f"{p.name}/{e.name}", ())) for p in load_plugins().providers.values() for e in p.entries]
VARIANTS = [
    ("grub", "linux32", (("grub.platform", "efi"),)),
    ("grub", "efi", (("grub.platform", "efi"),)),
    ("kexec", "linux64", (("kexec.source", "efi"),)),
    ("kexec", "linux64", (("kexec.source", "pvh"),)),
    ("hvmlite", "pvh", (("hvmlite.version", "0"),)),
    ("multiboot2", "multiboot2", (("multiboot2.platform", "efi"),)),
]

Options = tuple[tuple[str, str], ...]


@pytest.mark.parametrize(
    ("provider", "entry", "options"),
    [case for case in [*ROUTES, *VARIANTS] if case[1] in PROBES],
    ids=lambda x: x if isinstance(x, str) else "-".join(v for _, v in x),
)
def test_nothing_is_wrong_at_the_entry_of_any_route(provider: str, entry: str, options: Options) -> None:
    """The probe kernel has every entry but the one for 32-bit firmware."""
    assert set(CHECKERS) - PROBES == {"efi-mixed", "efi-ia32"}
    found = check(entry, at_entry(PROBE, provider, entry, options=options))
    assert [one.sentence for one in found] == []
    assert entry in CHECKERS


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("provider", "entry", "options"), [case for case in [*ROUTES, *VARIANTS] if not case[1].startswith("multiboot")]
)
def test_nothing_is_wrong_with_a_stock_kernel(provider: str, entry: str, options: Options, cloud_kernel: Path) -> None:
    found = check(entry, at_entry(kernel(cloud_kernel), provider, entry, options=options))
    assert [one.sentence for one in found] == []


@pytest.mark.parametrize("platform", ["hvmlite", "kvm"])
@pytest.mark.parametrize("entry", ["pvh", "efi"])
def test_nothing_is_wrong_on_the_machines_of_hypervisors(platform: str, entry: str) -> None:
    assert check(entry, at_entry(PROBE, "hvmlite", entry, platform=platform)) == ()


EXCEPTIONS = explained.read(Path(__file__).with_name("our_entries.toml"))
PAIRS: dict[str, tuple[str, str, Options]] = {
    "grub-linux32": ("grub", "linux32", ()),
    "grub-efi-linux32": ("grub", "linux32", (("grub.platform", "efi"),)),
    "grub-linux16": ("lilo", "linux16", ()),
    "kexec-linux64": ("kexec", "linux64", ()),
    "kexec-efi-linux64": ("kexec", "linux64", (("kexec.source", "efi"),)),
    "qemu-pvh": ("hvmlite", "pvh", ()),
    "ovmf-efi": ("firmware", "efi", ()),
    "grub-chain-efi": ("grub", "efi", (("grub.platform", "efi"),)),
}
NOT_OURS = {"qboot-pvh", "qboot-linux16", "qemu-linux16", "setup-code-linux32", "decompressor-linux64"}
"""Other loaders for entries that are compared already, and the kernel's own code."""
VERSIONED = (
    "setup_sects", "syssize", "jump", "kernel_version", "payload_offset", "payload_length", "init_size", "handover_offset",
    "kernel_info_offset", "pref_address", "version", "xloadflags", "cmdline_size", "initrd_addr_max",
)  # fmt: skip
"""Fields of the header that a loader reads: they are the image's, which need not be that of the dumps."""


def compared(name: str, path: Path) -> Comparison:
    """One dump and our entry."""
    provider, entry, options = PAIRS[name]
    real, ours = moment(Dump.read(name)), at_entry(kernel(path), provider, entry, options=options)
    one, two = (processor(m.cpu, dict(m.floating)) | structure(m, entry) for m in (ours, real))
    header = SetupHeader.parse(path.read_bytes()[HEADER_START:])
    for field in VERSIONED:
        value = one.pop(f"boot_params.hdr.{field}", None)
        two.pop(f"boot_params.hdr.{field}", None)
        assert value is None or int(value, 16) == getattr(header, field)
    return explained.compare(name, one, two, EXCEPTIONS)


def test_every_dump_is_compared_or_not_ours() -> None:
    assert set(DUMPS) == PAIRS.keys() | NOT_OURS


@pytest.mark.kernel
@pytest.mark.parametrize("name", PAIRS)
def test_an_entry_is_as_it_was_seen_on_a_real_loader(name: str, cloud_kernel: Path) -> None:
    comparison = compared(name, cloud_kernel)
    assert "\n".join(comparison.unexplained) == ""
    assert comparison.equal > 30


@pytest.mark.kernel
def test_every_exception_is_needed(cloud_kernel: Path) -> None:
    assert explained.unused(EXCEPTIONS, [compared(name, cloud_kernel) for name in PAIRS]) == []
