"""A Dask cluster of three workers gives the records of this process, also when one of them is killed in the middle."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import efishim_firmware_stubs
import pytest

from efishim.errors import UsageError
from efishim.lab import cluster as module
from efishim.lab.cache.software import Software
from efishim.lab.cluster import ClusterError, address
from efishim.lab.matrix import run_matrix
from efishim.lab.plan.arguments import Words, make_plan
from efishim.lab.plan.loader_disk import LoaderPlan
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import MilestonePoint, encode
from efishim.lab.running import Result
from efishim.plugins import load_plugins

REGISTRY = load_plugins()
ROUTES = (("hvmlite", "efi"), ("hvmlite", "pvh"), ("grub", "linux64"), ("kexec", "linux64"))
PYTHON = (sys.executable, "-P", "-c")
SCHEDULER = "import sys; from distributed.cli.dask_scheduler import main; sys.argv[0] = 'dask-scheduler'; main()"
WORKER = "import sys; from distributed.cli.dask_worker import main; sys.argv[0] = 'dask-worker'; main()"
LOOPBACK = ("--host", "127.0.0.1", "--no-dashboard")

pytestmark = pytest.mark.timeout(600)

needs_dask = pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="Dask is not installed: efishim[dask]")


@dataclasses.dataclass
class Cluster:
    place: str
    workers: list[subprocess.Popen[str]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    processes: list[subprocess.Popen[str]] = []

    def started(said: str, *words: str) -> str:
        # They are killed, and what they leave is to lie with what pytest removes.
        process = subprocess.Popen(
            [*PYTHON, *words],
            cwd=folder,
            env=os.environ | {"TMPDIR": str(folder)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        processes.append(process)
        assert process.stderr is not None
        for line in process.stderr:
            if (found := re.search(said, line)) is not None:
                return found[1]
        raise AssertionError("it ended before it was there")

    try:
        place = started(r"Scheduler at:\s+tcp://(\S+)", SCHEDULER, "--port", "0", *LOOPBACK)
        for _ in range(3):
            words = (f"tcp://{place}", "--nthreads", "1", "--no-nanny", "--memory-limit", "0", *LOOPBACK)
            started(r"Registered to:\s+(\S+)", WORKER, *words)
        yield Cluster(f"dask://{place}", processes[1:])
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def plans(folder: Path) -> list[Plan]:
    """Through a file, which the workers do not look for where it lies here."""
    file = folder / "probe"
    file.write_bytes(efishim_firmware_stubs.probe_kernel())
    blob = Blob.from_file(file, label="the probe")
    return [make_plan(REGISTRY, lambda: blob, Words(provider=provider, entry=entry)) for provider, entry in ROUTES]


class Killing:
    """Kills a worker at the first sign of life of a run."""

    def __init__(self, victim: subprocess.Popen[str]) -> None:
        self._victim = victim
        self.killed = False
        self.results: dict[int, Result] = {}
        self.milestones: dict[int, list[str]] = {}

    def milestone(self, index: int, point: MilestonePoint) -> None:
        self.milestones.setdefault(index, []).append(point.name.value)
        if not self.killed:
            self.killed = True
            os.kill(self._victim.pid, signal.SIGKILL)

    def tick(self, index: int, insns: int, rate: float) -> None:
        pass

    def finished(self, index: int, result: Result) -> None:
        self.results[index] = result


@needs_dask
@pytest.mark.slow
@pytest.mark.unmeasured
def test_a_cluster_gives_the_records_of_this_process_also_without_one_of_its_workers(cluster: Cluster, tmp_path: Path) -> None:
    chosen = plans(tmp_path)
    progress = Killing(cluster.workers[0])
    results = run_matrix(chosen, jobs=1, progress=progress, registry=REGISTRY, on=cluster.place)
    assert progress.killed
    assert cluster.workers[0].wait(60) == -signal.SIGKILL
    assert [result.plan for result in results] == chosen
    assert progress.results == dict(enumerate(results))
    assert {names[-1] for names in progress.milestones.values()} == {"shutdown"}
    assert [result.failure for result in results] == [None] * len(chosen)
    local = run_matrix(chosen, jobs=1, progress=Quiet(), registry=REGISTRY)
    documents = [[encode(one.record) for one in made if one.record is not None] for made in (results, local)]
    assert documents[0] == documents[1]
    assert len(documents[0]) == len(chosen)


class Quiet:
    def milestone(self, index: int, point: MilestonePoint) -> None:
        pass

    def tick(self, index: int, insns: int, rate: float) -> None:
        pass

    def finished(self, index: int, result: Result) -> None:
        pass


class Set:
    def is_set(self) -> bool:
        return True


@needs_dask
@pytest.mark.slow
@pytest.mark.unmeasured
def test_nothing_begins_after_an_interruption(cluster: Cluster, tmp_path: Path) -> None:
    results = run_matrix(plans(tmp_path)[:2], jobs=1, progress=Quiet(), interrupt=Set(), registry=REGISTRY, on=cluster.place)
    assert all(one.failure is None for one in results)
    assert [one.record for one in results] == [None, None]


@needs_dask
@pytest.mark.slow
@pytest.mark.unmeasured
def test_workers_with_other_software_are_refused(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_identity", lambda _: "another build")
    with pytest.raises(ClusterError, match=r"the worker tcp://127.0.0.1:\d+ has another efishim"):
        run_matrix(plans(tmp_path)[:1], jobs=1, progress=Quiet(), registry=REGISTRY, on=cluster.place)


def test_all_files_of_a_plan_travel_and_keep_their_names() -> None:
    def file(name: str) -> Blob:
        return Blob(name, f"hash of {name}", 1, path=f"/here/{name}")

    held = Blob.embedded("init", b"init")
    plan = Plan(
        image=file("kernel"),
        provider="firmware",
        entry="efi",
        platform="pc",
        initrds=(held, file("initrd")),
        loader=LoaderPlan("grub", files=(("/boot/k", file("grub")),), disk=file("disk")),
    )
    found = module._files(plan)
    assert {blob.label for blob in found} == {"kernel", "initrd", "grub", "disk"}
    there = module._placed(plan, {blob.sha256: Path("/there") / blob.label for blob in found})
    assert {blob.path for blob in module._files(there)} == {f"/there/{blob.label}" for blob in found}
    assert there.initrds[0] == held
    assert there.reproduce() == plan.reproduce()


def test_software_without_a_name_fits_to_nothing() -> None:
    module._require_same({"tcp://a:1": "x"}, "x")
    for theirs, ours in (("x", "y"), ("", "")):
        with pytest.raises(ClusterError):
            module._require_same({"tcp://a:1": theirs}, ours)

    with pytest.raises(ClusterError, match="this machine's software"):
        module._require_same({"tcp://a:1": "x"}, "")


class Asked:
    """A client whose workers raise what they are given, or have the same software."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def run(self, function: Callable[[], str]) -> dict[str, str]:
        if self.error is not None:
            raise self.error
        return {"tcp://a:1": function()}


def connect(monkeypatch: pytest.MonkeyPatch, client: Asked) -> None:
    monkeypatch.setattr(module, "_connected", lambda _: nullcontext(client))


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module named 'efishim'"), OSError("gone"), AttributeError("no such")]
)
def test_a_worker_that_cannot_answer_is_one_sentence(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, Asked(error))
    with pytest.raises(ClusterError, match=f"a worker of tcp://h:1 cannot be asked: {error}") as caught:
        run_matrix(plans(tmp_path)[:1], jobs=1, progress=Quiet(), registry=REGISTRY, on="dask://h:1")
    assert "the same packages" in caught.value.hint


def test_a_cluster_that_goes_away_is_one_sentence_and_a_defect_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, Asked())
    for error, expected in ((TimeoutError(), ClusterError), (OSError("in: closed"), ClusterError), (KeyError("x"), KeyError)):

        def run(_: object, error: Exception = error) -> list[Result]:
            raise error

        monkeypatch.setattr(module._Runs, "run", run)
        with pytest.raises(expected, match=r"the cluster at tcp://h:1 was lost: |x"):
            run_matrix(plans(tmp_path)[:1], jobs=1, progress=Quiet(), registry=REGISTRY, on="dask://h:1")


def test_software_that_was_edited_since_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert module._identity(REGISTRY)
    monkeypatch.setattr(Software, "unchanged", lambda _: False)
    assert module._identity(REGISTRY) == ""


STORING = """
import os, sys
from efishim.lab import cluster
print(cluster._stored("name", b"data"), flush=True)
if sys.argv[1:]:
    os.kill(os.getpid(), 9)
"""


def test_the_files_of_a_worker_go_with_it_or_with_the_next(tmp_path: Path) -> None:
    def store(*words: str) -> Path:
        environment = os.environ | {"TMPDIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", STORING, *words], env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        return Path(done.stdout.strip())

    left = store("killed")
    assert left.read_bytes() == b"data"
    assert left.parent.parent == tmp_path
    assert store().name == "name"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "place", ["", "dask://", "dask://host", "dask://:1", "tcp://host:1", "dask://host:x", "dask://host:99999"]
)
def test_what_is_no_cluster_is_refused(place: str) -> None:
    with pytest.raises(UsageError):
        address(place)


def test_an_address_is_dasks() -> None:
    assert address("dask://host:8786") == "tcp://host:8786"
    assert address("dask://[::1]:8786") == "tcp://[::1]:8786"


def test_a_dump_stays_here(tmp_path: Path) -> None:
    plan = dataclasses.replace(plans(tmp_path)[0], dump=(Blob.embedded("dump", b"dump"),))
    with pytest.raises(UsageError, match="dump"):
        run_matrix([plan], jobs=1, progress=Quiet(), registry=REGISTRY, on="dask://localhost:1")


def test_dask_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match="Dask is not installed") as caught:
        run_matrix(plans(tmp_path)[:1], jobs=1, progress=Quiet(), registry=REGISTRY, on="dask://localhost:1")
    assert "efishim[dask]" in caught.value.hint
