"""Each call of a program made to fail once, on a program of which it is known what it looks at."""

from __future__ import annotations

from dataclasses import replace

import efishim_firmware_stubs
import msgspec
import pytest

from efishim.errors import UsageError
from efishim.lab.plan.plan import Blob
from efishim.lab.record import Argument, FirmwareCall, LedgerEntry, LedgerKind, Record
from efishim.report.faults import markdown, renderers, text
from efishim.surface.fault_list import possible, status_for
from efishim.surface.fault_model import Ending, Faults, decode, encode
from efishim.surface.faults import ending, faults
from efishim.surface.model import Effect
from efishim.surface.surface import SurfaceError
from efishim.surface.trials import NoSurfaceProgress
from tests.records import a_record
from tests.surface.needy import needy_plan


@pytest.fixture(scope="module")
def found() -> Faults:
    return faults(needy_plan())


@pytest.mark.slow
@pytest.mark.measured
def test_what_the_program_looks_at_and_what_not(found: Faults) -> None:
    """tests/surface/needy.py says of each call whether its status is looked at."""
    assert {case.fault: case.ending for case in found.cases} == {
        "BootServices.AllocatePool:1=EFI_OUT_OF_RESOURCES": Ending.RETURNS,
        "BootServices.FreePool:1=EFI_INVALID_PARAMETER": Ending.GOES_ON,
        "BootServices.LocateProtocol:1=EFI_NOT_FOUND": Ending.GOES_ON,
        "BootServices.Stall:1=EFI_DEVICE_ERROR": Ending.GOES_ON,
        "memory:1+=EFI_OUT_OF_RESOURCES": Ending.RETURNS,
    }
    assert found.complete
    stall = next(case for case in found.cases if case.service == "BootServices.Stall")
    assert stall.effect.newly_calls == ["BootServices.SetWatchdogTimer"]
    assert stall.effect.command.endswith("--fail BootServices.Stall:1=EFI_DEVICE_ERROR")
    assert [case.before for case in found.cases][:2] == ["EFI_SUCCESS", "EFI_SUCCESS"]
    assert found.cases[2].asked == "EFI_RNG_PROTOCOL_GUID"


@pytest.mark.slow
def test_the_document(found: Faults) -> None:
    """Read back it is the same; made again it is the same, and an earlier one spares the runs."""
    assert decode(encode(found)) == found
    assert encode(faults(needy_plan())) == encode(found)
    impatient = _Impatient(1)
    assert faults(needy_plan(), progress=impatient, earlier=found) == found
    assert impatient.left == 0, "the boot without a fault, and no other"


class _Impatient(NoSurfaceProgress):
    """Sets itself after some trials."""

    def __init__(self, patience: int) -> None:
        self.left = patience

    def trial(self, changes: object, *, boots: bool) -> None:
        self.left -= 1

    def is_set(self) -> bool:
        return self.left <= 0


@pytest.mark.slow
def test_an_interrupted_search_is_taken_up(found: Faults) -> None:
    impatient = _Impatient(5)
    partial = faults(needy_plan(), progress=impatient, interrupt=impatient)
    assert not partial.complete
    assert 0 < len(partial.cases) < len(found.cases)
    assert "interrupted" in text(partial)
    assert faults(needy_plan(), earlier=decode(encode(partial))) == found


def test_an_earlier_search_of_something_else(found: Faults) -> None:
    with pytest.raises(UsageError, match="another image"):
        faults(replace(needy_plan(), seed=7), earlier=found)


def test_a_boot_that_makes_no_calls() -> None:
    probe = Blob.embedded("embedded:probe", efishim_firmware_stubs.probe_kernel())
    with pytest.raises(SurfaceError, match="no call that could fail"):
        faults(replace(needy_plan(), provider="hvmlite", entry="pvh", image=probe, memory=512 << 20))


def test_formats(found: Faults) -> None:
    assert list(renderers()) == ["text", "json", "markdown"]
    assert "Returns to the firmware (2)" in text(found)
    assert text(found).index("Returns to the firmware") < text(found).index("Goes on (3)"), "the worst first"
    table = markdown(found)
    assert "| `BootServices.LocateProtocol:1` | EFI_RNG_PROTOCOL_GUID | EFI_SUCCESS -> EFI_NOT_FOUND | goes on |" in table
    assert "| `memory:1+` | from here on | EFI_OUT_OF_RESOURCES | returns to the firmware |" in table


def test_what_a_guest_says_draws_no_table(found: Faults) -> None:
    case = found.cases[0]
    evil = msgspec.structs.replace(case, effect=msgspec.structs.replace(case.effect, sentence="a | <b>\x1b[2J`"))
    table = markdown(msgspec.structs.replace(found, cases=[evil]))
    assert "a \\| &lt;b>" in table
    assert "\x1b" not in table + text(msgspec.structs.replace(found, cases=[evil]))


def a_boot() -> Record:
    """With calls of all sorts, in the order of the list."""

    def call(service: str, status: str, repeats: int = 1, **args: str) -> FirmwareCall:
        given = [Argument(name=name, value=value) for name, value in args.items()]
        return FirmwareCall(service=service, args=given, status=status, insns=1, repeats=repeats)

    return msgspec.structs.replace(
        a_record(),
        firmware_calls=[
            call("BootServices.RaiseTPL", "TPL_APPLICATION"),
            call("BootServices.CheckEvent", "EFI_NOT_READY", repeats=40),
            call("BootServices.CheckEvent", "EFI_SUCCESS"),
            call("BootServices.LocateProtocol", "EFI_NOT_FOUND", Protocol="A_GUID"),
            call("BootServices.AllocatePages", "EFI_SUCCESS", MemoryType="EfiLoaderData"),
            call("Mine.Do", "EFI_SUCCESS"),
            call("RuntimeServices.ResetSystem", ""),
            call("int 15h/E820", "CF=0"),
            call("int 10h/0E", ""),
        ],
        ledger=[
            LedgerEntry(kind=LedgerKind.HYPERCALL, what=what, device=device)
            for what, device in (("memory_op.9", "Xen"), ("sched_op.1", "Xen"), ("0x63", ""))
        ],
    )


def test_which_faults_a_boot_has() -> None:
    """What returns no status, or fails so already, has none; polling counts by its repeats."""
    assert [one.text for one in possible(a_boot())] == [
        "BootServices.CheckEvent:1=EFI_DEVICE_ERROR",
        "BootServices.CheckEvent:41=EFI_DEVICE_ERROR",
        "BootServices.AllocatePages:1=EFI_OUT_OF_RESOURCES",
        "Mine.Do:1=EFI_DEVICE_ERROR",
        "int 15h/E820:1=86",
        "memory:1+=EFI_OUT_OF_RESOURCES",
        "memory_op.9:1=ENOSYS",
    ]
    assert status_for("BootServices.LocateProtocol") == "EFI_NOT_FOUND"


@pytest.mark.parametrize(
    ("boots", "reached", "reason", "says", "wanted"),
    [
        (True, "userspace", "shutdown", [], Ending.GOES_ON),
        (True, "userspace", "shutdown", ["a line"], Ending.SAYS_SO),
        (False, "entry", "image exited", ["EFI stub: ERROR"], Ending.STOPS),
        (False, "entry", "image exited", [], Ending.RETURNS),
        (False, "start_kernel", "halted", [], Ending.DIES),
        (False, "", "the run could not begin", [], Ending.STOPS),
    ],
)
def test_what_an_effect_amounts_to(boots: bool, reached: str, reason: str, says: list[str], wanted: Ending) -> None:
    effect = Effect(answer="X", boots=boots, reached=reached, reason=reason, says=says, sentence="", command="")
    assert ending(effect) is wanted
