"""Boots on real firmware, each made once for all tests that look at it, and for all test workers."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path

import pytest
import zstandard
from efishim_firmware_stubs import reporting_initrd

from efishim.image.cachedir import cache_directory
from efishim.image.facts import KernelCache
from efishim.image.opened import read_image_file
from efishim.lab.plan.plan import Blob
from efishim.lab.record import Record, decode, encode
from efishim.oracle.boot_flows import find_boot_flow
from efishim.oracle.dump import Request, oracle_record
from efishim.oracle.tools import MissingTool
from tests.conftest import OFFLINE
from tests.support.runs import one_at_a_time

CMDLINE = b"console=ttyS0 earlyprintk=serial,ttyS0 nokaslr panic=-1"
"""That of the dumps in told.toml."""

Booted = Callable[..., Record]

DUMPED = ("hvmlite/pvh", "kexec/linux64")
"""Flows of which a core is kept as well, for tests that boot it."""
PACKED = "core.zst"


@pytest.fixture(scope="session")
def booted(cloud_kernel: Path, shared: Path) -> Booted:
    """A function from the name of a way (and a command line) to the record of Debian's cloud kernel on it. A missing tool
    fails the test, or skips it under EFISHIM_OFFLINE=1, and is named.
    """
    image = read_image_file(cloud_kernel, cache=KernelCache(cache_directory(os.environ)))
    initrd = Blob.embedded("embedded:init", reporting_initrd())

    def made(flow: str, cmdline: bytes, core: str = "") -> Record:
        request = Request(image, Blob.from_file(cloud_kernel), cmdline, (initrd,), timeout=600.0, core=core)
        try:
            return oracle_record(request, find_boot_flow(flow))
        except MissingTool as error:
            if os.environ.get(OFFLINE) == "1":
                pytest.skip(str(error))
            pytest.fail(str(error))

    @cache
    def boot(flow: str, cmdline: bytes = CMDLINE) -> Record:
        folder = place(shared, flow, cmdline)
        kept, core = folder / "record.json", folder / "core"
        dumped = flow in DUMPED and cmdline == CMDLINE
        with one_at_a_time(folder):
            if not kept.exists():
                record = made(flow, cmdline, str(core) if dumped else "")
                if dumped:
                    with core.open("rb") as whole, (folder / PACKED).open("wb") as packed:
                        zstandard.ZstdCompressor(level=1).copy_stream(whole, packed)
                    core.unlink()
                kept.write_bytes(encode(record))
        return decode(kept.read_bytes())

    return boot


@pytest.fixture(scope="session")
def cores(booted: Booted, shared: Path) -> Callable[[str], Path]:
    """A function from one of DUMPED to its core, packed with zstd: unpacked it has the size of the guest's memory."""

    def core(flow: str) -> Path:
        booted(flow)
        return place(shared, flow, CMDLINE) / PACKED

    return core


def place(shared: Path, flow: str, cmdline: bytes) -> Path:
    """The folder of what is kept of a boot."""
    return shared / f"oracle-{flow.replace('/', '-')}-{sha256(cmdline).hexdigest()[:8]}"
