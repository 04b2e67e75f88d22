"""Tasks on a Dask cluster: the commands and events of the worker process, over `distributed`.

A task is done by the worker process that a Dask worker starts for itself, as one of this machine
is: it can be stopped, has one thread, and gives the same numbers. Files are not sent: cluster and
this machine share a folder. What comes back is how a task ended.
"""

from __future__ import annotations

import atexit
import json
import os
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from signal import SIGKILL
from typing import TYPE_CHECKING, Any

from tasks.base.errors import ConfigError, InfrastructureError
from tasks.base.runtime.libraries import distributed
from tasks.base.runtime.temporary import file_replacing
from tasks.base.settings.training import DaskEngine
from tasks.models.execution import worker_pool
from tasks.models.execution.time_budget import Spent, threads_spent
from tasks.models.persistence.artifacts import kept

if TYPE_CHECKING:
    from distributed import Client, Future

_CONNECT_SECONDS = 10.0
_WATCH_SECONDS = 5.0
_ALONE_SECONDS = 60.0
"""Without any worker, after which a run of fits gives up."""
_STOP_SECONDS = 10.0
"""Until a task that was stopped counts as ended without its worker's confirmation."""
_POLL_SECONDS = 1.0
_STARTS = 2
"""Of a task, as its worker may die."""
_DASK: tuple[str, ...] = ("python", "distributed")
_SAME: tuple[str, ...] = (
    "keepfit", "scikit-learn", "lightgbm", "numpy", "scipy", "pandas", "pyarrow", "skops", "optuna"
)  # fmt: skip
"""Packages whose version decides what a fit comes to."""
_MARK = "cluster.mark"

Event = dict[str, Any]
_clients: dict[str, Client] = {}
_lock = threading.Lock()


@contextmanager
def borrowed(engine: DaskEngine, folder: str) -> Iterator[DaskWorkers]:
    """Lend the workers of a cluster."""
    # Raises InfrastructureError when no scheduler answers, no worker is there, a version differs,
    # or a worker does not see `folder`.
    workers = DaskWorkers(_client(engine.address), engine.address, Path(folder))
    try:
        workers.check()
        yield workers
    finally:
        workers.give_back()


def threads_of(engine: DaskEngine) -> int:
    """Return how many threads the workers of a cluster have together."""
    threads = _threads(_client(engine.address))
    if not threads:
        raise _alone(engine.address)
    return threads


def close_all() -> None:
    """Close the connections to clusters."""
    while _clients:
        with suppress(Exception):
            _clients.popitem()[1].close(timeout=2)


@dataclass
class _Submitted:
    number: int
    future: Future[int]
    log: Path
    hosts: list[str] = field(default_factory=list)
    stopped: float | None = None


class DaskWorkers:
    """One borrower's connection to a cluster."""

    processes: tuple[int, ...] = ()

    def __init__(self, client: Client, address: str, folder: Path) -> None:
        self._client, self._address, self._folder = client, address, folder
        self._checked: set[str] = set()
        self._topic = f"keepfit-{uuid.uuid4().hex}"
        self._keys = count()
        self._heard: SimpleQueue[Event] = SimpleQueue()
        self._open: dict[str, _Submitted] = {}
        self.elsewhere: dict[str, Spent] = {}
        self._watched = self._alive = time.monotonic()
        client.subscribe_topic(self._topic, lambda event: self._heard.put(event[1]))

    def check(self) -> None:
        """Refuse a cluster on which a fit could come to something else, or find no files."""
        with _reached(self._address):
            self._checked = set(self._client.nthreads())
            check_versions(self._client, self._address)
            check_shared(self._client, self._folder)

    def send(self, command: dict[str, Any]) -> None:
        """Submit a task, or stop one."""
        number = int(command["task"])
        if command["do"] == "kill":
            for task in [t for t in self._open.values() if t.number == number]:
                self._stop(task)
            return
        key = f"{self._topic}-{next(self._keys)}"
        given = json.dumps(command), self._topic, key
        future = self._client.submit(run_command, *given, key=key, pure=False)
        self._open[key] = _Submitted(number, future, Path(command["log"]))
        future.add_done_callback(lambda _: self._heard.put({"event": "done", "key": key}))

    def hear(self, seconds: float) -> list[Event]:
        """Return events of tasks, waiting at most `seconds` for one."""
        # Raises InfrastructureError when the scheduler is gone, no worker was there for a minute,
        # or one that came meanwhile differs.
        found: list[Event] = []
        with suppress(Empty):
            found.append(self._heard.get(timeout=seconds))
            while True:
                found.append(self._heard.get_nowait())
        events = [event for heard in found for event in self._events(heard)]
        for key, task in list(self._open.items()):
            if task.stopped is not None and time.monotonic() > task.stopped + _STOP_SECONDS:
                events.append(self._ended(key, -SIGKILL))
        self._watch()
        return events

    def give_back(self) -> None:
        """End the tasks that still go on."""
        with suppress(Exception):  # the scheduler may be gone, and drops them itself then
            self._client.unsubscribe_topic(self._topic)
            self._client.cancel([task.future for task in self._open.values()])
        self._open.clear()

    def _events(self, event: Event) -> Iterator[Event]:
        """Return a task's or its future's event in the format of the worker process."""
        key = str(event["key"])
        task = self._open.get(key)
        if task is None:
            return
        if event["event"] == "step":
            yield {**event, "task": task.number}
        elif event["event"] == "spent":
            ran, waited = event["seconds"]
            self.elsewhere[key] = ran, waited
        elif event["event"] == "begun":
            yield from self._begun(key, event)
        elif event["event"] == "ended":
            yield self._ended(key, int(event["code"]))
        elif task.future.status == "error":
            error = task.future.exception()
            yield self._failed(key, type(error).__name__, str(error))
        elif task.future.status == "cancelled" and task.stopped is None:
            raise _lost(self._address)

    def _begun(self, key: str, event: Event) -> Iterator[Event]:
        task, worker = self._open[key], event["worker"]
        if worker not in self._checked:
            self.check()
        task.hosts.append(worker)
        if len(task.hosts) > _STARTS:
            gone = " and ".join(task.hosts[:_STARTS])
            yield self._failed(key, "WorkerDied", f"the Dask workers {gone} died with it")
            task.future.cancel()
        elif len(task.hosts) > 1:
            stage = f"again, on {worker}: its worker died"
            yield {"event": "step", "task": task.number, **event["of"], "stage": stage}

    def _ended(self, key: str, code: int) -> Event:
        return {"event": "ended", "task": self._open.pop(key).number, "code": code}

    def _failed(self, key: str, name: str, text: str) -> Event:
        text = " ".join(text.split())[:700]
        with file_replacing(self._open[key].log.with_suffix(".error")) as path:
            path.write_text(json.dumps({"name": name, "kind": "", "text": text}), encoding="utf-8")
        return self._ended(key, 1)

    def _stop(self, task: _Submitted) -> None:
        task.stopped = time.monotonic() - (0.0 if task.hosts else _STOP_SECONDS)
        task.future.cancel()

    def _watch(self) -> None:
        """Give up when the scheduler is gone, or all workers are."""
        now = time.monotonic()
        if now < self._watched + _WATCH_SECONDS:
            return
        self._watched = now
        if self._client.status == "closed":
            raise _lost(self._address)
        with _reached(self._address):
            threads = _threads(self._client)
        if threads:
            self._alive = now
        elif now > self._alive + _ALONE_SECONDS:
            raise _alone(self._address)


def run_command(command: str, topic: str, key: str) -> int:
    """Do a task in a child of this Dask worker's own worker process; runs on the cluster."""
    order, worker = json.loads(command), distributed.get_worker()
    run, about = order["run"], order["about"]

    def say(event: str, **more: Any) -> None:
        worker.log_event(topic, {"event": event, "key": key, **more})

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state in ("executing", "long-running")

    say("begun", worker=worker.address, of={"candidate": about})
    code = 0
    # A worker that died may have done it.
    if order["do"] != "fit" or kept(Path(run["folder"]), about) is None:
        code = -SIGKILL  # also where the worker process dies: the task is started again once
        with suppress(worker_pool.WorkerEndedError):
            code = _in_child(order, wanted, say)
    say("ended", code=code)
    return code


def _in_child(order: dict[str, Any], wanted: Callable[[], bool], say: Callable[..., None]) -> int:
    stopped = False
    with worker_pool.borrowed() as lease:
        processes = {os.getpid(), *lease.processes}
        lease.send({**order, "task": 0})
        while True:
            threads = threads_spent(processes).values()
            say("spent", seconds=[sum(ran for ran, _ in threads), sum(wait for _, wait in threads)])
            if not stopped and not wanted():
                stopped = True
                lease.send({"do": "kill", "task": 0})
            for message in lease.hear(_POLL_SECONDS):
                if message["event"] == "ended":
                    return int(message["code"])
                if message["event"] == "started":
                    processes.add(int(message["process"]))
                elif message["event"] == "step":
                    say("step", candidate=message["candidate"], stage=message["stage"])


def _client(address: str) -> Client:
    with _lock:
        client = _clients.get(address)
        if client is not None and client.status == "running":
            return client
        try:
            # What differs is an error here, with its own message.
            mismatch = distributed.versions.VersionMismatchWarning
            warnings.filterwarnings("ignore", category=mismatch)
            client = distributed.Client(
                address, timeout=_CONNECT_SECONDS, set_as_default=False, name="keepfit"
            )
        except ModuleNotFoundError:
            raise ConfigError(
                "`engine.kind: dask` needs the package `distributed`, which is not installed.",
                "pip install 'keepfit[dask]'",
            ) from None
        except Exception as error:  # noqa: BLE001 - of sockets, of certificates, of Dask's settings
            raise InfrastructureError(
                f"no Dask scheduler answers at {address}: {' '.join(str(error).split())[:300]}.",
                "Start one with `dask scheduler`, correct engine.address, or remove `engine`.",
            ) from None
        if not _clients:
            atexit.register(close_all)
        _clients[address] = client
        return client


def _threads(client: Client) -> int:
    return sum(client.nthreads().values())


def check_versions(client: Client, address: str) -> None:
    """Refuse a cluster on which a fit could come to something else."""
    found = client.get_versions(packages=_SAME)
    here = _versions(found["client"])
    machines = [(f"the scheduler {address}", found["scheduler"], _DASK)]
    machines += [(f"the worker {w}", info, _DASK + _SAME) for w, info in found["workers"].items()]
    found = [
        f"{name} {there.get(name) or 'is absent'} on {host}, {here[name]} here"
        for host, info, names in machines
        for there in [_versions(info)]
        for name in names
        if there.get(name) != here[name]
    ]
    if found:
        more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
        raise InfrastructureError(
            f"the Dask cluster has other versions: {'; '.join(found[:3])}{more}.",
            "Install the same versions there, from one lock file or image.",
        )


def _versions(info: dict[str, Any]) -> dict[str, str | None]:
    packages = info["packages"]
    return {**packages, "python": ".".join(packages["python"].split(".")[:2])}


def check_shared(client: Client, folder: Path) -> None:
    """Refuse a cluster whose workers do not see `folder`."""
    mark = uuid.uuid4().hex
    (folder / _MARK).write_text(mark, encoding="ascii")
    # A worker that does not answer is about to be gone.
    for worker, seen in client.run(mark_in, str(folder), on_error="ignore").items():
        if seen != mark:
            raise InfrastructureError(
                f"the Dask worker {worker} does not see {folder}.",
                "Let `state` lie in a folder that all workers see under the same path, "
                "as the same user.",
            )


def mark_in(folder: str) -> str:
    """Return the mark of a folder as a worker sees it; whose worker process starts meanwhile."""
    worker_pool.warm_up()
    try:
        return Path(folder, _MARK).read_text(encoding="ascii")
    except OSError:
        return ""


def _alone(address: str) -> InfrastructureError:
    return InfrastructureError(
        f"the Dask cluster at {address} has no worker.", f"Start some: dask worker {address}"
    )


@contextmanager
def _reached(address: str) -> Iterator[None]:
    try:
        yield
    except OSError:
        raise _lost(address) from None


def _lost(address: str) -> InfrastructureError:
    return InfrastructureError(
        f"the Dask scheduler at {address} is gone.",
        "Run again once it is back; finished candidates are kept.",
    )
