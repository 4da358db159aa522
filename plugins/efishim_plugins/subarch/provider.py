"""boot_params with a hardware subarchitecture: the thread's "hypervisor type and custom data pointer".

Source: Documentation/arch/x86/boot.rst (hardware_subarch, hardware_subarch_data); enum x86_hardware_subarch in
arch/x86/include/uapi/asm/bootparam.h; what kernels make of it: i386_start_kernel and x86_64_start_reservations in
arch/x86/kernel/head{32,64}.c, x86_early_init_platform_quirks in platform-quirks.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from efishim.errors import ProviderError, UsageError
from efishim.provider import BootInformation, CpuState, Entry, Handover, MachineFirmware, OptionHelp, Specification, Structure
from efishim_plugins.boot_params import memory_map as e820
from efishim_plugins.boot_params import states, structures
from efishim_plugins.boot_params.header import checked_command_line, fresh, set_command_line, set_ramdisk
from efishim_plugins.boot_params.reading import read_back

if TYPE_CHECKING:
    from efishim.provider import Arena, BootRequest, GuestMemory, Loaded

SUBARCHITECTURES: Mapping[str, int] = {
    name: number for number, name in enumerate(("pc", "lguest", "xen", "intel_mid", "ce4100"))
}
LARGEST, LARGEST_DATA = 5, (1 << 64) - 1
"""5 is the first unassigned number; kernels do not take an unknown one for a PC."""
SUBARCH_FROM = 0x207
UNKNOWN_LOADER = 0xFF
CONVENTIONAL_END = 0xA_0000


class Subarch:
    """A plain 64-bit loader that sets the machine's subarchitecture."""

    name = "subarch"
    summary = "boot_params with hardware_subarch and hardware_subarch_data set, for the 64-bit entry"
    structure = "boot_params"
    specifications = (
        Specification("The Linux/x86 Boot Protocol", "https://docs.kernel.org/arch/x86/boot.html"),
        Specification("Zero Page", "https://docs.kernel.org/arch/x86/zero-page.html"),
    )
    limits = (
        "It imitates no boot loader: the loader type is 0xff, and there are no display, EDD or APM data.",
        "A stock 64-bit kernel boots with every value on a PC: the code for lguest, Intel MID and CE4100 is not built in, and"
        " Xen's guests are found by CPUID.",
        "What is left: 3 (intel_mid) and 4 (ce4100) keep Linux 6.1 and 6.12 from looking for a PS/2 controller (i8042); 1, 2"
        " and 5, which is unassigned, change nothing that can be seen on a machine with ACPI.",
        "hardware_subarch_data is passed on and read by no kernel of today: only lguest used it.",
        "Several ramdisks become one: they lie behind each other, and Linux unpacks all of them.",
    )
    entries = (Entry("linux64", "the 64-bit entry", through_shim=False),)
    options = (
        OptionHelp("value", "hardware_subarch: 0 to 5, or pc, lguest, xen, intel_mid, ce4100", "0"),
        OptionHelp("data", "hardware_subarch_data: a number, 0x... for hexadecimal", "0"),
    )
    module_alignment = 4

    def runs_on(self, entry: str, options: Mapping[str, str]) -> MachineFirmware:
        """A hypervisor starts the kernel itself."""
        return MachineFirmware.NONE

    def produce(self, request: BootRequest, memory: GuestMemory, arena: Arena) -> Handover:
        """Write boot_params, the command line and, for more than 128 ranges of memory, setup_data.

        Raises UsageError, ProviderError.
        """
        command_line = checked_command_line(request)
        params = fresh(request.image)
        header = params.hdr
        if header.version < SUBARCH_FROM:
            raise ProviderError(f"the kernel's protocol {header.version:#x} has no hardware_subarch; 0x207 brought it")

        def put(data: bytes, what: str) -> int:
            at = arena.place(len(data), below=CONVENTIONAL_END, what=what)
            memory.write(at, data)
            return at

        def add_node(kind: int, body: bytes) -> None:
            header.setup_data = put(e820.node(kind, body, header.setup_data), "setup_data")

        header.type_of_loader = UNKNOWN_LOADER
        header.hardware_subarch, header.hardware_subarch_data = _value(request.options), _data(request.options)
        if request.loaded is not None:
            header.code32_start = request.loaded.base
        set_ramdisk(params, request.modules)
        params.acpi_rsdp_addr = request.facts.rsdp or 0
        e820.put_table(params, e820.ranges(request.facts.memory_map), add_node)
        set_command_line(params, put(command_line + b"\0", "the command line"))
        return Handover(put(params.build(), "boot_params"), notes=_note(request))

    def read_back(self, memory: GuestMemory, handover: Handover) -> BootInformation:
        """Parse boot_params. Raises ProviderError."""
        return read_back(memory, handover.address)

    def structures(self, memory: GuestMemory, handover: Handover) -> tuple[Structure, ...]:
        """boot_params and what it points to."""
        return structures.of(memory, handover.address)

    def cpu_state(self, entry: str, loaded: Loaded, handover: Handover) -> CpuState:
        """The state that boot.rst demands at the 64-bit entry. Raises ProviderError."""
        if entry != "linux64":
            raise ProviderError(f"the provider subarch has no native entry {entry!r}")
        return states.long(loaded.entry_point, handover.address or 0)


def _value(options: Mapping[str, str]) -> int:
    text = options.get("value", "0")
    if text in SUBARCHITECTURES:
        return SUBARCHITECTURES[text]
    if text.isascii() and text.isdigit() and int(text) <= LARGEST:
        return int(text)
    raise UsageError(f"subarch.value takes 0 to {LARGEST} or {', '.join(SUBARCHITECTURES)}, not {text!r}")


def _data(options: Mapping[str, str]) -> int:
    text = options.get("data", "0")
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if not 0 <= value <= LARGEST_DATA:
        raise UsageError(f"subarch.data takes a number of up to 64 bits, not {text!r}")
    return value


def _note(request: BootRequest) -> tuple[str, ...]:
    if len(request.modules) < 2:
        return ()
    return (f"the {len(request.modules)} ramdisks lie behind each other, and boot_params has them as one",)
