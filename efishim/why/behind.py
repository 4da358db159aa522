"""Runs on from the meeting point, and collects what the kernel did: a record of what lies behind it, and its facts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from importlib.metadata import version

import efishim
from efishim.compare.areas import piece
from efishim.compare.behaviour import behaviour
from efishim.lab import collect
from efishim.lab.observe.code_parts import CodeLayout, coverage
from efishim.lab.observe.code_ways import Notes
from efishim.lab.observe.image_code import ImageCode
from efishim.lab.observe.limits import RunLimits
from efishim.lab.record import FunctionCoverage, Milestone, Record, Tool, encode
from efishim.why.side import Side

WAY = "meeting", "startup_64"
"""What the record has for provider and entry: it begins where ways meet, and which way led there is not in it."""


@dataclass(frozen=True)
class Behind:
    """What happened behind the meeting point. `digest` is over the whole record but the host's seconds."""

    facts: dict[str, str]
    digest: str
    outcome: str
    insns: int
    virtual_ns: int = 0
    exceptions: int = 0
    """How many were delivered."""


@dataclass(frozen=True)
class Limit:
    """When an experiment is given up: the kernel hangs. Instructions and nanoseconds of guest time since power-on, and
    exceptions since the meeting point: a kernel in a loop of faults executes few instructions.
    """

    insns: int
    when: int
    exceptions: int

    def give_up(self, side: Side) -> None:
        """Have the machine stop when it is time."""
        side.machine.max_exceptions = self.exceptions
        said = "the kernel had far more time than in the runs without experiments"
        side.machine.clock.at(self.when, lambda: side.machine.stop("endless loop", said))


def run_on(side: Side, limit: Limit | None = None) -> Record:
    """Let the machine go on to the end, or to the limit; the record of that. It is the machine's last run."""
    machine, names = side.machine, side.names
    plan = replace(side.plan, provider=WAY[0], entry=WAY[1], options=(), profile=None, without=(), shim=None, notes=())
    limits = RunLimits(machine, timeout=plan.timeout, interrupt=None, seconds=lambda: 0.0)
    most = plan.max_insns
    if limit is not None:
        limit.give_up(side)
        most = min(most, limit.insns)
    stop = machine.run(max_insns=most, poll=limits)
    if stop.reason == "shutdown":
        side.milestones.reach(Milestone.SHUTDOWN)
    points = side.milestones.points
    calls = side.booted.calls()[side.calls_before :]
    native = machine.engine.native
    layout = CodeLayout(at_kernel=0, at_userspace=side.blocks_at.get(Milestone.USERSPACE))
    ran = coverage(
        native.blocks(), native.times_entered(), layout, names, ImageCode(b""), Notes(*native.origins(), native.resumed)
    )
    return Record(
        tool=Tool(name="efishim", version=efishim.__version__, unicorn=version("unicorn")),
        image=collect.image(side.image, plan),
        route=plan.route_name(),
        options=plan.record_options(),
        milestones=[collect.named(point, names) for point in points],
        outcome=collect.outcome(stop, plan, points, machine, names.ref(machine.cpu.get("rip")), 0.0),
        firmware_calls=collect.firmware_calls(calls, names),
        machine=None,
        entry_view=None,
        abi=None,
        boot_view=None,
        kernel_view=None,
        ledger=collect.ledger(machine, side.booted.resources, names),
        ledger_dropped=machine.ledger.dropped,
        coverage=ran,
        consumed=None,
        console=collect.console(side.console.data),
        console_dropped=side.console.dropped,
        reproduce="",
    )


def behind(side: Side, limit: Limit | None = None) -> Behind:
    """What is compared of the record of a run from here on."""
    return of_record(run_on(side, limit), side.machine.exceptions)


def plain(side: Side) -> tuple[Behind, list[FunctionCoverage]]:
    """The same, and the code that ran, of a run without an experiment."""
    record = run_on(side)
    return of_record(record, side.machine.exceptions), record.coverage.functions


def of_record(record: Record, exceptions: int) -> Behind:
    """What is compared of it."""
    facts, maps = behaviour(record)
    areas = {piece(whole, one.start, one.end).path: one.label for whole, found in maps.items() for one in found}
    digest = hashlib.sha256(encode(record)).hexdigest()
    return Behind(
        {**{fact.path: value for fact, value in facts.items()}, **areas},
        digest,
        record.outcome.reason.value,
        record.outcome.insns,
        record.outcome.virtual_ns,
        exceptions,
    )
