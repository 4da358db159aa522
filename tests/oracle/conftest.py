"""Boots on real firmware, each made once for all tests that look at it, and for all test workers but for those with a core."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
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


@pytest.fixture(scope="session")
def cores() -> Iterator[Path]:
    """The folder of the cores: `provider-entry`. They have the size of the guest's memory and go with the tests."""
    with TemporaryDirectory(prefix="efishim-cores-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def booted(cloud_kernel: Path, cores: Path, shared: Path) -> Booted:
    """A function from the name of a way (and a command line) to the record of Debian's cloud kernel on it. A missing tool
    fails the test, or skips it under EFISHIM_OFFLINE=1, and is named.
    """
    image = read_image_file(cloud_kernel, cache=KernelCache(cache_directory(os.environ)))
    initrd = Blob.embedded("embedded:init", reporting_initrd())

    def made(flow: str, cmdline: bytes, core: str = "") -> Record:
        request = Request(image, Blob.from_file(cloud_kernel), cmdline, (initrd,), timeout=180.0, core=core)
        try:
            return oracle_record(request, find_boot_flow(flow))
        except MissingTool as error:
            if os.environ.get(OFFLINE) == "1":
                pytest.skip(str(error))
            pytest.fail(str(error))

    @cache
    def boot(flow: str, cmdline: bytes = CMDLINE) -> Record:
        name = flow.replace("/", "-")
        if flow in DUMPED and cmdline == CMDLINE:
            return made(flow, cmdline, str(cores / name))
        folder = shared / f"oracle-{name}-{sha256(cmdline).hexdigest()[:8]}"
        kept = folder / "record.json"
        with one_at_a_time(folder):
            if not kept.exists():
                kept.write_bytes(encode(made(flow, cmdline)))
        return decode(kept.read_bytes())

    return boot
