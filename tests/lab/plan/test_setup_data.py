"""`--setup-data`: what is a node, and which entries are given any."""

from __future__ import annotations

from pathlib import Path

import pytest

from efishim.errors import ImageError, UsageError
from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.plan import Blob, Plan
from efishim.plugins import load_plugins

REGISTRY = load_plugins()


def plan(*texts: str, route: str = "kexec/linux64", **words: str) -> Plan:
    provider, entry = route.split("/")
    chosen = Words(provider=provider, entry=entry, setup_data=texts, no_initrd=True, **words)  # type: ignore[arg-type]
    return make_plan(REGISTRY, lambda: Blob.embedded("image", b"MZ"), chosen)


@pytest.fixture
def seed(tmp_path: Path) -> str:
    (tmp_path / "a@seed").write_bytes(b"seed")
    return str(tmp_path / "a@seed")


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SETUP_RNG_SEED", 9),
        ("rng_seed", 9),
        ("9", 9),
        ("0x20", 32),
        ("0", 0),
        ("SETUP_NONE", 0),
        ("0xffffffff", (1 << 32) - 1),
    ],
)
def test_types(name: str, number: int, seed: str) -> None:
    (node,) = plan(f"{name}={seed}").setup_data
    assert (node.type, node.body.label, node.body.size, node.place) == (number, seed, 4, "")
    assert node.word == f"{number}={seed}"


def test_places_and_the_command_that_reproduces_them(seed: str) -> None:
    made = plan(f"9={seed}@kernel", f"2={seed}@0x1000000", f"1={seed}")
    assert [node.place for node in made.setup_data] == ["kernel", "0x1000000", ""]
    assert f"--setup-data 9={seed}@kernel --setup-data 2={seed}@0x1000000 --setup-data 1={seed}" in made.reproduce()
    assert [one.type for one in made.record_options().setup_data or ()] == [9, 2, 1]
    assert not plan().record_options().setup_data
    assert "--setup-data" not in plan().reproduce()


@pytest.mark.parametrize("text", ["", "9", "9=", "nobody=x", "-1=x", "0x100000000=x", "1_0=x", "=x", "0x=x"])
def test_what_is_no_node(text: str) -> None:
    with pytest.raises(UsageError, match="is no node of setup_data"):
        plan(text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="missing"):
        plan(f"9={tmp_path}/missing")


@pytest.mark.parametrize("route", ["grub/efi", "hvmlite/pvh", "firmware/efi", "multiboot/multiboot"])
def test_entries_that_are_given_none(route: str, seed: str) -> None:
    with pytest.raises(UsageError, match="is given no setup_data"):
        plan(f"9={seed}", route=route)
    assert plan(route=route).setup_data == ()


@pytest.mark.parametrize("route", ["kexec/linux64", "grub/linux32", "lilo/linux16", "grub/efi-handover"])
def test_entries_that_are_given_some(route: str, seed: str) -> None:
    assert len(plan(f"9={seed}", route=route).setup_data) == 1


def test_a_loader_makes_its_own(seed: str) -> None:
    with pytest.raises(UsageError, match="--loader and --setup-data exclude each other"):
        make_plan(REGISTRY, lambda: Blob.embedded("i", b""), Words(loader="grub-efi", setup_data=(f"9={seed}",)))
