"""What is started of a disk by BootNext, BootOrder and Boot#### (UEFI 2.10, chapter 3)."""

from __future__ import annotations

import efishim_firmware_stubs
import pytest

from efishim.disk.make import make_disk
from efishim.disk.medium import DiskError, Medium
from efishim.firmware.boot_manager import BootManager, BootOption, BootOptions
from efishim.firmware.calling.device_path import file_path, path_bytes
from efishim.firmware.protocols.disks import BOOT_FILE
from efishim.firmware.services.loaded_image import LoadedImage
from efishim.firmware.services.variables import Variable
from efishim.lab.plan.loader_disk import LoaderPlan
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Milestone, Reason, Record
from efishim.lab.run import run_plan
from efishim.wire.guids import EFI_GLOBAL_VARIABLE
from efishim.wire.uefi import LoadOption
from tests.firmware.lab import Lab
from tests.firmware.programs import IMAGE, program

ONE, TWO, GONE, TEXT = "\\EFI\\debian\\one.efi", "\\EFI\\two.efi", "\\EFI\\gone.efi", "\\text.efi"
FILES = {ONE: IMAGE, TWO: IMAGE + b"2", TEXT: b"no program", BOOT_FILE: IMAGE + b"default"}
LOADED_IMAGE = "5b1b31a1-9562-11d2-8e3f-00a0c969723b"
FILE_PATH, OPTIONS_SIZE, OPTIONS = 32, 48, 56
FAILS = program(code=b"\xb8\x01\x00\x00\x00\x48\x0f\xba\xe8\x3f\xc3")
"""mov eax, 1; bts rax, 63; ret: EFI_LOAD_ERROR."""
PROBE = efishim_firmware_stubs.probe_kernel()


class Machine(Lab):
    """Firmware with a disk that was told what to boot."""

    def __init__(self, *paths: BootOption | str, following: int | None = None, files: dict[str, bytes] | None = None) -> None:
        given = tuple(BootOption(one) if isinstance(one, str) else one for one in paths)
        disk = Medium(make_disk(FILES if files is None else files))
        super().__init__(disk=disk, boot=BootOptions(given, following))

    def started(self) -> tuple[str, str]:
        """The path of the program that is started, and its load options."""
        image = self.shim.boot_disk()
        interface = self.cell()
        self.ok("HandleProtocol", image.handle, self.guid(LOADED_IMAGE), interface)
        protocol = self.value(interface)
        path, size, options = (self.value(protocol + at) for at in (FILE_PATH, OPTIONS_SIZE, OPTIONS))
        raw = self.shim.guest.read(path + 4, 100).decode("utf-16-le", "replace").split("\0")[0]
        return raw, self.shim.guest.read(options, size & 0xFFFF).decode("utf-16-le").rstrip("\0") if size & 0xFFFF else ""

    def variable(self, name: str) -> bytes:
        return self.shim.variables.get(EFI_GLOBAL_VARIABLE, name, at_runtime=False).data

    @property
    def problems(self) -> list[str]:
        assert self.shim.disks is not None
        return self.shim.disks.problems


def test_the_first_option_is_started_with_its_load_options() -> None:
    machine = Machine(BootOption(ONE, "a b=c"), TWO)
    assert machine.started() == (ONE, "a b=c")
    assert machine.variable("BootOrder") == b"\0\0\1\0"
    assert machine.variable("BootCurrent") == b"\0\0"


def test_boot_next_comes_before_the_order_and_counts_once() -> None:
    machine = Machine(ONE, TWO, following=1)
    assert machine.started() == (TWO, "")
    assert machine.variable("BootCurrent") == b"\1\0"
    assert "BootNext" not in {one.name for one in machine.shim.variables}


@pytest.mark.parametrize(
    ("option", "why"),
    [
        (BootOption(GONE), "no \\EFI\\gone.efi"),
        (BootOption(TEXT), "EFI_LOAD_ERROR"),
        (BootOption(ONE, active=False), ""),
    ],
    ids=["missing", "no program", "inactive"],
)
def test_what_cannot_be_started_is_passed_over(option: BootOption, why: str) -> None:
    machine = Machine(option, TWO)
    assert machine.started() == (TWO, "")
    assert [why in one for one in machine.problems] == ([True] if why else [])
    assert machine.variable("BootCurrent") == b"\1\0"


def test_the_default_comes_last() -> None:
    machine = Machine(GONE)
    assert machine.started() == (BOOT_FILE, "")
    with pytest.raises(DiskError, match=r"Boot0000 is not started: the disk has no .*gone"):
        Machine(GONE, files={ONE: IMAGE}).started()


def manager(machine: Machine) -> BootManager:
    shim = machine.shim
    assert shim.disks is not None
    return BootManager(shim.variables, shim.disks, shim.images, shim.context.place, shim.protocols.agent, BOOT_FILE)


def first(machine: Machine, data: bytes) -> LoadedImage:
    """What is started when Boot0000 has these bytes."""
    machine.shim.variables.preset(Variable(EFI_GLOBAL_VARIABLE, "Boot0000", 7, data))
    machine.shim.variables.preset(Variable(EFI_GLOBAL_VARIABLE, "BootOrder", 7, b"\0\0"))
    return next(manager(machine).programs())


def option(path: bytes, length: int | None = None) -> bytes:
    return LoadOption(Attributes=1, FilePathListLength=len(path) if length is None else length).build() + b"x\0\0\0" + path


def test_a_path_may_be_short_or_lead_to_a_device() -> None:
    machine = Machine(ONE)
    assert machine.shim.disks is not None
    whole = machine.shim.disks.places[0].path
    sizes = {len(one): name for name, one in FILES.items()}
    for path, name in (
        ((*whole, file_path(TWO)), TWO),  # all of it
        ((whole[-1], file_path(TWO)), TWO),  # from the partition on
        ((file_path(TWO),), TWO),  # the file alone
        ((file_path("\\EFI"), file_path("two.efi")), TWO),
        (whole, BOOT_FILE),
        (whole[:1], BOOT_FILE),
        ((file_path(TWO), file_path("x")), BOOT_FILE),  # no such file: the default
    ):
        image = first(machine, option(path_bytes(*path)))
        assert image.layout is not None
        origin = machine.shim.guest.read(image.device_path, 400)
        assert name.rpartition("\\")[2].encode("utf-16-le") in origin, (path, sizes)


@pytest.mark.parametrize(
    "data", [b"\1", bytes(4), b"\1\0\0\0\4\0", option(b""), option(b"\1\2\3", 3), option(b"\4\4\xff\xff"), option(b"", 500)]
)
def test_a_malformed_option_is_passed_over(data: bytes) -> None:
    machine = Machine(ONE)
    assert first(machine, data).size
    assert len(machine.problems) <= 1


def run(files: dict[str, bytes], boot: str) -> Record:
    blobs = tuple((path, Blob.embedded("file", data)) for path, data in files.items())
    return run_plan(
        Plan(
            image=Blob.embedded("embedded:probe", PROBE),
            provider="firmware",
            entry="efi",
            platform="pc",
            max_insns=200_000_000,
            loader=LoaderPlan("test", "way", blobs),
            options=(("shim.boot", boot),),
        )
    )


@pytest.mark.slow
def test_the_next_option_is_started_when_one_returns_an_error() -> None:
    record = run({ONE: FAILS, TWO: PROBE}, f"{ONE};{TWO}")
    assert record.outcome.reason is Reason.SHUTDOWN
    assert [point.name for point in record.milestones][:2] == [Milestone.LOADER, Milestone.ENTRY]
    assert any("returned EFI_LOAD_ERROR" in note for note in record.notes)


@pytest.mark.slow
def test_a_program_that_returns_success_ends_the_order() -> None:
    record = run({ONE: IMAGE, TWO: PROBE}, f"{ONE};{TWO}")
    assert [point.name for point in record.milestones] == [Milestone.LOADER]
    assert record.outcome.details == "image returned EFI_SUCCESS"
