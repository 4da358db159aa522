"""Events, timers and TPLs as an image sees them (UEFI 2.10, 7.1)."""

from __future__ import annotations

import pytest

from tests.firmware.fake import Body, Compute
from tests.firmware.lab import INVALID, NOT_READY, SUCCESS, UNSUPPORTED, Lab

TIMER, WAIT, SIGNAL = 0x80000000, 0x100, 0x200
APPLICATION, CALLBACK, NOTIFY, HIGH = 4, 8, 16, 31
MS = 1_000_000
GROUP = "aaaaaaaa-0000-1111-2222-333333333333"
MEMORY_MAP_CHANGE = "78bee926-692f-48fd-9edb-01422ef0d7ab"


def test_signal_calls_the_notify_function_with_event_and_context(lab: Lab) -> None:
    log: list[tuple[int, ...]] = []
    event = lab.event(SIGNAL, CALLBACK, lab.board.constant(0, log), 0x55)
    assert lab.bs("SignalEvent", event) == SUCCESS
    assert [call[:2] for call in log] == [(event, 0x55)]
    assert lab.bs("SignalEvent", event) == SUCCESS
    assert len(log) == 2, "a notified event can be signaled again"


def test_notifications_wait_for_the_tpl(lab: Lab) -> None:
    log: list[int] = []

    def noting(name: int) -> int:
        def body(*_: int) -> Body:
            log.append(name)
            return 0
            yield Compute(0)

        return lab.function(body)

    low = lab.event(SIGNAL, CALLBACK, noting(8))
    low2 = lab.event(SIGNAL, CALLBACK, noting(9))
    high = lab.event(SIGNAL, NOTIFY, noting(16))
    assert lab.bs("RaiseTPL", HIGH) == APPLICATION
    assert not lab.cpu.get("eflags") & 0x200, "TPL_HIGH_LEVEL masks interrupts"
    for event in (low, low2, high):
        lab.ok("SignalEvent", event)
    assert log == []
    lab.bs("RestoreTPL", CALLBACK)
    assert log == [16], "only what is above TPL_CALLBACK"
    assert lab.cpu.get("eflags") & 0x200
    lab.bs("RestoreTPL", APPLICATION)
    assert log == [16, 8, 9], "the highest first, then in the order of signaling"


def test_a_notify_function_runs_at_its_tpl_and_may_call_services(lab: Lab) -> None:
    seen: list[int] = []

    def body(*_: int) -> Body:
        old = yield lab.calling("RaiseTPL", HIGH)
        seen.append(old)
        yield lab.calling("RestoreTPL", old)
        return (yield lab.calling("AllocatePool", 2, 100, lab.cell()))

    lab.ok("SignalEvent", lab.event(SIGNAL, NOTIFY, lab.function(body)))
    assert seen == [NOTIFY]
    assert lab.shim.events.tpl == APPLICATION


def test_a_notification_interrupts_a_lower_one(lab: Lab) -> None:
    order: list[str] = []

    def outer(*_: int) -> Body:
        order.append("outer begins")
        yield lab.calling("SignalEvent", inner_event)
        order.append("outer ends")
        return 0

    def inner(*_: int) -> Body:
        order.append("inner")
        return 0
        yield Compute(0)

    inner_event = lab.event(SIGNAL, NOTIFY, lab.function(inner))
    lab.ok("SignalEvent", lab.event(SIGNAL, CALLBACK, lab.function(outer)))
    assert order == ["outer begins", "inner", "outer ends"]


def test_groups(lab: Lab) -> None:
    log: list[tuple[int, ...]] = []
    function = lab.board.constant(0, log)
    first = lab.event(SIGNAL, CALLBACK, function, 1, GROUP)
    lab.event(SIGNAL, CALLBACK, function, 2, GROUP)
    silent = lab.event(0, 0, 0, 0, GROUP)
    lab.ok("SignalEvent", first)
    assert [call[1] for call in log] == [1, 2]
    assert lab.bs("CheckEvent", silent) == SUCCESS
    assert lab.bs("CheckEvent", silent) == NOT_READY, "checking clears it"


def test_a_closed_event_is_out_of_its_group(lab: Lab) -> None:
    log: list[tuple[int, ...]] = []
    function = lab.board.constant(0, log)
    first = lab.event(SIGNAL, CALLBACK, function, 1, GROUP)
    second = lab.event(SIGNAL, CALLBACK, function, 2, GROUP)
    lab.ok("CloseEvent", second)
    assert lab.bs("CloseEvent", second) == INVALID
    lab.ok("SignalEvent", first)
    assert [call[1] for call in log] == [1]


def test_memory_map_change_is_signaled(lab: Lab) -> None:
    log: list[tuple[int, ...]] = []
    lab.event(SIGNAL, CALLBACK, lab.board.constant(0, log), 0, MEMORY_MAP_CHANGE)
    log.clear()
    lab.ok("AllocatePages", 0, 2, 1, lab.cell())
    assert len(log) == 1


def test_configuration_tables_signal_the_group_of_their_guid(lab: Lab) -> None:
    log: list[tuple[int, ...]] = []
    lab.event(SIGNAL, CALLBACK, lab.board.constant(0, log), 0, GROUP)
    lab.ok("InstallConfigurationTable", lab.guid(GROUP), 0x1000)
    assert len(log) == 1


def test_wait_for_event_lets_time_pass(lab: Lab) -> None:
    event = lab.event(TIMER)
    other = lab.event()
    lab.ok("SetTimer", event, 2, 50 * MS // 100)
    index = lab.cell(7)
    events = lab.put(other.to_bytes(8, "little") + event.to_bytes(8, "little"))
    lab.ok("WaitForEvent", 2, events, index)
    assert lab.value(index) == 1
    assert lab.board.clock.now == 50 * MS
    assert lab.bs("CheckEvent", event) == NOT_READY, "the event was cleared"


def test_wait_for_event_takes_the_first_that_is_signaled(lab: Lab) -> None:
    first, second = lab.event(), lab.event()
    lab.ok("SignalEvent", second)
    lab.ok("SignalEvent", first)
    index = lab.cell()
    lab.ok("WaitForEvent", 2, lab.put(first.to_bytes(8, "little") + second.to_bytes(8, "little")), index)
    assert lab.value(index) == 0


def test_wait_for_event_only_at_application_level(lab: Lab) -> None:
    event = lab.event()
    lab.bs("RaiseTPL", CALLBACK)
    assert lab.bs("WaitForEvent", 1, lab.cell(event), lab.cell()) == UNSUPPORTED


def test_waiting_for_what_cannot_come_ends_the_run(lab: Lab) -> None:
    lab.shim.events.arm_watchdog(0)
    lab.bs("WaitForEvent", 1, lab.cell(lab.event()), lab.cell())
    assert lab.board.stopped is not None
    assert lab.board.stopped == "halted"


def test_notify_wait_events_are_asked(lab: Lab) -> None:
    """7.1.6: the notify function of an EVT_NOTIFY_WAIT event may signal it."""
    asked: list[int] = []

    def body(event: int, *_: int) -> Body:
        asked.append(event)
        if len(asked) == 3:
            yield lab.calling("SignalEvent", event)
        return 0

    event = lab.event(WAIT, CALLBACK, lab.function(body))
    assert lab.bs("CheckEvent", event) == NOT_READY
    assert lab.bs("CheckEvent", event) == NOT_READY
    assert lab.bs("CheckEvent", event) == SUCCESS
    assert asked == [event] * 3


@pytest.mark.parametrize(("kind", "expected"), [(1, [10, 20, 30]), (2, [10])])
def test_timers(lab: Lab, kind: int, expected: list[int]) -> None:
    times: list[int] = []

    def body(*_: int) -> Body:
        times.append(lab.board.clock.now // MS)
        return 0
        yield Compute(0)

    event = lab.event(TIMER | SIGNAL, CALLBACK, lab.function(body))
    lab.ok("SetTimer", event, kind, 10 * MS // 100)
    lab.ok("Stall", 35_000)
    assert times == expected
    assert lab.board.clock.now == 35 * MS


def test_a_cancelled_timer_stays_silent(lab: Lab) -> None:
    log: list[tuple[int, ...]] = []
    event = lab.event(TIMER | SIGNAL, CALLBACK, lab.board.constant(0, log))
    lab.ok("SetTimer", event, 1, 1000)
    lab.ok("SetTimer", event, 0, 0)
    lab.ok("Stall", 10_000)
    assert log == []


def test_a_trigger_time_of_zero_is_the_next_tick(lab: Lab) -> None:
    log: list[tuple[int, ...]] = []
    lab.ok("SetTimer", lab.event(TIMER | SIGNAL, CALLBACK, lab.board.constant(0, log)), 1, 0)
    lab.ok("Stall", 9_999)
    assert len(log) == 0
    lab.ok("Stall", 10_001)
    assert len(log) == 2


def test_a_timer_interrupts_a_computing_image_and_nothing_is_lost(lab: Lab) -> None:
    """The registers that a notify function may change freely come back as they were."""
    seen: list[tuple[int, ...]] = []

    def notify(*arguments: int) -> Body:
        seen.append(arguments[:2])
        for register in ("rax", "rcx", "rdx", "r8", "r9", "r10", "r11"):
            lab.cpu.set(register, 0xDEAD)
        return 0
        yield Compute(0)

    def image(*_: int) -> Body:
        yield lab.calling("SetTimer", event, 2, 5 * MS // 100)
        for register in ("rax", "rcx", "rdx", "r8", "r9", "r10", "r11"):
            lab.cpu.set(register, 0x1234)
        lab.cpu.set("eflags", 0x2C7)
        yield Compute(20 * MS)
        state = {lab.cpu.get(register) for register in ("rax", "rcx", "rdx", "r8", "r9", "r10", "r11")}
        assert state == {0x1234}
        assert lab.cpu.get("eflags") == 0x2C7
        return 77

    event = lab.event(TIMER | SIGNAL, CALLBACK, lab.function(notify), 0x99)
    assert lab.board.call(lab.function(image)) == 77
    assert seen == [(event, 0x99)]
    assert lab.shim.dispatcher.depth == 0


def test_interrupts_off_put_a_timer_off(lab: Lab) -> None:
    log: list[tuple[int, ...]] = []

    def image(*_: int) -> Body:
        yield lab.calling("SetTimer", event, 2, 5 * MS // 100)
        lab.cpu.set("eflags", 0x2)
        yield Compute(10 * MS)
        assert log == []
        lab.cpu.set("eflags", 0x202)
        yield Compute(20 * MS)
        return 0

    event = lab.event(TIMER | SIGNAL, CALLBACK, lab.board.constant(0, log))
    lab.board.call(lab.function(image))
    assert len(log) == 1


def test_the_watchdog(lab: Lab) -> None:
    lab.ok("SetWatchdogTimer", 2, 0x10000, 0, 0)
    lab.ok("Stall", 1_999_999)
    assert lab.board.stopped is None
    lab.bs("Stall", 2)
    assert lab.board.stopped is not None
    assert "watchdog" in lab.board.stopped


def test_the_watchdog_can_be_switched_off(lab: Lab) -> None:
    lab.ok("SetWatchdogTimer", 2, 0x10000, 0, 0)
    lab.ok("SetWatchdogTimer", 0, 0, 0, 0)
    lab.ok("Stall", 5_000_000)
    assert lab.board.stopped is None
