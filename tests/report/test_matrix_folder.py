"""Where the records of a matrix lie."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from efishim.lab.plan.plan import Blob, Plan
from efishim.plugins import load_plugins
from efishim.report.files import OutputError
from efishim.report.matrix_folder import INDEX, MatrixFolder, place, twice
from tests.records import a_record

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


def test_a_link_in_the_folder_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "victim").write_bytes(b"precious")
    folder = MatrixFolder(tmp_path / "m")
    folder.write("matrix.md", b"good")
    for name in ("matrix.md", INDEX):
        (folder.path / name).unlink(missing_ok=True)
        (folder.path / name).symlink_to(tmp_path / "victim")
        with pytest.raises(OutputError, match="is a symbolic link"):
            folder.write(name, b"bad")
    (folder.path / place(PLAN)).parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is a symbolic link"):
        folder.keep(PLAN, a_record(), load_plugins())
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_where_a_folder_belongs_is_said_and_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "m").symlink_to("real")
    folder = MatrixFolder(tmp_path / "m")
    (folder.path / place(PLAN)).parent.touch()
    with pytest.raises(OutputError, match="cannot be made"):
        folder.keep(PLAN, a_record(), load_plugins())
    (folder.path / place(PLAN)).parent.unlink()
    folder.keep(PLAN, a_record(), load_plugins())
    assert (tmp_path / "real" / place(PLAN)).is_file()
