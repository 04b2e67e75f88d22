"""Single calls executed in a child of the worker process, which has the libraries imported.

Loading a model and predicting with it costs the caller neither an import nor memory, and a
model that crashes native code ends only the child.
"""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base import errors
from tasks.base.errors import InfrastructureError, KeepfitError
from tasks.base.plugin_settings import OwnCode
from tasks.data.snapshots import read_frame
from tasks.models.execution import worker_pool
from tasks.models.persistence.prediction import predict
from tasks.models.persistence.skops_io import load_model

_POLL_SECONDS = 1.0


def call(function: str, *, within: float | None = None, **arguments: Any) -> Any:
    """Call ``package.module:function`` in a child of the worker process.

    Parameters
    ----------
    function
        A function of keepfit that accepts and returns plain JSON values.
    within
        Seconds after which it is stopped; None waits for its end.

    Raises
    ------
    TimeoutError
        When it was stopped.
    KeepfitError
        As the function raised it.
    InfrastructureError
        When it failed otherwise, or its process died twice.
    """
    with tempfile.TemporaryDirectory(prefix="keepfit-call-") as folder:
        code = -signal.SIGKILL
        asked, answer = Path(folder, "asked.json"), Path(folder, "answer.json")
        asked.write_text(json.dumps({"function": function, "arguments": arguments}))
        log = Path(folder, "call.log")
        files = {"asked": str(asked), "answer": str(answer), "log": str(log)}
        command = {"task": 0, "do": "call", "about": function, **files}
        with contextlib.suppress(worker_pool.WorkerEndedError):
            code = _performed(command, within)
        if code < 0:  # what was killed is started again once
            code = _performed(command, within)
        if code != 0:
            raise _failure(function, code, log)
        return json.loads(answer.read_text())


def answer_call(command: dict[str, Any]) -> None:
    """Execute a request of `call`; runs in the child."""
    asked = json.loads(Path(command["asked"]).read_text())
    module, _, name = asked["function"].partition(":")
    result = getattr(import_module(module), name)(**asked["arguments"])
    Path(command["answer"]).write_text(json.dumps(result))


def predict_rows(
    model: Path,
    snapshot: str,
    columns: Sequence[str],
    rows: NDArray[np.int64],
    own: OwnCode | None = None,
    digest: str = "",
) -> tuple[NDArray[Any], NDArray[np.float64] | None]:
    """Return the predictions of the model in a skops file for rows of a snapshot.

    Parameters
    ----------
    columns
        Features of the model, in its order.
    rows
        Positions in the snapshot.
    own
        Estimators that the running pipeline file allows.
    digest
        SHA-256 that the file must have; empty: any.

    Returns
    -------
    predicted, probability
        As `tasks.models.persistence.prediction.predict` returns them.
    """
    with tempfile.TemporaryDirectory(prefix="keepfit-predict-") as folder:
        positions, out = Path(folder, "rows.npy"), Path(folder, "predicted.npz")
        np.save(positions, rows)
        call(
            "tasks.models.execution.child_calls:predict_into",
            model=str(model),
            snapshot=snapshot,
            columns=list(columns),
            rows=str(positions),
            out=str(out),
            own=None if own is None else own.model_dump(mode="json"),
            digest=digest,
        )
        with np.load(out, allow_pickle=False) as kept:
            probability = kept["probability"] if "probability" in kept.files else None
            return kept["predicted"], probability


def predict_into(
    model: str,
    snapshot: str,
    columns: list[str],
    rows: str,
    out: str,
    own: dict[str, Any] | None = None,
    digest: str = "",
) -> None:
    """Predict and leave the result in the file `out`; runs in the child."""
    X = read_frame(snapshot, columns=columns, rows=np.load(rows))
    code = None if own is None else OwnCode.model_validate(own)
    predicted, probability = predict(load_model(Path(model), code, digest), X)
    labels = np.asarray(predicted)
    kept = {"predicted": labels.astype(str) if labels.dtype == object else labels}
    if probability is not None:
        kept["probability"] = probability
    np.savez(out, **kept)  # type: ignore[arg-type]


def _performed(command: dict[str, Any], within: float | None) -> int:
    with worker_pool.borrowed() as worker:
        worker.send(command)
        return _ended(worker, within)


def _ended(worker: worker_pool.Lease, within: float | None) -> int:
    until = None if within is None else time.monotonic() + within
    stopped = False
    while True:
        for message in worker.hear(_POLL_SECONDS if until is None else _patience(until)):
            if message["event"] == "ended":
                if stopped and message["code"]:
                    raise TimeoutError
                return int(message["code"])
        if until is not None and not stopped and time.monotonic() > until:
            worker.send({"do": "kill", "task": 0})
            stopped = True


def _patience(until: float) -> float:
    left = until - time.monotonic()
    return min(_POLL_SECONDS, left) if left > 0 else _POLL_SECONDS


def _failure(function: str, code: int, log: Path) -> KeepfitError:
    try:
        error = json.loads(log.with_suffix(".error").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        again = ", also when started again" if code < 0 else ""
        return InfrastructureError(
            f"the process of {function} ended{again} ({worker_pool.ended_by(code)}).",
            "Run again; if it happens again, free memory first.",
        )
    known = getattr(errors, error["name"], None)
    if isinstance(known, type) and issubclass(known, KeepfitError):
        return known(error["text"])
    return InfrastructureError(f"{function} failed: {error['name']}: {error['text']}")
