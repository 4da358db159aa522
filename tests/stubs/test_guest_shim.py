"""The guest shim on QEMU, which starts it as any PVH guest: what the probe kernel finds there, and a stock kernel."""

from __future__ import annotations

import tomllib
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from efishim_firmware_stubs import guest_shim, reporting_initrd

from tests.stubs.conftest import CMDLINE, Probed, Runner
from tests.support.qemu import Boot, Ending

pytestmark = pytest.mark.qemu

Get = Callable[[str], Probed]
WAY = "guest-shim/efi"
PAGE = 4096
RUNTIME_CODE = 5
ANSWERS = tomllib.loads(Path(__file__).with_name("uefi_answers.toml").read_text())
ABSENT = frozenset(
    {
        *("CreateEvent", "SetTimer", "WaitForEvent", "SignalEvent", "CheckEvent", "CloseEvent", "RegisterProtocolNotify"),
        *("InstallProtocolInterface", "ReinstallProtocolInterface", "UninstallProtocolInterface", "ProtocolsPerHandle"),
        *("InstallMultipleProtocolInterfaces", "UninstallMultipleProtocolInterfaces", "OpenProtocolInformation"),
        *("CloseProtocol", "ConnectController", "DisconnectController", "LoadImage", "StartImage", "UnloadImage"),
        *("GetNextMonotonicCount", "Stall", "SetWatchdogTimer", "SetTime", "GetWakeupTime", "GetNextHighMonotonicCount"),
        *("UpdateCapsule", "QueryCapsuleCapabilities"),
    }
)
"""Services that no kernel uses, and that answer EFI_UNSUPPORTED whatever they are asked."""
UNANNOUNCED = {
    # Without a store that survives a reset nothing can be set at run time, and the properties table says so (4.6.2).
    "after_exit.SetVariable.boot_only": "UNSUPPORTED",
    "after_exit.SetVariable.volatile": "UNSUPPORTED",
}
WITHOUT_ITS_HANDLE = {
    # The probe asks these about a protocol that it could not install, on a handle that therefore does not exist.
    "LocateHandle.registered": "NOT_FOUND",
    "HandleProtocol": "INVALID_PARAMETER",
    "LocateProtocol": "NOT_FOUND",
    "LocateHandle.by_protocol": "NOT_FOUND",
    "LocateHandle.no_room": "NOT_FOUND",
    "LocateHandleBuffer": "NOT_FOUND",
    "OpenProtocol.test": "INVALID_PARAMETER",
    "OpenProtocol.exclusive": "INVALID_PARAMETER",
    "OpenProtocol.exclusive_again": "INVALID_PARAMETER",
}


def test_tables_have_signature_size_and_crc(probed: Get) -> None:
    fields = probed(WAY).report.fields
    for table, signature, size in [
        ("system_table", "IBI SYST", "0x78"),
        ("boot_services", "BOOTSERV", "0x178"),
        ("runtime_services", "RUNTSERV", "0x88"),
    ]:
        assert fields[f"efi.{table}.signature"] == signature
        assert fields[f"efi.{table}.header_size"] == size
        assert fields[f"efi.{table}.crc"] == "valid"
    assert fields["efi.system_table.firmware_vendor"] == "efishim guest shim"


def test_the_image_and_its_command_line(probed: Get) -> None:
    report = probed(WAY).report
    assert report.fields["efi.loaded_image.load_options"] == CMDLINE
    assert report.number("efi.loaded_image.image_base") == report.number("image.base")
    assert report.number("efi.loaded_image.system_table_same") == 1
    assert report.number("image.bss_zero") == 1


def test_the_processor_is_as_uefi_promises(probed: Get) -> None:
    """UEFI 2.10, 2.3.4: long mode, interrupts on, floating point ready."""
    report = probed(WAY).report
    assert report.number("cpu.rflags") == 0x202
    assert (report.number("cpu.fcw"), report.number("cpu.mxcsr")) == (0x37F, 0x1F80)
    assert (report.number("cpu.rsp") + 8) % 16 == 0


def test_the_memory_map_covers_ram_and_keeps_12_kib(probed: Get) -> None:
    report = probed(WAY).report
    rows = [{name: int(value, 16) for name, value in row.items()} for row in report.rows("efi.memory_map")]
    assert all(one["phys"] + one["pages"] * PAGE <= two["phys"] for one, two in pairwise(rows))
    runtime = [row for row in rows if row["attr"] >> 63]
    assert [(row["type"], row["pages"]) for row in runtime] == [(RUNTIME_CODE, 3)]
    ram = sum(row["pages"] for row in rows if row["type"] != 0)
    assert (511 << 20) - (1 << 20) <= ram * PAGE <= 512 << 20


def test_the_ramdisk_behind_the_kernel_comes_by_load_file_2(probed: Get) -> None:
    report = probed(WAY).report
    assert report.number("efi.initrd.size") == len(reporting_initrd())
    assert report.number("efi.initrd.crc32") == zlib.crc32(reporting_initrd())


def test_every_call_is_answered_as_specified(probed: Get) -> None:
    fields = probed(WAY).report.fields
    told = {key.removeprefix("efi.call."): value for key, value in fields.items() if key.startswith("efi.call.")}
    assert set(told) == set(ANSWERS["call"])
    wrong = {}
    for name, status in told.items():
        allowed = (UNANNOUNCED | WITHOUT_ITS_HANDLE).get(name, ANSWERS["call"][name])
        if name.split(".")[0] in ABSENT:
            allowed = "UNSUPPORTED"
        if status not in ([allowed] if isinstance(allowed, str) else allowed):
            wrong[name] = status
    assert not wrong


def test_numbers_that_the_specification_fixes(probed: Get) -> None:
    report = probed(WAY).report
    told = {key.removeprefix("efi.value."): report.number(key) for key in report.fields if key.startswith("efi.value.")}
    absent = {"WaitForEvent", "notify", "LocateHandle", "LocateHandleBuffer", "ProtocolsPerHandle"}
    expected = {name: value for name, value in ANSWERS["value"].items() if name.split(".")[0] not in absent}
    assert {name: value for name, value in told.items() if name.split(".")[0] not in absent} == expected


def test_runtime_services_work_at_virtual_addresses(probed: Get) -> None:
    """UEFI 2.10, 8.4: the table's pointers are converted, and the machine is powered off through them."""
    probe = probed(WAY)
    assert probe.report.number("efi.virtual.get_time_half") == 0x1FFFF
    assert probe.report.after == ("probe: power off by efi",)


@pytest.mark.kernel
def test_a_stock_kernel_reaches_userspace_and_power_off(qemu: Runner, cloud_kernel: Path, tmp_path: Path) -> None:
    (tmp_path / "shim").write_bytes(guest_shim())
    (tmp_path / "module").write_bytes(cloud_kernel.read_bytes() + reporting_initrd())
    outcome = qemu(Boot(kernel=tmp_path / "shim", initrd=tmp_path / "module", append="console=ttyS0"))
    assert outcome.ending is Ending.POWER_OFF
    assert "EFI stub: Loaded initrd from LINUX_EFI_INITRD_MEDIA_GUID device path" in outcome.serial
    assert "efi: EFI v2.100 by efishim guest shim" in outcome.serial
    assert "efishim-init: end" in outcome.serial
    assert "memattr" not in outcome.serial.lower().replace("memattr=", "")
