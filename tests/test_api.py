"""efishim as a library: the same records as from the command line, wherever it is called from."""

from __future__ import annotations

import multiprocessing
import pickle
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import efishim_firmware_stubs
import pytest

import efishim
from efishim import api
from efishim.disk.make import make_disk
from efishim.lab.record import Reason, encode, without_wall_clock

ROOT = Path(__file__).parent.parent
ROUTE = "hvmlite/pvh"


def repeatable(record: efishim.Record) -> bytes:
    return encode(without_wall_clock(record))


@pytest.fixture(scope="module")
def record() -> efishim.Record:
    """The probe kernel's own run."""
    return efishim.run(route=ROUTE)


def test_the_names_are_there_and_nothing_is_imported_before() -> None:
    program = (
        "import sys, efishim; before = set(sys.modules); assert 'run' in dir(efishim); efishim.EfishimError; "
        "print(sorted(name for name in sys.modules if name.startswith(('efishim', 'unicorn', 'msgspec'))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "['efishim', 'efishim.errors']"
    assert efishim.run is api.run
    with pytest.raises(AttributeError, match="no attribute 'walk'"):
        efishim.walk  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.slow
def test_a_run_in_other_threads_and_processes_has_the_same_record(record: efishim.Record) -> None:
    handler = signal.getsignal(signal.SIGINT)
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as processes:
        runs = [pool.submit(efishim.run, route=ROUTE) for pool in (threads, threads, processes)]
        assert {repeatable(one.result()) for one in runs} == {repeatable(record)}
    assert signal.getsignal(signal.SIGINT) is handler
    assert pickle.loads(pickle.dumps(record)) == record


@pytest.mark.slow
def test_ctrl_c_leaves_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sent: list[bytes] = []

    def press(data: bytes) -> None:
        if not sent:
            signal.raise_signal(signal.SIGINT)
        sent.append(data)

    try:
        with pytest.raises(efishim.Interrupted) as caught:
            efishim.run(route=ROUTE, console=press)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert isinstance(caught.value, KeyboardInterrupt)
    assert caught.value.record.outcome.reason is Reason.INTERRUPTED
    assert caught.value.record.milestones


@pytest.mark.slow
def test_an_event_ends_a_run_without_a_signal() -> None:
    event = threading.Event()
    event.set()
    assert efishim.run(route=ROUTE, interrupt=event).outcome.reason is Reason.INTERRUPTED


@pytest.mark.slow
def test_arguments_are_those_of_the_command_line() -> None:
    record = efishim.run(
        route="hvmlite/pvh@hvmlite", cmdline="hello", initrds=[], memory="128M", until="entry", seed=7, observers=False
    )
    assert (record.route.provider, record.route.entry, record.route.platform) == ("hvmlite", "pvh", "hvmlite")
    assert record.outcome.met
    assert "--seed 7" in record.reproduce
    assert "128M" in record.reproduce


@pytest.mark.slow
def test_a_disk_is_booted_with_the_kernel_on_it(tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(make_disk({"\\EFI\\BOOT\\BOOTX64.EFI": efishim_firmware_stubs.probe_kernel()}))
    record = efishim.run(disk=disk)
    assert (record.route.provider, record.route.entry) == ("disk", "efi")
    assert record.outcome.met


@pytest.mark.slow
def test_modules_have_command_lines(tmp_path: Path) -> None:
    (tmp_path / "module").write_bytes(b"x" * 100)
    record = efishim.run(route="multiboot/multiboot", modules=[f"{tmp_path}/module=a b"], until="entry")
    assert [(one.size, one.cmdline) for one in record.options.initrds] == [(100, "a b")]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"loader": "grub-efi:nothing"}, "no way 'nothing'"),
        ({"loader": "nobody"}, "no loader 'nobody'"),
        ({"loader": "grub-efi", "route": ROUTE}, "the loader decides"),
        ({"disk": "/nowhere/disk.img"}, "nowhere"),
        ({"modules": ["/nowhere/module"], "route": "hvmlite/efi"}, "no command lines"),
        ({"route": "nobody/efi"}, "nobody"),
        ({"route": "hvmlite/nothing"}, "nothing"),
        ({"route": "hvmlite/pvh@pc", "platform": "kvm"}, "another one"),
        ({"until": "lunch"}, "no milestone 'lunch'"),
        ({"kernel": "/nowhere/vmlinuz"}, "nowhere"),
        ({"max_insns": -1}, "-1"),
        ({"options": {"nobody.x": "1"}}, "nobody"),
    ],
)
def test_mistakes_are_efishim_errors(arguments: dict[str, object], sentence: str) -> None:
    run: object = efishim.run
    assert callable(run)
    with pytest.raises(efishim.EfishimError, match=re.escape(sentence)):
        run(**arguments)


@pytest.mark.slow
def test_records_are_compared_as_they_are_and_as_files(record: efishim.Record, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(encode(record))
    comparison = efishim.diff(record, path)
    assert comparison.clean
    assert [run.name for run in comparison.runs] == [f"{ROUTE}#1", f"{ROUTE}#2"]
    with pytest.raises(efishim.EfishimError, match="compared with nothing"):
        efishim.diff(record)
    with pytest.raises(efishim.EfishimError, match="does not exist"):
        efishim.diff(record, tmp_path / "none.json")
    with pytest.raises(efishim.EfishimError, match="records have theirs"):
        efishim.diff(record, routes=[ROUTE])


@pytest.mark.slow
def test_one_kernel_is_compared_on_two_ways() -> None:
    comparison = efishim.diff(routes=[ROUTE, "hvmlite/efi"], until="entry")
    assert [run.name for run in comparison.runs] == [ROUTE, "hvmlite/efi"]


@pytest.mark.slow
def test_the_example_of_the_page_runs() -> None:
    example = ROOT / "docs" / "examples" / "library.py"
    done = subprocess.run([sys.executable, str(example)], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("True ")


@pytest.mark.parametrize("name", ["library.py", "test_boots.py"])
def test_the_page_shows_the_examples(name: str) -> None:
    """They are checked by mypy with everything else, and run by the tests."""
    assert f"```python\n{(ROOT / 'docs' / 'examples' / name).read_text()}```" in (ROOT / "docs" / "library.md").read_text()
