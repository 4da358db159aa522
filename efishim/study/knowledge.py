"""What a kernel knows once userspace runs, and how a record shows it."""

from __future__ import annotations

import re
from collections.abc import Callable

from efishim.lab.record import Reason, Record
from efishim.study import readings
from efishim.study.model import Knowledge

SEED = "LINUX_EFI_RANDOM_SEED_TABLE_GUID"
"""The configuration table by which Linux's stub hands on what the firmware's generator gave."""
MEMORY = re.compile(r"^\| MemTotal:\s+(\d+) kB", re.MULTILINE)


def _logs(record: Record, text: str) -> bool:
    return any(text in line for line in readings.kernel_log(record))


def _seeded(record: Record) -> bool:
    efi = None if record.boot_view is None else record.boot_view.efi
    tables = () if efi is None or efi.system_table is None else efi.system_table.configuration_tables
    return any(one.name == SEED for one in tables)


TOPICS: tuple[tuple[str, Callable[[Record], bool]], ...] = (
    ("the command line", readings.command_line),
    ("the ramdisk", readings.init_ran),
    ("the memory map", lambda record: any("System RAM" in line for line in readings.told_userspace(record, "/proc/iomem"))),
    ("the ACPI tables", lambda record: bool(readings.told_userspace(record, "/sys/firmware/acpi/tables"))),
    ("that it runs under Xen", lambda record: _logs(record, "on Xen PVH")),
    (
        "EFI's runtime services",
        lambda record: any(line.startswith("runtime ") for line in readings.told_userspace(record, "/sys/firmware/efi")),
    ),
    ("whether Secure Boot is on", lambda record: _logs(record, "secureboot: Secure boot ")),
    ("a random seed from the firmware", _seeded),
    ("a way to switch the machine off", lambda record: record.outcome.reason is Reason.SHUTDOWN),
    ("SMBIOS tables", lambda record: _logs(record, "DMI: ")),
)


def knowledge(efi: Record, pvh: Record) -> list[Knowledge]:
    """Each topic on both ways."""
    return [Knowledge(what=what, efi=test(efi), pvh=test(pvh)) for what, test in TOPICS]


def memory_kib(record: Record) -> int | None:
    """MemTotal of /proc/meminfo."""
    found = MEMORY.search(record.console)
    return None if found is None else int(found[1])
