"""Views for tests that need one and no run: as empty as they may be, but for what a test asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from efishim.lab.record import (
    BootView,
    CommandLineView,
    ControlRegisters,
    DescriptorTable,
    EfiView,
    EntryView,
    Fields,
    Hex,
    InterruptTable,
    MachineView,
    PageTable,
    ProcessorState,
    Registers,
    Segment,
    Segments,
    SetupDataChain,
    StructureView,
)

ZERO = Hex(0)


def registers(**values: int) -> Registers:
    """General registers, those that are not named at zero."""
    assert values.keys() <= set(Registers.__struct_fields__)
    return Registers(*(Hex(values.get(name, 0)) for name in Registers.__struct_fields__))


def control(**values: int) -> ControlRegisters:
    """Control registers, those that are not named at zero."""
    assert values.keys() <= set(ControlRegisters.__struct_fields__)
    return ControlRegisters(*(Hex(values.get(name, 0)) for name in ControlRegisters.__struct_fields__))


def segments(**values: Segment) -> Segments:
    """Segment registers, those that are not named null."""
    assert values.keys() <= set(Segments.__struct_fields__)
    return Segments(*(values.get(name, Segment(ZERO, kind="null")) for name in Segments.__struct_fields__))


def cpu(*, rip: int = 0, idt: int = 0) -> ProcessorState:
    """A processor in 64-bit mode; `idt` is the limit of its interrupt descriptor table."""
    return ProcessorState(
        "long64",
        registers(rip=rip),
        control(),
        segments(),
        DescriptorTable(ZERO, ZERO),
        InterruptTable(ZERO, Hex(idt)),
        PageTable(ZERO, Hex(4)),
    )


def boot_view(*, rip: int = 0x1000000, idt: int = 0, params: Mapping[str, int | str] | None = None) -> BootView:
    """What a kernel was told: fields of boot_params, and an empty command line."""
    return BootView(
        address=Hex(0x90000),
        boot_params=Fields.of(params if params is not None else {"hdr.type_of_loader": 0x21}),
        cpu=cpu(rip=rip, idt=idt),
        setup_data=SetupDataChain(()),
        efi=EfiView(""),
        command_line=CommandLineView(Hex(0x8F000)),
    )


def entry_view(*, rip: int = 0x1000000, idt: int = 0, structures: Sequence[str] = ()) -> EntryView:
    """An entry with structures of 16 bytes without fields."""
    return EntryView(cpu(rip=rip, idt=idt), tuple(StructureView(name, ZERO, Hex(16)) for name in structures))


def machine_view() -> MachineView:
    """A machine with nothing in it."""
    return MachineView((), {}, (), (), ())
