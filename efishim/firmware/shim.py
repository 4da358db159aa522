"""The shim: EFI firmware built from neutral boot information over a board, ready to run an image.

It writes everything an image can find (tables, stubs, page tables, descriptor tables) into guest memory and sets the
processor up; from then on it works inside traps of the running machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from efishim.errors import ImageError
from efishim.firmware import placement
from efishim.firmware.answers import Answers
from efishim.firmware.boot_exit import ATTRIBUTES_SIZE, ExitServices
from efishim.firmware.calls import CallLog, FirmwareCall
from efishim.firmware.device_path import file_path, path_bytes, vendor_hardware, vendor_media
from efishim.firmware.dispatch import Call, Dispatcher, Handler, Services, Steps, StubArea
from efishim.firmware.drivers import Drivers
from efishim.firmware.environment import Environment
from efishim.firmware.events import Events
from efishim.firmware.functions import FUNCTIONS, of_table
from efishim.firmware.guest import Guest
from efishim.firmware.handles import HandleDatabase
from efishim.firmware.images import Images, LoadedImage
from efishim.firmware.loader import Loader
from efishim.firmware.memory_map import AllocateType, MemoryType
from efishim.firmware.memory_services import MemoryServices
from efishim.firmware.paging import PageTables
from efishim.firmware.pool import Pool
from efishim.firmware.protocol_services import ProtocolServices
from efishim.firmware.protocols.base import Workshop
from efishim.firmware.protocols.graphics_output import FRAMEBUFFER_SIZE, GraphicsOutput
from efishim.firmware.protocols.load_file2 import LoadFile2
from efishim.firmware.protocols.memory_attribute import MemoryAttribute
from efishim.firmware.protocols.rng import Rng
from efishim.firmware.protocols.text_input import TextInput, keys_of
from efishim.firmware.protocols.text_output import TextOutput
from efishim.firmware.runtime_services import ClockServices, SystemServices, VariableServices
from efishim.firmware.status import EfiError, Status, demand
from efishim.firmware.tables import Tables
from efishim.firmware.variables import VariableStore, firmware_variables
from efishim.firmware.virtual import VirtualMode
from efishim.machine.cpu import Board
from efishim.machine.memory import PAGE, BusError
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
    EFI_SIMPLE_TEXT_INPUT_EX_PROTOCOL_GUID,
    EFI_SIMPLE_TEXT_INPUT_PROTOCOL_GUID,
    EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL_GUID,
    SMBIOS3_TABLE_GUID,
    SMBIOS_TABLE_GUID,
)
from efishim.wire.uefi import BOOT_SERVICES, RT_PROPERTIES_TABLE, RUNTIME_SERVICES

SHIM_GUID = "5b0d4c0f-41b7-4c43-8b0a-6d0f1c7e9a52"
"""Vendor of the shim's own device paths."""

WATCHDOG_SECONDS = 300
"""Armed when an image starts (3.1.2 of UEFI 2.10: five minutes)."""

ACPI_20_REVISION = 2

IMAGE_NAME = "\\vmlinuz"
"""What the boot image is called on the device that it seems to come from."""

DEFAULT_EPOCH = 1_460_000_000


@dataclass(frozen=True, slots=True)
class ShimConfig:
    """What the shim is built from: facts in nobody's format, and choices about the firmware.

    `memory` are (start, size, e820 type). `rsdp`, `smbios` and `smbios3` are addresses of tables that lie in memory
    already, 0 for none. `cmdline` is text in UTF-8; what is not valid UTF-8 becomes U+FFFD. `initrds` are served as one,
    concatenated and padded to four bytes each. `epoch` is the clock's time at power-on in seconds since 1970.
    """

    memory: tuple[placement.Region, ...]
    rsdp: int = 0
    smbios: int = 0
    smbios3: int = 0
    cmdline: bytes = b""
    initrds: tuple[bytes, ...] = ()
    seed: int = 0
    epoch: int = DEFAULT_EPOCH
    gop: bool = False
    strict_nx: bool = False
    vendor: str = "efishim"
    mmio: tuple[tuple[int, int], ...] = ()
    keys: str = ""
    """What somebody types at the firmware's console."""
    answers: Answers = field(default_factory=Answers)


class Shim:
    """EFI firmware on a board. `console` gets the text that images write."""

    def __init__(self, board: Board, config: ShimConfig, console: Callable[[str], None] = lambda text: None) -> None:
        """Build everything but the image. Raises ProviderError when the memory map has no room for firmware."""
        self.board = board
        self.config = config
        self.memory_map = placement.build_map(board.memory, config.memory, config.mmio)
        self.placement = place = placement.place(self.memory_map)
        self.pages = PageTables(board.memory, place.page_tables, place.mapped, strict=config.strict_nx)
        self.guest = Guest(board.cpu)
        self.log = CallLog(self.guest)
        self.pool = Pool(self.memory_map)
        self._stubs = StubArea(place.stubs, placement.STUB_PAGES * PAGE)
        exceptions = StubArea(place.exceptions, placement.EXCEPTION_PAGES * PAGE)
        self.dispatcher = Dispatcher(board, self.guest, self.log, config.answers, self._stubs)
        self.environment = Environment(board, self.dispatcher, exceptions, place.descriptor_tables)
        for area in (self._stubs, exceptions):
            self.pages.allow_execution(area.start, area.start + area.size)
        self.tables = Tables(board.memory, place.runtime_data, place.boot_tables, config.vendor)
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
        self.exit = ExitServices(board, self.memory_map, self.events, self.images, self.tables)
        self.dispatcher.gate = self.exit.gate
        self.variables = VariableStore()
        self.virtual = VirtualMode(self.guest, self.memory_map, self.events, self.tables, self.exit.at_runtime)
        self.virtual.on_switch = self.images.relocate_runtime
        self.system = SystemServices(board, self.guest, self.variables)
        self._fill_tables(drivers)
        self._preset_variables()
        self._install_tables()
        self._install_protocols(console)
        self.memory_map.on_change = self._map_changed
        self.result: int | None = None
        """What the boot image returned, when it did."""

    @property
    def calls(self) -> list[FirmwareCall]:
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
        full_name = f"{table}.{name}"
        if full_name not in FUNCTIONS or not self.config.answers.has_service(full_name):
            return 0
        return self.dispatcher.define(self._stubs, FUNCTIONS[full_name], handlers[name])

    def _preset_variables(self) -> None:
        for variable in firmware_variables(_console_path(), path_bytes(vendor_media(SHIM_GUID), file_path(IMAGE_NAME))):
            if self.config.answers.has_variable(variable.guid, variable.name):
                self.variables.preset(variable)

    def _install_tables(self) -> None:
        supported = sum(
            1 << bit
            for bit, function in enumerate(of_table("RuntimeServices"))
            if function.implemented and self.config.answers.has_service(function.full_name)
        )
        properties = self.pool.allocate(MemoryType.RUNTIME_SERVICES_DATA, RT_PROPERTIES_TABLE.size())
        content = {"Version": 1, "Length": RT_PROPERTIES_TABLE.size(), "RuntimeServicesSupported": supported}
        self.board.memory.write(properties, RT_PROPERTIES_TABLE.pack(content))
        self.exit.attributes_table = self.pool.allocate(MemoryType.BOOT_SERVICES_DATA, ATTRIBUTES_SIZE)
        self.exit.write_attributes()
        for guid, address in (
            (EFI_ACPI_20_TABLE_GUID, self.config.rsdp if self._acpi_revision() >= ACPI_20_REVISION else 0),
            (ACPI_TABLE_GUID, self.config.rsdp),
            (SMBIOS_TABLE_GUID, self.config.smbios),
            (SMBIOS3_TABLE_GUID, self.config.smbios3),
            (EFI_RT_PROPERTIES_TABLE_GUID, properties),
            (EFI_MEMORY_ATTRIBUTES_TABLE_GUID, self.exit.attributes_table),
        ):
            if address and self.config.answers.has_table(guid):
                self.tables.install(guid, address)

    def _acpi_revision(self) -> int:
        """The RSDP's revision (ACPI 6.5, 5.2.5.3): below 2 there is no XSDT, and it is no ACPI 2.0 table."""
        try:
            return self.board.memory.u8(self.config.rsdp + 15)
        except BusError:
            return 0

    def _install(self, handle: int, guid: str, address: int) -> int:
        if not self.config.answers.has_protocol(guid):
            return handle
        return self.protocols.add(handle, guid, address)

    def _install_protocols(self, console: Callable[[str], None]) -> None:
        workshop = Workshop(
            self.board,
            self.guest,
            self.pool,
            self.events,
            lambda name, handler: self.dispatcher.define(self._stubs, FUNCTIONS[name], handler),
            self._install,
            lambda: self.dispatcher.served,
        )
        path = workshop.place(path_bytes(vendor_hardware(SHIM_GUID)))
        self.protocols.agent = self.protocols.add(0, EFI_DEVICE_PATH_PROTOCOL_GUID, path)
        self.output = TextOutput(workshop, console)
        self.input = TextInput(workshop)
        self.input.feed(keys_of(self.config.keys))
        line = self._install(0, EFI_DEVICE_PATH_PROTOCOL_GUID, workshop.place(_console_path()))
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
        Rng(workshop, self.config.seed)
        if self.config.initrds:
            LoadFile2(workshop, self.config.initrds)
        if self.config.strict_nx:
            MemoryAttribute(workshop, self.pages, self.memory_map)
        if self.config.gop:
            pages = -(-FRAMEBUFFER_SIZE // PAGE)
            framebuffer = self.memory_map.allocate(AllocateType.ANY_PAGES, MemoryType.RESERVED, pages)
            GraphicsOutput(workshop, framebuffer, path_bytes(vendor_hardware(SHIM_GUID, b"\x01")))
        self._workshop = workshop

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
        device_path = self._workshop.place(path_bytes(vendor_media(SHIM_GUID)))
        device = self.protocols.add(0, EFI_DEVICE_PATH_PROTOCOL_GUID, device_path)
        file_at = self._workshop.place(path_bytes(file_path(name)))
        options = load_options(self.config.cmdline)
        options_at = self._workshop.place(options) if options else 0
        try:
            return self.images.load(
                image,
                parent=self.protocols.agent,
                path_data=path_bytes(vendor_media(SHIM_GUID), file_path(name)),
                device=device,
                file_path=file_at,
                options=(options_at, len(options)),
            )
        except EfiError as error:
            raise ImageError(_why_not(error.status)) from error

    def start(self, image: LoadedImage) -> None:
        """Set the processor up so that running the machine runs the image, as StartImage would."""
        self.environment.enter(self.pages.root, self.placement.stack_top)
        self.events.signal_group(EFI_EVENT_GROUP_READY_TO_BOOT)
        self.events.arm_watchdog(WATCHDOG_SECONDS)
        self.dispatcher.start(self.images.run(image), self.placement.stack_top, self._returned)

    def boot(self, image: bytes) -> LoadedImage:
        """`load` and `start`."""
        loaded = self.load(image)
        self.start(loaded)
        return loaded

    def enter(self, address: int, registers: dict[str, int]) -> None:
        """Like `start`, at an address and with registers that somebody else chose (the handover entry).

        Returning from there ends the run.
        """
        self.environment.enter(self.pages.root, self.placement.stack_top)
        self.events.arm_watchdog(WATCHDOG_SECONDS)

        def steps() -> Steps:
            return (yield Call(address, ()))

        self.dispatcher.start(steps(), self.placement.stack_top, self._returned)
        for register, value in registers.items():
            self.board.cpu.set(register, value)

    def _returned(self, status: int) -> None:
        self.result = status
        self.board.stop(f"image returned {Status.describe(status)}")

    def on_fetch_fault(self, address: int) -> bool:
        """For the machine: the guest may not fetch from this linear address. True when it may now."""
        return self.pages.on_fetch_fault(address, self.board.cpu.get("cr3"))


def load_options(cmdline: bytes) -> bytes:
    """A command line as UTF-16 with its NUL, as EFI boot loaders pass it; nothing for an empty one."""
    if not cmdline:
        return b""
    return cmdline.decode("utf-8", "replace").encode("utf-16-le") + b"\0\0"


def _console_path() -> bytes:
    return path_bytes(vendor_hardware(SHIM_GUID, b"\x02"))


def _why_not(status: Status) -> str:
    reasons = {
        Status.UNSUPPORTED: "the image is not an EFI program for this machine",
        Status.OUT_OF_RESOURCES: "the image does not fit the memory of the machine",
    }
    return reasons.get(status, f"the firmware cannot load the image: EFI_{status.name}")
