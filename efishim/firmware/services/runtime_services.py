"""The runtime services except virtual addressing (UEFI 2.10, chapter 8): variables, time, reset, counters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from efishim.firmware.calling.dispatch import Handler
from efishim.firmware.calling.efi_time import efi_time
from efishim.firmware.calling.guest import STRING_LIMIT, Guest
from efishim.firmware.calling.status import EfiError, Status, demand
from efishim.firmware.services.variables import (
    BOOTSERVICE_ACCESS,
    MAXIMUM_SIZE,
    NON_VOLATILE,
    RUNTIME_ACCESS,
    Variable,
    VariableStore,
)
from efishim.machine.cpu import Board
from efishim.wire.guids import MTC_VENDOR_GUID
from efishim.wire.uefi import Time, TimeCapabilities

UNSPECIFIED_TIMEZONE = 0x07FF
ACCURACY = 50_000_000
"""Parts per 10^12 (8.3.1), as EDK II reports for a PC's clock."""

NS = 1_000_000_000
FIRST_YEAR, LAST_YEAR = 1900, 9999
RESET_REASONS = ("reset", "reset", "shutdown", "reset")


class VariableServices:
    """8.2 over a store. `at_runtime` says whether ExitBootServices succeeded."""

    def __init__(self, guest: Guest, store: VariableStore, at_runtime: Callable[[], bool]) -> None:
        self._guest = guest
        self.store = store
        self._at_runtime = at_runtime

    def services(self) -> dict[str, Handler]:
        """By name in the runtime services table."""
        return {
            "GetVariable": self.get_variable,
            "GetNextVariableName": self.get_next_variable_name,
            "SetVariable": self.set_variable,
            "QueryVariableInfo": self.query_variable_info,
        }

    def get_variable(self, name: int, vendor: int, attributes: int, size: int, data: int) -> int:
        """GetVariable (8.2.1). Attributes come back with EFI_BUFFER_TOO_SMALL too."""
        demand(name and vendor and size)
        room = self._guest.uintn(size)
        text = self._guest.string(name)
        demand(text, Status.NOT_FOUND)
        variable = self.store.get(self._guest.guid(vendor), text, at_runtime=self._at_runtime())
        enough = room >= len(variable.data)
        demand(data or not enough)
        if enough:
            self._guest.write(data, variable.data)
        self._guest.put_uintn(size, len(variable.data))
        if attributes:
            self._guest.put(attributes, variable.attributes, 4)
        return Status.SUCCESS if enough else Status.BUFFER_TOO_SMALL

    def get_next_variable_name(self, size: int, name: int, vendor: int) -> int:
        """GetNextVariableName (8.2.2)."""
        demand(size and name and vendor)
        room = self._guest.uintn(size)
        # The name must end within the buffer that its size describes.
        text = self._guest.string(name, min(room // 2, STRING_LIMIT))
        guid = self._guest.guid(vendor)
        following = self.store.after(guid, text, at_runtime=self._at_runtime())
        units = following.name.encode("utf-16-le", "surrogatepass") + b"\0\0"
        self._guest.put_uintn(size, len(units))
        demand(room >= len(units), Status.BUFFER_TOO_SMALL)
        self._guest.write(name, units)
        self._guest.put_guid(vendor, following.guid)
        return Status.SUCCESS

    def set_variable(self, name: int, vendor: int, attributes: int, size: int, data: int) -> int:
        """SetVariable (8.2.3)."""
        text = self._guest.string(name)
        guid = self._guest.guid(vendor)
        demand(data or not size)
        demand(size <= MAXIMUM_SIZE)
        self.store.set(guid, text, attributes, self._guest.read(data, size), at_runtime=self._at_runtime())
        return Status.SUCCESS

    def query_variable_info(self, attributes: int, storage: int, remaining: int, largest: int) -> int:
        """QueryVariableInfo (8.2.4)."""
        demand(storage and remaining and largest)
        values = self.store.space(attributes, at_runtime=self._at_runtime())
        for pointer, value in zip((storage, remaining, largest), values, strict=True):
            self._guest.put(pointer, value, 8)
        return Status.SUCCESS


class ClockServices:
    """8.3 over the virtual clock: `epoch` is what it shows at power-on, in seconds since 1970 (UTC)."""

    def __init__(self, board: Board, guest: Guest, epoch: int) -> None:
        self._board = board
        self._guest = guest
        self._offset = epoch * NS
        self._zone = UNSPECIFIED_TIMEZONE
        self._daylight = 0
        self._alarm: bytes | None = None
        self._alarm_at = 0

    def services(self) -> dict[str, Handler]:
        """By name in the runtime services table."""
        return {
            "GetTime": self.get_time,
            "SetTime": self.set_time,
            "GetWakeupTime": self.get_wakeup_time,
            "SetWakeupTime": self.set_wakeup_time,
        }

    def get_time(self, time: int, capabilities: int) -> int:
        """GetTime (8.3.1)."""
        demand(time)
        total = self._offset + self._board.now()
        try:
            moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=total // NS)
        except OverflowError as error:  # the clock went on behind the last second of 9999, which EFI_TIME cannot show
            raise EfiError(Status.DEVICE_ERROR) from error
        shown = efi_time(moment)
        shown.TimeZone, shown.Daylight = self._zone, self._daylight
        self._guest.write(time, shown.build())
        if capabilities:
            self._guest.write(capabilities, TimeCapabilities(Resolution=1, Accuracy=ACCURACY, SetsToZero=0).build())
        return Status.SUCCESS

    def _read_time(self, address: int) -> tuple[Time, int]:
        """An EFI_TIME and its seconds since 1970. Raises EfiError(INVALID_PARAMETER) for what is no time (8.3.1)."""
        demand(address)
        told = Time.parse(self._guest.read(address, Time.sizeof()))
        zone = told.TimeZone - 0x10000 if told.TimeZone & 0x8000 else told.TimeZone
        demand(told.Nanosecond <= 999_999_999 and told.Daylight & ~3 == 0)
        demand(zone == UNSPECIFIED_TIMEZONE or -1440 <= zone <= 1440)
        demand(FIRST_YEAR <= told.Year <= LAST_YEAR)
        try:
            moment = datetime(told.Year, told.Month, told.Day, told.Hour, told.Minute, told.Second, tzinfo=UTC)
        except ValueError as error:
            raise EfiError(Status.INVALID_PARAMETER) from error
        return told, int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())

    def set_time(self, time: int) -> int:
        """SetTime (8.3.2). It moves what GetTime shows; the CMOS clock is the platform's."""
        told, seconds = self._read_time(time)
        self._offset = seconds * NS - self._board.now()
        self._zone, self._daylight = told.TimeZone, told.Daylight
        return Status.SUCCESS

    def get_wakeup_time(self, enabled: int, pending: int, time: int) -> int:
        """GetWakeupTime (8.3.3). The alarm is kept; a machine that is off for ever does not wake by it."""
        demand(enabled and pending and time)
        due = self._alarm is not None and self._alarm_at * NS <= self._offset + self._board.now()
        self._guest.put(enabled, int(self._alarm is not None), 1)
        self._guest.put(pending, int(due), 1)
        self._guest.write(time, self._alarm or Time(Year=2000, Month=1, Day=1).build())
        return Status.SUCCESS

    def set_wakeup_time(self, enable: int, time: int) -> int:
        """SetWakeupTime (8.3.4)."""
        if not enable:
            self._alarm = None
            return Status.SUCCESS
        _, seconds = self._read_time(time)
        self._alarm, self._alarm_at = self._guest.read(time, Time.sizeof()), seconds
        return Status.SUCCESS


class SystemServices:
    """ResetSystem, the monotonic counter and capsules (8.4.3 to 8.5)."""

    def __init__(self, board: Board, guest: Guest, store: VariableStore) -> None:
        self._board = board
        self._guest = guest
        self._store = store
        self._low = 0
        self._high = 1
        self._keep_high()

    def services(self) -> dict[str, Handler]:
        """By name in the runtime services table."""
        return {
            "GetNextHighMonotonicCount": self.get_next_high_monotonic_count,
            "ResetSystem": self.reset_system,
            "UpdateCapsule": self.no_capsules,
            "QueryCapsuleCapabilities": self.no_capsules,
        }

    def _keep_high(self) -> None:
        attributes = NON_VOLATILE | BOOTSERVICE_ACCESS | RUNTIME_ACCESS
        self._store.preset(Variable(MTC_VENDOR_GUID, "MTC", attributes, self._high.to_bytes(4, "little")))

    def get_next_monotonic_count(self, count: int) -> int:
        """GetNextMonotonicCount (7.5.5), a boot service: the low half counts calls, the high half boots."""
        demand(count)
        self._guest.put(count, self._high << 32 | self._low, 8)
        self._low += 1
        if self._low > 0xFFFFFFFF:
            self._low = 0
            self._high += 1
            self._keep_high()
        return Status.SUCCESS

    def get_next_high_monotonic_count(self, high: int) -> int:
        """GetNextHighMonotonicCount (8.5.2)."""
        demand(high)
        self._guest.put(high, self._high + 1, 4)
        self._high = (self._high + 1) & 0xFFFFFFFF
        self._low = 0
        self._keep_high()
        return Status.SUCCESS

    def reset_system(self, kind: int, status: int, size: int, data: int) -> int:
        """ResetSystem (8.5.1): the run ends. An unknown type does nothing and returns, as EDK II does."""
        del status, size, data
        if kind < len(RESET_REASONS):
            self._board.stop(RESET_REASONS[kind])
        return 0

    @staticmethod
    def no_capsules(*_arguments: int) -> int:
        """UpdateCapsule and QueryCapsuleCapabilities (8.5.3)."""
        return Status.UNSUPPORTED
