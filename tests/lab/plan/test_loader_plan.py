"""What lies on the disk of a boot loader, and which kernel a disk has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import efishim_firmware_stubs
import pytest

from efishim.disk.make import make_disk, make_volume
from efishim.disk.medium import DiskError
from efishim.errors import EfishimError, ImageError
from efishim.hookspecs import hookimpl
from efishim.lab.plan import loader_plan
from efishim.lab.plan.arguments import Words
from efishim.lab.plan.loader_plan import image_of_disk, plan_loader
from efishim.lab.plan.plan import Blob
from efishim.lab.plan.routes import route_words
from efishim.plugins import Registry, load_plugins
from efishim.provider import FoundImage, LoaderFile, LoaderRequest, LoaderWay, Program
from efishim.wire.fat import DIRECTORY
from tests.disk.test_fat import entry, small

PROBE = efishim_firmware_stubs.probe_kernel()
BOOT = "\\EFI\\BOOT\\BOOTX64.EFI"


class Simple:
    """A loader that writes down what it was asked."""

    name, summary = "simple", "a loader"
    specifications, limits = (), ()
    ways = (LoaderWay("one", "the one"), LoaderWay("other", "the other"))

    def __init__(self, *programs: Program) -> None:
        self.programs = programs

    def configuration(self, request: LoaderRequest) -> tuple[LoaderFile, ...]:
        words = (request.way, request.kernel, *request.ramdisks, request.command_line.decode())
        return (LoaderFile("\\config", " ".join(words).encode()),)


class Shop:
    """A source of images that has one file, or none."""

    name, summary, form = "shop", "a source", "shop:NAME"

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def find(self, reference: str, cache: Path, say: Callable[[str], None]) -> FoundImage:
        if self.path is None:
            raise ImageError(f"{reference} is nowhere")
        return FoundImage(self.path, reference)


def registry(*programs: Program, path: Path | None) -> Registry:
    loaders, sources = hookimpl(lambda: [Simple(*programs)]), hookimpl(lambda: [Shop(path)])
    plugin = SimpleNamespace(efishim_loaders=loaders, efishim_image_sources=sources)
    return Registry([SimpleNamespace(name="simple", load=lambda: plugin)])


def files(text: str, *programs: Program, path: Path | None = None) -> Mapping[str, bytes]:
    image, ramdisk = Blob.embedded("kernel", b"kernel"), Blob.embedded("ramdisk", b"ramdisk")
    plan = plan_loader(registry(*programs, path=path), text, image, (ramdisk, ramdisk), b"a b")
    assert plan.words == ("--loader", plan.label)
    assert plan.label == (text if ":" in text else f"{text}:one")
    return {path: blob.read() for path, blob in plan.files}


def test_the_disk_has_program_configuration_kernel_and_ramdisks(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"program")
    found = files("simple:other", Program(BOOT, ("/no/such/file", str(tmp_path / "program"), "deb:never")))
    assert found == {
        BOOT: b"program",
        "\\config": b"other \\vmlinuz \\initrd.img \\initrd1.img a b",
        "\\vmlinuz": b"kernel",
        "\\initrd.img": b"ramdisk",
        "\\initrd1.img": b"ramdisk",
    }


def test_a_program_that_is_not_installed_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"fetched")
    found = files("simple", Program(BOOT, ("/no/such/file", "shop:package")), path=tmp_path / "program")
    assert found[BOOT] == b"fetched"


def test_a_program_that_is_nowhere_is_one_sentence() -> None:
    with pytest.raises(EfishimError, match="the program of the loader simple is missing: shop:package is nowhere"):
        files("simple", Program(BOOT, ("/no/such/file", "shop:package")))
    with pytest.raises(EfishimError, match="names no source"):
        files("simple", Program(BOOT, ("/no/such/file",)))
    with pytest.raises(EfishimError, match="no program"):
        files("simple")


def disk(folder: Path, data: bytes) -> str:
    (folder / "disk.img").write_bytes(data)
    return str(folder / "disk.img")


def test_the_kernel_of_a_disk_is_found(tmp_path: Path) -> None:
    data = make_volume({BOOT: b"MZ", "\\deep\\er\\vmlinuz": PROBE, "\\again": PROBE, "\\text": b"x"})
    blob = image_of_disk(disk(tmp_path, data))
    assert blob.read() == PROBE
    assert blob.label.startswith("\\again on "), "the same kernel twice is one kernel"


def test_without_a_kernel_the_program_is_the_image(tmp_path: Path) -> None:
    assert image_of_disk(disk(tmp_path, make_disk({BOOT: b"MZ"}))).read() == b"MZ"


def test_a_disk_with_several_kernels_or_none_is_one_sentence(tmp_path: Path) -> None:
    several = make_volume({"\\one": PROBE, "\\two": PROBE + b"\0"})
    for data, sentence in ((several, "the disk has 2 kernels"), (make_volume({}), "nothing"), (bytes(4096), "nothing")):
        with pytest.raises(EfishimError, match=sentence):
            image_of_disk(disk(tmp_path, data))


def test_an_error_names_a_few_of_many_kernels(tmp_path: Path) -> None:
    several = make_volume({f"\\k{number}": PROBE + bytes([number]) for number in range(10)})
    with pytest.raises(EfishimError, match=r"has 10 kernels: \\k0 on .*and 2 more") as error:
        image_of_disk(disk(tmp_path, several))
    assert error.value.sentence.count(" on ") == 8


def test_kernels_that_share_clusters_are_one_sentence(tmp_path: Path) -> None:
    """Directory entries cost 32 bytes, whatever the size of the file that they all name."""
    kernel = PROBE.ljust(400 * 512, b"\0")
    clusters = len(kernel) // 512
    fat = {number: number + 1 for number in range(2, 2 + clusters - 1)} | {1 + clusters: 0xFFFF}
    rows = [entry(b"K%-10d" % number, 2, len(kernel)) for number in range(16)]
    for root, sentence in ((rows[:1], ""), (rows, "share clusters")):
        data = small(16, fat=fat, root=b"".join(root), data=kernel)
        if sentence:
            assert len(kernel) * len(rows) > len(data)
            with pytest.raises(DiskError, match=sentence):
                image_of_disk(disk(tmp_path, data))
        else:
            assert image_of_disk(disk(tmp_path, data)).read() == kernel


def test_directories_that_contain_themselves_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fat = {number: number + 1 for number in range(2, 101)} | {101: 0xFFF}
    data = small(12, fat=fat, root=entry(b"D          ", 2, 0, DIRECTORY), data=b"\xe5".ljust(32, b"\0") * 1600)
    with pytest.raises(DiskError, match="nothing"):
        image_of_disk(disk(tmp_path, data))
    monkeypatch.setattr(loader_plan, "MOST_WORK", 1000)
    with pytest.raises(DiskError, match="too large to look for a kernel in them"):
        image_of_disk(disk(tmp_path, data))


def test_a_disk_image_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader_plan, "LARGEST", 4096)
    with pytest.raises(ImageError, match="disk image that efishim takes"):
        image_of_disk(disk(tmp_path, bytes(4097)))


def test_a_route_may_be_a_loader() -> None:
    registry = load_plugins()
    for route, loader, platform in (
        ("grub-efi:efi", "grub-efi:efi", "pc"),
        ("grub-efi", "grub-efi:linux", "pc"),
        ("systemd-boot@kvm", "systemd-boot:efi", "kvm"),
    ):
        words, note = route_words(registry, Words(), route)
        assert (words.loader, words.platform, words.provider, note) == (loader, platform, None, "")
    with pytest.raises(EfishimError, match="no way 'pvh'"):
        route_words(registry, Words(), "grub-efi:pvh")
