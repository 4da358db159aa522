"""The plan: sizes, command lines and options as a user writes them, and the command that gives a plan again."""

from __future__ import annotations

import hashlib
import pickle
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from efishim.errors import ImageError, UsageError
from efishim.lab.plan import plan as plans
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import Milestone


def some_plan(**changes: object) -> Plan:
    values: dict[str, object] = {
        "image": Blob.embedded("embedded:probe", b"image"),
        "provider": "firmware",
        "entry": "efi",
        "platform": "pc",
    }
    return Plan(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64M", 64 << 20),
        ("512", 512 << 20),  # QEMU's -m 512
        ("1g", 1 << 30),
        ("16GiB", 16 << 30),
        ("524288K", 512 << 20),
        ("536870912", 512 << 20),
    ],
)
def test_memory_sizes_as_qemu_reads_them(text: str, size: int) -> None:
    assert plans.parse_memory(text) == size


ARABIC_512 = "\u0665\u0661\u0662M"


@pytest.mark.parametrize(
    "text", ["", "M", "-1M", "1.5G", "63M", "65G", "9" * 30, "9" * 12 + "T", "512X", "67108865", ARABIC_512]
)
def test_memory_that_makes_no_sense_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        plans.parse_memory(text)
    assert "\n" not in caught.value.sentence


@given(st.integers(min_value=64, max_value=64 << 10))
def test_a_formatted_size_reads_back(mib: int) -> None:
    assert plans.parse_memory(plans.format_size(mib << 20)) == mib << 20


def test_counts() -> None:
    assert plans.parse_count("500000") == 500_000
    assert plans.parse_count("500M") == 500_000_000
    assert plans.parse_count("20G") == 20_000_000_000
    for text in ("", "0", "-5", "1e9", "5T", "M"):
        with pytest.raises(UsageError):
            plans.parse_count(text)


def test_a_command_line_from_a_file_loses_only_its_line_end(tmp_path: Path) -> None:
    file = tmp_path / "cmdline"
    file.write_bytes(b"console=ttyS0  quiet \n")
    assert plans.parse_cmdline(f"@{file}") == b"console=ttyS0  quiet "


def test_a_command_line_that_starts_with_an_at_sign() -> None:
    assert plans.parse_cmdline("@@x y") == b"@x y"
    assert plans.parse_cmdline("") == b""


def test_command_lines_that_are_refused(tmp_path: Path) -> None:
    nul = tmp_path / "nul"
    nul.write_bytes(b"a\0b")
    long = tmp_path / "long"
    long.write_bytes(b"a" * (plans.CMDLINE_LIMIT + 1))
    for text in (f"@{tmp_path}", f"@{tmp_path}/none", f"@{nul}", f"@{long}", "@"):
        with pytest.raises(UsageError):
            plans.parse_cmdline(text)


def test_options_are_sorted_and_known() -> None:
    known = {"firmware.gop": "", "platform.rtc": ""}
    got = plans.parse_options(["platform.rtc=a=b", "firmware.gop=1", "firmware.gop=1"], known)
    assert got == (("firmware.gop", "1"), ("platform.rtc", "a=b"))
    for wrong in (["firmware.gop"], ["gop=1"], ["firmware.none=1"], ["firmware.gop=1", "firmware.gop=2"], ["=.="]):
        with pytest.raises(UsageError):
            plans.parse_options(wrong, known)


def test_a_blob_notices_that_its_file_changed(tmp_path: Path) -> None:
    file = tmp_path / "kernel"
    file.write_bytes(b"one")
    blob = Blob.from_file(file)
    assert blob.sha256 == hashlib.sha256(b"one").hexdigest()
    assert blob.read() == b"one"
    file.write_bytes(b"two")
    with pytest.raises(ImageError, match="changed"):
        blob.read()


def test_files_that_cannot_be_images(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", "/dev/zero", "a\0b"):
        with pytest.raises(ImageError) as caught:
            Blob.from_file(path)
        assert "\n" not in caught.value.sentence


def test_a_plan_can_be_sent_to_another_process() -> None:
    plan = some_plan(options=(("a.b", "c"),), until=Milestone.INIT)
    again = pickle.loads(pickle.dumps(plan))
    assert again == plan
    assert again.until is Milestone.INIT
    assert again.route == "firmware/efi"
    assert again.option("a.b") == "c"
    assert again.option("a.x", "d") == "d"
    assert again.option_group("a") == {"b": "c"}


@pytest.mark.slow
@given(st.binary(max_size=40).filter(lambda data: b"\0" not in data))
def test_the_shell_gives_back_every_command_line(cmdline: bytes) -> None:
    """The judge is bash itself: it must see the very bytes that the plan has."""
    command = some_plan(cmdline=cmdline).reproduce()
    script = 'efishim() { while [ "$1" != -a ]; do shift; done; printf %s "$2"; }; ' + command
    shown = subprocess.run(["bash", "-c", script], capture_output=True, check=True, env={"LC_ALL": "C"}).stdout
    assert shown == (b"@" + cmdline if cmdline.startswith(b"@") else cmdline)


def test_reproduce_says_everything_that_differs_from_the_default() -> None:
    file = Blob("my map", "0" * 64, 1, path="my map")
    plan = some_plan(
        image=Blob("deb:linux", "0" * 64, 1, path="/x"),
        initrds=(file, file),
        seed=7,
        observers=False,
        system_map=file,
        options=(("firmware.gop", "1"),),
        until=Milestone.INIT,
        memory=1 << 30,
    )
    words = shlex.split(plan.reproduce())
    assert words[:3] == ["efishim", "run", "deb:linux"]
    pairs = list(pairwise(words))
    for pair in [
        ("-p", "firmware"),
        ("-e", "efi"),
        ("--platform", "pc"),
        ("-m", "1G"),
        ("--until", "init"),
        ("--seed", "7"),
        ("--option", "firmware.gop=1"),
        ("--system-map", "my map"),
    ]:
        assert pair in pairs
    assert pairs.count(("-i", "my map")) == 2
    assert "--no-observers" in words
    assert "--no-initrd" in shlex.split(some_plan().reproduce())
    assert "--no-initrd" not in shlex.split(some_plan(default_initrd=True).reproduce())
