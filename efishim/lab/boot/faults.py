"""Puts the faults of a plan into a machine that is ready to run."""

from __future__ import annotations

from efishim.injection import Injections
from efishim.lab.boot.booted import Booted
from efishim.lab.plan.faults import parse_faults
from efishim.lab.plan.plan import Plan
from efishim.machine.machine import Machine
from efishim.platform.failing import failing_kvm, silence_devices
from efishim.platform.xen.hypervisor import failing
from efishim.platform.xen.inquiry import is_xen
from efishim.plugins import Registry


def inject(plan: Plan, booted: Booted, machine: Machine, registry: Registry) -> None:
    """What was called while the machine was prepared does not count. Raises UsageError."""
    if not plan.fail:
        return
    more = [one.full_name for protocol in registry.firmware_protocols for one in getattr(protocol, "functions", ())]
    booted.injections = Injections(parse_faults(plan.fail, more))
    if booted.shim is not None:
        booted.shim.dispatcher.injections = booted.injections
    if booted.bios is not None:
        booted.bios.injections = booted.injections
    silence_devices(machine, booted.injections)
    if machine.hypercall is not None:
        answering = failing if is_xen(machine) else failing_kvm
        machine.hypercall = answering(machine, machine.hypercall, booted.injections)
