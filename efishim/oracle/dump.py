"""Records one boot on real firmware, from reset to power-off.

What QEMU does not expose stays empty, and the record's notes say so: instruction counts, hardware accesses, coverage.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

import efishim
from efishim.errors import EfishimError, ImageError
from efishim.image.entries import Entry
from efishim.image.facts import KernelFacts
from efishim.image.opened import Image
from efishim.lab import record as rec
from efishim.lab.abi import CHECKERS, check_entry
from efishim.lab.boot.firmware_protocols import Traced, traced_protocols
from efishim.lab.observe.address_names import AddressNames
from efishim.lab.observe.views import FLOATING, recorded
from efishim.lab.plan.plan import DEFAULT_EPOCH, DEFAULT_MEMORY, DEFAULT_TIMEOUT, Blob, printable, shell_word
from efishim.lab.progress import NoProgress, Progress
from efishim.lab.record import BootView, EntryView, Milestone, MilestonePoint, Reason, Record
from efishim.lab.snapshot.boot_view import boot_view
from efishim.lab.snapshot.entry_view import entry_view
from efishim.lab.snapshot.processor import capture_cpu
from efishim.machine.memory import BusError
from efishim.oracle import entry_points, tools
from efishim.oracle.boot_flows import KEXEC_SYMBOL, BootFlow, Prepared, Wanted, require
from efishim.oracle.call_trace import CallTrace
from efishim.oracle.channels import OracleTimeout
from efishim.oracle.efi_entry_point import EfiEntryPoint
from efishim.oracle.qemu import Firmware, started
from efishim.oracle.scratch import scratch
from efishim.oracle.session import Session
from efishim.oracle.slide import virtual_slide
from efishim.plugins import Registry, load_plugins
from efishim.provider import Handover, Loaded, Module, Provider, Structure, native_structures
from efishim.wire.linux_header import ENTRY64_OFFSET

PLATFORM = "qemu"
ADDRESS_BITS = 0xFFFF_FFFF_FFFF_FFFF
INIT_SYMBOLS = ("run_init_process", "kernel_execve")
PROGRAM_SYMBOL = "start_thread"
"""arch/x86/kernel/process_64.c: takes the first address of a new program in its second argument."""

POINTERS = {
    Entry.PVH: "rbx",
    Entry.LINUX64: "rsi",
    Entry.LINUX32: "rsi",
    Entry.LINUX16: "ds",
    Entry.MULTIBOOT: "rbx",
    Entry.MULTIBOOT2: "rbx",
}
"""The register that leads to the native structure at an entry; in real mode a segment, with the boot sector at its start."""

CODE32_START = 0x214
"""Offset of that field of the setup header in the boot sector (Documentation/arch/x86/boot.rst)."""

CAUSES = {
    "guest-shutdown": Reason.SHUTDOWN,
    "guest-reset": Reason.RESET,
    "guest-panic": Reason.EXIT,
}
NOTES = (
    "QEMU counts no instructions: every count is 0",
    "QEMU does not tell what hardware was touched nor what code ran: ledger and coverage are empty",
    "the console begins at the kernel's entry; what firmware and loader said before is left out",
)


@dataclass(frozen=True)
class Request:
    """What is booted. `memory` in bytes, `timeout` in host seconds, `epoch` as the machine's clock shows it."""

    image: Image
    blob: Blob
    cmdline: bytes
    initrds: tuple[Blob, ...] = ()
    memory: int = DEFAULT_MEMORY
    timeout: float = DEFAULT_TIMEOUT
    epoch: int = DEFAULT_EPOCH
    core: str = ""
    """Where memory and registers at the entry go as an ELF core, an absolute path; empty for nowhere."""


def oracle_record(
    request: Request, flow: BootFlow, progress: Progress | None = None, registry: Registry | None = None
) -> Record:
    """Boot once. Raises MissingTool, RouteError, UsageError, ImageError and OracleError, one sentence each."""
    require(flow, request.image)
    progress = progress or NoProgress()
    registry = registry or load_plugins()
    provider = registry.provider(flow.provider)
    protocols = traced_protocols(registry.firmware_protocols)
    tools.qemu()
    progress.phase(f"preparing {flow.name}")
    initrd = b"".join(blob.read() for blob in request.initrds)
    wanted = Wanted(request.image, request.cmdline, initrd, request.memory)
    with scratch() as folder:
        prepared = flow.prepare(wanted, folder)
        with started(prepared.boot, timeout=request.timeout, epoch=request.epoch) as qemu:
            progress.phase(f"{flow.name} on QEMU")
            return _Run(request, flow, prepared, Session(qemu), progress, provider, protocols).run()


@dataclass
class _Run:
    request: Request
    flow: BootFlow
    prepared: Prepared
    session: Session
    progress: Progress
    provider: Provider
    protocols: Mapping[str, Traced]
    console: bytearray = field(default_factory=bytearray)
    dropped: int = 0
    points: list[MilestonePoint] = field(default_factory=list)
    entry: EntryView | None = None
    abi: list[rec.AbiViolation] | None = None
    views: dict[Milestone, BootView] = field(default_factory=dict)
    notes: list[str] = field(default_factory=lambda: list(NOTES))
    calls: CallTrace | None = None
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        image = self.request.image
        self.facts = self._facts(image)
        self.names = AddressNames(facts=self.facts, symbols=image.symbols if self.facts is not None else None)

    @staticmethod
    def _facts(image: Image) -> KernelFacts | None:
        try:
            return image.kernel
        except ImageError:
            return None

    def run(self) -> Record:
        """Until the guest ends or the time is over."""
        session = self.session
        session.qemu.channels.console = self._hear
        if self.prepared.first_kernel:
            self._after_first_kernel()
        else:
            self.prepared.entry_point.arm(session, self._entered)
        details = ""
        try:
            cause = session.run()
            reason = CAUSES.get(cause, Reason.EMULATOR)
            if reason is Reason.RESET and session.qemu.triple_fault():
                reason = Reason.TRIPLE_FAULT
            if reason is Reason.EMULATOR:
                details = f"QEMU says {cause}"
            if reason is Reason.SHUTDOWN:
                self._reach(Milestone.SHUTDOWN)
        except OracleTimeout as late:
            reason, details = Reason.TIMEOUT, late.sentence
        session.qemu.channels.drain()
        if self.entry is None:
            self.notes.append(f"the kernel's {self.flow.entry} entry was not seen")
        return self._record(reason, details)

    def _hear(self, data: bytes) -> None:
        room = rec.CONSOLE_LIMIT - len(self.console)
        self.console += data[: max(room, 0)]
        self.dropped += max(0, len(data) - max(room, 0))

    def _after_first_kernel(self) -> None:
        """Wait for the moment at which the first kernel leaves, or the many breakpoints would slow it down."""
        address = self.names.symbols.address_of(KEXEC_SYMBOL) if self.names.symbols is not None else None
        if address is None:
            self.prepared.entry_point.arm(self.session, self._entered)
            return

        def leaving() -> None:
            self.session.off(address)
            self.prepared.entry_point.arm(self.session, self._entered)

        self.session.on(address, leaving)

    # Milestones, in the order in which they come

    def _reach(self, name: Milestone) -> None:
        if any(point.name is name for point in self.points):
            return
        at = self.names.ref(self.session.place) if name is not Milestone.SHUTDOWN else None
        point = MilestonePoint(name=name, insns=0, seconds=round(time.monotonic() - self.started, 6), at=at)
        self.points.append(point)
        self.progress.phase(f"{self.flow.name}: {name.value}")  # a milestone would be told with its instruction count

    def _look(self, name: Milestone, boot_params: int) -> None:
        ram = self.session.qemu.ram
        self.views[name] = boot_view(ram, boot_params=boot_params, cpu=capture_cpu(self.session.cpu(), ram))

    def _look_at_entry(self) -> None:
        """The processor, and the native structure as the route's provider reads it."""
        ram, registers = self.session.qemu.ram, self.session.registers
        structures: tuple[Structure, ...] = ()
        modules: tuple[Module, ...] = ()
        where = POINTERS.get(self.flow.entry)
        if where is not None:
            address = registers[where] << 4 if where == "ds" else registers[where]
            handover = Handover(address, magic=registers["rax"] & 0xFFFFFFFF)
            try:
                structures = native_structures(self.provider, ram, handover)
                modules = self.provider.read_back(ram, handover).modules
            except (EfishimError, BusError) as error:
                self.notes.append(f"at the entry, {self.provider.structure} cannot be read: {error}")
        cpu = self.session.cpu()
        state = capture_cpu(cpu, ram)
        loaded = self._loaded()
        if loaded is not None and self.flow.entry.value in CHECKERS:
            floating = {name: cpu.get(name) for name in FLOATING}
            found = check_entry(self.flow.entry.value, state, ram, loaded, floating=floating)
            self.abi = recorded(found)
        self.entry = entry_view(ram, state, structures, modules)

    def _loaded(self) -> Loaded | None:
        """Where the image lies, as far as the way in tells."""
        place, entry, facts, linux = self.session.place, self.flow.entry, self.facts, self.request.image.source.bzimage
        if entry is Entry.EFI:
            return Loaded(self.names.image_base, self.names.image_size, place)
        if linux is not None and entry in {Entry.LINUX64, Entry.LINUX32}:
            return Loaded(place - (ENTRY64_OFFSET if entry is Entry.LINUX64 else 0), linux.value("init_size"), place)
        if linux is not None and entry is Entry.LINUX16:
            setup = self.session.registers["ds"] << 4
            code = self.session.qemu.ram.u32(setup + CODE32_START)
            return Loaded(code, linux.value("init_size"), place, setup)
        if entry is Entry.PVH and facts is not None:
            return Loaded(facts.load_start, facts.load_end - facts.load_start, place)
        return None

    def _entered(self) -> None:
        self.console.clear()
        self.dropped = 0
        entry_point = self.prepared.entry_point
        if isinstance(entry_point, EfiEntryPoint) and entry_point.loaded is not None:
            self.names.image_base, self.names.image_size = entry_point.loaded.base, entry_point.loaded.size
            self.calls = CallTrace(self.session, self.names, entry_point.system_table, self.protocols)
            self.calls.on_exit_boot_services = lambda: self._reach(Milestone.EXIT_BOOT_SERVICES)
            self.calls.arm()
        self._reach(Milestone.ENTRY)
        self._look_at_entry()
        if self.request.core:
            self._save_core(Path(self.request.core))
        if self.facts is not None:
            kernel = entry_points.kernel_proper(self.request.image, self.request.memory)
            if kernel is not None:
                kernel.arm(self.session, self._startup_64)

    def _save_core(self, path: Path) -> None:
        """Without paging, the addresses of the core are physical (QEMU's qapi/dump.json). QEMU makes the file read-only."""
        path.unlink(missing_ok=True)
        self.session.qemu.qmp.execute("dump-guest-memory", paging=False, protocol=f"file:{path}")
        path.chmod(0o600)

    def _startup_64(self) -> None:
        facts, session = self.facts, self.session
        assert facts is not None
        self.names.physical_slide = session.place - facts.entry
        self._reach(Milestone.STARTUP_64)
        self._look(Milestone.STARTUP_64, session.registers["rsi"])
        slide = self._virtual_slide(facts)
        if slide is None:
            self.notes.append("the kernel's virtual addresses could not be found, so nothing after startup_64 was seen")
            return
        self.names.virtual_slide = slide
        self._once("start_kernel", self._start_kernel)
        if not any(self._once(name, lambda: self._reach(Milestone.INIT)) for name in INIT_SYMBOLS):
            self.notes.append("the kernel has no symbol that tells when init starts")

    def _virtual_slide(self, facts: KernelFacts) -> int | None:
        if b"nokaslr" in self.request.cmdline.split():
            return 0
        elf = self.request.image.source.unpack()
        return virtual_slide(facts, elf, self.session.qemu.ram, self.names.physical_slide or 0)

    def _symbol(self, name: str) -> int | None:
        facts, symbols = self.facts, self.names.symbols
        address = facts.symbols.get(name) if facts is not None else None
        if address is None and symbols is not None:
            address = symbols.address_of(name)
        return None if address is None else (address + (self.names.virtual_slide or 0)) & ADDRESS_BITS

    def _once(self, symbol: str, handler: Callable[[], None]) -> bool:
        address = self._symbol(symbol)
        if address is None:
            return False

        def hit() -> None:
            self.session.off(address)
            handler()

        self.session.on(address, hit)
        return True

    def _start_kernel(self) -> None:
        self._reach(Milestone.START_KERNEL)
        facts = self.facts
        assert facts is not None
        linked = facts.symbols.get("boot_params")
        physical = None if linked is None else facts.physical_of(linked)
        if physical is not None:
            self._look(Milestone.START_KERNEL, physical + (self.names.physical_slide or 0))
        program = self._symbol(PROGRAM_SYMBOL)
        if program is None:
            self.notes.append(f"the kernel has no symbol {PROGRAM_SYMBOL}, so its first program was not seen")
            return
        self.session.on(program, lambda: self._program(program))

    def _program(self, start_thread: int) -> None:
        first = self.session.registers["rsi"]

        def hit() -> None:
            if self.session.registers["cs"] & 3 == 3:
                self.session.off(first)
                self.session.off(start_thread)
                self._reach(Milestone.USERSPACE)

        self.session.on(first, hit)

    # The record

    def _record(self, reason: Reason, details: str) -> Record:
        request = self.request
        text, dropped = rec.console_text(bytes(self.console))
        seconds = round(time.monotonic() - self.started, 6)
        return Record(
            tool=rec.Tool(name="qemu", version=self._version(), unicorn=""),
            image=rec.Image(
                path=request.blob.label,
                sha256=request.blob.sha256,
                size=request.blob.size,
                format=request.image.format,
                version=request.image.version,
                entries=[entry.value for entry in request.image.entries],
            ),
            route=rec.RouteName(provider=self.flow.provider, entry=self.flow.entry.value, platform=PLATFORM),
            options=rec.Options(
                cmdline=printable(request.cmdline),
                initrds=[blob.as_file() for blob in request.initrds],
                memory=request.memory,
                until=Milestone.SHUTDOWN,
                max_insns=0,
                timeout=request.timeout,
                seed=0,
                epoch=request.epoch,
                options={"oracle.way": self.flow.name},
                observers=False,
            ),
            milestones=[self._named(point) for point in self.points],
            outcome=rec.Outcome(
                reached=self.points[-1].name if self.points else None,
                goal=Milestone.SHUTDOWN,
                met=rec.meets(self.points, Milestone.SHUTDOWN),
                reason=reason,
                details=details,
                seconds=seconds,
                reproducible=False,
            ),
            firmware_calls=self.calls.calls() if self.calls is not None else [],
            entry_view=self.entry,
            abi=self.abi,
            boot_view=self.views.get(Milestone.STARTUP_64),
            kernel_view=self.views.get(Milestone.START_KERNEL),
            ledger=[],
            coverage=rec.Coverage(),
            notes=[*self.notes, *(self.calls.notes() if self.calls is not None else [])],
            console=text,
            console_dropped=self.dropped + dropped,
            reproduce=self._reproduce(),
        )

    def _named(self, point: MilestonePoint) -> MilestonePoint:
        if point.at is None:
            return point
        return msgspec.structs.replace(point, at=self.names.ref(point.at.address))

    def _version(self) -> str:
        """QEMU, and what brought it to the kernel."""
        path = tools.ovmf()[0] if self.flow.firmware is Firmware.OVMF else tools.seabios()
        firmware = "" if path is None else f" {tools.firmware_identity(path)}"
        return f"{tools.qemu_version()}; {self.flow.firmware}{firmware}; efishim {efishim.__version__}"[:256]

    def _reproduce(self) -> str:
        words: list[str | bytes] = ["efishim", "oracle"]
        if self.request.blob.data is None:
            words.append(self.request.blob.label)
        words += ["-r", self.flow.name, "-a", self.request.cmdline, "-m", f"{self.request.memory >> 20}M"]
        words += [word for blob in self.request.initrds if blob.data is None for word in ("-i", blob.label)]
        return " ".join(shell_word(word) for word in words)
