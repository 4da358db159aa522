"""One line for each service and specified error: what UEFI 2.10 says comes back.

Arguments are numbers or words: `cell` eight writable bytes, `big` a writable page, `wild` nowhere, `guid` an unknown GUID,
`handle` a handle, `image` the handle of a started image, `event` an event, and so on (`Words`).
"""

from __future__ import annotations

import pytest

from tests.firmware.lab import (
    ACCESS_DENIED,
    ALREADY_STARTED,
    INVALID,
    LOAD_ERROR,
    NOT_FOUND,
    NOT_READY,
    OUT_OF_RESOURCES,
    SECURITY_VIOLATION,
    SUCCESS,
    TOO_SMALL,
    UNSUPPORTED,
    WILD,
    WRITE_PROTECTED,
    Lab,
)
from tests.firmware.programs import IMAGE, program

UNKNOWN = "11111111-2222-3333-4444-555555555555"
LOADED_IMAGE = "5b1b31a1-9562-11d2-8e3f-00a0c969723b"
DEVICE_PATH = "09576e91-6d3f-11d2-8e39-00a0c969723b"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
TPL_CALLBACK = 8
TIMER, WAIT, SIGNAL = 0x80000000, 0x100, 0x200

Word = int | str


class Words:
    """Turns a word of the table into an argument."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        image = lab.shim.load(IMAGE)
        image.started = True
        self.image = image.handle
        self.fresh = lab.shim.load(IMAGE).handle
        self.handle = lab.install(UNKNOWN, 0x1234)

    def __call__(self, word: Word) -> int:
        if isinstance(word, int):
            return word
        lab = self.lab
        match word.split(":"):
            case ["cell"]:
                return lab.cell()
            case ["cell", number]:
                return lab.cell(int(number, 0))
            case ["big"]:
                return lab.put(bytes(0x1000))
            case ["wild"]:
                return WILD
            case ["guid"]:
                return lab.guid("99999999-2222-3333-4444-555555555555")
            case ["guid", text]:
                return lab.guid({"known": UNKNOWN, "image": LOADED_IMAGE, "path": DEVICE_PATH, "global": GLOBAL}[text])
            case ["text", *rest]:
                return lab.text(":".join(rest))
            case ["long"]:
                return lab.put(b"A\0" * 0x2000)
            case ["event"]:
                return lab.event()
            case ["timer"]:
                return lab.event(TIMER)
            case ["signal"]:
                return lab.event(SIGNAL, TPL_CALLBACK, lab.board.constant(0))
            case ["events", kind]:
                return lab.cell(self(kind))
            case ["function"]:
                return lab.board.constant(0)
            case ["pe"]:
                return lab.put(IMAGE)
            case ["arm"]:
                return lab.put(program(machine=0xAA64))
            case ["driverless"]:
                return lab.put(program(subsystem=3))
            case ["end"]:
                return lab.put(b"\x7f\xff\x04\x00")
            case ["pend"]:
                return lab.cell(self("end"))
            case ["badpath"]:
                return lab.put(b"\x01\x01\x02\x00")
            case ["time"]:
                return lab.put(bytes.fromhex("d107 01 01 00 00 00 00 00000000 ff07 00 00".replace(" ", "")))
            case ["badtime"]:
                return lab.put(bytes.fromhex("d107 02 1e 00 00 00 00 00000000 ff07 00 00".replace(" ", "")))
            case ["image" | "fresh" | "handle"]:
                value: int = getattr(self, word)
                return value
            case _:
                raise AssertionError(word)


IMAGE_SIZE = len(IMAGE)

BOOT: list[tuple[str, tuple[Word, ...], int]] = [
    # 7.2
    ("AllocatePages", (0, 2, 1, 0), INVALID),
    ("AllocatePages", (0, 2, 1, "wild"), INVALID),
    ("AllocatePages", (3, 2, 1, "cell"), INVALID),
    ("AllocatePages", (0, 7, 1, "cell"), INVALID),
    ("AllocatePages", (0, 16, 1, "cell"), INVALID),
    ("AllocatePages", (0, 14, 1, "cell"), INVALID),
    ("AllocatePages", (0, 0x6FFFFFFF, 1, "cell"), INVALID),
    ("AllocatePages", (0, 0x70000000, 1, "cell"), SUCCESS),
    ("AllocatePages", (0, 0x80000000, 1, "cell"), SUCCESS),
    ("AllocatePages", (0, 2, 0x100000, "cell"), OUT_OF_RESOURCES),
    ("AllocatePages", (1, 2, 1, "cell:0xfff"), OUT_OF_RESOURCES),
    ("AllocatePages", (2, 2, 1, "cell:0xa0000"), NOT_FOUND),
    ("AllocatePages", (2, 2, 1, "cell:0x3000800"), NOT_FOUND),
    ("AllocatePages", (2, 2, 1, "cell:0x3000000"), SUCCESS),
    ("AllocatePages", (2, 2, 1, "cell:0"), NOT_FOUND),
    ("FreePages", (0x3000000, 1), NOT_FOUND),
    ("FreePages", (0x3000001, 1), INVALID),
    ("FreePages", (0x3000000, 0), INVALID),
    ("FreePages", (0xFFFF_FFFF_FFFF_F000, 2), INVALID),
    ("GetMemoryMap", (0, "big", "cell", "cell", "cell"), INVALID),
    ("GetMemoryMap", ("cell", 0, "cell", "cell", "cell"), TOO_SMALL),
    ("GetMemoryMap", ("cell:0x10000", 0, "cell", "cell", "cell"), INVALID),
    ("GetMemoryMap", ("cell:0x10000", "wild", "cell", "cell", "cell"), INVALID),
    ("AllocatePool", (2, 8, 0), INVALID),
    ("AllocatePool", (7, 8, "cell"), INVALID),
    ("AllocatePool", (2, 1 << 60, "cell"), OUT_OF_RESOURCES),
    ("FreePool", (0,), INVALID),
    ("FreePool", ("cell",), INVALID),
    # 7.1
    ("CreateEvent", (0, 0, 0, 0, 0), INVALID),
    ("CreateEvent", (0x300, 8, "function", 0, "cell"), INVALID),
    ("CreateEvent", (1, 8, "function", 0, "cell"), INVALID),
    ("CreateEvent", (SIGNAL, 8, 0, 0, "cell"), INVALID),
    ("CreateEvent", (SIGNAL, 4, "function", 0, "cell"), INVALID),
    ("CreateEvent", (SIGNAL, 31, "function", 0, "cell"), INVALID),
    ("CreateEvent", (0x201, 8, "function", 0, "cell"), SUCCESS),
    ("CreateEventEx", (0x201, 8, "function", 0, "guid", "cell"), INVALID),
    ("CreateEventEx", (0x60000202, 8, "function", 0, "guid", "cell"), INVALID),
    ("CreateEventEx", (SIGNAL, 8, "function", 0, "wild", "cell"), INVALID),
    ("CreateEventEx", (SIGNAL, 8, "function", 0, "guid", 0), INVALID),
    ("SetTimer", ("event", 2, 1), INVALID),
    ("SetTimer", ("timer", 3, 1), INVALID),
    ("SetTimer", ("cell", 2, 1), INVALID),
    ("SetTimer", ("timer", 2, 1), SUCCESS),
    ("WaitForEvent", (0, "events:event", "cell"), INVALID),
    ("WaitForEvent", (1, 0, "cell"), INVALID),
    ("WaitForEvent", (1, "events:event", 0), INVALID),
    ("WaitForEvent", (1, "events:signal", "cell"), INVALID),
    ("WaitForEvent", (1 << 62, "events:event", "cell"), INVALID),
    ("SignalEvent", ("cell",), INVALID),
    ("CloseEvent", (0,), INVALID),
    ("CheckEvent", ("signal",), INVALID),
    ("CheckEvent", (0,), INVALID),
    ("CheckEvent", ("event",), NOT_READY),
    # 7.3
    ("InstallProtocolInterface", (0, "guid", 0, 0), INVALID),
    ("InstallProtocolInterface", ("cell", 0, 0, 0), INVALID),
    ("InstallProtocolInterface", ("cell", "guid", 1, 0), INVALID),
    ("InstallProtocolInterface", ("cell:0x1234", "guid", 0, 0), INVALID),
    ("ReinstallProtocolInterface", (0, "guid", 0, 0), INVALID),
    ("ReinstallProtocolInterface", ("handle", 0, 0, 0), INVALID),
    ("ReinstallProtocolInterface", ("handle", "guid", 0, 0), NOT_FOUND),
    ("ReinstallProtocolInterface", ("handle", "guid:known", 1, 0), NOT_FOUND),
    ("UninstallProtocolInterface", (0, "guid", 0), INVALID),
    ("UninstallProtocolInterface", ("handle", 0, 0), INVALID),
    ("UninstallProtocolInterface", ("handle", "guid:known", 1), NOT_FOUND),
    ("HandleProtocol", (0, "guid", "cell"), INVALID),
    ("HandleProtocol", ("handle", 0, "cell"), INVALID),
    ("HandleProtocol", ("handle", "guid:known", 0), INVALID),
    ("HandleProtocol", ("handle", "guid", "cell"), UNSUPPORTED),
    ("RegisterProtocolNotify", (0, "event", "cell"), INVALID),
    ("RegisterProtocolNotify", ("guid", 0, "cell"), INVALID),
    ("RegisterProtocolNotify", ("guid", "cell", "cell"), INVALID),
    ("RegisterProtocolNotify", ("guid", "event", 0), INVALID),
    ("LocateHandle", (2, "guid", 0, "cell", 0), NOT_FOUND),
    ("LocateHandle", (2, 0, 0, "cell", 0), INVALID),
    ("LocateHandle", (2, "guid", 0, 0, 0), INVALID),
    ("LocateHandle", (3, "guid", 0, "cell", 0), INVALID),
    ("LocateHandle", (1, 0, 0, "cell", 0), INVALID),
    ("LocateHandle", (2, "guid:known", 0, "cell", 0), TOO_SMALL),
    ("LocateHandle", (2, "guid:known", 0, "cell:8", 0), INVALID),
    ("LocateDevicePath", (0, "pend", "cell"), INVALID),
    ("LocateDevicePath", ("guid", 0, "cell"), INVALID),
    ("LocateDevicePath", ("guid", "cell", "cell"), INVALID),
    ("LocateDevicePath", ("guid", "pend", "cell"), NOT_FOUND),
    ("OpenProtocol", ("handle", 0, "cell", "image", 0, 1), INVALID),
    ("OpenProtocol", ("handle", "guid:known", 0, "image", 0, 1), INVALID),
    ("OpenProtocol", (0, "guid:known", "cell", "image", 0, 1), INVALID),
    ("OpenProtocol", ("handle", "guid:known", "cell", "image", 0, 3), INVALID),
    ("OpenProtocol", ("handle", "guid:known", "cell", 0, "handle", 0x10), INVALID),
    ("OpenProtocol", ("handle", "guid:known", "cell", "image", 0, 0x10), INVALID),
    ("OpenProtocol", ("handle", "guid:known", "cell", "image", "handle", 8), INVALID),
    ("OpenProtocol", ("handle", "guid:known", "cell", 0, 0, 0x20), INVALID),
    ("OpenProtocol", ("handle", "guid", "cell", "image", 0, 2), UNSUPPORTED),
    ("OpenProtocol", ("handle", "guid:known", 0, "image", 0, 4), SUCCESS),
    ("CloseProtocol", (0, "guid:known", "image", 0), INVALID),
    ("CloseProtocol", ("handle", 0, "image", 0), INVALID),
    ("CloseProtocol", ("handle", "guid:known", 0, 0), INVALID),
    ("CloseProtocol", ("handle", "guid:known", "image", 0x1234), INVALID),
    ("CloseProtocol", ("handle", "guid:known", "image", 0), NOT_FOUND),
    ("CloseProtocol", ("handle", "guid", "image", 0), NOT_FOUND),
    ("OpenProtocolInformation", ("handle", "guid", "cell", "cell"), NOT_FOUND),
    ("OpenProtocolInformation", ("handle", "guid:known", 0, "cell"), INVALID),
    ("ProtocolsPerHandle", (0, "cell", "cell"), INVALID),
    ("ProtocolsPerHandle", ("handle", 0, "cell"), INVALID),
    ("ProtocolsPerHandle", ("handle", "cell", 0), INVALID),
    ("LocateHandleBuffer", (2, "guid", 0, "cell", "cell"), NOT_FOUND),
    ("LocateHandleBuffer", (2, 0, 0, "cell", "cell"), INVALID),
    ("LocateHandleBuffer", (2, "guid", 0, 0, "cell"), INVALID),
    ("LocateHandleBuffer", (2, "guid", 0, "cell", 0), INVALID),
    ("LocateProtocol", ("guid", 0, 0), INVALID),
    ("LocateProtocol", (0, 0, "cell"), INVALID),
    ("LocateProtocol", ("guid", 0, "cell"), NOT_FOUND),
    ("LocateProtocol", ("guid", 0x1234, "cell"), INVALID),
    ("InstallMultipleProtocolInterfaces", (0, "guid", 1, 0), INVALID),
    ("InstallMultipleProtocolInterfaces", ("cell", "guid", 1, "guid", 2, 0), INVALID),
    ("UninstallMultipleProtocolInterfaces", ("handle", "guid:known", 1, 0), INVALID),
    ("ConnectController", (0, 0, 0, 0), INVALID),
    ("ConnectController", ("handle", 0, 0, 0), NOT_FOUND),
    ("ConnectController", ("handle", 0, "end", 0), SUCCESS),
    ("ConnectController", ("handle", "wild", 0, 0), INVALID),
    ("DisconnectController", (0, 0, 0), INVALID),
    ("DisconnectController", ("handle", 0x1234, 0), INVALID),
    ("DisconnectController", ("handle", 0, 0x1234), INVALID),
    ("DisconnectController", ("handle", "image", 0), INVALID),
    ("DisconnectController", ("handle", 0, 0), SUCCESS),
    # 7.4
    ("LoadImage", (0, "image", 0, "pe", IMAGE_SIZE, 0), INVALID),
    ("LoadImage", (0, 0, 0, "pe", IMAGE_SIZE, "cell"), INVALID),
    ("LoadImage", (0, "handle", 0, "pe", IMAGE_SIZE, "cell"), INVALID),
    ("LoadImage", (0, "image", 0, 0, 0, "cell"), NOT_FOUND),
    ("LoadImage", (0, "image", "end", 0, 0, "cell"), NOT_FOUND),
    ("LoadImage", (0, "image", "badpath", 0, 0, "cell"), INVALID),
    ("LoadImage", (0, "image", 0, "pe", 0, "cell"), LOAD_ERROR),
    ("LoadImage", (0, "image", 0, "pe", 0x100, "cell"), LOAD_ERROR),
    ("LoadImage", (0, "image", 0, "big", 0x1000, "cell"), LOAD_ERROR),
    ("LoadImage", (0, "image", 0, "arm", IMAGE_SIZE, "cell"), UNSUPPORTED),
    ("LoadImage", (0, "image", 0, "driverless", IMAGE_SIZE, "cell"), UNSUPPORTED),
    ("LoadImage", (0, "image", 0, "wild", 0x1000, "cell"), INVALID),
    ("StartImage", (0, 0, 0), INVALID),
    ("StartImage", ("image", 0, 0), INVALID),
    ("UnloadImage", ("handle",), INVALID),
    ("UnloadImage", ("image",), UNSUPPORTED),
    ("UnloadImage", ("fresh",), SUCCESS),
    ("Exit", ("handle", 0, 0, 0), INVALID),
    ("Exit", ("image", 0, 0, 0), INVALID),
    ("Exit", ("fresh", 0, 0, 0), SUCCESS),
    ("ExitBootServices", ("handle", 0), INVALID),
    ("ExitBootServices", ("image", 1), INVALID),
    # 7.5
    ("InstallConfigurationTable", (0, 1), INVALID),
    ("InstallConfigurationTable", ("guid", 0), NOT_FOUND),
    ("GetNextMonotonicCount", (0,), INVALID),
    ("SetWatchdogTimer", (10, 0xFFFF, 0, 0), INVALID),
    ("SetWatchdogTimer", (10, 0x10000, 0, 0), SUCCESS),
    ("CalculateCrc32", (0, 1, "cell"), INVALID),
    ("CalculateCrc32", ("cell", 0, "cell"), INVALID),
    ("CalculateCrc32", ("cell", 8, 0), INVALID),
    ("CalculateCrc32", ("cell", 1 << 40, "cell"), INVALID),
]

NV_BS_RT = 7
RUNTIME: list[tuple[str, tuple[Word, ...], int]] = [
    ("GetTime", (0, 0), INVALID),
    ("GetTime", ("big", "wild"), INVALID),
    ("SetTime", (0,), INVALID),
    ("SetTime", ("badtime",), INVALID),
    ("SetTime", ("time",), SUCCESS),
    ("GetWakeupTime", (0, "cell", "big"), INVALID),
    ("SetWakeupTime", (1, 0), INVALID),
    ("SetWakeupTime", (1, "badtime"), INVALID),
    ("SetWakeupTime", (0, 0), SUCCESS),
    ("SetVirtualAddressMap", (48, 48, 1, "big"), UNSUPPORTED),
    ("ConvertPointer", (0, "cell:5"), UNSUPPORTED),
    ("GetVariable", (0, "guid", 0, "cell", 0), INVALID),
    ("GetVariable", ("text:x", 0, 0, "cell", 0), INVALID),
    ("GetVariable", ("text:x", "guid", 0, 0, 0), INVALID),
    ("GetVariable", ("text:x", "guid", 0, "cell", 0), NOT_FOUND),
    ("GetVariable", ("text:SecureBoot", "guid:global", 0, "cell:1", "cell"), SUCCESS),
    ("GetVariable", ("text:MokSBState", "guid:global", 0, "cell:1", "cell"), NOT_FOUND),
    ("SetVariable", ("text:SecureBoot", "guid:global", 6, 1, "cell"), WRITE_PROTECTED),
    ("SetVariable", ("text:SetupMode", "guid:global", 6, 0, 0), WRITE_PROTECTED),
    ("GetVariable", ("text:PlatformLang", "guid:global", 0, "cell", 0), TOO_SMALL),
    ("GetVariable", ("text:PlatformLang", "guid:global", 0, "cell:10", 0), INVALID),
    ("GetVariable", ("wild", "guid:global", 0, "cell:10", 0), INVALID),
    ("GetNextVariableName", (0, "text:", "guid"), INVALID),
    ("GetNextVariableName", ("cell:2", 0, "guid"), INVALID),
    ("GetNextVariableName", ("cell:2", "text:", 0), INVALID),
    ("GetNextVariableName", ("cell:2", "text:", "guid"), TOO_SMALL),
    ("GetNextVariableName", ("cell:40", "text:nothere", "guid"), INVALID),
    ("GetNextVariableName", ("cell:8", "long", "guid"), INVALID),
    ("SetVariable", (0, "guid", NV_BS_RT, 1, "cell"), INVALID),
    ("SetVariable", ("text:", "guid", NV_BS_RT, 1, "cell"), INVALID),
    ("SetVariable", ("text:x", 0, NV_BS_RT, 1, "cell"), INVALID),
    ("SetVariable", ("text:x", "guid", NV_BS_RT, 1, 0), INVALID),
    ("SetVariable", ("text:x", "guid", 4, 1, "cell"), INVALID),
    ("SetVariable", ("text:x", "guid", 0x10007, 1, "cell"), INVALID),
    ("SetVariable", ("text:x", "guid", 0xF, 1, "cell"), INVALID),
    ("SetVariable", ("text:x", "guid", 0x17, 1, "cell"), UNSUPPORTED),
    ("SetVariable", ("text:x", "guid", 0x27, 1, "cell"), SECURITY_VIOLATION),
    ("SetVariable", ("text:x", "guid", NV_BS_RT, 0, 0), NOT_FOUND),
    ("SetVariable", ("text:x", "guid", NV_BS_RT, 1 << 40, "cell"), INVALID),
    ("SetVariable", ("text:x", "guid", NV_BS_RT, 1, "cell"), SUCCESS),
    ("SetVariable", ("text:PlatformLang", "guid:global", 6, 1, "cell"), INVALID),
    ("GetNextHighMonotonicCount", (0,), INVALID),
    ("UpdateCapsule", ("big", 1, 0), UNSUPPORTED),
    ("QueryCapsuleCapabilities", ("big", 1, "cell", "cell"), UNSUPPORTED),
    ("QueryVariableInfo", (0, "cell", "cell", "cell"), INVALID),
    ("QueryVariableInfo", (NV_BS_RT, 0, "cell", "cell"), INVALID),
    ("QueryVariableInfo", (NV_BS_RT, "cell", 0, "cell"), INVALID),
    ("QueryVariableInfo", (4, "cell", "cell", "cell"), INVALID),
    ("QueryVariableInfo", (0x10007, "cell", "cell", "cell"), INVALID),
    ("QueryVariableInfo", (NV_BS_RT, "cell", "cell", "cell"), SUCCESS),
]


def _ids(cases: list[tuple[str, tuple[Word, ...], int]]) -> list[str]:
    return [f"{name}-{'-'.join(map(str, words))}" for name, words, _ in cases]


@pytest.mark.parametrize(("service", "words", "status"), BOOT, ids=_ids(BOOT))
def test_boot_service(lab: Lab, service: str, words: tuple[Word, ...], status: int) -> None:
    meaning = Words(lab)
    got = lab.bs(service, *(meaning(word) for word in words))
    assert got == status, f"{service}{words} gave {got:#x}"
    assert lab.board.stopped is None


@pytest.mark.parametrize(("service", "words", "status"), RUNTIME, ids=_ids(RUNTIME))
def test_runtime_service(lab: Lab, service: str, words: tuple[Word, ...], status: int) -> None:
    meaning = Words(lab)
    got = lab.rs(service, *(meaning(word) for word in words))
    assert got == status, f"{service}{words} gave {got:#x}"
    assert lab.board.stopped is None


AFTER_EXIT: list[tuple[str, tuple[Word, ...], int]] = [
    ("SetVariable", ("text:x", "guid", 3, 1, "cell"), INVALID),
    ("SetVariable", ("text:x", "guid", 6, 1, "cell"), INVALID),
    ("SetVariable", ("text:x", "guid", 7, 1, "cell"), SUCCESS),
    ("SetVariable", ("text:OsIndicationsSupported", "guid:global", 6, 1, "cell"), WRITE_PROTECTED),
    ("SetVirtualAddressMap", (48, 48, 2, "big"), INVALID),
    ("SetVirtualAddressMap", (40, 32, 1, "big"), INVALID),
    ("SetVirtualAddressMap", (48, 48, 1, 0), INVALID),
    ("SetVirtualAddressMap", (48, 48, 1, "wild"), INVALID),
    ("ConvertPointer", (0, "cell:5"), UNSUPPORTED),
    ("GetTime", ("big", 0), SUCCESS),
    ("QueryVariableInfo", (3, "cell", "cell", "cell"), INVALID),
]


@pytest.mark.parametrize(("service", "words", "status"), AFTER_EXIT, ids=_ids(AFTER_EXIT))
def test_runtime_service_after_exit(lab: Lab, service: str, words: tuple[Word, ...], status: int) -> None:
    meaning = Words(lab)
    arguments = [meaning(word) for word in words]
    lab.exit_boot_services()
    assert lab.rs(service, *arguments) == status


def test_the_table_names_every_service() -> None:
    """A service without a line in this file has its errors nowhere."""
    from efishim.firmware.calling.functions import BOOT_FUNCTIONS, RUNTIME_FUNCTIONS  # noqa: PLC0415

    without_errors = {"RaiseTPL", "RestoreTPL", "Stall", "CopyMem", "SetMem", "ResetSystem"}
    for table, cases in ((BOOT_FUNCTIONS, BOOT), (RUNTIME_FUNCTIONS, RUNTIME)):
        named = {name for name, _, _ in cases} | without_errors
        assert {f.name for f in table} <= named


def test_doubles_are_refused(lab: Lab) -> None:
    """Those whose error needs a first call that succeeds."""
    handle = lab.install(UNKNOWN)
    assert lab.bs("InstallProtocolInterface", lab.cell(handle), lab.guid(UNKNOWN), 0, 1) == INVALID
    image = lab.shim.load(IMAGE).handle
    arguments = (handle, lab.guid(UNKNOWN), lab.cell(), image, handle, 0x10)
    assert lab.bs("OpenProtocol", *arguments) == SUCCESS
    assert lab.bs("OpenProtocol", *arguments) == ALREADY_STARTED
    other = lab.shim.load(IMAGE).handle
    assert lab.bs("OpenProtocol", handle, lab.guid(UNKNOWN), lab.cell(), other, handle, 0x10) == ACCESS_DENIED
    path = lab.put(bytes.fromhex("010114007fff0400") + bytes(20))
    path = lab.put(bytes.fromhex("01010600 0102 7fff0400".replace(" ", "")))
    lab.install(DEVICE_PATH, path)
    assert lab.bs("InstallMultipleProtocolInterfaces", lab.cell(), lab.guid(DEVICE_PATH), path, 0) == ALREADY_STARTED
