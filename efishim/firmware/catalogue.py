"""Every function that the shim offers of its own. Plugins bring more of them with their protocols."""

from __future__ import annotations

from efishim.firmware.calling.functions import SERVICES, Returns, by_full_name
from efishim.firmware.protocols import (
    block_io,
    graphics_output,
    load_file2,
    memory_attribute,
    simple_file_system,
    text_input,
    text_output,
)

FUNCTIONS = by_full_name(
    (
        *SERVICES.values(),
        *load_file2.FUNCTIONS,
        *block_io.BLOCK_FUNCTIONS,
        *block_io.DISK_FUNCTIONS,
        *simple_file_system.VOLUME_FUNCTIONS,
        *simple_file_system.FILE_FUNCTIONS,
        *text_output.FUNCTIONS,
        *text_input.FUNCTIONS,
        *text_input.EX_FUNCTIONS,
        *graphics_output.FUNCTIONS,
        *memory_attribute.FUNCTIONS,
    )
)
"""By full name, the services first."""

WITHOUT_STATUS = frozenset(name for name, function in FUNCTIONS.items() if function.returns is not Returns.STATUS)
"""Functions that cannot answer with a status."""
