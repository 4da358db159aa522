"""A run that begins with a dump of efishim's own machine is the run of that machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.dump.source import DumpError
from efishim.errors import EfishimError, ImageError, UsageError
from efishim.image.opened import open_image
from efishim.lab.boot.from_dump import prepare_dump
from efishim.lab.plan.arguments import Words
from efishim.lab.plan.from_dump import KERNEL, plan_dump
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import DumpUse, Milestone, Record, decode, encode, without_wall_clock
from efishim.lab.run import run_plan
from efishim.machine.machine import Machine
from efishim.plugins import load_plugins
from tests.support.cores import MIB, Core, Stopped, described, stopped

PROBE = Blob.embedded("embedded:probe", efishim_firmware_stubs.probe_kernel())


def core(provider: str, entry: str, folder: Path) -> Path:
    """A core of the probe kernel at an entry."""
    one = stopped(provider, entry)
    return Core(one, machine=62 if one.registers["efer"] else 3).write(folder / "core")


def planned(path: Path, find: Callable[[], Blob] | None = lambda: PROBE, **words: object) -> Plan:
    """The plan of `efishim run --from`."""
    values: dict[str, object] = {"platform": "", "memory": "", "until": "entry", **words}
    return plan_dump(load_plugins(), str(path), find, Words(**values))  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize(("provider", "entry"), [("hvmlite", "pvh"), ("grub", "linux32"), ("multiboot2", "multiboot2")])
def test_a_dump_goes_on_where_its_machine_stood(provider: str, entry: str, tmp_path: Path) -> None:
    direct = Plan(PROBE, provider, entry, "pc-qemu", memory=64 * MIB, cmdline=b"console=ttyS0 told", max_insns=50_000_000)
    there = run_plan(direct)
    here = run_plan(planned(core(provider, entry, tmp_path), until="shutdown", max_insns="50M"))
    assert here.entry_view == there.entry_view
    assert (here.abi, here.console, here.ledger) == (there.abi, there.console, there.ledger)
    assert [(one.name, one.insns) for one in here.milestones] == [(one.name, one.insns) for one in there.milestones]
    assert here.outcome.met
    assert (here.route.provider, here.options.memory) == ("dump", 64 * MIB)
    assert here.options.cmdline.endswith("console=ttyS0 told")
    assert here.machine == there.machine


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """A run from ranges of memory to the entry, with the kernel that is in them."""
    folder = tmp_path_factory.mktemp("dump")
    return run_plan(planned(described(stopped("kexec", "linux64"), folder, leave_out=("efer", "cr8")), None))


def test_the_record_says_that_the_handover_came_from_a_dump(record: Record) -> None:
    dump = record.options.dump
    assert isinstance(dump, DumpUse)
    assert (Path(dump.path).name, dump.form) == ("dump.toml", "memory ranges")
    assert {Path(one.path).name for one in dump.files} >= {"memory-0", "memory-100000"}
    assert [text.partition(":")[0] for text in dump.derived] == ["not in the dump, and taken as 0", "EFER is not in the dump"]
    assert record.image.path == KERNEL
    assert record.milestones[0].name is Milestone.ENTRY
    assert any("the devices are as the platform has them at a reset" in note for note in record.notes)
    assert "--from " in record.reproduce
    assert not {"-p", "-i", "-a", "--no-initrd"} & set(record.reproduce.split())
    assert record.entry_view is not None
    assert record.entry_view.structures[0].name == "boot_params"
    assert decode(encode(record), name="again") == without_wall_clock(record)


def test_of_what_the_platform_put_into_ram_nothing_stays_that_the_dump_has_not(tmp_path: Path) -> None:
    """Its ACPI tables lie where the dump has zeroes."""
    one = stopped("hvmlite", "pvh")
    low = {at: data for at, data in one.memory.items() if at < 48 * MIB}
    assert len(low) < len(one.memory)
    plan = planned(Core(replace(one, memory=low)).write(tmp_path / "core"))
    machine = Machine(seed=0)
    prepare_dump(plan, open_image(PROBE.read(), path="probe"), machine, load_plugins(), lambda _: None)
    assert not any(machine.memory.read(48 * MIB, 16 * MIB))
    for address, data in low.items():
        assert machine.memory.read(address, len(data)) == data


def _high(folder: Path) -> Path:
    one = stopped("hvmlite", "pvh").with_registers(rbx=0x1000_0000)
    return Core(replace(one, ranges=(*one.ranges, (0x1000_0000, 0x1000)))).write(folder / "core")


def _user_mode(folder: Path) -> Path:
    one: Stopped = stopped("hvmlite", "pvh")
    return Core(one.with_registers(ss_flags=one.registers["ss.flags"] | 3 << 13)).write(folder / "core")


def _changed(folder: Path) -> None:
    path = core("hvmlite", "pvh", folder)
    plan = planned(path)
    with path.open("r+b") as stream:
        stream.seek(-1, 2)
        stream.write(b"x")
    run_plan(plan)


WRONG: dict[str, tuple[Callable[[Path], object], type[EfishimError], str]] = {
    "too little memory": (
        lambda folder: run_plan(planned(_high(folder), memory="64M", entry="pvh")),
        UsageError,
        "the machine has no memory at",
    ),
    "a command line": (lambda folder: planned(core("hvmlite", "pvh", folder), cmdline="x"), UsageError, "-a has no meaning"),
    "a ramdisk": (lambda folder: planned(core("hvmlite", "pvh", folder), initrds=("x",)), UsageError, "-i has no meaning"),
    "a provider": (lambda folder: planned(core("hvmlite", "pvh", folder), provider="grub"), UsageError, "-p has no meaning"),
    "no such entry": (
        lambda folder: planned(core("hvmlite", "pvh", folder), entry="door"),
        UsageError,
        "no image has an entry",
    ),
    "an entry of firmware": (lambda folder: planned(core("hvmlite", "pvh", folder), entry="efi"), DumpError, "not looked at"),
    "no kernel in it": (lambda folder: planned(core("hvmlite", "pvh", folder), None), DumpError, "no kernel is found"),
    "user mode": (lambda folder: run_plan(planned(_user_mode(folder))), DumpError, "is not in ring 0"),
    "a file that changed": (_changed, ImageError, "changed since the plan was made"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_one_sentence(name: str, tmp_path: Path) -> None:
    attempt, kind, words = WRONG[name]
    with pytest.raises(kind, match=words) as caught:
        attempt(tmp_path)
    assert "\n" not in caught.value.sentence
