"""Records that a study keeps in a folder of the user's: the user's own files in it stay."""

from __future__ import annotations

from pathlib import Path

import msgspec

from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.running import Result
from efishim.plugins import load_plugins
from efishim.study.kept import keep, kept, place
from tests.records import a_record

REGISTRY = load_plugins()
PLAN = Plan(image=Blob.embedded("embedded:probe", b"image"), provider="firmware", entry="efi", platform="pc")


def test_what_is_kept_is_found_and_the_users_files_stay(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "records"
    image = msgspec.structs.replace(a_record().image, path=PLAN.image.label, sha256=PLAN.image.sha256)
    record = a_record(image=image, route=PLAN.route_name(), options=PLAN.record_options(), reproduce=PLAN.reproduce())
    keep(folder, Result(PLAN, record), REGISTRY)
    target = place(folder, PLAN, REGISTRY)
    assert target is not None
    assert list(folder.iterdir()) == [target]
    target.unlink()
    for name in (".holiday.partial", ".holiday.pictures.partial", "x.partial"):
        (folder / name).touch()
    keep(folder, Result(PLAN, record), REGISTRY)
    assert len(list(folder.iterdir())) == 4
    assert kept(folder, PLAN, REGISTRY) is not None
