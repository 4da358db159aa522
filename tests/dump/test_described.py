"""Dumps as TOML: the same as the core of that machine, with defaults that are said, and strict about all else."""

from __future__ import annotations

from pathlib import Path

import pytest

from efishim.dump.opened import open_dump
from efishim.dump.source import DumpError
from tests.support.cores import described, stopped

SMALL = """
format = "efishim-dump"
version = 1

[registers]
rip = 0x1000
cr0 = 0x11

[segments.cs]
selector = 8
limit = 0xffffffff
attributes = 0xc09b

[[memory]]
start = 0
size = 0x2000
"""


def test_registers_and_memory_are_those_of_the_machine(tmp_path: Path) -> None:
    one = stopped("kexec", "linux64")
    dump = open_dump(described(one, tmp_path))
    assert {name: dump.registers[name] for name in one.registers} == dict(one.registers)
    assert (dump.form, dump.derived, dump.entry) == ("memory ranges", (), "")
    assert {Path(path).name for path in dump.files} == {"dump.toml", *(f"memory-{start:x}" for start, _ in one.ranges)}
    for address, data in one.memory.items():
        assert dump.memory.read(address, len(data)) == data


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    (tmp_path / "dump.toml").write_text(SMALL)
    dump = open_dump(tmp_path / "dump.toml")
    assert dump.registers["cs.flags"] == 0xC0_9B00
    assert (dump.registers["eflags"], dump.registers["tr.flags"], dump.registers["efer"]) == (2, 0x8B00, 0)
    assert [sentence.partition(":")[0] for sentence in dump.derived] == [
        "not in the dump, and taken as 0",
        "not in the dump, and taken as after a reset",
        "EFER is not in the dump",
    ]
    assert dump.memory.read(0x1FFF, 1) == b"\0"


def test_a_key_of_many_parts_costs_nothing(tmp_path: Path) -> None:
    """tomllib takes the square of their number."""
    (tmp_path / "dump.toml").write_text(f"{SMALL}\n{'a.' * 200_000}a = 1\n")
    with pytest.raises(DumpError, match="a line with more than 64 dots"):
        open_dump(tmp_path / "dump.toml")


WRONG = {
    "rip = 0x1000": ("rpi = 0x1000", "registers.rpi, which is not in the format"),
    "cr0 = 0x11": ("", "lacks registers.cr0"),
    "version = 1": ("version = 2", "is of version 2"),
    'format = "efishim-dump"': ("", 'does not begin with format = "efishim-dump"'),
    "[segments.cs]": ("[segments.ds]", "lacks segments.cs"),
    "selector = 8": ("selector = 0x10000", "segments.cs.selector in .* is not a number of 16 bits"),
    "limit = 0xffffffff": ("limit = true", "segments.cs.limit in .* is not a number"),
    "attributes = 0xc09b": ('attributes = "0xg"', "segments.cs.attributes in .* is not a number"),
    "size = 0x2000": ("size = -1", r"memory\[0\].size in .* is not a number"),
    "start = 0": ("", r"memory\[0\] in .* has no start"),
    "[[memory]]": ("[memory]", "memory in .* is not a list"),
    "rip = 0x1000\ncr0 = 0x11": ("rip = = 0", "is not TOML"),
}


@pytest.mark.parametrize("right", WRONG)
def test_what_the_format_does_not_have_is_refused(right: str, tmp_path: Path) -> None:
    assert right in SMALL
    wrong, words = WRONG[right]
    (tmp_path / "dump.toml").write_text(SMALL.replace(right, wrong))
    with pytest.raises(DumpError, match=words) as caught:
        open_dump(tmp_path / "dump.toml")
    assert "\n" not in caught.value.sentence


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('file = "../secret"', "not the name of a file in the same folder"),
        ('file = "/etc/passwd"', "not the name of a file in the same folder"),
        ('file = ".."', "not the name of a file in the same folder"),
        ("file = 5", "not the name of a file in the same folder"),
        ('file = "link"', "symbolic link"),
        ('file = "none"', "does not exist"),
        (f'file = "{"a" * 300}"', "cannot be read"),
        ('file = "short"', "ends at byte 8192 of its file, which has 4096"),
        ('file = "right"\noffset = 1', "ends at byte 8193"),
        ('file = "right"\n[[memory]]\nstart = 0x4000\nsize = 0x2000\nfile = "right"', "some are used twice"),
    ],
)
def test_a_dump_names_files_beside_it_and_no_others(line: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(0x2000))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "short").write_bytes(bytes(0x1000))
    (folder / "right").write_bytes(bytes(0x2000))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "dump.toml").write_text(f"{SMALL}{line}\n")
    with pytest.raises(DumpError, match=words):
        open_dump(folder / "dump.toml")
