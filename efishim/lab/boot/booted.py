"""A machine that is ready to run, and what is known about what was put into it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

from efishim.bios.bios import Bios
from efishim.dump.model import Dump
from efishim.firmware.calling.architecture import Architecture
from efishim.firmware.calling.call_log import CallLog
from efishim.firmware.shim import Shim
from efishim.image.entries import Entry as ImageEntry
from efishim.image.loading import Piece
from efishim.injection import Injections
from efishim.lab.abi import EFI_IA32
from efishim.lab.boot.guest_shim import WIDTH, GuestShim
from efishim.logged_call import LoggedCall
from efishim.platform.definition import PlatformFacts
from efishim.platform.resources import Resource
from efishim.provider import EntryKind, Handover, Loaded, Module, Structure

if TYPE_CHECKING:
    from efishim.lab.boot.loader_run import LoaderRun

NOT_LOADED = Loaded(0, 0, 0)


class Tables(TypedDict, total=False):
    """Physical addresses; `width` is that of the pointers in the EFI system table, in bytes."""

    rsdp: int | None
    system_table: int
    width: int


@dataclass
class Booted:
    """A machine that is ready to run, and what the record wants to know of it."""

    resources: tuple[Resource, ...]
    loaded: Loaded = NOT_LOADED
    """Where the image is, by whomever it was loaded."""
    kernel_slide: int | None = None
    """Offset of the kernel proper from where it is linked, if it was loaded directly and not unpacked."""
    notes: list[str] = field(default_factory=list)
    shim: Shim | None = None
    guest_shim: GuestShim | None = None
    bios: Bios | None = None
    handover: Handover | None = None
    platform: PlatformFacts | None = None
    dump: Dump | None = None
    """What the machine begins with, when no provider made it."""
    pieces: tuple[Piece, ...] = ()
    """What was put into memory of the image before the provider wrote anything; none where firmware loads it."""
    structures: tuple[Structure, ...] = ()
    modules: tuple[Module, ...] = ()
    kind: EntryKind | None = None
    """The entry that is used, when a plugin brings it."""
    injections: Injections = field(default_factory=Injections)
    """Calls that fail on purpose."""
    console_before: int = 0
    """Bytes on the console when the image began."""
    loader: LoaderRun | None = None
    """The boot loader that runs in front of the image."""

    def calls(self) -> list[LoggedCall]:
        """The firmware calls so far."""
        if self.bios is not None:
            return self.bios.calls
        return self._log.calls if self._log is not None else []

    def calls_dropped(self) -> int:
        """Calls that were made after the list was full."""
        if self.bios is not None:
            return self.bios.calls_dropped
        return self._log.dropped if self._log is not None else 0

    @property
    def _log(self) -> CallLog | None:
        """The calls of EFI firmware."""
        if self.guest_shim is not None:
            return self.guest_shim.trace.log
        return self.shim.log if self.shim is not None else None

    def abi(self, entry: str) -> str:
        """The name that efishim.lab.abi has for an entry: an EFI application is entered as its firmware's processor has it."""
        ia32 = self.shim is not None and self.shim.config.architecture is Architecture.IA32
        return EFI_IA32 if entry == ImageEntry.EFI and ia32 else entry

    def entry_used(self, planned: str) -> str:
        """The entry at which the image was started: with a boot loader the one that this took, else the planned one."""
        return self.loader.entry if self.loader is not None and self.loader.entry else planned

    def tables(self) -> Tables:
        """Where the platform's and the firmware's tables are, as far as there are any."""
        tables: Tables = {"rsdp": self.platform.rsdp if self.platform is not None else None}
        if self.shim is not None:
            tables |= {"system_table": self.shim.tables.system, "width": self.shim.config.architecture.width}
        elif self.guest_shim is not None and self.guest_shim.system_table is not None:
            tables |= {"system_table": self.guest_shim.system_table, "width": WIDTH}
        return tables

    def all_notes(self) -> list[str]:
        """For the record, when the run is over."""
        others = (self.bios, self.guest_shim, self.loader, self.injections)
        return [*self.notes, *(note for one in others if one is not None for note in one.notes())]

    def on_exit_boot_services(self, callback: Callable[[], None]) -> None:
        """Call back when ExitBootServices succeeded."""
        if self._log is None:
            return

        def ended(call: LoggedCall) -> None:
            if call.service == "BootServices.ExitBootServices" and call.status == "EFI_SUCCESS":
                callback()

        self._log.on_end(ended)

    def at_entry(self, callback: Callable[[], None], *, loader: Callable[[], None]) -> None:
        """Call back when the image is about to run its first instruction: now, if no code of the guest comes before it.
        `loader` is called when it is a boot loader that begins now.
        """
        if self.loader is not None:
            loader()
            self.loader.follow(callback)
            return
        if self.guest_shim is None:
            callback()
            return

        def arrived(loaded: Loaded) -> None:
            self.loaded = loaded
            callback()

        self.guest_shim.follow(arrived)
