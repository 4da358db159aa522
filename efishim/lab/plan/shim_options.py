"""The options `--option shim.NAME=VALUE` of every route through the EFI shim."""

from __future__ import annotations

from dataclasses import dataclass

from efishim.errors import UsageError
from efishim.provider import OptionHelp

SHIM_GROUP = "shim"

SHIM_OPTIONS = (
    OptionHelp("gop", "offer the Graphics Output protocol with a linear framebuffer (0 or 1)", "0"),
    OptionHelp("strict_nx", "protect memory as strict builds of EDK II do; offer the memory attribute protocol (0 or 1)", "0"),
    OptionHelp("keys", "keys to type at the firmware's console", ""),
    OptionHelp("files", "also offer the files given with -i on the EFI file system of the image's device (0 or 1)", "0"),
    OptionHelp("vendor", "FirmwareVendor in the system table", "efishim"),
)

_SWITCHES = {"1": True, "on": True, "yes": True, "true": True, "0": False, "off": False, "no": False, "false": False}
VENDOR_LIMIT = 64


@dataclass(frozen=True, slots=True)
class ShimOptions:
    """The shim's options, read."""

    gop: bool = False
    strict_nx: bool = False
    keys: str = ""
    vendor: str = "efishim"
    files: bool = False


def shim_options(texts: dict[str, str]) -> ShimOptions:
    """Options of the group `shim` (`Plan.option_group`). Raises UsageError for a value that an option does not take."""
    vendor = texts.get("vendor", "efishim")
    if not 0 < len(vendor) <= VENDOR_LIMIT:
        raise UsageError(f"shim.vendor takes a text of 1 to {VENDOR_LIMIT} characters")
    return ShimOptions(
        gop=_switch("gop", texts),
        strict_nx=_switch("strict_nx", texts),
        keys=texts.get("keys", ""),
        vendor=vendor,
        files=_switch("files", texts),
    )


def _switch(name: str, texts: dict[str, str]) -> bool:
    text = texts.get(name, "0").strip().lower()
    if text not in _SWITCHES:
        raise UsageError(f"shim.{name} takes 0 or 1, not {texts[name]!r}")
    return _SWITCHES[text]
