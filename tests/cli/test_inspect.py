"""`efishim inspect`: what it says is what the image holds, and hostile texts do not reach the terminal."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.cli import main
from efishim.image.entries import Entry
from efishim.plugins import load_plugins


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["inspect", *arguments]) == 0
    return capsys.readouterr().out


def test_the_probe_kernel_has_the_doors_it_was_built_with(capsys: pytest.CaptureFixture[str]) -> None:
    document = json.loads(shown(capsys, "--format", "json"))
    doors = {one["entry"]: one["applies"] for one in document["entries"]}
    assert set(doors) == {*(entry.value for entry in Entry), "elf64"}  # which a plugin brings
    assert [name for name, there in doors.items() if not there] == ["efi-mixed"]
    routes = {one["route"]: one["reason"] for one in document["routes"]}
    drivable = {f"{one.name}/{entry.name}" for one in load_plugins().providers.values() for entry in one.entries}
    assert set(routes) == drivable
    # A route applies exactly when the image has its entry.
    assert {route for route, reason in routes.items() if reason} == {
        route for route in routes if not doors[route.partition("/")[2]]
    }
    assert all(one["applies"] == (not one["reason"]) for one in document["routes"])
    assert document["size"] == len(efishim_firmware_stubs.probe_kernel())


def test_text_and_json_say_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys)
    document = json.loads(shown(capsys, "--format", "json"))
    for field in document["linux"]["fields"]:
        line = next(line for line in text.splitlines() if line.startswith(field["name"] + " "))
        assert line.split()[1:] == [f"{field['offset']:#x}", field["value"]]
    for section in document["pe"]["sections"]:
        assert any(line.split()[:2] == [section["name"], section["rva"]] for line in text.splitlines())
    for tag in document["multiboot"]["version_2"]["tags"]:
        assert tag["name"] in text


def test_header_fields_are_at_the_offsets_of_boot_rst(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Values written at the offsets of Documentation/arch/x86/boot.rst come out under their names."""
    data = bytearray(efishim_firmware_stubs.probe_kernel())
    struct.pack_into("<I", data, 0x22C, 0x12345678)
    struct.pack_into("<Q", data, 0x258, 0x1234567812340000)
    (tmp_path / "kernel").write_bytes(data)
    document = json.loads(shown(capsys, str(tmp_path / "kernel"), "--format", "json"))
    fields = {field["name"]: field["value"] for field in document["linux"]["fields"]}
    assert fields["initrd_addr_max"] == "0x12345678"
    assert fields["pref_address"] == "0x1234567812340000"


def test_control_characters_of_an_image_stay_in_the_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = efishim_firmware_stubs.probe_kernel()
    at = data.index(b".text\0\0\0")
    (tmp_path / "kernel").write_bytes(data[:at] + b"\x1b[2Jx\x07\r\n"[:8] + data[at + 8 :])
    assert "\x1b" not in shown(capsys, str(tmp_path / "kernel"))
