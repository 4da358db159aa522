"""Turns the arguments of `efishim run --from DUMP` into a plan."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from efishim.dump.entry import entry_of, pointer
from efishim.dump.found import image_in
from efishim.dump.model import Dump
from efishim.dump.opened import open_dump
from efishim.dump.reader import handover_of, reader_of
from efishim.dump.source import SMALLER, DumpError
from efishim.errors import EfishimError, RouteError, UsageError
from efishim.image.entries import Entry
from efishim.image.text import printable
from efishim.lab.plan import plan as plans
from efishim.lab.plan.arguments import Words, known_platform_options, numbers
from efishim.lab.plan.machine_options import MACHINE_GROUP, machine_options
from efishim.lab.plan.plan import MIB, Blob, Plan
from efishim.machine.memory import BusError
from efishim.plugins import Registry

PROVIDER = "dump"
"""The first half of the route of a run from a dump. No plugin has to bring it: it has nothing to write."""
KERNEL = "embedded:dump"
"""Label of a kernel that was found in a dump."""
RAMDISK = "embedded:dump-initrd"
OF_QEMU = "ELF core of QEMU"
QEMU_MACHINE, PLATFORM = "pc-qemu", "pc"
"""The platforms for a dump of QEMU's and for any other one, when the user names none."""
HIGH = 1 << 32
MOST_HASHED = 64 << 30
KEPT = ("provider", "cmdline", "initrds", "modules", "no_initrd", "profile", "without", "fail", "setup_data", "shim")
"""Words that a dump leaves no choice about."""
FLAGS = {
    "cmdline": "-a",
    "initrds": "-i",
    "modules": "--module",
    "no_initrd": "--no-initrd",
    "provider": "-p",
    "setup_data": "--setup-data",
}


@dataclass(frozen=True)
class Told:
    """What a dump tells its kernel, as the provider of the entry reads it."""

    cmdline: bytes = b""
    ramdisks: tuple[Blob, ...] = ()


def plan_dump(registry: Registry, path: str, find_image: Callable[[], Blob] | None, words: Words) -> Plan:
    """The plan to boot a dump; without `find_image`, its kernel is looked for in its memory. `words.platform` and
    `words.memory` are empty when the dump decides.

    Raises UsageError, RouteError, DumpError and ImageError, one sentence each.
    """
    require_no_more(words)
    return plan_opened(registry, open_dump(path), find_image, words)


def require_no_more(words: Words) -> None:
    """Raises UsageError for words about what is in the dump."""
    for name in KEPT:
        if getattr(words, name) not in (None, (), False):
            flag = FLAGS.get(name, f"--{name}")
            raise UsageError(f"{flag} has no meaning with --from: the dump has all that the kernel is told")


def plan_opened(registry: Registry, dump: Dump, find_image: Callable[[], Blob] | None, words: Words) -> Plan:
    """As `plan_dump`, for a dump that is open."""
    entry = _entry(dump, words.entry)
    platform = registry.platform(words.platform or (QEMU_MACHINE if dump.form.startswith(OF_QEMU) else PLATFORM))
    options = plans.parse_options(words.options, known_platform_options(platform))
    machine_options(plans.option_group(options, MACHINE_GROUP))
    limits = numbers(words)
    memory = plans.parse_memory(words.memory) if words.memory else memory_of(dump)
    return Plan(
        image=kernel_in(dump, entry) if find_image is None else find_image(),
        provider=PROVIDER,
        entry=entry.value,
        platform=platform.name,
        cmdline=told(registry, dump, entry).cmdline,
        memory=memory,
        options=options,
        dump=tuple(Blob.of_large_file(_hashable(one), what="dump") for one in dump.files),
        **limits,
    )


def _hashable(path: str) -> str:
    """The record has the hash of each file, for which all of it is read. Raises DumpError."""
    try:
        large = os.stat(path).st_size > MOST_HASHED
    except OSError:
        return path  # who reads it says what is wrong
    if large:
        raise DumpError(f"{printable(path)} has more than {MOST_HASHED >> 30} GiB, holes included", hint=SMALLER)
    return path


def _entry(dump: Dump, name: str | None) -> Entry:
    if name is None:
        entry = entry_of(dump)
    else:
        try:
            entry = Entry(name)
        except ValueError as error:
            raise UsageError(f"no image has an entry called {name!r}") from error
    pointer(dump, entry)
    if entry is Entry.LINUX16:
        raise RouteError(
            "real-mode code calls the BIOS of the machine that was dumped, and efishim does not run that",
            hint="`efishim check` takes the dump",
        )
    return entry


def kernel_in(dump: Dump, entry: Entry) -> Blob:
    """The kernel in a dump's memory. Raises DumpError when it is not found."""
    found = image_in(dump, entry)
    if found is None:
        raise DumpError(f"no kernel is found in the memory of {dump.path}", hint="give the image that was loaded, as KERNEL")
    return Blob.embedded(KERNEL, found)


def memory_of(dump: Dump) -> int:
    """RAM of the machine that was dumped, in whole MiB: what lies below and above 4 GiB. The bounds of `-m` hold."""
    low, high = MIB, HIGH
    for one in dump.ranges:
        # Flash ends at 4 GiB, where RAM may begin: what touches is not always the same memory.
        low = one.end if one.start <= low < one.end else low
        high = one.end if one.start <= high < one.end else high
    size = min(low, HIGH) + high - HIGH
    least, most = plans.MEMORY_RANGE
    return min(max(-(-size // MIB) * MIB, least), most)


def told(registry: Registry, dump: Dump, entry: Entry, *, ramdisks: bool = False) -> Told:
    """What the dump tells: nothing when its native structure cannot be read. With `ramdisks`, their contents too."""
    provider = reader_of(registry.providers_ours_first, entry)
    if provider is None:
        return Told()
    try:
        information = provider.read_back(dump.memory, handover_of(dump, entry))
        modules = [one for one in information.modules if one.size > 0] if ramdisks else []
        large = sum(one.size for one in modules) > plans.BLOB_LIMIT
        blobs = [] if large else [Blob.embedded(RAMDISK, dump.memory.read(one.start, one.size)) for one in modules]
    except (EfishimError, BusError):
        return Told()
    if large:
        raise DumpError(f"the ramdisks of {dump.path} have more than {plans.BLOB_LIMIT >> 20} MiB together")
    return Told(information.command_line[: plans.CMDLINE_LIMIT], tuple(blobs))
