"""The shim in the guest as a run has it: what is recorded, and what it is compared with."""

from __future__ import annotations

import efishim_firmware_stubs
import pytest

from efishim.errors import RouteError, UsageError
from efishim.lab.boot.guest_shim import open_guest_shim, shim_symbols
from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Milestone, Reason, Record, ShimPlace, decode, encode, without_wall_clock
from efishim.lab.run import run_plan
from efishim.plugins import load_plugins
from efishim.surface.offered import require_shim

PROBE = Blob.embedded("embedded:probe", efishim_firmware_stubs.probe_kernel())
INITRD = Blob.embedded("ramdisk", efishim_firmware_stubs.reporting_initrd())


def run(shim: ShimPlace | None) -> Record:
    return run_plan(
        Plan(
            image=PROBE,
            provider="hvmlite",
            entry="efi",
            platform="pc",
            cmdline=b"console=ttyS0 one",
            initrds=(INITRD,),
            max_insns=200_000_000,
            shim=shim,
        )
    )


@pytest.fixture(scope="module")
def guest() -> Record:
    return run(ShimPlace.GUEST)


@pytest.fixture(scope="module")
def host() -> Record:
    return run(None)


def services(record: Record) -> list[tuple[str, str]]:
    return [(call.service, call.status) for call in record.firmware_calls]


@pytest.mark.slow
def test_it_runs_to_power_off(guest: Record) -> None:
    assert guest.outcome.reason is Reason.SHUTDOWN
    names = [point.name for point in guest.milestones]
    assert names == [Milestone.ENTRY, Milestone.EXIT_BOOT_SERVICES, Milestone.SHUTDOWN]


@pytest.mark.slow
def test_the_entry_is_the_images_and_comes_after_the_shim(guest: Record, host: Record) -> None:
    entry, other = guest.milestones[0], host.milestones[0]
    assert entry.insns > 0
    assert entry.at is not None
    assert other.at is not None
    assert entry.at.symbol == other.at.symbol
    shim = next(part for part in guest.coverage.parts if part.name == "shim")
    assert entry.insns <= shim.insns
    assert all(part.name != "shim" for part in host.coverage.parts)


def test_the_entry_is_as_uefi_wants_it(guest: Record) -> None:
    assert guest.abi == []


def test_calls_are_traced_with_arguments_and_results(guest: Record, host: Record) -> None:
    """The probe asks both the same; what is not there in the guest cannot be told apart, and is left out."""
    seen = services(guest)
    assert ("LoadFile2.LoadFile", "EFI_SUCCESS") in seen
    assert ("RuntimeServices.GetTime", "EFI_SUCCESS") in seen
    assert ("RuntimeServices.ResetSystem", "") in seen
    ours = [one for one in seen if one[0] == "BootServices.GetMemoryMap"]
    assert ours == [one for one in services(host) if one[0] == "BootServices.GetMemoryMap"]
    vendor = next(call for call in guest.firmware_calls if call.service == "BootServices.InstallConfigurationTable")
    assert [argument.name for argument in vendor.args] == ["Guid", "Table"]
    assert all(call.caller is not None and not (call.caller.symbol or "").startswith("shim") for call in guest.firmware_calls)


def test_the_runtime_services_are_followed_to_their_virtual_addresses(guest: Record) -> None:
    names = [call.service for call in guest.firmware_calls]
    left = names.index("RuntimeServices.SetVirtualAddressMap", names.index("BootServices.ExitBootServices") + 2)
    assert guest.firmware_calls[left].status == "EFI_SUCCESS"
    assert {"RuntimeServices.GetTime", "RuntimeServices.GetVariable"} <= set(names[left:])
    assert not any(name.startswith("BootServices.") for name in names[left:])


def test_the_cost_of_its_services_is_noted(guest: Record, host: Record) -> None:
    """The shim's part of the instructions is what it needed to the entry and what its services needed."""
    (note,) = (one for one in guest.notes if "instructions in its services" in one)
    total = int(note.split(": ")[1].split(" (")[0].replace(",", ""))
    (maps,) = (one.strip() for one in note.split(", ") if "GetMemoryMap" in one)
    assert maps.endswith(f" in {sum('GetMemoryMap' in call.service for call in guest.firmware_calls)}")
    before = guest.milestones[0].insns
    shim = next(part.insns for part in guest.coverage.parts if part.name == "shim")
    assert before < shim <= before + total
    assert not any("instructions in its services" in one for one in host.notes)


def test_the_record_says_where_the_shim_ran_only_when_asked(guest: Record, host: Record) -> None:
    assert b'"shim": "guest"' in encode(guest)
    assert guest.reproduce.endswith("--shim guest")
    assert b'"shim"' not in encode(host)
    assert "--shim" not in host.reproduce
    assert decode(encode(guest)) == without_wall_clock(guest)
    assert any("traced from outside" in note for note in guest.notes)


@pytest.mark.slow
def test_twice_the_same(guest: Record) -> None:
    again = run(ShimPlace.GUEST)
    assert services(again) == services(guest)
    assert [point.insns for point in again.milestones] == [point.insns for point in guest.milestones]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (Words(provider="hvmlite", entry="pvh", shim="guest"), "hvmlite/pvh has no shim"),
        (Words(provider="hvmlite", entry="pvh", shim="host"), "hvmlite/pvh has no shim"),
        (Words(provider="firmware", entry="efi", shim="guest"), "firmware/efi has no shim in the guest"),
        (Words(provider="grub", entry="efi", shim="guest"), "grub/efi has no shim in the guest"),
        (Words(provider="hvmlite", entry="efi", shim="guest", without=("RNG.GetRNG",)), "answers as it answers"),
        (Words(provider="hvmlite", entry="efi", shim="guest", options=("shim.gop=1",)), "there is no option shim.gop"),
    ],
)
def test_routes_without_it_are_refused(words: Words, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make_plan(load_plugins(), lambda: PROBE, words)


def test_host_is_recorded_when_it_was_said() -> None:
    plan = make_plan(load_plugins(), lambda: PROBE, Words(provider="hvmlite", entry="efi", shim="host"))
    assert plan.record_options().shim is ShimPlace.HOST


def test_its_answers_cannot_be_changed() -> None:
    plan = make_plan(load_plugins(), lambda: PROBE, Words(provider="hvmlite", entry="efi", shim="guest"))
    with pytest.raises(RouteError, match="answers as it answers"):
        require_shim(load_plugins(), plan)


def test_the_shim_says_where_it_stopped() -> None:
    """An image that is no kernel: the shim's own words are on the console, and the run never comes to the entry."""
    data = bytearray(efishim_firmware_stubs.probe_kernel())
    at = int.from_bytes(data[0x3C:0x40], "little") + 24 + 56
    data[at : at + 4] = b"\0\0\0\x30"  # SizeOfImage
    plan = Plan(image=Blob.embedded("large", bytes(data)), provider="hvmlite", entry="efi", platform="pc", shim=ShimPlace.GUEST)
    record = run_plan(plan)
    assert "efishim: there is no memory for the kernel" in record.console
    assert record.milestones == []
    assert record.outcome.reason is Reason.HALTED
    assert any("did not come to the image's entry" in note for note in record.notes)


def test_the_shim_has_the_symbols_that_it_is_followed_by() -> None:
    symbols = shim_symbols(open_guest_shim())
    assert {"enter_kernel", "loaded_image", "pvh_start"} <= {symbol.name for symbol in symbols}
