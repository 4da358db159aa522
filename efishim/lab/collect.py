"""Collects the parts of a record after a run."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from efishim.image.opened import Image
from efishim.lab import record as rec
from efishim.lab.boot.booted import Booted
from efishim.lab.observe.address_names import AddressNames
from efishim.lab.plan.plan import Plan
from efishim.lab.record import Milestone, MilestonePoint, Reason, hexadecimal
from efishim.logged_call import LoggedCall
from efishim.machine.ledger import Kind, Touch
from efishim.machine.machine import Machine, Stop
from efishim.platform.resources import Owners, Resource, hypercall_name
from efishim.plugins import Registry

REASONS = {
    "shutdown": Reason.SHUTDOWN,
    "milestone reached": Reason.MILESTONE,
    "reset": Reason.RESET,
    "triple fault": Reason.TRIPLE_FAULT,
    "kernel panic": Reason.PANIC,
    "endless loop": Reason.ENDLESS_LOOP,
    "halted": Reason.HALTED,
    "insn limit": Reason.INSN_LIMIT,
    "timeout": Reason.TIMEOUT,
    "interrupted": Reason.INTERRUPTED,
    "wild jump": Reason.WILD_JUMP,
    "too much work": Reason.TOO_MUCH_WORK,
}
PREFIXES = (
    ("firmware exception", Reason.FIRMWARE_EXCEPTION),
    ("image returned", Reason.EXIT),
    ("shutdown", Reason.SHUTDOWN),
    ("reset", Reason.RESET),
)


def reason_of(stop: Stop) -> Reason:
    """The record's word for why the machine stopped."""
    found = REASONS.get(stop.reason)
    if found is not None:
        return found
    for prefix, reason in PREFIXES:
        if stop.reason.startswith(prefix):
            return reason
    return Reason.EMULATOR


def outcome(
    stop: Stop, plan: Plan, points: list[MilestonePoint], machine: Machine, at: rec.CodeRef, seconds: float
) -> rec.Outcome:
    """How the run ended, and where the guest was."""
    reason = reason_of(stop)
    return rec.Outcome(
        reached=points[-1].name if points else None,
        goal=plan.until,
        met=rec.meets(points, plan.until),
        reason=reason,
        details=stop.detail or ("" if stop.reason == reason.value else stop.reason),
        at=at,
        insns=machine.insns,
        virtual_ns=machine.clock.now,
        seconds=seconds,
        reproducible=reason not in rec.UNREPEATABLE,
    )


def named(point: MilestonePoint, names: AddressNames) -> MilestonePoint:
    """A milestone with its place named by what was learnt later."""
    if point.at is None:
        return point
    return msgspec.structs.replace(point, at=names.ref(point.at.address, point.insns))


def plugins(registry: Registry, plan: Plan, booted: Booted) -> list[rec.PluginUse] | UnsetType:
    """The plugins of other packages that took part; nothing when there are none."""
    shim = booted.shim is not None or booted.guest_shim is not None
    chosen = [
        ("efishim_providers", plan.provider),
        ("efishim_platforms", plan.platform),
        ("efishim_loaders", plan.loader.name if plan.loader is not None else ""),
        ("efishim_entries", plan.entry),
        ("efishim_image_sources", plan.image.label.partition(":")[0]),
        ("efishim_profiles", plan.profile.label if plan.profile is not None else ""),
    ]
    found = registry.took_part(chosen, protocols=shim, observers=plan.observers)
    if not found:
        return UNSET
    return [
        rec.PluginUse(name=one.name, distribution=one.distribution, version=one.version, sha256=one.sha256) for one in found
    ]


def image(opened: Image, plan: Plan) -> rec.Image:
    """The image, with its entries: efishim's own, and the one that was used. Those that other plugins would find in it depend
    on what is installed, and a record does not.
    """
    entries = [entry.value for entry in opened.entries]
    return rec.Image(
        path=plan.image.label,
        sha256=plan.image.sha256,
        size=plan.image.size,
        format=opened.format,
        version=opened.version,
        entries=entries if plan.loader is not None or plan.entry in entries else [*entries, plan.entry],
    )


def dump(plan: Plan, booted: Booted) -> rec.DumpUse | UnsetType:
    """The dump that the run began with."""
    if booted.dump is None:
        return UNSET
    first, *others = (blob.as_file() for blob in plan.dump)
    return rec.DumpUse(
        path=first.path,
        sha256=first.sha256,
        size=first.size,
        form=booted.dump.form,
        files=others,
        derived=list(booted.dump.derived),
    )


def firmware_calls(calls: list[LoggedCall], names: AddressNames) -> list[rec.FirmwareCall]:
    """The firmware calls with their callers named."""
    return [
        rec.FirmwareCall(
            service=call.service,
            args=[rec.Argument(name=name, value=value) for name, value in call.args],
            status=call.status,
            insns=call.insns,
            results=[rec.Argument(name=name, value=value) for name, value in call.results],
            caller=names.ref(call.caller, call.insns),
            repeats=call.repeats,
            injected=True if call.injected else UNSET,
        )
        for call in calls
    ]


def _what(touch: Touch, resources: tuple[Resource, ...]) -> str:
    if touch.kind is Kind.HYPERCALL:
        return hypercall_name(resources, touch.address >> 32, touch.address & 0xFFFFFFFF)
    if touch.kind is Kind.CPUID:
        leaf, subleaf = touch.address >> 32, touch.address & 0xFFFFFFFF
        return f"{leaf:#x}.{subleaf:#x}" if leaf in SUBLEAVES else hexadecimal(leaf)
    return hexadecimal(touch.address)


SUBLEAVES = frozenset({4, 7, 0xB, 0xD, 0xF, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1F, 0x8000001D})
"""CPUID leaves for which ECX matters (Intel SDM volume 2, CPUID)."""


def _device(touch: Touch, owners: Owners) -> Resource | None:
    match touch.kind:
        case Kind.PORT:
            return owners.port(touch.address)
        case Kind.MMIO:
            return owners.mmio(touch.address)
        case Kind.MSR:
            return owners.msr(touch.address)
        case Kind.HYPERCALL:
            return owners.hypervisor
    return None


def ledger(machine: Machine, resources: tuple[Resource, ...], names: AddressNames) -> list[rec.LedgerEntry]:
    """One entry for each thing touched, in the order of the first touch; `code` is who did it first."""
    owners = Owners(resources)
    merged: dict[tuple[Kind, str], tuple[Resource | None, list[Touch]]] = {}
    sweeps: dict[str, tuple[Kind, str]] = {}
    for touch in machine.ledger.touches():
        device = _device(touch, owners)
        key = (touch.kind, _what(touch, resources))
        if touch.kind is Kind.MMIO and device is not None and not device.present:
            # Who searches empty memory reads thousands of addresses: one entry for all of them.
            key = sweeps.setdefault(device.name, key)
        merged.setdefault(key, (device, []))[1].append(touch)
    refs: dict[tuple[int, bool], rec.CodeRef] = {}
    entries = []
    for (kind, what), (device, touches) in merged.items():
        low, high = min(touch.address for touch in touches), max(touch.address for touch in touches)
        if kind is Kind.MMIO and low != high:
            what = f"{low:#x}-{high:#x}"  # noqa: PLW2901 - the name of the merged entry
        group = device.name if device is not None else ""
        if kind is Kind.CPUID:
            group = "hypervisor leaves" if what.startswith("0x4000") else "CPUID"
        first = min(touches, key=lambda touch: touch.first)
        # One loop over a hole in memory makes tens of thousands of entries.
        place = first.code, first.first < names.kernel_runs_from
        if place not in refs:
            refs[place] = names.ref(first.code, first.first)
        entries.append(
            rec.LedgerEntry(
                kind=rec.LedgerKind(kind.value),
                what=what,
                device=device.name if device is not None and device.present else "",
                group=group,
                reads=sum(touch.count for touch in touches if not touch.write),
                writes=sum(touch.count for touch in touches if touch.write),
                first_insns=first.first,
                last_insns=max(touch.last for touch in touches),
                code=refs[place],
            )
        )
    return entries


def console(data: bytearray) -> str:
    """The guest's console as text."""
    return rec.console_text(bytes(data))[0]


def console_before(data: bytearray, booted: Booted) -> int | UnsetType:
    """Characters of the console that a boot loader wrote before the image began."""
    if booted.loader is None or not booted.loader.entry:
        return UNSET
    return len(console(data[: booted.console_before]))


__all__ = [
    "Milestone",
    "console",
    "console_before",
    "firmware_calls",
    "image",
    "ledger",
    "named",
    "outcome",
    "plugins",
    "reason_of",
]
