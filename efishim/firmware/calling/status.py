"""Status codes (UEFI 2.10, appendix D) and how a service leaves with one."""

from __future__ import annotations

from enum import IntEnum

ERROR = 1 << 63
"""The error bit of an EFI_STATUS on a 64-bit processor; bit 31 on a 32-bit one."""

RANGE_32_BIT = 0xE000_0000
"""The bits of a 32-bit EFI_STATUS that say which range it belongs to (table D.1)."""


class Status(IntEnum):
    """EFI_STATUS values in their 64-bit form."""

    SUCCESS = 0
    LOAD_ERROR = ERROR | 1
    INVALID_PARAMETER = ERROR | 2
    UNSUPPORTED = ERROR | 3
    BAD_BUFFER_SIZE = ERROR | 4
    BUFFER_TOO_SMALL = ERROR | 5
    NOT_READY = ERROR | 6
    DEVICE_ERROR = ERROR | 7
    WRITE_PROTECTED = ERROR | 8
    OUT_OF_RESOURCES = ERROR | 9
    VOLUME_CORRUPTED = ERROR | 10
    VOLUME_FULL = ERROR | 11
    NO_MEDIA = ERROR | 12
    MEDIA_CHANGED = ERROR | 13
    NOT_FOUND = ERROR | 14
    ACCESS_DENIED = ERROR | 15
    NO_RESPONSE = ERROR | 16
    NO_MAPPING = ERROR | 17
    TIMEOUT = ERROR | 18
    NOT_STARTED = ERROR | 19
    ALREADY_STARTED = ERROR | 20
    ABORTED = ERROR | 21
    ICMP_ERROR = ERROR | 22
    TFTP_ERROR = ERROR | 23
    PROTOCOL_ERROR = ERROR | 24
    INCOMPATIBLE_VERSION = ERROR | 25
    SECURITY_VIOLATION = ERROR | 26
    CRC_ERROR = ERROR | 27
    END_OF_MEDIA = ERROR | 28
    END_OF_FILE = ERROR | 31
    INVALID_LANGUAGE = ERROR | 32
    COMPROMISED_DATA = ERROR | 33
    IP_ADDRESS_CONFLICT = ERROR | 34
    HTTP_ERROR = ERROR | 35
    WARN_UNKNOWN_GLYPH = 1
    WARN_DELETE_FAILURE = 2
    WARN_WRITE_FAILURE = 3
    WARN_BUFFER_TOO_SMALL = 4
    WARN_STALE_DATA = 5
    WARN_FILE_SYSTEM = 6
    WARN_RESET_REQUIRED = 7

    @classmethod
    def describe(cls, value: int) -> str:
        """`EFI_NOT_FOUND` for a known value, hexadecimal for any other."""
        try:
            return f"EFI_{cls(value).name}"
        except ValueError:
            return f"{value:#x}"


class EfiError(Exception):
    """Raised inside a service: it ends, and this is what the caller finds in RAX."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"EFI_{status.name}")
        self.status = status


def to_32_bit(status: int) -> int:
    """A status as 32-bit firmware gives it: the three highest bits (error, and whose range of codes) move down (appendix D)."""
    return status >> 32 & RANGE_32_BIT | status & ~RANGE_32_BIT & 0xFFFF_FFFF


def from_32_bit(status: int) -> int:
    """The 64-bit form of a status."""
    return (status & RANGE_32_BIT) << 32 | status & ~RANGE_32_BIT


def is_error(status: int) -> bool:
    """Is the error bit set?"""
    return bool(status & ERROR)


def demand(condition: object, status: Status = Status.INVALID_PARAMETER) -> None:
    """Leave the service with `status` unless the condition holds."""
    if not condition:
        raise EfiError(status)
