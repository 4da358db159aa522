"""Device paths of the shim's own devices."""

from __future__ import annotations

from efishim.firmware.calling.device_path import Node, path_bytes, vendor_hardware

SHIM_GUID = "5b0d4c0f-41b7-4c43-8b0a-6d0f1c7e9a52"
"""Vendor of the shim's own device paths."""

FRAMEBUFFER, CONSOLE, DISK = b"\x01", b"\x02", b"\x03"


def device(number: bytes = b"") -> Node:
    """One of the shim's devices; without a number the shim itself."""
    return vendor_hardware(SHIM_GUID, number)


def console_path() -> bytes:
    """The whole path of the console."""
    return path_bytes(device(CONSOLE))
