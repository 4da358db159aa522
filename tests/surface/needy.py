"""An EFI program whose needs are known, because they are written down here.

In assembly, each call checked as said (offsets in the tables by UEFI 2.10, 4.4.1 and 4.5.1):

    AllocatePool(EfiLoaderData, 16, &buffer)     must succeed
    FreePool(buffer)                             is called, its status not looked at
    LocateProtocol(RNG), LocateProtocol(TCG2)    are called, their statuses not looked at
    Stall(0)                                     must succeed, unless
    SetWatchdogTimer(0, 0, 0, NULL)              is there and succeeds; asked only if Stall is NULL or fails
    ResetSystem(EfiResetShutdown)                must end the run; otherwise the program returns EFI_LOAD_ERROR's number
"""

from __future__ import annotations

from pathlib import Path

from efishim.lab.plan.plan import Blob, Plan
from efishim.surface.model import Surface, decode, encode
from efishim.surface.surface import surface
from tests.firmware.programs import program
from tests.support.runs import one_at_a_time

CODE = bytes.fromhex(
    "53 56 4883ec38 4889d3 488b7360"  # push rbx, rsi; room; rbx = system table, rsi = its BootServices (0x60)
    "b902000000 ba10000000 4c8d442420 ff5640 4885c0 7566"  # AllocatePool (0x40); jump to the end unless it succeeded
    "488b4c2420 ff5648"  # FreePool (0x48)
    "488d0d79000000 e85e000000"  # LocateProtocol of the first GUID
    "488d0d7d000000 e852000000"  # and of the second
    "488b86f8000000 4885c0 7409 31c9 ffd0 4885c0 741d"  # Stall (0xf8), when not NULL
    "488b8600010000 4885c0 7425 31c9 31d2 4531c0 4531c9 ffd0 4885c0 7514"  # SetWatchdogTimer (0x100), when not NULL
    "488b7358 b902000000 31d2 4531c0 4531c9 ff5668"  # RuntimeServices (0x58), ResetSystem (0x68)
    "4883c438 5e 5b b801000000 c3"  # the end: return 1
    "4883ec38 31d2 4c8d442428 ff9640010000 4883c438 c3"  # LocateProtocol (0x140)
    "a5bc5231deea3d43862ec01cdc291f44"  # EFI_RNG_PROTOCOL_GUID
    "6c767f605574be42930be4d76db2720f"  # EFI_TCG2_PROTOCOL_GUID
)


def needy_plan() -> Plan:
    """The program on the machine's own firmware, until it powers off."""
    image = Blob.embedded("embedded:needy", program(code=CODE))
    return Plan(image=image, provider="firmware", entry="efi", platform="pc", memory=64 << 20)


def needy_surface(shared: Path) -> Surface:
    """Its surface, searched once for all test workers."""
    folder = shared / "needy-surface"
    kept = folder / "surface.json"
    with one_at_a_time(folder):
        if not kept.exists():
            kept.write_bytes(encode(surface(needy_plan())))
    return decode(kept.read_bytes())
