"""Firmware protocols of plugins: one that fails is named, the others are installed, and a guest calls their functions."""

from __future__ import annotations

from importlib.metadata import entry_points
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from efishim.firmware.calling.functions import functions
from efishim.firmware.calling.status import demand
from efishim.firmware.profile import ProfileError
from efishim.firmware.shim import Shim
from efishim.hookspecs import hookimpl
from efishim.lab.boot.firmware_protocols import install_protocols
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import FirmwareCall, Reason, Record
from efishim.lab.run import run_plan
from efishim.plugins import GROUP, Registry
from efishim.wire.layout import Layout, pointer
from tests.firmware.programs import program


def fail(*_: Any) -> Any:
    raise RuntimeError("two\nlines")


def test_protocols_are_installed_and_failures_named() -> None:
    installed: list[Any] = []
    good = SimpleNamespace(name="good", install=installed.append)
    bad = SimpleNamespace(name="bad", install=fail)
    (note,) = install_protocols([bad, good], "shim")
    assert note.startswith(
        "the firmware protocol bad failed: RuntimeError: two lines (tests/lab/boot/test_firmware_protocols.py,"
    )
    assert installed == ["shim"]


# A protocol that nobody here knows, with functions of its own

MINE = UUID("b6a8f1a2-3c55-4d0e-9f6b-51f0a2c7d913")
FUNCTIONS = functions(
    """
    Mine 1.1 Do This:ptr Number:u32 Doubled:&u64
    Mine 1.2 Forget This:ptr = VOID
    """
)
CODE = (
    bytes.fromhex(
        "53 4883ec30"  # push rbx; room
        "488b4260 488d0d40000000 31d2 4c8d442420 ff9040010000"  # BootServices (0x60); LocateProtocol(MINE) (0x140)
        "4885c0 7524"  # to the end unless it is there
        "488b5c2420 4889d9 ff5308"  # Forget(this)
        "4889d9 ba15000000 4c8d442428 ff13"  # Do(this, 21, &number)
        "4885c0 7505 488b442428"  # the number, when that succeeded
        "4883c430 5b c3"
    ).ljust(0x50, b"\xcc")
    + MINE.bytes_le
)


class MineLayout(Layout):
    """Pointers to the two."""

    Do: int = pointer()
    Forget: int = pointer()


class Mine:
    """Doubles numbers, and forgets."""

    name, summary, guid, functions, layout = "mine", "a protocol of the tests", MINE, FUNCTIONS, MineLayout

    def __init__(self) -> None:
        self.forgotten = 0

    def install(self, shim: Shim) -> None:
        def do(this: int, number: int, doubled: int) -> int:
            demand(this == interface and doubled)
            shim.context.guest.put(doubled, 2 * number, 8)
            return 0

        def forget(this: int) -> int:
            self.forgotten += this == interface
            return 0xDEAD

        interface = shim.context.interface(FUNCTIONS, MineLayout, {"Do": do, "Forget": forget})
        shim.context.install(0, str(MINE), interface)


class Source:
    """An entry point that gives the protocol."""

    name = "mine"

    def __init__(self, protocol: Mine) -> None:
        self.protocol = protocol

    def load(self) -> SimpleNamespace:
        return SimpleNamespace(efishim_firmware_protocols=hookimpl(lambda: [self.protocol]))


def run(protocol: Mine | None, *without: tuple[str, str], provider: str = "firmware") -> Record:
    sources = [*entry_points(group=GROUP), *([Source(protocol)] if protocol else [])]
    image = Blob.embedded("embedded:mine", program(code=CODE))
    plan = Plan(image=image, provider=provider, entry="efi", platform="pc", memory=64 << 20, without=without)
    return run_plan(plan, registry=Registry(sources))


def calls(record: Record) -> list[FirmwareCall]:
    return [call for call in record.firmware_calls if call.service.startswith("Mine.")]


@pytest.mark.parametrize("provider", ["firmware", "hvmlite"])
def test_a_guest_calls_a_protocol_with_functions_of_its_own(provider: str) -> None:
    protocol = Mine()
    record = run(protocol, provider=provider)
    assert (record.outcome.reason, record.outcome.details) == (Reason.EXIT, "image returned 0x2a")
    assert protocol.forgotten == 1
    forget, do = calls(record)
    assert (forget.service, forget.status) == ("Mine.Forget", "VOID")
    assert (do.service, do.status) == ("Mine.Do", "EFI_SUCCESS")
    assert [(one.name, one.value) for one in do.args][1] == ("Number", "0x15")
    assert [(one.name, one.value) for one in do.results] == [("Doubled", "0x2a")]


def test_without_the_plugin_there_is_no_such_protocol() -> None:
    record = run(None)
    assert record.outcome.details == "image returned EFI_NOT_FOUND"
    assert calls(record) == []


def test_a_profile_decides_about_functions_of_plugins_as_well() -> None:
    record = run(Mine(), ("Mine.Do", "EFI_UNSUPPORTED"))
    assert record.outcome.details == "image returned EFI_UNSUPPORTED"
    assert calls(record)[-1].status == "EFI_UNSUPPORTED"
    hidden = run(Mine(), (f"protocol:{MINE}", "absent"))
    assert hidden.outcome.details == "image returned EFI_NOT_FOUND"


def test_a_status_is_no_answer_of_a_function_without_one() -> None:
    """The function does what it does; only what has a status may be told to refuse."""
    protocol = Mine()
    record = run(protocol, ("Mine.Forget", "EFI_UNSUPPORTED"))
    assert (record.outcome.details, protocol.forgotten) == ("image returned 0x2a", 1)


def test_a_function_that_no_plugin_brings_is_refused() -> None:
    with pytest.raises(ProfileError, match=r"there is no service 'Mine\.Dou'"):
        run(Mine(), ("Mine.Dou", "absent"))
    with pytest.raises(ProfileError, match=r"there is no service 'BootServices\.Dou'"):
        run(Mine(), ("BootServices.Dou", "absent"))


def test_a_handler_needs_the_line_of_its_function() -> None:
    class Undeclared(Mine):
        def install(self, shim: Shim) -> None:
            shim.context.interface(FUNCTIONS, MineLayout, {"Undo": lambda this: 0})

    record = run(Undeclared())
    assert any("no function is declared for the handler Undo" in note for note in record.notes)
    assert record.outcome.details == "image returned EFI_NOT_FOUND"
