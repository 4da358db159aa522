"""Profiles: somebody else decides what is there and what is answered."""

from __future__ import annotations

from collections.abc import Mapping

from efishim.firmware.calling.overrides import Overrides
from tests.firmware.lab import NOT_FOUND, SUCCESS, SYSTEM_BOOT, UNSUPPORTED, Lab

RNG = "3152bca5-eade-433d-862e-c01cdc291f44"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"


class Weak(Overrides):
    """No RNG, no second memory service, one table less, and other overrides."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def answer(self, call: str, args: Mapping[str, str]) -> int | None:
        if call == "BootServices.LocateProtocol":
            self.asked.append((call, args["Protocol"]))
            return UNSUPPORTED if args["Protocol"] == "EFI_TCG2_PROTOCOL_GUID" else None
        return None

    def amend(self, call: str, args: Mapping[str, str], status: int) -> int:
        return UNSUPPORTED if call == "BootServices.FreePool" else status

    def has_service(self, call: str) -> bool:
        return call not in ("BootServices.FreePages", "RuntimeServices.GetTime")

    def has_protocol(self, guid: str) -> bool:
        return guid != RNG

    def has_table(self, guid: str) -> bool:
        return not guid.startswith("dcfa911d")

    def has_variable(self, guid: str, name: str) -> bool:
        return name != "SecureBoot"


def test_a_weakened_firmware() -> None:
    overrides = Weak()
    lab = Lab(overrides=overrides)
    assert lab.bs("LocateProtocol", lab.guid(RNG), 0, lab.cell()) == NOT_FOUND
    tcg2 = lab.guid("607f766c-7455-42be-930b-e4d76db2720f")
    assert lab.bs("LocateProtocol", tcg2, 0, lab.cell()) == UNSUPPORTED
    assert lab.shim.calls[-1].overridden
    assert overrides.asked == [
        ("BootServices.LocateProtocol", "EFI_RNG_PROTOCOL_GUID"),
        ("BootServices.LocateProtocol", "EFI_TCG2_PROTOCOL_GUID"),
    ]
    buffer = lab.cell()
    lab.ok("AllocatePool", 2, 8, buffer)
    assert lab.bs("FreePool", lab.value(buffer)) == UNSUPPORTED
    assert not lab.shim.pool.holds(lab.value(buffer)), "it was carried out all the same"
    assert lab.address("BootServices.FreePages") == 0
    assert lab.address("RuntimeServices.GetTime") == 0
    assert lab.address("BootServices.GetMemoryMap") != 0
    assert "dcfa911d-26eb-469f-a220-38b7dc461220" not in dict(lab.shim.tables.entries)
    assert lab.rs("GetVariable", lab.text("SecureBoot"), lab.guid(GLOBAL), 0, lab.cell(8), lab.cell()) == NOT_FOUND
    size = lab.cell(8)
    assert lab.rs("GetVariable", lab.text("SetupMode"), lab.guid(GLOBAL), 0, size, lab.cell()) == SUCCESS


def test_missing_services_leave_the_rest_in_place() -> None:
    full, weak = Lab(), Lab(overrides=Weak())
    base_full, base_weak = (lab.value(lab.shim.tables.system + SYSTEM_BOOT) for lab in (full, weak))
    missing = [n for n in range(44) if full.value(base_full + 24 + 8 * n) and not weak.value(base_weak + 24 + 8 * n)]
    assert missing == [3], "FreePages is the fourth service (4.4.1)"


def test_runtime_properties_follow() -> None:
    """A service that is not there is not announced (4.6.2)."""
    lab = Lab(overrides=Weak())
    address = dict(lab.shim.tables.entries)["eb66918a-7eef-402a-842e-931d21c38ae9"]
    assert lab.value(address + 4, 4) == 0x3FFF & ~0x1800 & ~1
