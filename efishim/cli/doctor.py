"""`efishim doctor`: check that the dependencies are installed and that the CPU layer works on this host."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from efishim.errors import EfishimError

if TYPE_CHECKING:
    from efishim.cli.app import State

PROGRAMS = (
    ("apt-get", "apt", "fetching kernels with deb:PACKAGE"),
    ("qemu-system-x86_64", "qemu-system-x86", "comparing with a real machine"),
    ("nasm", "nasm", "rebuilding the guest programs in firmware_stubs/"),
)
"""Program, Debian package, what needs it."""

EXTRAS = (
    ("distributed", "dask", "runs on a cluster with --on"),
    ("pyarrow", "parquet", "the tables of efishim matrix --parquet"),
)
"""Library, extra of efishim, what needs it."""

FIRMWARE = (("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_CODE_4M.fd"), "ovmf", "comparing with real firmware")


class Health(StrEnum):
    """How a finding turned out."""

    OK = "ok"
    OFF = "off"
    MISSING = "missing"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the diagnosis. Only FAILED ones make the exit status 3."""

    what: str
    state: Health
    detail: str


@click.command("doctor")
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", help="Output format.")
@click.pass_obj
def command(state: State, form: str) -> int:
    """Check the installation: library versions, optional programs, and a self-test of the CPU layer.

    Missing programs that only some commands need are listed with the Debian package that provides them. The exit status
    is 3 if something fails that every run needs.
    """
    from efishim.cli.out import print_json, table

    findings = list(diagnose())
    findings += [Finding(f"plugin {problem.plugin}", Health.FAILED, problem.sentence) for problem in state.registry.problems]
    if form == "json":
        print_json([{"what": one.what, "state": one.state.value, "detail": one.detail} for one in findings])
    else:
        table(("what", "state", "detail"), [(one.what, one.state.value, one.detail) for one in findings])
    return 3 if any(one.state is Health.FAILED for one in findings) else 0


def diagnose() -> Iterator[Finding]:
    """Everything but the plugins, in the order in which it is shown."""
    from efishim import __version__

    yield Finding("efishim", Health.OK, __version__)
    yield Finding("python", Health.OK, f"{platform.python_version()} at {sys.executable}")
    yield Finding("host", Health.OK, f"{platform.system()} {platform.release()} {platform.machine()}")
    for library in _required():
        try:
            yield Finding(library, Health.OK, version(library))
        except PackageNotFoundError:
            yield Finding(library, Health.FAILED, "not installed; install efishim again")
    for program, package, purpose in PROGRAMS:
        place = shutil.which(program)
        yield _optional(program, place, package, purpose)
    places, package, purpose = FIRMWARE
    yield _optional("OVMF", next((place for place in places if Path(place).exists()), None), package, purpose)
    for library, extra, purpose in EXTRAS:
        yield _extra(library, extra, purpose)
    yield _records()
    yield from _shortcuts()
    yield from _self_test()


def _required() -> list[str]:
    """The libraries that the installed package asks for, without those of its extras."""
    wanted = [line for line in requires("efishim") or [] if "extra ==" not in line]
    return sorted(re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in wanted)


def _optional(what: str, place: str | None, package: str, purpose: str) -> Finding:
    if place:
        return Finding(what, Health.OK, place)
    return Finding(what, Health.MISSING, f"only for {purpose}; apt-get install {package}")


def _extra(library: str, extra: str, purpose: str) -> Finding:
    try:
        return Finding(library, Health.OK, version(library))
    except PackageNotFoundError:
        return Finding(library, Health.MISSING, f"only for {purpose}; pip install 'efishim[{extra}]'")


def _records() -> Finding:
    """The cache of records."""
    from efishim.lab.cache.records import own_records
    from efishim.lab.plan.plan import format_size

    try:
        cache = own_records()
    except EfishimError as error:
        return Finding("records", Health.FAILED, error.sentence)
    if cache is None:
        return Finding("records", Health.OFF, "no records are kept: EFISHIM_CACHE_SIZE is 0")
    store = cache.store
    if store.folder.exists() and not store.private():
        return Finding("records", Health.OFF, f"no records are kept: others can write to {store.folder}, or it is not yours")
    used = store.usage()
    limit = format_size(store.limit)
    return Finding("records", Health.OK, f"{used.files} kept with {used.size >> 20} MiB of at most {limit} in {store.folder}")


def _shortcuts() -> Iterator[Finding]:
    """Which shortcuts through Unicorn's inside this build allows."""
    from efishim.machine.machine import Machine

    machine = Machine()
    machine.memory.add(0, 1 << 20)
    machine.power_on()
    for one in machine.engine.shortcuts:
        slower = f"runs are slower, records are the same: {one.why_not}"
        yield Finding(f"speed: {one.name}", Health.OFF if one.why_not else Health.OK, slower if one.why_not else one.what)


def _self_test() -> Iterator[Finding]:
    """Small guest programs that check the CPU layer against the manuals."""
    from efishim.machine.selftest import run_selftest

    for name, passed, detail in run_selftest():
        yield Finding(f"cpu: {name}", Health.OK if passed else Health.FAILED, detail)
