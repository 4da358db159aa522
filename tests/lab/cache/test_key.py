"""The key of a run: it changes with everything that decides the record, and with nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from efishim.lab.cache.key import key_of
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Milestone, ShimPlace

IMAGE = Blob.embedded("embedded:probe", b"image")
PLAN = Plan(image=IMAGE, provider="firmware", entry="efi", platform="pc")

OTHERS: dict[str, Any] = {
    "image": Blob.embedded("embedded:probe", b"imagf"),
    "provider": "hvmlite",
    "entry": "pvh",
    "platform": "kvm",
    "cmdline": b"console=ttyS1",
    "initrds": (Blob.embedded("a", b"a"),),
    "memory": 1 << 30,
    "until": Milestone.INIT,
    "max_insns": 1,
    "timeout": 1.0,
    "seed": 1,
    "epoch": 1,
    "options": (("firmware.x", "1"),),
    "observers": False,
    "system_map": Blob.embedded("map", b"map"),
    "profile": Blob.embedded("profile", b"profile"),
    "without": (("BootServices.Stall", "absent"),),
    "shim": ShimPlace.GUEST,
    "default_initrd": True,
    "notes": ("a note",),
    "dump": (Blob.embedded("dump", b"dump"),),
}


def key(plan: Plan, software: str = "s", plugins: str = "p") -> str:
    return key_of(plan, software, plugins)


def _another(field: dataclasses.Field[Any]) -> Any:
    """Another value for a field that this file does not know."""
    default = field.default if field.default is not dataclasses.MISSING else ""
    for one in (not default if isinstance(default, bool) else None, (("x", "y"),), "x", 1):
        if one is not None and (isinstance(one, type(default)) or default is None):
            return one
    raise AssertionError(f"OTHERS needs a value for Plan.{field.name}")


@pytest.mark.parametrize("field", dataclasses.fields(Plan), ids=lambda field: field.name)
def test_each_field_of_a_plan_counts(field: dataclasses.Field[Any]) -> None:
    other = OTHERS[field.name] if field.name in OTHERS else _another(field)
    assert key(dataclasses.replace(PLAN, **{field.name: other})) != key(PLAN)


def test_software_and_plugins_count() -> None:
    assert len({key(PLAN), key(PLAN, software="t"), key(PLAN, plugins="q"), key(PLAN, software="p", plugins="s")}) == 4


def test_where_a_file_lies_does_not_count_but_its_name_in_the_record_does() -> None:
    here, there = (dataclasses.replace(IMAGE, data=None, path=path) for path in ("/a/k", "/b/k"))
    assert key(dataclasses.replace(PLAN, image=here)) == key(dataclasses.replace(PLAN, image=there))
    named = dataclasses.replace(IMAGE, label="other")
    assert key(dataclasses.replace(PLAN, image=named)) != key(PLAN)


def test_values_that_look_alike_are_told_apart() -> None:
    plans = [dataclasses.replace(PLAN, notes=notes) for notes in ((), ("",), ("a", "b"), ("a,b",), ('a", "b',))]
    plans += [dataclasses.replace(PLAN, cmdline=line) for line in (b"", b"\xff", b"\\xff")]
    assert len({key(plan) for plan in plans}) == len(plans)


def test_surrogates_of_a_path_have_a_key() -> None:
    named = dataclasses.replace(IMAGE, label="\udcff")
    assert key(dataclasses.replace(PLAN, image=named)) != key(PLAN)


def test_what_has_no_form_is_refused() -> None:
    with pytest.raises(TypeError, match="set has no key"):
        key(dataclasses.replace(PLAN, notes={"a"}))  # type: ignore[arg-type]
