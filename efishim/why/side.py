"""Brings a plan's machine to the point at which the ways meet: the kernel proper begins, with boot_params at RSI."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from efishim.errors import RouteError
from efishim.image.cachedir import cache_directory
from efishim.image.facts import KernelCache
from efishim.image.opened import Image, open_image
from efishim.image.symbols import Symbols
from efishim.lab.boot.booted import Booted
from efishim.lab.boot.machine_for import machine_for
from efishim.lab.boot.prepare import prepare
from efishim.lab.console import Console
from efishim.lab.observe.address_names import AddressNames
from efishim.lab.observe.limits import Interrupt, RunLimits
from efishim.lab.observe.milestones import Milestones, Moment
from efishim.lab.plan.plan import Plan
from efishim.lab.record import Milestone
from efishim.machine.machine import Machine
from efishim.plugins import Registry
from efishim.wire.bootparams import BootParams

MEETING = "the ways meet"
FOUR = 4
"""Instruction counts at the meeting are multiples of it, so that no part of a nanosecond is left over."""


@dataclass
class Side:
    """A machine that stands where the ways meet, and what is known about it."""

    plan: Plan
    image: Image
    machine: Machine
    booted: Booted
    names: AddressNames
    milestones: Milestones
    console: Console
    calls_before: int = 0
    blocks_at: dict[Milestone, int] = field(default_factory=dict)
    """How many blocks had run at each milestone behind the meeting point."""

    @property
    def route(self) -> str:
        """As users write it."""
        return f"{self.plan.provider}/{self.plan.entry}@{self.plan.platform}"

    @property
    def boot_params(self) -> int:
        """Where they lie."""
        return self.machine.cpu.get("rsi")

    @property
    def has_firmware(self) -> bool:
        """Does the host answer when the guest calls EFI?"""
        return self.booted.shim is not None

    @property
    def symbols(self) -> Symbols | None:
        """The kernel's."""
        return self.names.symbols


@dataclass(frozen=True)
class Start:
    """Instructions and nanoseconds at which both machines go on."""

    insns: int
    when: int


def arrive(plan: Plan, registry: Registry, *, interrupt: Interrupt | None = None) -> Side:
    """Boot up to the meeting point. Raises what preparing a run raises, and RouteError for a way that does not come there."""
    image = open_image(plan.image.read(), path=plan.image.label, cache=KernelCache(cache_directory(os.environ)))
    facts = image.kernel
    names = AddressNames(facts=facts)
    machine, console = machine_for(plan), Console(None)
    seconds = _stopwatch()
    booted = prepare(plan, image, machine, registry, console)
    names.physical_slide = booted.kernel_slide
    milestones = Milestones(machine, names, plan.until, lambda: 0.0)
    milestones.arm()
    milestones.at(Moment.BOOT_PARAMS, lambda: machine.stop(MEETING))
    limits = RunLimits(machine, timeout=plan.timeout, interrupt=interrupt, seconds=seconds)
    stop = machine.run(max_insns=plan.max_insns, poll=limits, overdue=limits.overdue)
    if stop.reason != MEETING:
        raise RouteError(f"{plan.route} does not reach startup_64: {stop.reason}", hint=stop.detail)
    if machine.memory.find(machine.cpu.get("rsi"), BootParams.SIZE) is None:
        raise RouteError(f"{plan.route} reaches startup_64 without boot_params at the address in RSI")
    names.image_base = names.image_size = 0  # behind the meeting point nothing of the image around the kernel runs
    names.symbols = image.symbols
    side = Side(plan, image, machine, booted, names, milestones, console)
    milestones.on_point(lambda point: side.blocks_at.update({point.name: machine.engine.state.log_used}))
    return side


def meet(one: Side, other: Side) -> Start:
    """Bring both to one clock, one count of instructions and one state of everything random. Raises RouteError where the kernel
    lies at different places, so that nothing of it could be set side by side.
    """
    if one.names.physical_slide != other.names.physical_slide:
        raise RouteError(
            "the kernel lies "
            f"{one.names.physical_slide or 0:#x} and {other.names.physical_slide or 0:#x} above where it is linked",
            hint="both routes have to load it at the same address: give nokaslr",
        )
    insns = -(-max(one.machine.insns, other.machine.insns) // FOUR) * FOUR
    moment = Start(insns, max(one.machine.now(), other.machine.now()))
    for side in (one, other):
        begin(side, moment)
    return moment


def begin(side: Side, moment: Start) -> None:
    """From here on everything is counted anew."""
    side.machine.begin(moment.insns, moment.when)
    side.console.data.clear()
    side.console.dropped = 0
    side.calls_before = len(side.booted.calls())
    side.milestones.points.clear()
    side.blocks_at.clear()


def _stopwatch() -> Callable[[], float]:
    started = time.perf_counter()
    return lambda: time.perf_counter() - started
