"""Assembles the BIOS: its memory contents at power-on, and the handler of each interrupt.

A machine has one trap port, so it has either a BIOS or an EFI shim, never both.
"""

from __future__ import annotations

from collections.abc import Callable

from efishim.bios import data_area, rom
from efishim.bios.call_log import WITH_STATUS, CallLog, name_of
from efishim.bios.clock import ClockServices
from efishim.bios.config import BiosConfig
from efishim.bios.devices import DiskServices, SerialServices
from efishim.bios.frame import Frame
from efishim.bios.keyboard import KeyboardServices
from efishim.bios.memory import EBDA_SIZE, KIB, ROM_SIZE, ROM_START, carve, ebda_address
from efishim.bios.system import SystemServices
from efishim.bios.video import VideoServices
from efishim.errors import MachineError
from efishim.injection import Injections
from efishim.logged_call import LoggedCall
from efishim.machine.cpu import Board
from efishim.memory_range import MemoryRange
from efishim.wire.acpi import Rsdp
from efishim.wire.smbios import EntryPoint3

MASTER, SLAVE = 0x20, 0xA0
MASTER_VECTORS, SLAVE_VECTORS = 0x08, 0x70
END_OF_INTERRUPT, READ_IN_SERVICE = 0x20, 0x0B
TIMER_LINE, CASCADE_LINE = 0, 2
PIT_CONTROL, PIT_COUNTER_0, RATE_GENERATOR = 0x43, 0x40, 0x34
EXCEPTIONS = {0x00: "#DE", 0x04: "#OF", 0x05: "#BR", 0x06: "#UD", 0x07: "#NM", 0x08: "#DF", 0x0C: "#SS", 0x0D: "#GP"}
"""Exceptions of real mode whose vectors reach the BIOS (SDM volume 3, table 21-6). The handlers of a PC's BIOS
return to the instruction at fault, for ever; here the run ends. Debugging traps (1 to 3) return behind it.
"""
RSDP_SIZE, SMBIOS_SIZE = Rsdp.SIZE, EntryPoint3.SIZE


class Bios:
    """Installs itself in the memory and on the trap of a board whose devices are attached.

    `console` gets text that is written through int 10h, `insns` gives the instruction count for the log.
    Raises MachineError when the machine has no memory where a BIOS needs it, or the trap is taken.
    """

    def __init__(
        self,
        board: Board,
        config: BiosConfig,
        console: Callable[[str], None],
        *,
        insns: Callable[[], int] = lambda: 0,
    ) -> None:
        self._board = board
        self._config = config
        self._insns = insns
        self._map = carve(config.memory)
        self._log = CallLog()
        self.injections = Injections()
        ebda = ebda_address(config.memory)
        area = data_area.prepare(board.memory, ebda=ebda, ebda_kib=EBDA_SIZE // KIB, serial_ports=config.serial_ports)
        self._burn()
        self._clock = ClockServices(board, area, rtc=config.rtc)
        system = SystemServices(board, area, self._map, port92=config.port92)
        self._services: dict[int, Callable[[Frame], None]] = {
            0x10: VideoServices(board, area, config.display, console),
            0x11: system.equipment,
            0x12: system.memory_size,
            0x13: DiskServices(area),
            0x14: SerialServices(board, config.serial_ports),
            0x15: system,
            0x16: KeyboardServices(board, area, config.keys),
            0x18: self._leave,
            0x19: self._leave,
            0x1A: self._clock,
        }
        self._start_timer()
        board.trap(rom.TRAP_PORT, self._trap)

    def memory_map(self) -> tuple[MemoryRange, ...]:
        """The memory that int 15h/E820 tells, ascending: the platform's with EBDA and ROM reserved."""
        return self._map

    @property
    def calls(self) -> list[LoggedCall]:
        """What was called, in order. Hardware interrupts are not calls."""
        return self._log.calls

    @property
    def calls_dropped(self) -> int:
        """Calls beyond what the log keeps."""
        return self._log.dropped

    def notes(self) -> list[str]:
        """Sentences for the record: what was asked for in vain."""
        return [f"the BIOS has no {name}" for name in self._log.unknown]

    # Power-on

    def _burn(self) -> None:
        memory, config = self._board.memory, self._config
        if memory.find(ROM_START, ROM_SIZE) is None:
            raise MachineError("a BIOS needs memory at 0xf0000, and this platform has none there")
        memory.write(0, rom.vector_table())
        for offset, data in rom.parts(pic=config.pic, rtc=config.rtc).items():
            memory.write(ROM_START + offset, data)
        anchors = ((rom.RSDP, config.rsdp, RSDP_SIZE), (rom.SMBIOS, config.smbios, SMBIOS_SIZE))
        for offset, source, size in anchors:
            if source is not None and not ROM_START <= source < ROM_START + ROM_SIZE:  # or the platform has burnt them in
                memory.write(ROM_START + offset, memory.read(source, size))

    def _start_timer(self) -> None:
        """Interrupt controllers at the AT's vectors with only the timer let through, and the timer at 18.2 Hz."""
        out = self._board.ports.write
        self._clock.start()
        if self._config.pic:
            for port, vectors, cascade in (
                (MASTER, MASTER_VECTORS, 1 << CASCADE_LINE),
                (SLAVE, SLAVE_VECTORS, CASCADE_LINE),
            ):
                out(port, 1, 0x11)
                for word in (vectors, cascade, 0x01):
                    out(port + 1, 1, word)
            out(MASTER + 1, 1, 0xFF & ~(1 << TIMER_LINE | 1 << CASCADE_LINE))
            out(SLAVE + 1, 1, 0xFF)
        if self._config.pit:
            out(PIT_CONTROL, 1, RATE_GENERATOR)
            out(PIT_COUNTER_0, 1, 0)
            out(PIT_COUNTER_0, 1, 0)

    # Interrupts

    def _trap(self, _al: int) -> None:
        cpu = self._board.cpu
        after = (cpu.get("cs.base") + cpu.get("rip") - ROM_START) % (1 << 32)
        if cpu.get("cr0") & 1:
            return  # in protected mode the BIOS is not called
        if after == rom.RESET + len(rom.OUT):
            self._board.stop("reset")
            return
        vector, within = divmod(after - rom.STUBS, rom.STUB_SIZE)
        if vector in range(rom.VECTORS) and within in (len(rom.OUT), len(rom.OUT) + rom.TIMER_DONE):
            self._interrupt(vector, done=within != len(rom.OUT))

    def _interrupt(self, vector: int, *, done: bool) -> None:
        if done:
            self._end_of_interrupt(vector)
            return
        frame = Frame(self._board)
        if self._in_service(vector):
            if vector == rom.TIMER:
                self._clock.tick()
                return
            if vector == SLAVE_VECTORS:
                self._clock.alarm()
            self._end_of_interrupt(vector)
            return
        if vector in EXCEPTIONS and frame.by_instruction != vector:
            where = frame.return_address
            self._board.stop(f"firmware exception: {EXCEPTIONS[vector]} in real mode at {where:#x}")
            return
        if vector == rom.TIMER:
            self._clock.tick()
        if vector in (rom.TIMER, rom.USER_TICK):
            return
        service = self._services.get(vector, _no_service)
        before = frame.registers()
        code = self.injections.strike(name_of(vector, before["eax"] & 0xFFFF)) if vector in WITH_STATUS else None
        if code is None:
            service(frame)
        else:
            frame.fail(code)
        if frame.stored:
            self._board.flush_code(0, 0)
        self._log.note(vector, before, frame, self._insns(), injected=code is not None)

    def _in_service(self, vector: int) -> bool:
        """Is this a hardware interrupt: does its controller serve its line now?"""
        for port, vectors in ((MASTER, MASTER_VECTORS), (SLAVE, SLAVE_VECTORS)):
            if self._config.pic and vector in range(vectors, vectors + 8):
                self._board.ports.write(port, 1, READ_IN_SERVICE)
                return bool(self._board.ports.read(port, 1) >> (vector - vectors) & 1)
        return False

    def _end_of_interrupt(self, vector: int) -> None:
        if not self._in_service(vector):
            return
        if vector >= SLAVE_VECTORS:
            self._board.ports.write(SLAVE, 1, END_OF_INTERRUPT)
        self._board.ports.write(MASTER, 1, END_OF_INTERRUPT)

    def _leave(self, frame: Frame) -> None:
        """Int 18h and 19h: whoever was booted gives up, and there is nothing else to boot."""
        del frame
        self._board.stop("image returned to the BIOS, which has nothing else to boot")


def _no_service(frame: Frame) -> None:
    """An interrupt that the BIOS has no use for."""
    frame.unknown = True
