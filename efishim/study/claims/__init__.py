"""One experiment per file, in the order of the document."""

from __future__ import annotations

from efishim.study.claims import (
    agnostic,
    cpuid_early,
    dead_code,
    efi_huge,
    guest_kind,
    guest_shim,
    kaslr,
    minimum,
    native_mode,
    not_tested,
    ramdisk,
    same_code,
    shared_path,
    stub_does_more,
    subarch,
)
from efishim.study.experiment import Experiment

EXPERIMENTS: tuple[Experiment, ...] = (
    same_code.EXPERIMENT,
    shared_path.EXPERIMENT,
    stub_does_more.EXPERIMENT,
    guest_shim.EXPERIMENT,
    efi_huge.EXPERIMENT,
    minimum.EXPERIMENT,
    cpuid_early.EXPERIMENT,
    subarch.EXPERIMENT,
    ramdisk.EXPERIMENT,
    dead_code.EXPERIMENT,
    kaslr.EXPERIMENT,
    guest_kind.EXPERIMENT,
    native_mode.EXPERIMENT,
    agnostic.EXPERIMENT,
    not_tested.EXPERIMENT,
)
"""All of them."""
