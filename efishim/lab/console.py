"""What the guest prints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Console:
    """Collects what the guest prints, and passes it on while it runs: a line at its end, and what is no line yet with the
    next look at the clock. A serial port sends single bytes, and a system call for each is a sixth of a boot.
    """

    stream: Callable[[bytes], None] | None
    data: bytearray = field(default_factory=bytearray)
    limit: int = 1 << 20
    dropped: int = 0
    _waiting: bytearray = field(default_factory=bytearray)

    def __call__(self, data: bytes) -> None:
        """Some more of it."""
        room = self.limit - len(self.data)
        self.data += data[: max(room, 0)]
        self.dropped += max(0, len(data) - max(room, 0))
        if self.stream is not None:
            self._waiting += data
            if b"\n" in data:
                self.flush()

    def flush(self) -> None:
        """Pass on what waits."""
        if self.stream is not None and self._waiting:
            data = bytes(self._waiting)
            self._waiting.clear()
            self.stream(data)
