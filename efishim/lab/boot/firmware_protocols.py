"""The firmware protocols of plugins in a run: put into the shim, where one that fails is named in the record and ends
nothing, and followed from outside in firmware that is not the shim's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from efishim.firmware.calling.functions import Function
from efishim.firmware.protocols import graphics_output, load_file2, memory_attribute, text_input, text_output
from efishim.plugins import attempt
from efishim.provider import FirmwareProtocol
from efishim.wire import guids, uefi_protocols
from efishim.wire.layout import Layout


class Traced(NamedTuple):
    """A protocol that can be followed from outside: its functions, and the structure that points to them."""

    functions: tuple[Function, ...]
    layout: type[Layout]


CONSOLE_OUT = Traced(text_output.FUNCTIONS, uefi_protocols.SimpleTextOutputProtocol)
CONSOLE_IN = Traced(text_input.FUNCTIONS, uefi_protocols.SimpleTextInputProtocol)
_OWN = {
    guids.EFI_LOAD_FILE2_PROTOCOL_GUID: Traced(load_file2.FUNCTIONS, uefi_protocols.LoadFile2Protocol),
    guids.EFI_MEMORY_ATTRIBUTE_PROTOCOL_GUID: Traced(memory_attribute.FUNCTIONS, uefi_protocols.MemoryAttributeProtocol),
    guids.EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID: Traced(graphics_output.FUNCTIONS, uefi_protocols.GraphicsOutputProtocol),
    guids.EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL_GUID: CONSOLE_OUT,
    guids.EFI_SIMPLE_TEXT_INPUT_PROTOCOL_GUID: CONSOLE_IN,
    guids.EFI_SIMPLE_TEXT_INPUT_EX_PROTOCOL_GUID: Traced(text_input.EX_FUNCTIONS, uefi_protocols.SimpleTextInputExProtocol),
}


def traced_protocols(protocols: Iterable[FirmwareProtocol]) -> Mapping[str, Traced]:
    """By GUID: the protocols of the shim whose calls it logs, and those of plugins that have functions."""
    more = {str(one.guid): Traced(one.functions, one.layout) for one in protocols if getattr(one, "functions", ())}
    return MappingProxyType({**more, **_OWN})


def install_protocols(protocols: Iterable[FirmwareProtocol], shim: Any) -> list[str]:
    """Put the protocols of plugins into the shim. Gives notes about those that failed."""
    notes = []
    for protocol in protocols:
        problem = attempt(partial(protocol.install, shim))
        if problem:
            notes.append(f"the firmware protocol {protocol.name} failed: {problem}")
    return notes
