"""The shim: builds EFI firmware on a board from neutral boot information, ready to run an image.

It writes everything an image can find (tables, stubs, page tables, descriptor tables) into guest memory and sets the
processor up; from then on it works inside traps of the running machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from efishim.errors import ImageError
from efishim.firmware.boot_manager import BootManager
from efishim.firmware.calling.architecture import Architecture
from efishim.firmware.calling.call_log import CallLog, LoggedCall
from efishim.firmware.calling.device_path import file_path, path_bytes, vendor_media
from efishim.firmware.calling.dispatch import Dispatcher, Handler, Services, Steps, StubArea, call_once
from efishim.firmware.calling.environment import Environment
from efishim.firmware.calling.functions import RUNTIME_FUNCTIONS, SERVICES, Function
from efishim.firmware.calling.guest import Guest
from efishim.firmware.calling.own_paths import DISK, FRAMEBUFFER, SHIM_GUID, console_path, device
from efishim.firmware.calling.status import EfiError, Status, demand
from efishim.firmware.calling.tables import Tables, acpi_revision
from efishim.firmware.config import ShimConfig
from efishim.firmware.memory import placement
from efishim.firmware.memory.loader import Loader
from efishim.firmware.memory.memory_map import AllocateType, MemoryType
from efishim.firmware.memory.paging import PageTables
from efishim.firmware.memory.pool import Pool
from efishim.firmware.protocols.base import ProtocolContext
from efishim.firmware.protocols.disks import BOOT_FILE, BOOT_FILE_32, Disks
from efishim.firmware.protocols.graphics_output import FRAMEBUFFER_SIZE, GraphicsOutput
from efishim.firmware.protocols.load_file2 import LoadFile2, Ramdisk
from efishim.firmware.protocols.memory_attribute import MemoryAttribute
from efishim.firmware.protocols.simple_file_system import SimpleFileSystem
from efishim.firmware.protocols.text_input import TextInput, keys_of
from efishim.firmware.protocols.text_output import TextOutput
from efishim.firmware.protocols.volume import FlatVolume
from efishim.firmware.services.boot_exit import ATTRIBUTES_SIZE, ExitServices
from efishim.firmware.services.drivers import Drivers
from efishim.firmware.services.events import Events
from efishim.firmware.services.handles import HandleDatabase
from efishim.firmware.services.handoff import DESCRIPTOR_SIZE, EfiRuntime, finish, linux_bases, pack_descriptors
from efishim.firmware.services.images import Images
from efishim.firmware.services.loaded_image import LoadedImage, Origin, why_not_loaded
from efishim.firmware.services.memory_services import MemoryServices
from efishim.firmware.services.protocol_services import ProtocolServices
from efishim.firmware.services.runtime_services import ClockServices, SystemServices, VariableServices
from efishim.firmware.services.variables import VariableStore, firmware_variables
from efishim.firmware.services.violations import Violations
from efishim.firmware.services.virtual import VirtualMode
from efishim.machine.cpu import Board
from efishim.machine.memory import PAGE
from efishim.wire.guids import (
    ACPI_TABLE_GUID,
    CONSOLE_IN_DEVICE_GUID,
    CONSOLE_OUT_DEVICE_GUID,
    EFI_ACPI_20_TABLE_GUID,
    EFI_DEVICE_PATH_PROTOCOL_GUID,
    EFI_EVENT_GROUP_MEMORY_MAP_CHANGE,
    EFI_EVENT_GROUP_READY_TO_BOOT,
    EFI_MEMORY_ATTRIBUTES_TABLE_GUID,
    EFI_RT_PROPERTIES_TABLE_GUID,
    EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID,
    EFI_SIMPLE_TEXT_INPUT_EX_PROTOCOL_GUID,
    EFI_SIMPLE_TEXT_INPUT_PROTOCOL_GUID,
    EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL_GUID,
    SMBIOS3_TABLE_GUID,
    SMBIOS_TABLE_GUID,
)
from efishim.wire.uefi import BOOT_SERVICES, EFI_MEMORY_RUNTIME, MEMORY_DESCRIPTOR_VERSION, RUNTIME_SERVICES, RtPropertiesTable

__all__ = ["Shim", "ShimConfig"]

WATCHDOG_SECONDS = 300
"""Armed when an image starts (3.1.2 of UEFI 2.10: five minutes)."""

ACPI_20_REVISION = 2

IMAGE_NAME = "\\vmlinuz"
"""What the boot image is called on the device that it seems to come from."""


class Shim:
    """EFI firmware on a board. `console` gets the text that images write; `more` puts protocols in that the shim has not of
    its own, with `context` and `config`.
    """

    def __init__(
        self,
        board: Board,
        config: ShimConfig,
        console: Callable[[str], None] = lambda text: None,
        more: Callable[[Shim], None] = lambda shim: None,
    ) -> None:
        """Build everything but the image. Raises ProviderError when the memory map has no room for firmware."""
        self.board = board
        self.config = config
        self._modules = config.ramdisks_in(board.memory)
        reserved = (*config.reserved, *((module.address, module.size) for module in self._modules))
        width = config.architecture.width
        self.guest = Guest(board.cpu, width, board.memory)
        self.memory_map = placement.build_map(
            board.memory, config.memory, config.mmio, reserved, config.held[:-1], top=self.guest.end
        )
        room = (config.held[-1][0], sum(config.held[-1])) if config.held else None
        self.placement = place = placement.place(self.memory_map, width=width, room=room)
        strict = config.strict_nx
        self.pages = PageTables(board.memory, place.page_tables, place.mapped, width=width, strict=strict)
        self.log = CallLog(self.guest)
        self.pool = Pool(self.memory_map)
        self._stubs = StubArea(place.stubs, placement.STUB_PAGES * PAGE)
        exceptions = StubArea(place.exceptions, placement.EXCEPTION_PAGES * PAGE)
        self.dispatcher = Dispatcher(board, self.guest, self.log, config.overrides, self._stubs)
        self.environment = Environment(board, self.dispatcher, exceptions, place.descriptor_tables)
        for area in (self._stubs, exceptions):
            self.pages.allow_execution(area.start, area.start + area.size)
        self.tables = Tables(board.memory, place.runtime_data, place.boot_tables, config.vendor, width)
        self.tables.has_field = config.overrides.has_field
        self.events = Events(board, self.guest, self.pool, self.dispatcher)
        self.handles = HandleDatabase(self.guest, self.pool)
        drivers = Drivers(self.guest, self.pool, self.handles)
        self.protocols = ProtocolServices(self.guest, self.pool, self.handles, self.events, drivers)
        self.images = Images(
            self.guest,
            self.pool,
            Loader(board, self.memory_map, self.pages),
            self.protocols,
            self.events,
            system_table=self.tables.system,
        )
        self.images.offers = config.overrides.has_protocol
        self.environment.explain = Violations(self.images, self.memory_map, self.log).explain
        self.exit = ExitServices(board, self.memory_map, self.events, self.images, self.tables)
        self.dispatcher.gate = self.exit.gate
        self.variables = VariableStore()
        self.virtual = VirtualMode(self.guest, self.memory_map, self.events, self.tables, self.exit.at_runtime)
        self.virtual.on_switch = self.images.relocate_runtime
        self.system = SystemServices(board, self.guest, self.variables)
        self._fill_tables(drivers)
        self._preset_variables(path_bytes(vendor_media(SHIM_GUID), file_path(IMAGE_NAME)))
        self._install_tables()
        self.result: int | None = None
        """What the boot image returned, when it did."""
        self.context = ProtocolContext(
            board, self.guest, self.pool, self.events, self._function, self._install, lambda: self.dispatcher.served
        )
        self._install_protocols(console, more)
        self.memory_map.on_change = self._map_changed

    @property
    def calls(self) -> list[LoggedCall]:
        """The firmware calls so far."""
        return self.log.calls

    # -- building -----------------------------------------------------------------------------------------------

    def _fill_tables(self, drivers: Drivers) -> None:
        memory = MemoryServices(self.guest, self.memory_map, self.pool, self.pages)
        boot: dict[str, Handler] = {
            "InstallConfigurationTable": self._install_configuration_table,
            "GetNextMonotonicCount": self.system.get_next_monotonic_count,
        }
        boot_parts: tuple[Services, ...] = (memory, self.events, self.protocols, drivers, self.images, self.exit)
        for part in boot_parts:
            boot |= part.services()
        runtime: dict[str, Handler] = {}
        variables = VariableServices(self.guest, self.variables, self.exit.at_runtime)
        clock = ClockServices(self.board, self.guest, self.config.epoch)
        runtime_parts: tuple[Services, ...] = (variables, clock, self.system, self.virtual)
        for part in runtime_parts:
            runtime |= part.services()
        self.tables.fill(
            {name: self._service("BootServices", name, boot) for name in BOOT_SERVICES},
            {name: self._service("RuntimeServices", name, runtime) for name in RUNTIME_SERVICES},
        )

    def _service(self, table: str, name: str, handlers: dict[str, Handler]) -> int:
        function = SERVICES.get(f"{table}.{name}")
        return 0 if function is None else self._function(function, handlers[name])

    def _function(self, function: Function, handler: Handler) -> int:
        """The address of a function, 0 when it is left out."""
        if not self.config.overrides.has_service(function.full_name):
            return 0
        return self.dispatcher.define(self._stubs, function, handler)

    def _preset_variables(self, image: bytes) -> None:
        """The firmware's variables, with the device path of what it boots."""
        for variable in firmware_variables(console_path(), image):
            if self.config.overrides.has_variable(variable.guid, variable.name):
                self.variables.preset(variable)

    def _install_tables(self) -> None:
        supported = sum(
            1 << bit
            for bit, function in enumerate(RUNTIME_FUNCTIONS)
            if function.implemented and self.config.overrides.announces(function.full_name)
        )
        table = RtPropertiesTable(Version=1, Length=RtPropertiesTable.sizeof(), RuntimeServicesSupported=supported)
        properties = self.pool.allocate(MemoryType.RUNTIME_SERVICES_DATA, table.Length)
        self.board.memory.write(properties, table.build())
        self.exit.attributes_table = self.pool.allocate(MemoryType.BOOT_SERVICES_DATA, ATTRIBUTES_SIZE)
        self.exit.write_attributes()
        for guid, address in (
            (
                EFI_ACPI_20_TABLE_GUID,
                self.config.rsdp if acpi_revision(self.board.memory, self.config.rsdp) >= ACPI_20_REVISION else 0,
            ),
            (ACPI_TABLE_GUID, self.config.rsdp),
            (SMBIOS_TABLE_GUID, self.config.smbios),
            (SMBIOS3_TABLE_GUID, self.config.smbios3),
            (EFI_RT_PROPERTIES_TABLE_GUID, properties),
            (EFI_MEMORY_ATTRIBUTES_TABLE_GUID, self.exit.attributes_table),
        ):
            if address and self.config.overrides.has_table(guid):
                self.tables.install(guid, address)

    def _install(self, handle: int, guid: str, address: int) -> int:
        if not self.config.overrides.has_protocol(guid):
            return handle
        return self.protocols.add(handle, guid, address)

    def _install_protocols(self, console: Callable[[str], None], more: Callable[[Shim], None]) -> None:
        context = self.context
        path = context.place(path_bytes(device()))
        self.protocols.agent = self.protocols.add(0, EFI_DEVICE_PATH_PROTOCOL_GUID, path)
        self.output = TextOutput(context, console)
        self.input = TextInput(context)
        self.input.feed(keys_of(self.config.keys))
        line = self._install(0, EFI_DEVICE_PATH_PROTOCOL_GUID, context.place(console_path()))
        for guid, address in (
            (EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL_GUID, self.output.interface),
            (EFI_SIMPLE_TEXT_INPUT_PROTOCOL_GUID, self.input.interface),
            (EFI_SIMPLE_TEXT_INPUT_EX_PROTOCOL_GUID, self.input.interface_ex),
            (CONSOLE_OUT_DEVICE_GUID, 0),
            (CONSOLE_IN_DEVICE_GUID, 0),
        ):
            line = self._install(line, guid, address)
        self.tables.update(
            ConsoleInHandle=line,
            ConIn=self.input.interface,
            ConsoleOutHandle=line,
            ConOut=self.output.interface,
            StandardErrorHandle=line,
            StdErr=self.output.interface,
        )
        more(self)
        ramdisks: tuple[Ramdisk, ...] = (*self._modules, *self.config.initrds)
        if ramdisks:
            LoadFile2(context, ramdisks)
        files = self.config.files
        self._file_system = SimpleFileSystem(context, FlatVolume(files, self.config.epoch)) if files else None
        self.disks = Disks(context, self.config.disk, (device(DISK),)) if self.config.disk is not None else None
        self.images.read_file = self.disks.read_file if self.disks is not None else lambda interface, path: None
        if self.config.strict_nx:
            MemoryAttribute(context, self.pages, self.memory_map)
        if self.config.gop:
            framebuffer = self.memory_map.allocate(AllocateType.ANY_PAGES, MemoryType.RESERVED, -(-FRAMEBUFFER_SIZE // PAGE))
            GraphicsOutput(context, framebuffer, path_bytes(device(FRAMEBUFFER)))

    def _map_changed(self) -> None:
        if self.events.active:
            self.events.signal_group(EFI_EVENT_GROUP_MEMORY_MAP_CHANGE)

    def _install_configuration_table(self, guid: int, table: int) -> int | Steps:
        """InstallConfigurationTable (7.5.8) signals the event group named by the GUID."""
        demand(guid)
        name = self.guest.guid(guid)
        self.tables.install(name, table)
        self.events.signal_group(name)
        return Status.SUCCESS

    # -- booting ------------------------------------------------------------------------------------------------

    def load(self, image: bytes, *, name: str = IMAGE_NAME) -> LoadedImage:
        """Put the boot image into memory, with its command line as LoadOptions. Raises ImageError."""
        try:
            return self.images.load(image, self._origin(name))
        except EfiError as error:
            raise ImageError(why_not_loaded(error.status)) from error

    def adopt(self, base: int, size: int, *, name: str = IMAGE_NAME) -> LoadedImage:
        """What `load` gives, for an image that a boot loader has copied to `base` itself: a handle whose LoadedImage has
        the command line as LoadOptions. `enter` starts it; the loader has seen to it that it can run. Raises ImageError.
        """
        if self.config.strict_nx:
            self.pages.open(base, base + size)
        try:
            return self.images.adopt(base, size, self._origin(name))
        except EfiError as error:
            raise ImageError(why_not_loaded(error.status)) from error

    def _origin(self, name: str) -> Origin:
        """Where the boot image seems to come from, and its command line."""
        device_path = self.context.place(path_bytes(vendor_media(SHIM_GUID)))
        device = self.protocols.add(0, EFI_DEVICE_PATH_PROTOCOL_GUID, device_path)
        if self._file_system is not None:
            self._install(device, EFI_SIMPLE_FILE_SYSTEM_PROTOCOL_GUID, self._file_system.interface)
        form = self.config.load_options
        options = form.build(self.config.cmdline)
        return Origin(
            parent=self.protocols.agent,
            path_data=path_bytes(vendor_media(SHIM_GUID), file_path(name)),
            device=device,
            file_path=self.context.place(path_bytes(file_path(name))) if form.file_path else None,
            options=(self.context.place(options) if options else 0, len(options)),
        )

    def start(self, image: LoadedImage) -> None:
        """Set the processor up so that running the machine runs the image, as StartImage would."""
        self.environment.enter(self.pages.root, self.placement.stack_top)
        self._ready()
        self.dispatcher.start(self.images.run(image), self.placement.stack_top, self._returned)

    def boot(self, image: bytes) -> LoadedImage:
        """`load` and `start`."""
        loaded = self.load(image)
        self.start(loaded)
        return loaded

    def boot_disk(self) -> LoadedImage:
        """Start what a boot manager starts of the disk (3.1, 3.5.1.1). Raises DiskError without such a program, ImageError."""
        assert self.disks is not None
        name = BOOT_FILE if self.config.architecture is Architecture.X64 else BOOT_FILE_32
        manager = BootManager(self.variables, self.disks, self.images, self.context.place, self.protocols.agent, name)
        if self.config.boot.options:
            manager.preset(self.config.boot)
        else:
            self._preset_variables(self.disks.boot_file(name).path)
        programs = manager.programs()
        image = next(programs)
        self.environment.enter(self.pages.root, self.placement.stack_top)
        self.dispatcher.start(manager.run(image, programs, self._ready), self.placement.stack_top, self._returned)
        return image

    def _ready(self) -> None:
        """Before each program that is started."""
        self.events.signal_group(EFI_EVENT_GROUP_READY_TO_BOOT)
        self.events.arm_watchdog(WATCHDOG_SECONDS)

    def enter(
        self,
        address: int,
        registers: dict[str, int],
        image: LoadedImage | None = None,
        arguments: tuple[int, ...] = (),
    ) -> None:
        """Like `start`, at an address and with registers of the caller's: the handover entry. `image` (from `adopt`) is what
        the code there runs as; `arguments` are passed by the firmware's calling convention (for 32-bit firmware that is the
        handover's too), `registers` as they are. Returning from there ends the run.
        """
        self.environment.enter(self.pages.root, self.placement.stack_top)
        self.events.arm_watchdog(WATCHDOG_SECONDS)
        steps = self.images.hand_over(image, address, arguments) if image is not None else call_once(address, arguments)
        self.dispatcher.start(steps, self.placement.stack_top, self._returned)
        for register, value in registers.items():
            self.board.cpu.set(register, value)

    # -- for kernels that are entered when boot services are over -------------------------------------------------

    def exit_boot_services(self) -> EfiRuntime:
        """ExitBootServices as a loader on the host's side does it. Raises ProviderError when the guest has notify functions
        that would have to run.
        """
        tables, smbios = self.tables, dict(self.tables.entries)
        finish(self.exit.leave())
        return EfiRuntime(
            system_table=tables.system,
            memory_map=pack_descriptors(self.memory_map.descriptors()),
            descriptor_size=DESCRIPTOR_SIZE,
            descriptor_version=MEMORY_DESCRIPTOR_VERSION,
            firmware_vendor=tables.vendor,
            runtime_services=tables.runtime,
            configuration_table=tables.configuration,
            smbios=smbios.get(SMBIOS3_TABLE_GUID) or smbios.get(SMBIOS_TABLE_GUID, 0),
        )

    def set_virtual_address_map(self, bases: Mapping[int, int] | None = None) -> bytes:
        """SetVirtualAddressMap as the kernel before this one did it: virtual addresses by the physical start of each runtime
        range of the memory map, those that Linux would choose unless given. Gives the ranges as kexec passes them on: runtime
        descriptors with their VirtualStart.

        Raises EfiError: UNSUPPORTED before ExitBootServices and the second time, NO_MAPPING when a range has no address.
        """
        descriptors = self.memory_map.descriptors()
        if bases is None:
            # A kernel on 32-bit firmware leaves everything where it is (efi_map_region in mixed mode).
            wide = self.config.architecture is Architecture.X64
            bases = linux_bases(descriptors) if wide else {d.start: d.start for d in descriptors}
        finish(self.virtual.set_bases(bases))
        return pack_descriptors((d for d in descriptors if d.attributes & EFI_MEMORY_RUNTIME), bases)

    def _returned(self, status: int) -> None:
        self.result = status
        self.board.stop(f"image returned {Status.describe(status)}")

    def on_fetch_fault(self, address: int) -> bool:
        """For the machine: the guest may not fetch from this linear address. True when it may now."""
        return self.pages.on_fetch_fault(address, self.board.cpu.get("cr3"))
