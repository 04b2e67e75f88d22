"""Engines that run the tasks of a run of fits: this machine, or a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from tasks.base.settings.training import DaskEngine, Engine
from tasks.models.execution import dask_pool, worker_pool
from tasks.models.execution.time_budget import Spent


class Workers(Protocol):
    """Workers that receive commands about tasks, and report events."""

    @property
    def processes(self) -> tuple[int, ...]:
        """Processes of this machine that the fits are children of."""
        ...

    @property
    def elsewhere(self) -> Mapping[str, Spent]:
        """CPU and wall time of each fit on another machine so far."""
        ...

    def send(self, command: dict[str, Any]) -> None:
        """Send one command about one task."""
        ...

    def hear(self, seconds: float) -> list[dict[str, Any]]:
        """Return events of tasks, waiting at most `seconds` for one."""
        ...


def capacity(engine: Engine) -> tuple[int, int | None]:
    """Return how many threads tasks may have together, and each at most; None: all of them."""
    if isinstance(engine, DaskEngine):
        return dask_pool.threads_of(engine), 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return cores or os.cpu_count() or 1, None


def side_by_side(engine: Engine) -> int:
    """Return how many models an engine fits at a time, each on all its threads."""
    threads, widest = capacity(engine)
    return threads // (widest or threads)


def close_all() -> None:
    """End the worker process, and the connections to clusters."""
    worker_pool.close_all()
    dask_pool.close_all()


@contextmanager
def borrowed(engine: Engine, folder: str) -> Iterator[Workers]:
    """Lend an engine's workers, to several at a time; tasks keep their files in `folder`."""
    pool = (
        dask_pool.borrowed(engine, folder)
        if isinstance(engine, DaskEngine)
        else worker_pool.borrowed()
    )
    with pool as workers:
        yield workers
