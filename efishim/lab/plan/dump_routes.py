"""Plans that compare a dump with routes: the same kernel, told by providers what the dump tells it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

from efishim.dump.opened import open_dump
from efishim.dump.reader import reader_of
from efishim.errors import UsageError
from efishim.image.entries import Entry
from efishim.image.opened import Image
from efishim.lab.plan.arguments import Words
from efishim.lab.plan.from_dump import plan_opened, require_no_more, told
from efishim.lab.plan.plan import Blob, Plan, format_size
from efishim.lab.plan.routes import NoRoute, plan_routes
from efishim.plugins import Registry

PLATFORM_GROUP = "platform."


def plan_dump_routes(
    registry: Registry,
    path: str,
    find_image: Callable[[], Blob] | None,
    opened: Callable[[Blob], Image],
    routes: Sequence[str],
    words: Words,
) -> tuple[list[Plan], list[NoRoute]]:
    """Plans for the routes, the first of which is the reference, and for the dump as the last; without routes, for the provider
    that drives the entry of the dump.

    What the user does not say is as in the dump: platform, RAM size, command line, and the ramdisks by content. Raises what
    `plan_dump` and `plan_routes` raise.
    """
    options = tuple(one for one in words.options if one.startswith(PLATFORM_GROUP))
    own = replace(words, cmdline=None, initrds=(), no_initrd=False, options=options)
    require_no_more(own)
    dump = open_dump(path)
    dumped = plan_opened(registry, dump, find_image, own)
    cmdline = words.cmdline
    if cmdline is None:
        text = dumped.cmdline.decode("utf-8", "surrogateescape")
        cmdline = f"@{text}" if text.startswith("@") else text
    theirs = replace(
        words,
        entry=None,
        cmdline=cmdline,
        platform=words.platform or dumped.platform,
        memory=words.memory or format_size(dumped.memory),
    )
    chosen = routes or (_reference(registry, dumped),)
    found, without = plan_routes(registry, opened(dumped.image), dumped.image, chosen, asdict(theirs))
    if not words.initrds and not words.no_initrd:
        ramdisks = told(registry, dump, Entry(dumped.entry), ramdisks=True).ramdisks
        found = [_with_ramdisks(plan, ramdisks) for plan in found]
    return [*found, dumped], without


def _reference(registry: Registry, plan: Plan) -> str:
    provider = reader_of(registry.providers_ours_first, Entry(plan.entry))
    if provider is None:
        raise UsageError(f"no provider drives the entry {plan.entry}", hint="name a route with -r")
    return f"{provider.name}/{plan.entry}"


def _with_ramdisks(plan: Plan, ramdisks: tuple[Blob, ...]) -> Plan:
    """The ramdisks of the dump; where they are what a run has by default, the plan stays as it is."""
    if [one.sha256 for one in plan.initrds] == [one.sha256 for one in ramdisks]:
        return plan
    note = "the ramdisk is that of the dump, and the command that reproduces this run needs it as a file"
    notes = (*plan.notes, note) if ramdisks else plan.notes
    return replace(plan, initrds=ramdisks, default_initrd=False, notes=notes)
