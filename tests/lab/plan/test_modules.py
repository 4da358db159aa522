"""Modules with command lines of their own: what is typed, what the plan says of it, and what is refused."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import efishim_firmware_stubs
import pytest

from efishim.errors import ImageError, UsageError
from efishim.image.opened import open_image
from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.plan.routes import plan_routes
from efishim.plugins import load_plugins

NATIVE = [("multiboot", "multiboot"), ("multiboot2", "multiboot2"), ("hvmlite", "pvh")]


def plan(provider: str, entry: str, *modules: str, **words: Any) -> Plan:
    probe = Blob.embedded("embedded:probe", efishim_firmware_stubs.probe_kernel())
    return make_plan(load_plugins(), lambda: probe, Words(provider=provider, entry=entry, modules=modules, **words))


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    paths = tmp_path / "kernel", tmp_path / "initrd.img"
    for number, path in enumerate(paths):
        path.write_bytes(bytes((number,)) * 100)
    return str(paths[0]), str(paths[1])


@pytest.mark.parametrize(("provider", "entry"), NATIVE)
def test_each_module_has_its_file_and_its_words(provider: str, entry: str, files: tuple[str, str]) -> None:
    made = plan(provider, entry, f"{files[0]}=root=/dev/sda1 quiet", files[1])
    assert [(one.label, one.command_line) for one in made.initrds] == [(files[0], b"root=/dev/sda1 quiet"), (files[1], b"")]
    assert [one.read() for one in made.initrds] == [b"\0" * 100, b"\1" * 100]
    assert not made.default_initrd


def test_the_record_has_the_command_lines_and_the_command_to_give_them_again(files: tuple[str, str]) -> None:
    made = plan("multiboot2", "multiboot2", f"{files[0]}=a='b c'", files[1])
    assert [one.cmdline or None for one in made.record_options().initrds] == ["a='b c'", None]
    words = shlex.split(made.reproduce())
    given = [words[at + 1] for at, word in enumerate(words) if word == "--module"]
    assert "-i" not in words
    assert plan("multiboot2", "multiboot2", *given).initrds == made.initrds


def test_modules_without_command_lines_are_ramdisks(files: tuple[str, str]) -> None:
    made = plan("multiboot2", "multiboot2", *files)
    assert made == plan("multiboot2", "multiboot2", initrds=files)
    assert "--module" not in made.reproduce()


@pytest.mark.parametrize("words", [{"initrds": ("x",)}, {"no_initrd": True}])
def test_ramdisks_and_modules_are_not_mixed(words: dict[str, Any], files: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        plan("multiboot2", "multiboot2", files[0], **words)


@pytest.mark.parametrize(("provider", "entry"), [("firmware", "efi"), ("multiboot2", "efi")])
def test_ramdisks_behind_efi_firmware_have_no_command_line(provider: str, entry: str, files: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="no command lines"):
        plan(provider, entry, f"{files[0]}=x")


def test_a_module_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no file"):
        plan("multiboot2", "multiboot2", "=x")
    with pytest.raises(ImageError, match="nothing"):
        plan("multiboot2", "multiboot2", f"{tmp_path}/nothing=x")


def test_a_command_line_has_a_limit(files: tuple[str, str]) -> None:
    assert len(plan("multiboot2", "multiboot2", files[0] + "=" + "x" * 65536).initrds[0].command_line) == 65536
    with pytest.raises(UsageError, match="65537 bytes"):
        plan("multiboot2", "multiboot2", files[0] + "=" + "x" * 65537)


def test_all_routes_are_those_that_give_modules(files: tuple[str, str]) -> None:
    probe = Blob.embedded("embedded:probe", efishim_firmware_stubs.probe_kernel())
    image = open_image(probe.read(), path="probe")
    plans, without = plan_routes(load_plugins(), image, probe, (), {"modules": (files[0],)})
    assert {plan.entry for plan in plans} >= {"multiboot", "multiboot2", "pvh", "linux64"}
    assert not {plan.entry for plan in plans} & {"efi", "efi-handover"}
    assert any("these have no command lines" in one.reason for one in without)
    plans, _ = plan_routes(load_plugins(), image, probe, (), {})
    assert "efi" in {plan.entry for plan in plans}
