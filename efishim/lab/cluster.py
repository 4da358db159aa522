"""Runs plans on the workers of a Dask cluster (`--on dask://HOST:PORT`), with the same records as here.

Plans travel to the workers and records back, as they do between processes. Files go once to each worker, under their hash, and
are held against it again when a run opens them. Dask gives the runs of a worker that is lost to another. Workers have to have
this very software: records of other builds may differ.
"""

from __future__ import annotations

import atexit
import dataclasses
import importlib
import queue
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from efishim.errors import EfishimError, MachineError, UsageError
from efishim.lab.cache.software import plugins, software
from efishim.lab.observe.limits import Interrupt
from efishim.lab.plan.plan import Blob, Plan
from efishim.lab.record import MilestonePoint
from efishim.lab.record.values import decode_value, encode_value
from efishim.lab.running import Failure, MatrixProgress, Reporter, Result, attempt, dispatch, longest_first
from efishim.temporary import folder

if TYPE_CHECKING:
    from efishim.plugins import Registry

SCHEME = "dask://"
CONNECT_SECONDS = "20s"
POLL_SECONDS = 0.2
FILES = "efishim-files-"
"""Begins the names of the folders that workers have for their files."""
TRIES = 3
"""How often a run is begun again whose files were lost with the workers that had them."""


class ClusterError(EfishimError):
    """The cluster cannot be used."""

    exit_status = 3


def address(place: str) -> str:
    """Dask's address of `dask://HOST:PORT`. Raises UsageError."""
    host, colon, port = place.removeprefix(SCHEME).rpartition(":")
    if not place.startswith(SCHEME) or not colon or not host or not port.isdecimal() or int(port) > 0xFFFF:
        raise UsageError(f"{place!r} is not a cluster", hint="write it like dask://HOST:8786, with the scheduler's port")
    return f"tcp://{host}:{port}"


def run_on_cluster(
    plans: Sequence[Plan], place: str, progress: MatrixProgress, interrupt: Interrupt | None, registry: Registry
) -> list[Result]:
    """Run all plans; results in their order. Raises UsageError without Dask, ClusterError for a cluster that is not there or
    has other software.
    """
    scheduler = address(place)
    for plan in plans:
        if plan.dump:
            raise UsageError("a dump does not travel to other machines", hint="run it here, without --on")
    if not plans:
        return []
    with _connected(scheduler) as client:
        ours = _identity(registry)
        _require_same(_asked(client, scheduler), ours)
        try:
            return _Runs(client, plans, progress, interrupt, ours).run()
        except OSError as error:  # so are Dask's TimeoutError and CommClosedError
            raise ClusterError(f"the cluster at {scheduler} was lost: {_line(error)}") from error


def _asked(client: Any, scheduler: str) -> Mapping[str, str]:
    """What the workers say they are. One without efishim, or with one that does not know the question, raises anything."""
    try:
        found: Mapping[str, str] = client.run(_identity_here)
    except Exception as error:
        hint = "install the same packages there, or stop that worker"
        raise ClusterError(f"a worker of {scheduler} cannot be asked: {_line(error)}", hint=hint) from error
    return found


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def _connected(scheduler: str) -> Iterator[Any]:
    try:
        distributed = importlib.import_module("distributed")
    except ImportError as error:
        raise UsageError("Dask is not installed, and --on needs it", hint="pip install 'efishim[dask]'") from error
    try:
        client = distributed.Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError) as error:
        raise ClusterError(f"no Dask scheduler answers at {scheduler}", hint="start one with `dask scheduler`") from error
    try:
        if not client.scheduler_info()["workers"]:
            raise ClusterError(f"the cluster at {scheduler} has no workers", hint=f"start some with `dask worker {scheduler}`")
        yield client
    finally:
        client.close()


def _identity(registry: Registry) -> str:
    """Names the software and the plugins of this process; empty when they have no name."""
    found, others = software(), plugins(registry, observers=False)
    return f"{found.digest} {others}" if found is not None and found.unchanged() and others is not None else ""


def _identity_here() -> str:
    from efishim.plugins import load_plugins  # noqa: PLC0415 - only workers need it

    return _identity(load_plugins())


def _require_same(theirs: Mapping[str, str], ours: str) -> None:
    if not ours:
        raise ClusterError(
            "this machine's software or one of its plugins cannot be named, so that no worker can have the same",
            hint="was it edited just now? plugins have to come from installed packages",
        )
    for worker, identity in sorted(theirs.items()):
        if identity != ours:
            raise ClusterError(
                f"the worker {worker} has another efishim, Unicorn, Python or plugins than this machine",
                hint="install the same packages there, or stop that worker",
            )


class _Runs:
    """The runs of one matrix on a cluster."""

    def __init__(
        self, client: Any, plans: Sequence[Plan], progress: MatrixProgress, interrupt: Interrupt | None, ours: str
    ) -> None:
        self._client = client
        self._plans = plans
        self._progress = progress
        self._interrupt = interrupt
        self._ours = ours
        self._topic = f"efishim-{uuid.uuid4().hex}"
        self._events: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._results = [Result(plan) for plan in plans]
        self._tries = [0] * len(plans)
        self._files: dict[str, Any] = {}

    def run(self) -> list[Result]:
        distributed = importlib.import_module("distributed")
        self._client.subscribe_topic(self._topic, lambda event: self._events.put(_heard(event[1])))
        stop = distributed.Event(self._topic, client=self._client)
        if self._interrupt is not None and self._interrupt.is_set():
            stop.set()
        waiting = {self._begin(index): index for index in longest_first(self._plans)}
        try:
            while waiting:
                if self._interrupt is not None and self._interrupt.is_set() and not stop.is_set():
                    stop.set()  # runs end with partial records, and what waits is not begun
                self._ended.wait(POLL_SECONDS)
                self._ended.clear()
                self._drain()
                for future in [one for one in waiting if one.done()]:
                    index = waiting.pop(future)
                    if self._lost(future, index):
                        waiting[self._begin(index)] = index
                    else:
                        self._keep(index, future)
        finally:
            if waiting:
                stop.set()
                self._client.cancel(list(waiting), force=True)
            self._client.unsubscribe_topic(self._topic)
        self._drain()
        return self._results

    def _begin(self, index: int) -> Any:
        self._tries[index] += 1
        plan = self._plans[index]
        files = {blob.sha256: self._file(blob) for blob in _files(plan)}
        key = f"efishim-run-{uuid.uuid4().hex}"
        future = self._client.submit(_work, index, plan, files, self._topic, self._ours, key=key, pure=False)
        future.add_done_callback(lambda _: self._ended.set())
        return future

    def _file(self, blob: Blob) -> Any:
        """A file on the cluster, on all workers: it must not be lost with one of them."""
        held = self._files.get(blob.sha256)
        if held is None or held.status != "finished":
            key = f"efishim-file-{blob.sha256}-{uuid.uuid4().hex[:8]}"
            (held,) = self._client.scatter({key: blob.read()}, broadcast=True, hash=False).values()
            self._files[blob.sha256] = held
        return held

    def _lost(self, future: Any, index: int) -> bool:
        """Has the run to be begun again, because the workers that had its files are gone?"""
        stopped = self._interrupt is not None and self._interrupt.is_set()
        return future.status in {"cancelled", "lost"} and not stopped and self._tries[index] < TRIES

    def _keep(self, index: int, future: Any) -> None:
        plan = self._plans[index]
        try:
            result = dataclasses.replace(future.result(), plan=plan)  # not the worker's, whose files lie elsewhere
        except Exception as error:  # noqa: BLE001 - whatever Dask raises when it gives a run up
            hint = "the workers may have too little memory"
            result = Result(plan, failure=Failure(f"the cluster lost the run: {_line(error)}", hint, MachineError.exit_status))
        self._results[index] = result
        self._progress.finished(index, result)

    def _drain(self) -> None:
        while True:
            try:
                event = self._events.get_nowait()
            except queue.Empty:
                return
            dispatch(self._progress, event)


def _files(value: Any) -> list[Blob]:
    """The files that a plan, or a part of one, names by their path."""
    if isinstance(value, Blob):
        return [value] if value.path is not None else []
    if isinstance(value, tuple):
        return [blob for one in value for blob in _files(one)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [blob for field in dataclasses.fields(value) for blob in _files(getattr(value, field.name))]
    return []


def _placed(value: Any, places: Mapping[str, Path]) -> Any:
    """The plan with its files where they lie on this machine. What the user called them stays."""
    if isinstance(value, Blob):
        return dataclasses.replace(value, path=str(places[value.sha256])) if value.path is not None else value
    if isinstance(value, tuple):
        return tuple(_placed(one, places) for one in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: _placed(getattr(value, field.name), places) for field in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return value


def _told(event: tuple[Any, ...]) -> str:
    """An event in a form that Dask passes on."""
    return msgspec.json.encode(event, enc_hook=encode_value).decode()


def _heard(text: str) -> tuple[Any, ...]:
    kind, index, *rest = msgspec.json.decode(text)
    if kind == "milestone":
        rest = [msgspec.convert(rest[0], MilestonePoint, dec_hook=decode_value)]
    return (kind, index, *rest)


class _Worker:
    """What a worker process keeps between its runs."""

    lock = threading.Lock()
    """One run at a time, also in a worker with several threads: a run turns the collection of cycles off for its process."""
    folder: Path | None = None


def _work(index: int, plan: Plan, files: Mapping[str, bytes], topic: str, ours: str) -> Result:
    """On a worker."""
    distributed = importlib.import_module("distributed")
    worker = distributed.get_worker()
    if _identity_here() != ours:  # one that came after the others were asked
        failure = Failure(f"the worker {worker.address} has another efishim, Unicorn, Python or plugins", "stop it", 3)
        return Result(plan, failure=failure)
    stop = _Stop(distributed.Event(topic))
    if stop.is_set():
        return Result(plan)
    with _Worker.lock:
        reporter = Reporter(index, lambda event: worker.log_event(topic, _told(event)))
        return attempt(_placed(plan, {name: _stored(name, data) for name, data in files.items()}), reporter, stop, None)


class _Stop:
    """Asks the cluster, not too often, whether the user wants no more."""

    def __init__(self, event: Any) -> None:
        self._event = event
        self._asked = 0.0
        self._set = False

    def is_set(self) -> bool:
        """Shall the run end?"""
        now = time.monotonic()
        if not self._set and now - self._asked > 1.0:
            self._asked = now
            self._set = bool(self._event.is_set())
        return self._set


def _stored(sha256: str, data: bytes) -> Path:
    """A file in a folder of this process, where no other one writes."""
    if _Worker.folder is None:
        stack = ExitStack()
        _Worker.folder = stack.enter_context(folder(FILES, Path(tempfile.gettempdir())))
        atexit.register(stack.close)
    path = _Worker.folder / sha256
    if not path.exists():
        partial = path.with_suffix(".partial")
        partial.write_bytes(data)
        partial.rename(path)
    return path


__all__ = ["SCHEME", "ClusterError", "address", "run_on_cluster"]
