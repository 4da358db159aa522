"""The machine of a plan, before anything is attached to it."""

from __future__ import annotations

from efishim.lab.plan.machine_options import MACHINE_GROUP, machine_options
from efishim.lab.plan.plan import Plan
from efishim.machine.machine import Machine


def machine_for(plan: Plan) -> Machine:
    """A machine that is off, with the plan's seed and processor. Raises UsageError for a wrong option."""
    chosen = machine_options(plan.option_group(MACHINE_GROUP))
    return Machine(seed=plan.seed, insns_per_us=chosen.insns_per_us)
