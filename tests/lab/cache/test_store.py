"""A folder with a bound: it holds with several processes at a time, without room on the disk, and after a kill."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from efishim.lab.cache.store import BLOCK, LOCK, Store, Usage

LIMIT = 16 * BLOCK


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "kept", LIMIT)


def aged(store: Store, name: str, seconds: int) -> None:
    """Last used so long ago."""
    then = time.time() - seconds
    os.utime(store.folder / name, (then, then))


def test_what_was_put_can_be_had(store: Store) -> None:
    assert store.get("a") is None
    assert store.put("a", b"one")
    assert store.put("a", b"two")
    assert store.get("a") == b"two"
    assert store.usage() == Usage(1, BLOCK)
    store.remove("a")
    assert store.get("a") is None
    assert store.usage() == Usage()


def test_the_folder_is_nobody_elses_business(store: Store) -> None:
    store.put("a", b"one")
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert (store.folder / "a").stat().st_mode & 0o777 == 0o600


def test_what_others_could_have_written_is_not_believed(store: Store) -> None:
    store.put("a", b"one")
    store.folder.chmod(0o770)
    assert store.get("a") is None
    assert not store.put("b", b"two")
    store.folder.chmod(0o755)
    assert store.get("a") == b"one"


def test_a_link_in_place_of_the_folder_is_not_followed(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other", LIMIT)
    other.put("a", b"one")
    store.folder.symlink_to(other.folder)
    assert store.get("a") is None
    assert not store.put("b", b"two")


def test_what_was_not_used_for_longest_goes_first(store: Store) -> None:
    for name in "abc":
        store.put(name, bytes(4 * BLOCK))
    for age, name in enumerate("cba"):
        aged(store, name, 100 * (age + 1))
    assert store.get("a") is not None  # the oldest, but used just now
    store.put("d", bytes(8 * BLOCK))
    assert [name for name in "abcd" if store.get(name) is not None] == ["a", "c", "d"]
    assert store.usage() == Usage(3, LIMIT)


def test_what_does_not_fit_at_all_is_not_kept_and_costs_nothing(store: Store) -> None:
    store.put("a", b"one")
    assert not store.put("b", bytes(LIMIT + 1))
    assert store.get("a") == b"one"


def test_what_a_killed_process_left_goes_with_the_next(store: Store) -> None:
    store.put("a", b"one")
    (store.folder / "b.partial").write_bytes(bytes(LIMIT))
    assert store.put("c", b"three")
    assert store.usage() == Usage(2, 2 * BLOCK)


def test_who_holds_the_lock_keeps_others_from_writing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("b", b"two")
    monkeypatch.setattr("efishim.lab.cache.store.PATIENCE", 0.0)
    with store._locked() as held:
        assert held
        assert not store.put("a", b"one")
    assert store.put("a", b"one")


def test_a_full_disk_is_no_error_and_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("a", b"one")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    assert not store.put("b", b"two")
    assert sorted(path.name for path in store.folder.iterdir()) == ["a", LOCK]
    assert store.get("a") == b"one"


def test_a_limit_on_files_is_as_a_full_disk(store: Store) -> None:
    """write(2) itself fails in the middle: with EFBIG, where a full disk has ENOSPC."""
    store.put("a", b"one")
    before = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BLOCK, before[0][1]))
    try:
        assert not store.put("b", bytes(3 * BLOCK))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[0])
        signal.signal(signal.SIGXFSZ, before[1])
    assert store.usage() == Usage(1, BLOCK)


def test_clearing_removes_all_that_there_is(store: Store) -> None:
    assert store.clear() == Usage()
    store.put("a", b"one")
    store.put("b", b"two")
    assert store.clear() == Usage(2, 2 * BLOCK)
    assert store.usage() == Usage()


WRITER = """
import sys
from pathlib import Path
from efishim.lab.cache.store import Store
store, number = Store(Path(sys.argv[1]), int(sys.argv[2])), int(sys.argv[3])
print("begun", flush=True)
for i in range(10**9):
    store.put(f"{number}.{i}", bytes(1 + 5000 * (i % 7)))  # never a name again: who looks does not hold the lock
"""


@pytest.mark.slow
def test_the_bound_holds_while_many_write_and_some_are_killed(store: Store) -> None:
    def begun(number: int) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-c", WRITER, str(store.folder), str(LIMIT), str(number)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        return process

    writers = [begun(number) for number in range(3)]
    try:
        most = 0
        for look in range(300):
            most = max(most, store.usage().size)
            if look % 100 == 50:  # in the middle of whatever it does
                victim = writers.pop(0)
                victim.kill()
                victim.communicate()
            time.sleep(0.002)
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    assert 0 < most <= LIMIT
    assert store.put("after", b"all")
    assert store.get("after") == b"all"
    assert store.usage().size <= LIMIT
