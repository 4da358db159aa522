"""The probe kernel through efishim's `firmware/efi` against the same on QEMU with OVMF: every field equal, or explained."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

import pytest

from firmware_stubs import probe_kernel, reporting_initrd
from tests.stubs.conftest import CMDLINE, Probed
from tests.support import probe_report
from tests.support.probe_report import ProbeReport, pairs

pytestmark = pytest.mark.qemu

HERE = Path(__file__).parent
ANSWERS = tomllib.loads((HERE / "uefi_answers.toml").read_text())
PAGE = 4096
# Rows that are identified by one of their parts instead of their number.
NAMED_ROWS = {"efi.config": "guid", "acpi.table": "signature", "smbios.structure": "type"}


@dataclass(frozen=True)
class Rule:
    """An explained exception."""

    keys: tuple[str, ...]
    fields: frozenset[str] | None
    reason: str

    def explains(self, key: str, one: str | None, two: str | None) -> bool:
        """Whether these two values of a key may differ; None is for a line that is missing."""
        if not any(fnmatchcase(key, pattern) for pattern in self.keys):
            return False
        if self.fields is None:
            return True
        if one is None or two is None:
            return False
        first, second = pairs(one), pairs(two)
        return {name for name in first.keys() | second.keys() if first.get(name) != second.get(name)} <= self.fields


def load_rules(text: str) -> list[Rule]:
    """The rules of a file like explained.toml, in its order."""
    return [
        Rule(tuple(rule["keys"]), frozenset(rule["fields"]) if "fields" in rule else None, rule["reason"])
        for rule in tomllib.loads(text)["rule"]
    ]


def comparable(report: ProbeReport) -> dict[str, str]:
    """The fields of a report with rows of tables under their own names, and without the memory map's descriptors."""
    fields: dict[str, str] = {}
    seen: Counter[str] = Counter()
    for key, value in report.fields.items():
        prefix, _, number = key.rpartition(".")
        if prefix == "efi.memory_map" and number.isdigit():
            continue
        name = key
        if prefix in NAMED_ROWS and number.isdigit():
            name = f"{prefix}.{pairs(value)[NAMED_ROWS[prefix]]}"
            seen[name] += 1
            if seen[name] > 1:
                name = f"{name}#{seen[name]}"
        fields[name] = value
    return fields


def differences(one: dict[str, str], two: dict[str, str]) -> Iterator[tuple[str, str | None, str | None]]:
    """Keys and both values, wherever they are not the same."""
    for key in [*one, *(key for key in two if key not in one)]:
        if one.get(key) != two.get(key):
            yield key, one.get(key), two.get(key)


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> ProbeReport:
    """The report through efishim."""
    folder = tmp_path_factory.mktemp("efishim")
    (folder / "probe.efi").write_bytes(probe_kernel())
    (folder / "initrd").write_bytes(reporting_initrd())
    start = [sys.executable, "-c", "import sys; from efishim.cli import main; sys.exit(main())", "run"]
    options = ["-p", "firmware", "-e", "efi", "-m", "512M", "-a", CMDLINE, "-i", str(folder / "initrd")]
    done = subprocess.run(
        [*start, str(folder / "probe.efi"), *options], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return probe_report.parse(done.stdout.replace("\r", ""))


def test_every_field_agrees_or_is_explained(probed: Callable[[str], Probed], emulated: ProbeReport) -> None:
    rules = load_rules((HERE / "explained.toml").read_text())
    used: Counter[int] = Counter()
    unexplained: list[str] = []
    for key, real, ours in differences(comparable(probed("ovmf/efi").report), comparable(emulated)):
        for number, rule in enumerate(rules):
            if rule.explains(key, real, ours):
                used[number] += 1
                break
        else:
            unexplained.append(f"{key}: {real} on OVMF, {ours} on efishim")
    assert not unexplained, "\n".join(unexplained)
    idle = [rule.keys for number, rule in enumerate(rules) if not used[number]]
    assert not idle, f"rules that explain nothing any more: {idle}"


def test_efishim_answers_every_call_as_specified(emulated: ProbeReport) -> None:
    wrong = {}
    for name, allowed in ANSWERS["call"].items():
        told = emulated.fields.get(f"efi.call.{name}")
        if told not in ([allowed] if isinstance(allowed, str) else allowed):
            wrong[name] = told
    assert not wrong
    for name, value in ANSWERS["value"].items():
        assert emulated.number(f"efi.value.{name}") == value, name


def test_efishims_memory_map_is_sound(emulated: ProbeReport) -> None:
    rows = [{name: int(value, 16) for name, value in row.items()} for row in emulated.rows("efi.memory_map")]
    rows.sort(key=lambda row: row["phys"])
    assert all(row["phys"] % PAGE == 0 and row["pages"] > 0 for row in rows)
    assert all(one["phys"] + one["pages"] * PAGE <= two["phys"] for one, two in pairwise(rows))
    below = sum(row["pages"] for row in rows if row["phys"] < 512 << 20) * PAGE
    assert (511 << 20) <= below <= 512 << 20
    base = emulated.number("image.base")
    (home,) = [row for row in rows if row["phys"] <= base < row["phys"] + row["pages"] * PAGE]
    assert home["type"] == 1
    assert {5, 6} <= {row["type"] for row in rows if row["attr"] >> 63}


REAL = {"a.0": "guid:1-2 table:0x5", "b": "0x1", "c": "0x2"}


@pytest.mark.parametrize(
    ("ours", "explained"),
    [
        ({"a.0": "guid:1-2 table:0x6"}, True),
        ({"a.0": "guid:1-3 table:0x5"}, False),
        ({"b": "0x7"}, True),
        ({"b": None}, True),
        ({"c": "0x3"}, False),
        ({"a.0": None}, False),
        ({"d": "0x1"}, False),
    ],
)
def test_rules_explain_what_they_say_and_no_more(ours: dict[str, str | None], explained: bool) -> None:
    text = """
        [[rule]]
        keys = ["a.*"]
        fields = ["table"]
        reason = "placement"
        [[rule]]
        keys = ["b"]
        reason = "free"
    """
    rules = load_rules(text)
    other = {key: value for key, value in {**REAL, **ours}.items() if value is not None}
    (difference,) = differences(REAL, other)
    assert any(rule.explains(*difference) for rule in rules) is explained


def test_every_rule_has_a_reason() -> None:
    for rule in load_rules((HERE / "explained.toml").read_text()):
        assert re.search(r"\w+ \w+|Placement", rule.reason)
        assert rule.keys
