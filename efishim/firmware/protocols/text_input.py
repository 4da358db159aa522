"""EFI_SIMPLE_TEXT_INPUT_PROTOCOL and its Ex form (UEFI 2.10, 12.2 and 12.3) over a queue of keys."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from efishim.firmware.calling.dispatch import Idle, Steps
from efishim.firmware.calling.functions import functions
from efishim.firmware.calling.status import Status, demand
from efishim.firmware.protocols.base import ProtocolContext
from efishim.firmware.services.events import EVT_NOTIFY_SIGNAL, EVT_NOTIFY_WAIT, TPL_CALLBACK, TPL_NOTIFY, Event
from efishim.wire.uefi_protocols import InputKey, KeyData, SimpleTextInputExProtocol, SimpleTextInputProtocol

FUNCTIONS = functions(
    """
    SimpleTextInput 12.3.4 Reset This:ptr ExtendedVerification:bool
    SimpleTextInput 12.3.5 ReadKeyStroke This:ptr Key:>u32
    """
)

EX_FUNCTIONS = functions(
    """
    SimpleTextInputEx 12.2.3 Reset This:ptr ExtendedVerification:bool
    SimpleTextInputEx 12.2.4 ReadKeyStrokeEx This:ptr KeyData:>u32
    SimpleTextInputEx 12.2.5 SetState This:ptr KeyToggleState:ptr ! EFI_UNSUPPORTED: the console is a line, its keyboard has no lights
    SimpleTextInputEx 12.2.6 RegisterKeyNotify This:ptr KeyData:ptr KeyNotificationFunction:ptr NotifyHandle:>ptr
    SimpleTextInputEx 12.2.7 UnregisterKeyNotify This:ptr NotificationHandle:ptr
    """  # noqa: E501 - one line per function is what makes the table readable
)

SCAN_CODES = {"UP": 1, "DOWN": 2, "RIGHT": 3, "LEFT": 4, "HOME": 5, "END": 6, "ESC": 0x17}
"""Table 12.2: keys without a character."""

NOTIFY_LIMIT = 64

POLL = 1_000_000
"""What asking for a key that is not there costs, ns: programs poll, and time must pass for their timeouts to come."""

PATIENCE = 100_000
"""Polls in a row, with next to nothing in between, after which no key is expected and the run ends."""
SHIFT_STATE_VALID, TOGGLE_STATE_VALID = 0x80000000, 0x80

CALLS_BETWEEN_POLLS = 4

Key = tuple[int, int]
"""(scan code, UTF-16 unit); one of the two is 0."""


def keys_of(text: str) -> Iterable[Key]:
    """The keys that type a text. A newline is the Enter key."""
    for unit in range(0, len(data := text.replace("\n", "\r").encode("utf-16-le", "replace")), 2):
        yield 0, int.from_bytes(data[unit : unit + 2], "little")


class TextInput:
    """One keyboard, read through either protocol. `feed` types."""

    def __init__(self, context: ProtocolContext) -> None:
        self._guest = context.guest
        self._events = context.events
        self._keys: deque[Key] = deque()
        self._notifies: dict[int, tuple[Key, Event]] = {}
        self._workshop = context
        self._polls = 0
        self._served = 0
        self._wait = self._make_event()
        self._wait_ex = self._make_event()
        self.interface = context.interface(
            FUNCTIONS,
            SimpleTextInputProtocol,
            {"Reset": self.reset, "ReadKeyStroke": self.read_key_stroke},
            {"WaitForKey": self._wait.address},
        )
        self.interface_ex = context.interface(
            EX_FUNCTIONS,
            SimpleTextInputExProtocol,
            {
                "Reset": self.reset_ex,
                "ReadKeyStrokeEx": self.read_key_stroke_ex,
                "SetState": self.set_state,
                "RegisterKeyNotify": self.register_key_notify,
                "UnregisterKeyNotify": self.unregister_key_notify,
            },
            {"WaitForKeyEx": self._wait_ex.address},
        )

    def _make_event(self) -> Event:
        return self._events.make(EVT_NOTIFY_WAIT, TPL_NOTIFY, host_notify=self._look)

    def _look(self, event: Event) -> None:
        event.signaled = bool(self._keys)

    def feed(self, keys: Iterable[Key]) -> None:
        """Types: hot keys are notified, then the keys wait to be read."""
        for key in keys:
            self._keys.append(key)
            for wanted, event in self._notifies.values():
                if wanted == key:
                    self._events.signal(event)

    def _read(self, place: int, form: Callable[[Key], InputKey | KeyData]) -> int | Steps:
        """Store the next key, or let a moment pass."""
        self._guest.write(place, form((0, 0)).build())
        if not self._keys:
            return self._nothing()
        self._guest.write(place, form(self._keys.popleft()).build())
        self._polls = 0
        return Status.SUCCESS

    def _nothing(self) -> Steps:
        served = self._workshop.served()
        self._polls = self._polls + 1 if served - self._served <= CALLS_BETWEEN_POLLS else 0
        self._served = served
        if self._polls > PATIENCE:
            self._workshop.board.stop("halted")
        yield Idle(self._workshop.board.now() + POLL)
        return Status.NOT_READY

    def reset(self, this: int, extended: int) -> int:
        """Reset (12.3.4) drops what was typed."""
        del extended
        demand(this == self.interface)
        self._keys.clear()
        return Status.SUCCESS

    def read_key_stroke(self, this: int, key: int) -> int | Steps:
        """ReadKeyStroke (12.3.5)."""
        demand(this == self.interface and key)
        return self._read(key, lambda k: InputKey(ScanCode=k[0], UnicodeChar=k[1]))

    def reset_ex(self, this: int, extended: int) -> int:
        """Reset (12.2.3)."""
        del extended
        demand(this == self.interface_ex)
        self._keys.clear()
        return Status.SUCCESS

    def read_key_stroke_ex(self, this: int, data: int) -> int | Steps:
        """ReadKeyStrokeEx (12.2.4)."""
        demand(this == self.interface_ex and data)
        shift, toggle = SHIFT_STATE_VALID, TOGGLE_STATE_VALID
        return self._read(data, lambda k: KeyData(ScanCode=k[0], UnicodeChar=k[1], KeyShiftState=shift, KeyToggleState=toggle))

    def set_state(self, this: int, toggle: int) -> int:
        """SetState (12.2.5)."""
        demand(this == self.interface_ex and toggle)
        self._guest.read(toggle, 1)
        return Status.UNSUPPORTED

    def register_key_notify(self, this: int, data: int, function: int, handle: int) -> int:
        """RegisterKeyNotify (12.2.6): called with the key's data at TPL_CALLBACK when it is typed."""
        demand(this == self.interface_ex and data and function and handle)
        raw = self._guest.read(data, KeyData.sizeof())
        key = KeyData.parse(raw)
        demand(len(self._notifies) < NOTIFY_LIMIT, Status.OUT_OF_RESOURCES)
        self._guest.put_uintn(handle, 0)
        copy = self._workshop.place(raw)
        event = self._events.make(EVT_NOTIFY_SIGNAL, TPL_CALLBACK, function, copy)
        event.arguments = (copy,)
        self._notifies[copy] = (key.ScanCode, key.UnicodeChar), event
        self._guest.put_uintn(handle, copy)
        return Status.SUCCESS

    def unregister_key_notify(self, this: int, handle: int) -> int:
        """UnregisterKeyNotify (12.2.7)."""
        demand(this == self.interface_ex and handle in self._notifies)
        _, event = self._notifies.pop(handle)
        return self._events.close_event(event.address)
