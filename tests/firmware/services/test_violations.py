"""What a page fault says: here of null pointers. What strict firmware forbids is in test_images.py and tests/kernels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from efishim.lab.plan.plan import Blob
from efishim.lab.run import run_plan
from tests.firmware.programs import program
from tests.surface.needy import needy_plan

TCG2 = bytes.fromhex("6c767f605574be42930be4d76db2720f")
RNG = bytes.fromhex("a5bc5231deea3d43862ec01cdc291f44")
LOCATE = bytes.fromhex(
    "4883ec38 488b7260 488d0d15000000"  # room; rsi = the system table's BootServices (0x60); rcx = the GUID behind the code
    "31d2 4c8d442428 ff9640010000 488b442428"  # LocateProtocol (0x140) into [rsp + 0x28], which is loaded into rax
)
CALL_MEMBER, CALL_NULL = bytes.fromhex("ff5008"), bytes.fromhex("31c0 ffd0")


def said(code: bytes) -> str:
    return run_plan(replace(needy_plan(), observers=False, image=Blob.embedded("null", program(code=code)))).outcome.details


def test_a_member_of_an_interface_that_nobody_has() -> None:
    """call [rax + 8] with the NULL that LocateProtocol left: there is memory at 8, and a zero in it."""
    assert said(LOCATE + CALL_MEMBER + TCG2).endswith(
        ": a null pointer; the look-up that failed last is BootServices.LocateProtocol of EFI_TCG2_PROTOCOL_GUID, EFI_NOT_FOUND"
    )


@pytest.mark.parametrize(("guid", "ends"), [(TCG2, "EFI_NOT_FOUND"), (RNG, ": a null pointer")])
def test_a_call_of_null(guid: bytes, ends: str) -> None:
    """xor eax, eax; call rax is four bytes, and the GUID one further. Where no look-up failed none is named."""
    code = LOCATE.replace(b"\x15\0\0\0", b"\x16\0\0\0") + CALL_NULL + guid
    details = said(code)
    assert "at RIP 0x0, " in details
    assert ": a null pointer" in details
    assert details.endswith(ends)
