"""Why a run behind the firmware in the guest differs from one behind the firmware outside it.

A reason names facts by their paths, and most say besides what must hold between the two values. What no reason speaks of, or
whose values do not fit, stays without one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from efishim.compare.evidence import Difference
from efishim.compare.pair import compare
from efishim.lab.record import Record

PAE = 1 << 5
KIB = re.compile(r"(\d+) kB")
REFUSALS = ("EFI_NOT_FOUND", "EFI_UNSUPPORTED", "EFI_BUFFER_TOO_SMALL", "EFI_SUCCESS")


def _always(_: Difference) -> bool:
    return True


def _entry_state(one: Difference) -> bool:
    """64-bit code in segments of any number, with paging as long mode wants it (UEFI 2.10, 2.3.4)."""
    name = one.fact.field[-1] if one.fact.field else ""
    if name == "cs":
        return all("code64" in value for value in (one.left, one.right))
    if name == "cr4":
        return all(int(value, 16) & PAE for value in (one.left, one.right))
    return name not in ("cr0", "efer")


def _leaves_more(one: Difference) -> bool:
    """The one in the guest keeps less, so that the kernel has at least as much."""
    amounts = [KIB.search(value) for value in (one.left, one.right)]
    return all(amounts) and int(amounts[1][1]) >= int(amounts[0][1])  # type: ignore[index]


def _no_variable(one: Difference) -> bool:
    """Only how it is said that there is no such variable."""
    return any(status in one.path for status in REFUSALS)


@dataclass(frozen=True, slots=True)
class Reason:
    """`paths` match whole paths of facts."""

    why: str
    paths: re.Pattern[str]
    fits: Callable[[Difference], bool] = _always


def _paths(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{one})" for one in patterns))


REASONS = (
    Reason(
        "UEFI leaves these registers and tables to the firmware; both enter in 64-bit mode with paging",
        _paths(r"(entry|startup_64|start_kernel)\.cpu\..*"),
        _entry_state,
    ),
    Reason("the kernel itself is the first module", _paths(r"entry\.(hvm_modlist_entry|hvm_start_info|initrd|module)\b.*")),
    Reason(
        "the one in the guest keeps 12 KiB of runtime code and no other type, the one outside bins of OVMF's sizes, and "
        "what is allocated lies elsewhere",
        _paths(
            r"(startup_64|start_kernel)\.(e820|efi\.memory_map)\b.*",
            r"(startup_64|start_kernel)\.boot_params\.efi_info\.efi_memmap_size",
            r"(startup_64|start_kernel|kernel)\..*@",
            r"userspace\.(/proc/iomem|BIOS-e820|node \d+|nosave)\b.*",
            r"log\.(BIOS-e820|Built \d+ zonelists|Memory|NODE_DATA|On node|PM: hibernation|RAMDISK|clipped|node \d|efi: ACPI)"
            r".*",
            r"log\.resource: avoiding allocation from e820 entry .*",
            r"log\.(efi: Freeing EFI boot services memory|efi: Remove mem|Early memory node).*",
            r"userspace\./sys/firmware/efi/runtime-map\..*",
        ),
    ),
    Reason("the one in the guest leaves more to the kernel", _paths(r"userspace\./proc/meminfo\.MemTotal.*"), _leaves_more),
    Reason(
        "there is no EfiACPIMemoryNVS to register",
        _paths(r"log\.ACPI: PM: Registering ACPI NVS.*", r"code\.e820__register_nvs_regions -> acpi_nvs_register.*"),
    ),
    Reason(
        "the one in the guest is strict about NX and offers EFI_MEMORY_ATTRIBUTE_PROTOCOL, the one outside on demand",
        _paths(r"call\.BootServices\.LocateProtocol\(EFI_MEMORY_ATTRIBUTE_PROTOCOL_GUID\).*", r"call\.MemoryAttribute\..*"),
    ),
    Reason(
        "the one in the guest presets no variables and has no store that survives a reset",
        _paths(r"call\.RuntimeServices\.(GetVariable|GetNextVariableName|SetVariable)\(.*"),
        _no_variable,
    ),
    Reason(
        "ResetSystem is a hypercall of the guest's own",
        _paths(r"call\.RuntimeServices\.ResetSystem\(.*", r"hardware\.Xen\.hypercall sched_op\..*"),
    ),
    Reason("each has its own name", _paths(r".*\.efi\.system_table\.vendor", r"log\.efi: EFI v[0-9.]+ by .*")),
    Reason("the firmware in the guest has a console and masks the 8259s itself", _paths(r"hardware\.(serial|PIC)\..*")),
    Reason(
        "the boot takes another number of instructions, so that threads meet at a lock, and timer ticks come, elsewhere",
        _paths(
            r"code\.(down|up)_(read|write)\S* -> rwsem_\S+",
            r"code\.(task_tick_mm_cid -> task_work_add|task_work_run -> task_mm_cid_work)",
            r"code\.syscall_exit_to_user_mode -> mem_cgroup_handle_over_high",
        ),
    ),
)
"""In this order; the first that fits is taken."""


Groups = list[tuple[str, list[str]]]


def unexplained_differences(host: Record, guest: Record) -> tuple[Groups, list[str]]:
    """Paths of the differences by reason, and of those without one."""
    found: dict[str, list[str]] = {reason.why: [] for reason in REASONS}
    rest: list[str] = []
    for judged in compare(host, guest, ()).judged:
        one = judged.difference
        why = next((reason.why for reason in REASONS if reason.paths.fullmatch(one.path) and reason.fits(one)), None)
        (rest if why is None else found[why]).append(one.path)
    return list(found.items()), rest
