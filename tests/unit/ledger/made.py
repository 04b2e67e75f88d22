"""Ledgers, schemas and predictions for tests, and processes that use them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.base.monitoring_records import Decision
from tasks.base.runtime.failpoints import VARIABLE
from tasks.base.training_records import Schema
from tasks.ledger.ledger import Ledger
from tasks.ledger.storage.database import address_of

if TYPE_CHECKING:
    import pandas as pd

ROOT = Path(__file__).parents[3]
NAME = "flights"


def opened(state: Path, url: str | None = None, patience: float = 60.0, **more: Any) -> Ledger:
    ledger = Ledger(address_of(url, state, state), state, patience, **more)
    ledger.prepare()
    return ledger


def schema(**changes: Any) -> Schema:
    given: dict[str, Any] = {
        "target": "late",
        "task": "binary",
        "features": {"distance": "numeric", "carrier": "categorical"},
        "classes": ("no", "yes"),
        "positive": "yes",
        "time_column": "time",
        "id_columns": ("id",),
        **changes,
    }
    return Schema(**given)


def predictions(n: int = 4, start: int = 0, score: float = 0.25, **columns: Any) -> pd.DataFrame:
    """Return predictions as scoring makes them: row i has id i and lies in hour i of 2020."""
    import numpy as np
    import pandas as pd

    first = pd.Timestamp("2020-01-01") + pd.Timedelta(hours=start)
    return pd.DataFrame(
        {
            "id": np.arange(start, start + n),
            "time": pd.date_range(first, periods=n, freq="h").astype("datetime64[us]"),
            "prediction": pd.Series(["no"] * n, dtype="str"),
            "probability_no": np.full(n, 1 - score),
            "probability_yes": np.full(n, score),
            **columns,
        }
    )


def decision(number: int = 0, **changes: Any) -> Decision:
    given: dict[str, Any] = {
        "id": f"d{number}",
        "pipeline": NAME,
        "kind": "monitored",
        "at": datetime(2020, 1, 1, number % 24, tzinfo=UTC),
        "correlation": f"c{number}",
        "sentence": "A window was looked at.",
        **changes,
    }
    return Decision(**given)


def process(code: str, *arguments: object, **environ: str) -> subprocess.Popen[str]:
    """Start Python in a process of its own; `code` finds its arguments in `sys.argv`."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class Stopped(BaseException):
    """A signal came."""


@contextmanager
def signals_raising(number: signal.Signals) -> Iterator[None]:
    """Let signal `number` raise `Stopped`, as one raises that ends a command."""

    def stop(*_: object) -> None:
        raise Stopped

    before = signal.signal(number, stop)
    try:
        yield
    finally:
        signal.signal(number, before)


class Forked:
    """A process that does `work` and ends; forked, since imports would take most of its time."""

    def __init__(self, work: Callable[[], object], failpoint: str = "") -> None:
        self._reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
            self.pid = os.fork()
        if self.pid:
            os.close(writer)
            return
        status = 1
        try:
            os.environ[VARIABLE] = failpoint
            os.write(writer, repr(work()).encode())
            status = 0
        except BaseException:  # noqa: BLE001 - the process ends here
            os.write(writer, traceback.format_exc().encode())
        finally:
            os._exit(status)

    def killed(self) -> bool:
        """Wait for its end; return whether a failpoint killed it."""
        _, status = os.waitpid(self.pid, 0)
        os.close(self._reader)
        return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL

    def answer(self) -> str:
        """Wait for its end, which must be a good one; return what it answered, as text."""
        with os.fdopen(self._reader) as reader:
            said = reader.read()
        _, status = os.waitpid(self.pid, 0)
        assert status == 0, said
        return said
