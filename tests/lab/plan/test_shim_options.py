"""The shim's options as texts."""

from __future__ import annotations

import pytest

from efishim.errors import UsageError
from efishim.firmware.boot_manager import BootOption, BootOptions
from efishim.firmware.load_options import LARGEST, LoadOptions
from efishim.lab.plan.shim_options import shim_options


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({}, LoadOptions()),
        ({"load_options": "text"}, LoadOptions()),
        ({"load_options": "unterminated"}, LoadOptions(terminated=False)),
        ({"load_options": "hex:"}, LoadOptions(raw=b"")),
        ({"load_options": "hex:00ff 10"}, LoadOptions(raw=b"\0\xff\x10")),
        ({"file_path": "0"}, LoadOptions(file_path=False)),
        ({"load_options": "hex:aa", "file_path": "off"}, LoadOptions(raw=b"\xaa", file_path=False)),
    ],
)
def test_load_options(texts: dict[str, str], expected: LoadOptions) -> None:
    assert shim_options(texts).load_options == expected


@pytest.mark.parametrize("text", ["", "hex:0", "hex:xy", "binary", "hex:" + "00" * (LARGEST + 1)])
def test_load_options_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"shim\.load_options"):
        shim_options({"load_options": text})


def test_a_switch_is_one() -> None:
    with pytest.raises(UsageError, match=r"shim\.file_path takes 0 or 1"):
        shim_options({"file_path": "2"})


def test_boot_options_are_paths_with_arguments() -> None:
    found = shim_options({"boot": "/EFI/debian/shimx64.efi;\\b.efi quiet  splash ; ", "boot_next": "1"}).boot
    assert found.options == (BootOption("\\EFI\\debian\\shimx64.efi"), BootOption("\\b.efi", "quiet  splash"))
    assert found.next == 1
    assert shim_options({}).boot == BootOptions()


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ({"boot": "EFI\\a.efi"}, "paths from the root"),
        ({"boot": ";".join(["\\a"] * 65)}, "at most 64"),
        ({"boot": "\\a", "boot_next": "1"}, "one of the 1 programs"),
        ({"boot_next": "0"}, "one of the 0 programs"),
        ({"boot": "\\a", "boot_next": "x"}, "not 'x'"),
    ],
)
def test_boot_options_that_name_nothing_are_refused(texts: dict[str, str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        shim_options(texts)
