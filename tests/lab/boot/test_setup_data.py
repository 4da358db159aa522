"""Nodes of setup_data in guest memory: behind those of the provider, where they were asked for, and seen by the guest."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from efishim.errors import ProviderError, RouteError
from efishim.image.loading import Piece
from efishim.lab.boot.setup_data import append
from efishim.lab.plan.plan import Blob, SetupNode
from efishim.lab.plan.routes import plan_routes
from efishim.lab.run import run_plan
from efishim.plugins import load_plugins
from efishim.provider import Arena, MemoryKind, MemoryRange
from efishim.testing import Ram
from tests.lab.plan.test_doors import PROBE

AT, LINK = 0x1_0000, 0x1_0000 + 0x250
SEED = SetupNode(9, Blob.embedded("seed", b"0123456789abcdef"))


def boot_params(*nodes: int, version: int = 0x209) -> Ram:
    """With empty nodes of the provider's at these addresses."""
    memory = Ram()
    memory.write(AT + 0x202, b"HdrS" + struct.pack("<H", version))
    for link, node in zip((LINK, *nodes), (*nodes, 0), strict=True):
        memory.write(link, struct.pack("<Q", node))
    return memory


def chain(memory: Ram) -> list[tuple[int, int, bytes]]:
    found = []
    (at,) = struct.unpack("<Q", memory.read(LINK, 8))
    while at:
        following, kind, length = struct.unpack("<QII", memory.read(at, 16))
        found.append((at, kind, memory.read(at + 16, length)))
        at = following
    return found


def arena() -> Arena:
    return Arena((MemoryRange(0, 0x9_F000, MemoryKind.RAM), MemoryRange(0x10_0000, 0x70_0000, MemoryKind.RAM)))


def test_nodes_stand_behind_those_of_the_provider() -> None:
    for before in ((), (0x2000,), (0x2000, 0x3000)):
        memory = boot_params(*before)
        append((SEED, replace(SEED, type=32)), memory, arena(), AT, None)
        assert [at for at, *_ in chain(memory)][: len(before)] == list(before)
        assert [part[1:] for part in chain(memory)[len(before) :]] == [(9, b"0123456789abcdef"), (32, b"0123456789abcdef")]


def test_places() -> None:
    memory, room = boot_params(), arena()
    kernel = Piece(0x10_0000, b"x" * 0x123, 0x2000)
    nodes = (replace(SEED, place="kernel"), replace(SEED, place="0x300008"), SEED)
    append(nodes, memory, room, AT, kernel)
    assert [at for at, *_ in chain(memory)] == [0x10_0130, 0x30_0008, 0x7F_F000]
    assert not room.fits(0x30_0008, 32)


def test_what_cannot_be() -> None:
    append((), Ram(), arena(), None, None)
    with pytest.raises(ProviderError, match="no setup header"):
        append((SEED,), Ram(), arena(), None, None)
    with pytest.raises(RouteError, match=r"came with boot protocol 2\.09, and this kernel has 0x208"):
        append((SEED,), boot_params(version=0x208), arena(), AT, None)
    endless = boot_params(0x2000)
    endless.write(0x2000, struct.pack("<Q", 0x2000))
    with pytest.raises(ProviderError, match="has no end"):
        append((SEED,), endless, arena(), AT, None)
    with pytest.raises(ProviderError, match="no kernel's file"):
        append((replace(SEED, place="kernel"),), boot_params(), arena(), AT, None)


@pytest.mark.slow
@pytest.mark.parametrize("route", ["kexec/linux64", "grub/linux32", "lilo/linux16", "firmware/efi-handover"])
def test_the_guest_finds_them(route: str, tmp_path: Path) -> None:
    (tmp_path / "seed").write_bytes(b"0123456789abcdef")
    blob = Blob.embedded("embedded:probe", PROBE.data)
    (plan,), _ = plan_routes(load_plugins(), PROBE, blob, (route,), {"setup_data": (f"0x20={tmp_path}/seed@0x2000000",)})
    record = run_plan(plan)
    assert record.outcome.met
    assert "addr:0x2000000" in record.console
    assert "type:0x20 len:0x10" in record.console
    assert "setup_data" not in run_plan(replace(plan, setup_data=())).console.replace("hdr.setup_data", "")
