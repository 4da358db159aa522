"""The options `--option shim.NAME=VALUE` of every route through the EFI shim."""

from __future__ import annotations

from dataclasses import dataclass, field

from efishim.errors import UsageError
from efishim.firmware.boot_manager import BootOption, BootOptions
from efishim.firmware.load_options import LARGEST, LoadOptions
from efishim.provider import OptionHelp

SHIM_GROUP = "shim"

SHIM_OPTIONS = (
    OptionHelp("gop", "offer the Graphics Output protocol with a linear framebuffer (0 or 1)", "0"),
    OptionHelp("strict_nx", "protect memory as strict builds of EDK II do; offer the memory attribute protocol (0 or 1)", "0"),
    OptionHelp("keys", "keys to type at the firmware's console", ""),
    OptionHelp("files", "also offer the files given with -i on the EFI file system of the image's device (0 or 1)", "0"),
    OptionHelp("disk_writes", "take what is written to the disk of --disk or --loader, for this run (0 or 1)", "0"),
    OptionHelp(
        "boot", "programs of the disk that Boot0000, Boot0001 ... start, separated by `;`, arguments behind a space", ""
    ),
    OptionHelp("boot_next", "the number of the one of them that BootNext names", ""),
    OptionHelp("load_options", "LoadOptions: the command line as text, the same unterminated, or hex:BYTES", "text"),
    OptionHelp("file_path", "whether the image's LoadedImage has a FilePath (0 or 1)", "1"),
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
    disk_writes: bool = False
    boot: BootOptions = field(default_factory=BootOptions)
    load_options: LoadOptions = field(default_factory=LoadOptions)


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
        disk_writes=_switch("disk_writes", texts),
        boot=_boot(texts),
        load_options=_load_options(texts),
    )


MOST_OPTIONS = 64


def _boot(texts: dict[str, str]) -> BootOptions:
    found = []
    for text in filter(None, (one.strip() for one in texts.get("boot", "").split(";"))):
        path, _, words = text.partition(" ")
        if path[0] not in "\\/":
            raise UsageError(
                f"shim.boot takes paths from the root of a volume, not {path[:60]!r}", hint="\\EFI\\debian\\grubx64.efi"
            )
        found.append(BootOption(path.replace("/", "\\"), words.strip()))
    if len(found) > MOST_OPTIONS:
        raise UsageError(f"shim.boot takes at most {MOST_OPTIONS} programs")
    following = texts.get("boot_next", "")
    if following and not (following.isascii() and following.isdigit() and int(following[:4]) < len(found)):
        raise UsageError(
            f"shim.boot_next takes the number of one of the {len(found)} programs of shim.boot, not {following[:60]!r}"
        )
    return BootOptions(tuple(found), int(following) if following else None)


def _load_options(texts: dict[str, str]) -> LoadOptions:
    form, file_path = texts.get("load_options", "text"), _switch("file_path", {"file_path": "1"} | texts)
    if form.startswith("hex:"):
        try:
            raw = bytes.fromhex(form.removeprefix("hex:"))
        except ValueError as error:
            raise UsageError("shim.load_options=hex: takes pairs of hexadecimal digits") from error
        if len(raw) > LARGEST:
            raise UsageError(f"shim.load_options=hex: takes at most {LARGEST} bytes")
        return LoadOptions(raw=raw, file_path=file_path)
    if form not in ("text", "unterminated"):
        raise UsageError(f"shim.load_options takes text, unterminated or hex:BYTES, not {form!r}")
    return LoadOptions(terminated=form == "text", file_path=file_path)


def _switch(name: str, texts: dict[str, str]) -> bool:
    text = texts.get(name, "0").strip().lower()
    if text not in _SWITCHES:
        raise UsageError(f"shim.{name} takes 0 or 1, not {texts[name]!r}")
    return _SWITCHES[text]
