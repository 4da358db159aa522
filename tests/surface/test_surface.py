"""The surface of a program whose needs are known beforehand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from efishim.errors import EfishimError, RouteError
from efishim.firmware.profile import Item, Kind, parse_item
from efishim.firmware.profile_files import read_profile
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Record
from efishim.lab.run import run_plan
from efishim.plugins import load_plugins
from efishim.surface.model import Finding, Mark, Surface, decode, encode
from efishim.surface.search import weaker
from efishim.surface.surface import SurfaceError, surface
from efishim.surface.trials import NoSurfaceProgress
from tests.surface.needy import needy_plan, needy_surface


@pytest.fixture(scope="module")
def found(shared: Path) -> Surface:
    return needy_surface(shared)


def of(found: Surface, text: str) -> Finding:
    one = parse_item(text)
    return next(finding for finding in found.findings if finding.item == one)


def record_of(plan: Plan) -> Record:
    return run_plan(replace(plan, observers=False))


@pytest.mark.slow
@pytest.mark.measured
def test_what_must_work(found: Surface) -> None:
    """Exactly what the program checks, and the tables through which it gets there."""
    assert {one.item.text for one in found.marked(Mark.NEEDED) if not one.refusal} == {
        "SystemTable.BootServices",
        "SystemTable.RuntimeServices",
        "BootServices.AllocatePool",
        "BootServices.Stall",
        "RuntimeServices.ResetSystem",
    }


def test_what_may_refuse(found: Surface) -> None:
    """What it calls without looking at the status."""
    refusing = {one.item.text: one.minimum for one in found.marked(Mark.NEEDED) if one.refusal}
    assert refusing == {"BootServices.FreePool": "EFI_UNSUPPORTED", "BootServices.LocateProtocol": "EFI_UNSUPPORTED"}


def test_used_probed_and_never_touched(found: Surface) -> None:
    assert [one.item.text for one in found.marked(Mark.USED)] == ["protocol:EFI_RNG_PROTOCOL_GUID"]
    assert [one.item.text for one in found.marked(Mark.PROBED)] == ["protocol:EFI_TCG2_PROTOCOL_GUID"]
    untouched = {one.item.text for one in found.marked(Mark.UNTOUCHED)}
    assert {"BootServices.GetMemoryMap", "RuntimeServices.GetTime", "SystemTable.ConOut"} <= untouched
    assert {"table:SMBIOS3_TABLE_GUID", "variable:EFI_GLOBAL_VARIABLE:SecureBoot"} <= untouched


def test_one_of_two_that_stand_in_for_each_other(found: Surface) -> None:
    """Without Stall the program asks for the watchdog, which nobody touches as long as there is Stall."""
    stall = of(found, "BootServices.Stall")
    assert stall.together
    assert [effect.boots for effect in stall.effects if effect.answer == "absent"] == [True]
    assert stall.effects[0].newly_calls == ["BootServices.SetWatchdogTimer"]
    assert of(found, "BootServices.SetWatchdogTimer").mark is Mark.UNTOUCHED


def test_what_happens_without(found: Surface) -> None:
    by_answer = {effect.answer: effect for effect in of(found, "BootServices.AllocatePool").effects}
    assert "it calls address 0" in by_answer["absent"].sentence
    assert by_answer["EFI_UNSUPPORTED"].reason == "image exited"
    assert not by_answer["EFI_UNSUPPORTED"].boots
    assert by_answer["EFI_NOT_FOUND"].command.endswith("--without BootServices.AllocatePool=EFI_NOT_FOUND")


def test_the_set_alone_suffices(found: Surface) -> None:
    """A run that nobody of the search made."""
    assert found.proof.sufficient
    minimal = replace(needy_plan(), profile=Blob.embedded("minimal", found.profile.encode()))
    assert record_of(minimal).outcome.met


@pytest.mark.slow
def test_nothing_more_can_go(found: Surface) -> None:
    """The same for each further removal."""
    assert found.proof.minimal
    minimal = replace(needy_plan(), profile=Blob.embedded("minimal", found.profile.encode()))
    answers = dict(read_profile(found.profile.encode()).answers)
    steps = [(one, answer) for one, now in answers.items() for answer in weaker(one, now)]
    assert len(steps) == found.proof.removals > 5
    for one, answer in steps:
        assert not record_of(replace(minimal, without=((one.text, answer),))).outcome.met, (one, answer)


@pytest.mark.slow
def test_the_document(found: Surface) -> None:
    """Read back it is the same; made again, in other processes, too."""
    assert decode(encode(found)) == found
    assert encode(surface(needy_plan(), jobs=2)) == encode(found)


@pytest.mark.slow
def test_a_restricted_firmware_is_the_beginning() -> None:
    """Without Stall from the start the watchdog is what is needed: the answer comes out the other way."""
    other = surface(replace(needy_plan(), without=(("BootServices.Stall", "absent"),)))
    needed = {one.item.text for one in other.marked(Mark.NEEDED) if not one.refusal}
    assert "BootServices.SetWatchdogTimer" in needed
    assert "BootServices.Stall" not in needed
    assert other.proof.sufficient
    assert other.proof.minimal


def test_there_is_no_surface_of_what_never_boots() -> None:
    with pytest.raises(SurfaceError, match="does not reach shutdown: image exited"):
        surface(replace(needy_plan(), without=(("BootServices.AllocatePool", "EFI_UNSUPPORTED"),)))


def test_routes_without_the_shim() -> None:
    with pytest.raises(RouteError, match="no EFI firmware") as raised:
        surface(replace(needy_plan(), provider="hvmlite", entry="pvh"), registry=load_plugins())
    assert isinstance(raised.value, EfishimError)


class _Impatient(NoSurfaceProgress):
    """Sets itself after some trials."""

    def __init__(self, patience: int) -> None:
        self.left = patience

    def trial(self, changes: object, *, boots: bool) -> None:
        self.left -= 1

    def is_set(self) -> bool:
        return self.left <= 0


@pytest.mark.slow
def test_an_interrupted_search_tells_what_it_knows() -> None:
    impatient = _Impatient(8)
    partial = surface(needy_plan(), progress=impatient, interrupt=impatient)
    assert not partial.complete
    assert not partial.proof.minimal
    assert Item(Kind.SERVICE, "BootServices.AllocatePool") in {one.item for one in partial.marked(Mark.NEEDED)}
