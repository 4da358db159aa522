"""Turns the arguments of `efishim run` into a plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypedDict, assert_never

from efishim.closest import suggestion
from efishim.errors import ImageError, UsageError
from efishim.firmware.profile import ProfileError, weakenings
from efishim.firmware.profile_files import FILE_LIMIT, read_profile
from efishim.image.entries import Entry as ImageEntry
from efishim.lab.plan import default_words, modules, setup_data
from efishim.lab.plan import plan as plans
from efishim.lab.plan.faults import is_bios, is_efi, parse_faults
from efishim.lab.plan.loader_plan import plan_disk, plan_loader, split_loader
from efishim.lab.plan.machine_options import MACHINE_GROUP, MACHINE_OPTIONS, machine_options
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.plan.shim_options import SHIM_GROUP, SHIM_OPTIONS, shim_options
from efishim.lab.record import Milestone, ShimPlace
from efishim.plugins import Registry
from efishim.provider import Entry, FirmwareProfile, Platform, Provider


@dataclass(frozen=True, slots=True)
class Words:
    """The options of `run` as they were typed; None is for what was not."""

    provider: str | None = None
    entry: str | None = None
    platform: str = "pc"
    cmdline: str | None = None
    initrds: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    no_initrd: bool = False
    memory: str = "512M"
    until: str = Milestone.SHUTDOWN.value
    max_insns: str | None = None
    timeout: float | None = None
    seed: int = 0
    epoch: int | None = None
    options: tuple[str, ...] = ()
    system_map: str | None = None
    no_observers: bool = False
    profile: str | None = None
    without: tuple[str, ...] = ()
    fail: tuple[str, ...] = ()
    setup_data: tuple[str, ...] = ()
    shim: str | None = None
    loader: str | None = None
    disk: str | None = None


def make_plan(registry: Registry, find_image: Callable[[], Blob], words: Words) -> Plan:
    """The plan that the words ask for. Raises UsageError and ImageError, one sentence each.

    The image is found last: fetching one takes a while, and what is wrong with the words shows before.
    """
    _require_loader(registry, words)
    provider = registry.default_provider() if words.provider is None else registry.provider(words.provider)
    platform = registry.platform(words.platform)
    entry = _entry(provider, words.entry)
    if (words.profile or words.without) and not entry.through_shim:
        raise UsageError(
            f"{provider.name}/{entry.name} has no firmware whose answers could be chosen",
            hint="profiles are for routes behind the EFI shim",
        )
    shim = None if words.shim is None else ShimPlace(words.shim)
    if shim is not None:
        _require_place(shim, provider, entry, words)
    fail = _faults(words, registry, provider, entry)
    options = plans.parse_options(words.options, known_options(provider, entry, platform, shim))
    for group, declared in ((provider.name, provider.options), ("platform", platform.options)):
        given = plans.option_group(options, group)
        for one in declared:
            if one.name in given:
                one.check(given)
    shim_options(plans.option_group(options, SHIM_GROUP))
    machine_options(plans.option_group(options, MACHINE_GROUP))
    limits = numbers(words)
    plan = Plan(
        provider=provider.name,
        entry=entry.name,
        platform=platform.name,
        cmdline=b"" if words.cmdline is None else plans.parse_cmdline(words.cmdline),
        initrds=_initrds(words) if not words.modules else modules.read(words, entry),
        default_initrd=not (words.initrds or words.modules or words.no_initrd),
        memory=plans.parse_memory(words.memory),
        options=options,
        profile=find_profile(words.profile, registry.profiles) if words.profile else None,
        without=_without(words.without),
        fail=fail,
        setup_data=setup_data.read(words.setup_data, entry, registry.entries),
        shim=shim,
        image=find_image(),
        **limits,
    )
    if words.cmdline is None:
        plan = replace(plan, cmdline=default_words.default_cmdline(plan.image))
    if plan.default_initrd:
        plan = replace(plan, initrds=default_words.default_ramdisks(plan.image))
    if words.disk is not None:
        return replace(plan, loader=plan_disk(words.disk), cmdline=b"", initrds=(), default_initrd=False)
    if words.loader is not None:
        loader = plan_loader(registry, words.loader, plan.image, plan.initrds, plan.cmdline)
        plan = replace(plan, loader=loader)
    notes = default_words.notes(plan.image, plan.cmdline, plan.initrds)
    return replace(plan, notes=notes) if notes else plan


def _require_loader(registry: Registry, words: Words) -> None:
    """Raises UsageError for words that a boot loader in front of the kernel has no use for."""
    if words.loader is None and words.disk is None:
        if words.until == Milestone.LOADER:
            raise UsageError("there is no loader in this run", hint="--loader NAME and --disk IMAGE have one")
        return
    what = "--disk" if words.disk is not None else "--loader"
    if words.loader is not None:
        split_loader(registry, words.loader)
    refused: dict[str, object] = {"-p": words.provider, "-e": words.entry, "--shim": words.shim, "--module": words.modules}
    refused |= {"--setup-data": words.setup_data}
    if words.disk is not None:
        refused |= {"--loader": words.loader, "-a": words.cmdline, "-i": words.initrds}
        refused |= {"--no-initrd": words.no_initrd}
    option = next((name for name, value in refused.items() if value), None)
    if option is not None:
        why = (
            "the disk says what the kernel is told"
            if words.disk is not None
            else "the loader decides how the kernel is started"
        )
        raise UsageError(f"{what} and {option} exclude each other: {why}")


class Numbers(TypedDict):
    """Parts of a plan that every route has."""

    until: Milestone
    max_insns: int
    timeout: float
    seed: int
    epoch: int
    observers: bool
    system_map: Blob | None


def numbers(words: Words) -> Numbers:
    """Limits, seed and clock. Raises UsageError, ImageError."""
    epoch = plans.DEFAULT_EPOCH if words.epoch is None else words.epoch
    timeout = plans.DEFAULT_TIMEOUT if words.timeout is None else words.timeout
    if not 0 <= words.seed < 1 << 64:
        raise UsageError(f"a seed is a number from 0 to 2**64-1, not {words.seed}")
    if not 0 <= epoch < 1 << 32:
        raise UsageError(f"the epoch is a number of seconds from 0 to 2**32-1, not {epoch}")
    if not 0 <= timeout < 1 << 32:  # also refuses NaN
        raise UsageError(f"the timeout is a number of seconds, or 0 for never, not {timeout}")
    return Numbers(
        until=Milestone(words.until),
        max_insns=plans.DEFAULT_MAX_INSNS if words.max_insns is None else plans.parse_count(words.max_insns),
        timeout=timeout,
        seed=words.seed,
        epoch=epoch,
        observers=not words.no_observers,
        system_map=Blob.from_file(words.system_map, what="System.map", limit=plans.MAP_LIMIT) if words.system_map else None,
    )


def _require_place(shim: ShimPlace, provider: Provider, entry: Entry, words: Words) -> None:
    """Raises UsageError for a route that has no shim there."""
    route = f"{provider.name}/{entry.name}"
    if not entry.through_shim:
        raise UsageError(f"{route} has no shim", hint="--shim is for routes behind the EFI shim")
    if shim is ShimPlace.HOST:
        return
    if shim is not ShimPlace.GUEST:
        assert_never(shim)
    if entry.name != ImageEntry.EFI or all(one.name != ImageEntry.PVH for one in provider.entries):
        raise UsageError(
            f"{route} has no shim in the guest: it is started through the PVH entry, and enters kernels at their EFI entry",
            hint="take -p hvmlite -e efi",
        )
    if words.profile or words.without or any(is_efi(fault.service) for fault in parse_faults(words.fail)):
        raise UsageError(
            "the shim in the guest answers as it answers: --profile, --without and --fail are for the one on the host"
        )


def known_options(provider: Provider, entry: Entry, platform: Platform, shim: ShimPlace | None = None) -> Mapping[str, str]:
    """What `--option` understands for a route on a platform: full names and their help."""
    groups = {provider.name: provider.options, "platform": platform.options, MACHINE_GROUP: MACHINE_OPTIONS}
    if entry.through_shim and shim is not ShimPlace.GUEST:
        groups[SHIM_GROUP] = SHIM_OPTIONS
    return {f"{group}.{one.name}": one.help for group, options in groups.items() for one in options}


def known_platform_options(platform: Platform) -> Mapping[str, str]:
    """What `--option` understands without a provider."""
    groups = {"platform": platform.options, MACHINE_GROUP: MACHINE_OPTIONS}
    return {f"{group}.{one.name}": one.help for group, options in groups.items() for one in options}


def _entry(provider: Provider, name: str | None) -> Entry:
    doors = {one.name: one for one in provider.entries}
    if not doors:
        raise UsageError(f"the provider {provider.name} drives no entry")
    if name is None:
        return provider.entries[0]
    if name not in doors:
        hint = f"{suggestion(name, doors)}it has: {', '.join(doors)}"
        raise UsageError(f"the provider {provider.name} has no entry {name!r}", hint=hint)
    return doors[name]


def find_profile(name: str, known: Mapping[str, FirmwareProfile]) -> Blob:
    """A profile by path, or by the name of one of those that plugins bring. Raises ProfileError and ImageError."""
    if name in known:
        blob = Blob.embedded(name, known[name].toml.encode("utf-8"))
    else:
        try:
            data = plans.read_bounded(name, "profile", FILE_LIMIT)
        except ImageError as error:
            hint = f"give a path, or one of these: {', '.join(known)}"
            raise ProfileError(error.sentence, hint=hint) from error
        blob = Blob.embedded(name, data)
    read_profile(blob.read(), name=name)
    return blob


def _faults(words: Words, registry: Registry, provider: Provider, entry: Entry) -> tuple[str, ...]:
    """The texts of the faults. Raises UsageError for those that this route cannot have."""
    more = [one.full_name for protocol in registry.firmware_protocols for one in getattr(protocol, "functions", ())]
    faults = parse_faults(words.fail, more)
    route = f"{provider.name}/{entry.name}"
    for fault in faults:
        if is_efi(fault.service) and not entry.through_shim:
            raise UsageError(f"{route} has no EFI firmware that could fail", hint="it is on routes behind the EFI shim")
        if is_bios(fault.service) and entry.through_shim:
            raise UsageError(f"{route} has no BIOS that could fail", hint="its calls are made on routes such as lilo/linux16")
    return tuple(fault.text for fault in faults)


def _without(texts: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((one.text, answer) for one, answer in weakenings(texts).items()))


def _initrds(words: Words) -> tuple[Blob, ...]:
    if words.no_initrd and words.initrds:
        raise UsageError("--no-initrd and -i contradict each other")
    return tuple(Blob.from_file(path, what="ramdisk") for path in words.initrds)
