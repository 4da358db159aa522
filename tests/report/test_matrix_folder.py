"""Where the records of a matrix lie."""

from __future__ import annotations

import dataclasses

from efishim.lab.plan.plan import Blob, Plan
from efishim.report.matrix_folder import place, twice

PLAN = Plan(image=Blob.embedded("embedded:probe", b"image"), provider="firmware", entry="efi", platform="pc")


def test_names_of_files_come_from_names_that_others_chose() -> None:
    for label in ("../../x", "/etc/passwd", "a\nb", "..", "", "\udcff", "x" * 5000, "deb:a_b/c"):
        strange = dataclasses.replace(PLAN, image=dataclasses.replace(PLAN.image, label=label), provider="dist:../name")
        parts = place(strange).split("/")
        assert len(parts) == 3
        assert all(part.isascii() and part.isprintable() and not part.startswith(".") and len(part) < 250 for part in parts)


def test_two_runs_with_one_place_are_found() -> None:
    assert twice([PLAN, dataclasses.replace(PLAN, entry="pvh")]) is None
    assert twice([PLAN, dataclasses.replace(PLAN, seed=1)]) == place(PLAN)
