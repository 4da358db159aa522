"""The plan that a record was made from, so that its run can be repeated or varied."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from efishim.errors import EfishimError
from efishim.firmware.profile import ABSENT
from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.plan import DEFAULT_MAX_INSNS, DEFAULT_TIMEOUT, Blob, Plan, format_size, is_embedded, printable
from efishim.lab.record import Record
from efishim.plugins import Registry


class NotRepeatable(EfishimError):
    """The run of a record cannot be made again here; the sentence says in what it would be another one."""


def plan_of(record: Record, registry: Registry, find_image: Callable[[str | None], Blob]) -> Plan:
    """The plan. `find_image` gets the image as the record names it, None for one of efishim's own.

    Raises NotRepeatable where the plan would be another one, for example behind a boot loader, and what making a plan raises.
    """
    options, route = record.options, record.route
    default = all(is_embedded(one.path) for one in options.initrds)
    modules = any(one.cmdline for one in options.initrds)
    chosen = Words(
        provider=route.provider,
        entry=route.entry,
        platform=route.platform,
        cmdline="@" + options.cmdline if options.cmdline.startswith("@") else options.cmdline,
        initrds=() if default or modules else tuple(one.path for one in options.initrds),
        modules=tuple(f"{one.path}={one.cmdline or ''}" for one in options.initrds) if modules else (),
        no_initrd=not options.initrds,
        memory=format_size(options.memory),
        until=options.until.value,
        max_insns=str(options.max_insns),
        timeout=options.timeout,
        seed=options.seed,
        epoch=options.epoch,
        options=tuple(f"{name}={value}" for name, value in options.options.items()),
        system_map=options.system_map.path if options.system_map else None,
        no_observers=not options.observers,
        profile=options.profile.path if options.profile else None,
        without=tuple(name if answer == ABSENT else f"{name}={answer}" for name, answer in (options.without or {}).items()),
        fail=tuple(options.fail or ()),
        setup_data=tuple(
            f"{one.type}={one.body.path}" + (f"@{one.place}" if one.place else "") for one in options.setup_data or ()
        ),
        shim=options.shim.value if options.shim else None,
    )
    name = None if is_embedded(record.image.path) else record.image.path
    plan = make_plan(registry, lambda: find_image(name), chosen)
    if plan.image.sha256 != record.image.sha256:
        raise NotRepeatable(f"{printable(plan.image.label)} is not the image that it was made with")
    _require_same(plan, record)
    return bounded(plan)


def bounded(plan: Plan) -> Plan:
    """The plan of a record, which may be anybody's and ask for a run without end: with the limits that a run has by default,
    unless its own are lower.
    """
    timeout = min(plan.timeout or DEFAULT_TIMEOUT, DEFAULT_TIMEOUT)
    return replace(plan, max_insns=min(plan.max_insns, DEFAULT_MAX_INSNS), timeout=timeout)


def _require_same(plan: Plan, record: Record) -> None:
    made = plan.record_options()
    other = [name for name in made.__struct_fields__ if getattr(made, name) != getattr(record.options, name)]
    if not other and plan.reproduce() == record.reproduce:
        return
    if not other:
        again = Counter(shlex.split(plan.reproduce()))
        other = [word for word in (Counter(_split(record.reproduce)) - again) if word.startswith("-")] or ["its command"]
    raise NotRepeatable(f"it differs in {', '.join(other)}")


def _split(command: str) -> list[str]:
    """The words of a command of a record, which may be anything."""
    try:
        return shlex.split(command)
    except ValueError:
        return []
