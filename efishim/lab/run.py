"""Runs a plan and returns its record."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.metadata import version

from msgspec import UNSET, UnsetType

import efishim
from efishim.errors import ImageError, UsageError
from efishim.image.facts import KernelFacts
from efishim.image.opened import Image
from efishim.lab import collect
from efishim.lab.boot.from_dump import prepare_dump
from efishim.lab.boot.machine_for import machine_for
from efishim.lab.boot.opened_image import opened
from efishim.lab.boot.prepare import prepare
from efishim.lab.console import Console
from efishim.lab.debugger import Debuggers, DebugRequest
from efishim.lab.observe.address_names import AddressNames
from efishim.lab.observe.code import CodeObserver
from efishim.lab.observe.last_moments import LastWords
from efishim.lab.observe.limits import Interrupt, RunLimits
from efishim.lab.observe.milestones import Milestones, Moment
from efishim.lab.observe.plugin_observers import PluginObservers
from efishim.lab.observe.structure_watch import StructureWatch
from efishim.lab.observe.views import Views
from efishim.lab.plan.doors import require_door, require_route
from efishim.lab.plan.plan import Plan
from efishim.lab.progress import NoProgress, Progress
from efishim.lab.record import Coverage, LastMoments, Milestone, Record, Tool, meets
from efishim.lab.salvage import Salvage
from efishim.machine.machine import Machine, Stop
from efishim.plugins import Registry, load_plugins

TICK_SECONDS = 0.2


def run_plan(
    plan: Plan,
    *,
    console: Callable[[bytes], None] | None = None,
    progress: Progress | None = None,
    interrupt: Interrupt | None = None,
    registry: Registry | None = None,
    debug: DebugRequest | None = None,
) -> Record:
    """Run a plan. `console` gets the guest's serial output as it comes; `interrupt`, once set, ends the run with a
    partial record. Who only looks, as `debug` says, finds the record unchanged.

    Raises ImageError, RouteError, ProviderError, UsageError and MachineError, each with one sentence, before the guest's
    first instruction. What goes wrong behind it ends the run, and the record says so.
    """
    progress = progress or NoProgress()
    seconds = _stopwatch()
    registry = registry or load_plugins()
    progress.phase("opening the image")
    image = opened(plan.image)
    names = _names(image, plan, registry)
    progress.phase("building the machine")
    screen = Console(console)
    machine = machine_for(plan)
    machine.ledger.enabled = plan.observers
    booted = (prepare_dump if plan.dump else prepare)(plan, image, machine, registry, screen)
    names.physical_slide = booted.kernel_slide
    names.guest_shim = booted.guest_shim.symbols if booted.guest_shim is not None else None
    milestones = Milestones(machine, names, plan.until, seconds)
    milestones.arm()
    last = LastWords(machine, names, milestones)
    views = Views(machine, names, booted)
    structures = StructureWatch(machine, names) if plan.observers else None
    _follow(milestones, views, structures, progress)
    code = CodeObserver(machine, image, milestones, unpacked=booted.kernel_slide is not None)

    def at_entry() -> None:
        names.image_base, names.image_size, booted.console_before = booted.loaded.base, booted.loaded.size, len(screen.data)
        if plan.observers:
            views.at_entry(booted.entry_used(plan.entry))
            code.start(names)
        if structures is not None:
            structures.at_entry(booted.structures, **booted.tables())
            if booted.loaded.setup is not None:
                machine.watches.add(booted.loaded.base, structures.at_code32)
        milestones.reach(Milestone.ENTRY)

    def boot_services_left() -> None:
        milestones.reach(Milestone.EXIT_BOOT_SERVICES)
        if structures is not None:
            structures.at_exit_boot_services()

    booted.on_exit_boot_services(boot_services_left)
    plugin_observers = PluginObservers(registry.observers() if plan.observers else (), machine)
    progress.phase("running")
    booted.at_entry(at_entry, loader=lambda: milestones.reach(Milestone.LOADER))
    salvage, debuggers = Salvage(), Debuggers()
    limits = RunLimits(machine, timeout=plan.timeout, interrupt=interrupt, seconds=lambda: seconds() - debuggers.paused)
    with debuggers.watching(debug, machine, names, milestones, lambda: image.symbols, limits.overdue):
        stop = salvage.run(lambda: _run(machine, plan, milestones, limits, progress, seconds, screen.flush))
    progress.phase("collecting")
    _learn_symbols(names, image, plan, salvage)
    calls, points = booted.calls(), milestones.points
    stop, moments = _last(last, salvage, stop, bytes(screen.data), wanted=plan.observers and not meets(points, plan.until))
    consumed = salvage.part("consumed", structures.result, None) if structures is not None else None
    notes = [
        *plan.notes,
        *booted.all_notes(),
        *_debugged(machine),
        *salvage.part("observers", plugin_observers.finish, list[str]()),
    ]
    machine.memory.discard()  # the guest is not needed any more, and what follows needs room on the host
    return Record(
        tool=Tool(name="efishim", version=efishim.__version__, unicorn=version("unicorn")),
        plugins=collect.plugins(registry, plan, booted),
        image=collect.image(image, plan),
        route=plan.route_name(booted.entry_used(plan.entry)),
        options=plan.record_options(collect.dump(plan, booted)),
        milestones=salvage.part("milestones' code", lambda: [collect.named(point, names) for point in points], points),
        outcome=collect.outcome(stop, plan, points, machine, names.ref(last.at), seconds()),
        firmware_calls=salvage.part("firmware_calls", lambda: collect.firmware_calls(calls, names), []),
        firmware_calls_dropped=booted.calls_dropped(),
        machine=views.machine,
        entry_view=views.entry,
        abi=views.abi,
        boot_view=views.startup,
        kernel_view=views.start_kernel,
        ledger=salvage.part("ledger", lambda: collect.ledger(machine, booted.resources, names), []),
        ledger_dropped=machine.ledger.dropped,
        coverage=salvage.part("coverage", lambda: code.coverage(calls, names) if plan.observers else Coverage(), Coverage()),
        consumed=consumed,
        last_moments=moments,
        notes=[*notes, *salvage.notes],
        console=collect.console(screen.data),
        console_before=collect.console_before(screen.data, booted),
        console_dropped=screen.dropped,
        reproduce=plan.reproduce(),
    )


def _stopwatch() -> Callable[[], float]:
    """Seconds of host time from now on."""
    started = time.perf_counter()
    return lambda: round(time.perf_counter() - started, 6)


def _learn_symbols(names: AddressNames, image: Image, plan: Plan, salvage: Salvage) -> None:
    """All of the kernel's symbols, for what is collected now."""
    if names.symbols is None and plan.observers and names.facts is not None:
        names.symbols = salvage.part("the image's symbols", lambda: image.symbols, None)


def _last(
    last: LastWords, salvage: Salvage, stop: Stop, console: bytes, *, wanted: bool
) -> tuple[Stop, LastMoments | UnsetType]:
    """How the run ended, and what is shown of that."""
    unset: LastMoments | UnsetType = UNSET
    stop = salvage.part("what the panic said", lambda: last.ending(stop, console), stop)
    return stop, salvage.part("last_moments", lambda: last.result(stop, console), unset) if wanted else unset


def _debugged(machine: Machine) -> tuple[str, ...]:
    if machine.debugging is None or not machine.debugging.written:
        return ()
    return ("a debugger changed registers or memory: the command that reproduces this run does not repeat that",)


def _follow(milestones: Milestones, views: Views, structures: StructureWatch | None, progress: Progress) -> None:
    """Snapshots and watches at the moments that they are for, and what the user hears of them."""
    milestones.on_point(progress.milestone)
    milestones.at(Moment.BOOT_PARAMS, views.at_startup)
    milestones.at(Moment.START_KERNEL, views.at_start_kernel)
    if structures is not None:
        milestones.at(Moment.BOOT_PARAMS, structures.at_startup)
        milestones.at(Moment.START_KERNEL, structures.at_start_kernel)
        milestones.at(Moment.INIT, structures.at_init)


def _names(image: Image, plan: Plan, registry: Registry) -> AddressNames:
    """What can be known before the guest runs. Raises what the image or the plan is wrong about."""
    if plan.loader is None and not plan.dump:
        require_route(image, plan.provider, plan.entry, plan.option_group(plan.provider), registry)
    elif plan.loader is None:
        require_door(image, plan.entry, registry.entries)
    names = AddressNames(facts=_facts(image))
    if plan.until is Milestone.STARTUP_64 and image.is_32_bit_linux:
        raise UsageError("a 32-bit kernel has no startup_64", hint="--until start_kernel is the first milestone inside of it")
    if plan.system_map is not None:
        from efishim.image.symbols import symbols_from_system_map  # noqa: PLC0415 - rarely wanted

        names.symbols = symbols_from_system_map(plan.system_map.read().decode("utf-8", "replace"))
    return names


def _facts(image: Image) -> KernelFacts | None:
    """What is known about a kernel inside the image; an EFI application has none."""
    try:
        return image.kernel
    except ImageError:
        return None


def _run(
    machine: Machine,
    plan: Plan,
    milestones: Milestones,
    limits: RunLimits,
    progress: Progress,
    seconds: Callable[[], float],
    flush: Callable[[], None],
) -> Stop:
    last = 0.0

    def poll() -> Stop | None:
        nonlocal last
        if seconds() - last > TICK_SECONDS:
            last = seconds()
            progress.tick(machine.insns, machine.clock.now)
            flush()
        return limits()

    try:
        stop = machine.run(max_insns=plan.max_insns, poll=poll, overdue=limits.overdue)
    finally:
        flush()
    if stop.reason == "shutdown":
        milestones.reach(Milestone.SHUTDOWN)
    return stop
