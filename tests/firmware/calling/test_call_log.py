"""The log of firmware calls: the specification's words, for arguments of every kind, also for nonsense."""

from __future__ import annotations

import pytest

from efishim.firmware.calling import call_log
from tests.firmware.fake import Body
from tests.firmware.lab import WILD, Lab

RNG = "3152bca5-eade-433d-862e-c01cdc291f44"


def last(lab: Lab) -> tuple[dict[str, str], str, dict[str, str]]:
    call = lab.shim.calls[-1]
    return dict(call.args), call.status, dict(call.results)


def test_allocate_pages(lab: Lab) -> None:
    memory = lab.cell(0x3000000)
    lab.bs("AllocatePages", 2, 1, 16, memory)
    args, status, results = last(lab)
    assert args == {
        "Type": "AllocateAddress",
        "MemoryType": "EfiLoaderCode",
        "Pages": "0x10",
        "Memory": "0x3000000",
    }
    assert (status, results) == ("EFI_SUCCESS", {"Memory": "0x3000000"})


def test_guids_strings_and_results(lab: Lab) -> None:
    lab.bs("LocateProtocol", lab.guid(RNG), 0, lab.cell())
    args, status, results = last(lab)
    assert args["Protocol"] == "EFI_RNG_PROTOCOL_GUID"
    assert status == "EFI_SUCCESS"
    assert results["Interface"] == f"{lab.interface(RNG):#x}"
    size = lab.cell(1)
    lab.rs("GetVariable", lab.text("PlatformLang"), lab.guid("8be4df61-93ca-11d2-aa0d-00e098032b8c"), 0, size, 0)
    args, status, results = last(lab)
    assert args["VariableName"] == "'PlatformLang'"
    assert args["VendorGuid"] == "EFI_GLOBAL_VARIABLE"
    assert status == "EFI_BUFFER_TOO_SMALL"
    assert results == {"DataSize": "0x3"}


def test_device_paths(lab: Lab) -> None:
    path = lab.put(bytes.fromhex("04031400 27e46855fc683d4fac74ca555231cc68 7fff0400".replace(" ", "")))
    lab.bs("LocateDevicePath", lab.guid(RNG), lab.cell(path), lab.cell())
    assert last(lab)[0]["DevicePath"] == "VenMedia(LINUX_EFI_INITRD_MEDIA_GUID)"


def test_tpl_and_void(lab: Lab) -> None:
    lab.bs("RaiseTPL", 16)
    assert last(lab)[:2] == ({"NewTpl": "TPL_NOTIFY"}, "TPL_APPLICATION")
    lab.bs("RestoreTPL", 4)
    assert last(lab)[:2] == ({"OldTpl": "TPL_APPLICATION"}, "VOID")


@pytest.mark.parametrize("pointer", [0, WILD, (1 << 64) - 1])
def test_pointers_to_nowhere_are_shown_as_numbers(lab: Lab, pointer: int) -> None:
    lab.bs("LocateProtocol", pointer, 0, pointer)
    lab.rs("GetVariable", pointer, pointer, pointer, pointer, pointer)
    lab.bs("LocateDevicePath", pointer, pointer, pointer)
    for call in lab.shim.calls:
        assert call.status == "EFI_INVALID_PARAMETER"
        assert all(value in (f"{pointer:#x}", "0x0", "NULL") for _, value in call.args), call


def test_long_and_broken_strings_stay_readable(lab: Lab) -> None:
    lab.rs("GetVariable", lab.put(b"\x00\xd8" * 600 + b"\0\0"), lab.guid(RNG), 0, lab.cell(), 0)
    name = last(lab)[0]["VariableName"]
    assert len(name) < 300 * 6
    assert name.encode("utf-8")


def test_callers_depth_and_counts(lab: Lab) -> None:
    numbers = iter(range(100, 200))
    lab.shim.log.insns = lambda: next(numbers)

    def body(*_: int) -> Body:
        return (yield lab.calling("CheckEvent", 0))

    lab.ok("SignalEvent", lab.event(0x200, 8, lab.function(body)))
    create, signal, check = lab.shim.calls
    assert [call.insns for call in (create, signal, check)] == [100, 101, 102]
    assert [call.depth for call in (create, signal, check)] == [0, 0, 1]
    assert check.caller == lab.board.code + 16
    assert signal.status == "EFI_SUCCESS"
    assert check.status == "EFI_INVALID_PARAMETER"


def test_a_call_that_does_not_return(lab: Lab) -> None:
    lab.rs("ResetSystem", 2, 0, 0, 0)
    assert dict(lab.shim.calls[-1].args)["ResetType"] == "EfiResetShutdown"


def test_the_log_has_an_end(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_log, "LOG_LIMIT", 3)
    for _ in range(5):
        lab.bs("FreePool", 0)
    assert len(lab.shim.calls) == 3
    assert lab.shim.log.dropped == 2


def test_listeners(lab: Lab) -> None:
    begun: list[str] = []
    ended: list[str] = []
    lab.shim.log.on_begin(lambda call: begun.append(call.status))
    lab.shim.log.on_end(lambda call: ended.append(call.status))
    lab.bs("FreePool", 0)
    assert (begun, ended) == ([""], ["EFI_INVALID_PARAMETER"])
