"""The readers of both reports refuse what is cut off, mixed or told twice."""

from __future__ import annotations

import pytest

from tests.support import init_report, probe_report

PROBE = "\nprobe: begin entry=pvh\ncpu.eax=0x10\nm.0=addr:0x0 oem:A B  size:0x9\nm.1=addr:0x9\nprobe: end\nprobe: halt\n"
INIT = "[ 1.0] x\nefishim-init: begin\nefishim-init: [a b]\n| one\n| \nefishim-init: [/no] error=-2\nefishim-init: end\n"


def test_a_probe_report() -> None:
    report = probe_report.parse(PROBE)
    assert report.entry == "pvh"
    assert report.number("cpu.eax") == 16
    assert report.rows("m") == [{"addr": "0x0", "oem": "A B ", "size": "0x9"}, {"addr": "0x9"}]
    assert report.numbers("m.1") == {"addr": 9}
    assert report.after == ("probe: halt",)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (("probe: end\n", ""), "does not end"),
        (("\nprobe: begin entry=pvh", ""), "0 reports begin"),
        (("m.1=", "m.0="), "told twice"),
        (("m.1=", "[ 0.1] printk"), "not a line"),
        (("probe: halt", PROBE), "2 reports begin"),
    ],
)
def test_damaged_probe_reports(damage: tuple[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        probe_report.parse(PROBE.replace(*damage))


def test_an_init_report() -> None:
    sections = init_report.parse(INIT)
    assert sections == {"a b": init_report.Section(0, ["one", ""]), "/no": init_report.Section(2, [])}


@pytest.mark.parametrize("damage", [("init: end", "init: e"), ("| one", "[ 0.1] printk"), ("init: begin", "init: b")])
def test_damaged_init_reports(damage: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="report"):
        init_report.parse(INIT.replace(*damage))
