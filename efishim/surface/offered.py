"""Lists the items that the firmware of a plan offers, by recording what the shim asks its profile."""

from __future__ import annotations

import os
from dataclasses import replace

from efishim.errors import RouteError
from efishim.firmware.profile import ABSENT, Item, Profile, ProfileOverrides
from efishim.firmware.profile_files import write_profile
from efishim.image.cachedir import cache_directory
from efishim.image.facts import KernelCache
from efishim.image.opened import open_image
from efishim.lab.boot.prepare import prepare
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import ShimPlace
from efishim.machine.machine import Machine
from efishim.plugins import Registry


def require_shim(registry: Registry, plan: Plan) -> None:
    """Raises RouteError when the route has no firmware whose answers could be chosen."""
    if plan.shim is ShimPlace.GUEST:
        raise RouteError("the shim in the guest answers as it answers: only the one on the host can be changed")
    if not any(one.through_shim for one in registry.provider(plan.provider).entries if one.name == plan.entry):
        raise RouteError(
            f"on the route {plan.route} the kernel finds no EFI firmware, so there is nothing to take away",
            hint="routes behind the EFI shim have one, such as firmware/efi or hvmlite/efi",
        )


def offered(plan: Plan, registry: Registry) -> tuple[Item, ...]:
    """Every item that is there for the image, in the order in which the shim builds them. Raises what `prepare` raises."""
    if plan.profile is None and not plan.without:
        plan = replace(plan, profile=Blob.embedded("everything", write_profile(Profile())))
    image = open_image(plan.image.read(), path=plan.image.label, cache=KernelCache(cache_directory(os.environ)))
    shim = prepare(plan, image, Machine(seed=plan.seed), registry, lambda data: None).shim
    if shim is None or not isinstance(shim.config.overrides, ProfileOverrides):
        return ()
    answers = shim.config.overrides
    return tuple(one for one in answers.offered if answers.of(one) != ABSENT)
