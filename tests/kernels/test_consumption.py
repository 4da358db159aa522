"""What Debian's 6.1 kernel reads of what it is given: against its sources, and against what the firmware says it was asked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from efishim.lab.record import Consumption, FieldUse
from tests.kernels.conftest import CMDLINE
from tests.support.runs import Finished, efishim_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pvh(cloud_kernel: Path, shared: Path) -> Finished:
    """The same kernel through its PVH entry."""
    return efishim_run(shared / f"{cloud_kernel.name}-pvh", cloud_kernel, "-p", "hvmlite", "-e", "pvh", "-a", CMDLINE)


def structure(run: Finished, name: str) -> Consumption:
    assert run.record.consumed is not None
    return next(one for one in run.record.consumed.structures if one.structure == name)


def field(one: Consumption, name: str) -> FieldUse | None:
    return next((use for use in one.fields if use.name == name), None)


def first(one: Consumption, name: str) -> str:
    """The function that touched a field first."""
    use = field(one, name)
    assert use is not None, f"nobody touched {name}"
    return (use.first.symbol or "").partition("+")[0]


def test_each_call_of_a_boot_service_is_a_read_of_its_pointer(cloud_booted: Finished) -> None:
    """Two witnesses: the firmware's log of calls, and the loads from EFI_BOOT_SERVICES."""
    calls: Counter[str] = Counter()
    for call in cloud_booted.record.firmware_calls:
        which, _, service = call.service.partition(".")
        if which == "BootServices":
            calls[service] += call.repeats
    table = structure(cloud_booted, "EFI_BOOT_SERVICES")
    assert {use.name: use.reads for use in table.fields} == dict(calls)
    assert {"RaiseTPL", "LoadImage", "Stall"} <= set(table.never_read)
    assert table.writes == 0


def test_boot_params_is_copied_as_a_whole(cloud_booted: Finished, pvh: Finished) -> None:
    """arch/x86/kernel/head64.c: x86_64_start_kernel() copies it, x86_64_start_reservations() again if hdr.version is 0 in the
    copy. What PVH makes has a version (arch/x86/platform/pvh/enlighten.c); what this EFI stub makes has none, which the
    kernel itself shows in sysfs.
    """
    shown = "".join(cloud_booted.init["/sys/kernel/boot_params/version"].lines)
    for run, times in ((cloud_booted, 1 if int(shown, 16) else 2), (pvh, 1)):
        given, own = structure(run, "boot_params"), structure(run, "boot_params of the kernel")
        assert [(one.function, one.times, one.write) for one in given.whole] == [("copy_bootdata", times, False)]
        assert given.writes == 0
        assert ("copy_bootdata", times, True) in [(one.function, one.times, one.write) for one in own.whole]
        assert first(own, "hdr.version") == "x86_64_start_reservations"


def test_before_that_the_kernel_proper_looks_for_confidential_computing_only(cloud_booted: Finished, pvh: Finished) -> None:
    """arch/x86/kernel/head64.c calls snp_init(): find_cc_blob() reads cc_blob_address, then setup_data (kernel/sev.c)."""
    for run in (cloud_booted, pvh):
        assert [use.name for use in structure(run, "boot_params").fields] == ["cc_blob_address", "hdr.setup_data"]


def test_who_reads_the_kernels_own_copy_first(cloud_booted: Finished, pvh: Finished) -> None:
    """arch/x86/kernel/setup.c and those that it calls."""
    for run in (cloud_booted, pvh):
        own = structure(run, "boot_params of the kernel")
        assert first(own, "hdr.type_of_loader") == "setup_arch"
        assert first(own, "hdr.root_flags") == "setup_arch"
        assert first(own, "hdr.ramdisk_image") == "get_ramdisk_image"
        assert first(own, "e820_entries") == "e820__memory_setup_default"
        assert first(own, "e820_table[0].addr").endswith("append_e820_table")
        assert ("setup_arch", "screen_info") in [(one.function, one.part) for one in own.whole]


def test_fields_that_are_for_others_are_never_read(cloud_booted: Finished, pvh: Finished) -> None:
    """Of the header, what only the real-mode code, loaders and the decompressor use (Documentation/arch/x86/boot.rst)."""
    unused = {"hdr.setup_sects", "hdr.syssize", "hdr.jump", "hdr.realmode_swtch", "hdr.kernel_version", "hdr.heap_end_ptr"}
    for run in (cloud_booted, pvh):
        assert unused <= set(structure(run, "boot_params of the kernel").never_read)


def test_what_differs_between_the_ways_in(cloud_booted: Finished, pvh: Finished) -> None:
    """PVH sets x86_init.acpi.get_root_pointer, so that acpi_rsdp_addr is not asked for (arch/x86/platform/pvh/enlighten.c);
    efi_init() runs only where efi_info has the signature (arch/x86/kernel/setup.c)."""
    efi, native = (structure(run, "boot_params of the kernel") for run in (cloud_booted, pvh))
    assert first(efi, "acpi_rsdp_addr") == "x86_default_get_root_pointer"
    assert first(efi, "efi_info.efi_systab") == "efi_init"
    assert {"acpi_rsdp_addr", "efi_info.efi_systab"} <= set(native.never_read)
    assert "efi_info.efi_loader_signature" not in native.never_read


def test_the_native_structure(pvh: Finished) -> None:
    """pvh_start_xen copies hvm_start_info (platform/pvh/head.S); init_pvh_bootparams() reads addr, size and type of each
    entry of the memory map, and address and size of the module."""
    info = structure(pvh, "hvm_start_info")
    assert ("pvh_start_xen", False) in [(one.function, one.write) for one in info.whole]
    entries = [one for one in pvh.record.consumed.structures if one.structure.startswith("hvm_memmap")]  # type: ignore[union-attr]
    assert len(entries) >= 3
    for one in entries:
        assert [(use.name, use.reads) for use in one.fields] == [("addr", 1), ("size", 1), ("type", 1)]
        assert one.never_read == ["reserved"]
    module = structure(pvh, "hvm_modlist_entry[0]")
    assert [use.name for use in module.fields] == ["paddr", "size"]
    assert module.never_read == ["cmdline_paddr", "reserved"]


def test_acpi_tables_are_summed_up_and_read_only(cloud_booted: Finished) -> None:
    """drivers/acpi/acpica/tbprint.c, tbfadt.c, tbxfroot.c."""
    for name in ("XSDT", "FACP", "APIC", "DSDT"):
        one = structure(cloud_booted, name)
        assert ("acpi_tb_verify_checksum", False) in [(whole.function, whole.write) for whole in one.whole]
        assert one.writes == 0
    assert ("acpi_tb_create_local_fadt", "") in [
        (whole.function, whole.part) for whole in structure(cloud_booted, "FACP").whole
    ]
    assert "rsdt_address" in structure(cloud_booted, "RSDP").never_read, "the revision says that there is an XSDT"


def test_legacy_memory(cloud_booted: Finished, pvh: Finished) -> None:
    """reserve_bios_regions() reads two words of the BIOS data area (arch/x86/kernel/ebda.c). Without EFI,
    reserve_ibft_region() (drivers/firmware/iscsi_ibft_find.c) looks at each paragraph from 512 KiB to 1 MiB but for VGA's, and
    dmi_scan_machine() copies the upper half of the BIOS area.
    """
    for run, searched in ((cloud_booted, False), (pvh, True)):
        assert run.record.consumed is not None
        legacy = {one.group: one for one in run.record.consumed.legacy}
        assert (legacy["BDA"].reads, legacy["BDA"].writes, legacy["BDA"].places) == (2, 0, 2)
        assert legacy["BDA"].functions == ["reserve_bios_regions"]
        assert ("reserve_ibft_region" in legacy["BIOS"].functions) is searched
        assert (legacy["BIOS"].places == 0x2_0000 // 16) is searched
        assert ("memcpy_fromio" in legacy["BIOS"].functions) is searched
        assert run.record.consumed.dropped == 0


def test_observers_change_nothing(cloud_kernel: Path, cloud_booted: Finished, shared: Path) -> None:
    """The same instructions, at the same virtual times, with KASLR and the console the same."""
    plain = efishim_run(shared / f"{cloud_kernel.name}-plain", cloud_kernel, "-a", CMDLINE, "--no-observers")
    assert plain.record.consumed is None
    assert plain.record.console == cloud_booted.record.console
    assert [(one.name, one.insns, one.virtual_ns, one.at and one.at.address) for one in plain.record.milestones] == [
        (one.name, one.insns, one.virtual_ns, one.at and one.at.address) for one in cloud_booted.record.milestones
    ]
    assert [(call.service, call.insns, call.status) for call in plain.record.firmware_calls] == [
        (call.service, call.insns, call.status) for call in cloud_booted.record.firmware_calls
    ]
