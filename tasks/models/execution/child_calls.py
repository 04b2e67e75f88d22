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
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar, get_type_hints, overload

import numpy as np
from pydantic import TypeAdapter, validate_call
from pydantic_core import to_jsonable_python

from tasks.base import errors
from tasks.base.arrays import Array, Floats, Ints
from tasks.base.errors import InfrastructureError, KeepfitError
from tasks.base.plugin_settings import OwnCode
from tasks.data.snapshots import read_frame
from tasks.models.execution import worker_pool
from tasks.models.persistence.prediction import predict
from tasks.models.persistence.skops_io import load_model

_POLL_SECONDS = 1.0
_R = TypeVar("_R")


@overload
def call(
    function: str, *, within: float | None = None, imports: Sequence[str] = (), **arguments: Any
) -> Any: ...
@overload
def call(
    function: Callable[..., _R],
    *,
    within: float | None = None,
    imports: Sequence[str] = (),
    **arguments: Any,
) -> _R: ...
def call(
    function: Callable[..., Any] | str,
    *,
    within: float | None = None,
    imports: Sequence[str] = (),
    **arguments: Any,
) -> Any:
    """Call a function of keepfit in a child of the worker process, for at most `within` seconds."""
    # Its module and `imports`, modules that it imports when it is called, are imported by the
    # worker process, once for all its children.
    # Arguments and result are sent as JSON and read by the annotations: records, paths, plain
    # values. ``package.module:function`` names one whose module is heavy to import; its result is
    # plain. Raises what the function raised, TimeoutError when it was stopped, and
    # InfrastructureError when it failed otherwise or its process died twice.
    name = function if isinstance(function, str) else f"{function.__module__}:{function.__name__}"
    with tempfile.TemporaryDirectory(prefix="keepfit-call-") as folder:
        code = -signal.SIGKILL
        asked, answer = Path(folder, "asked.json"), Path(folder, "answer.json")
        given = to_jsonable_python({"function": name, "arguments": arguments})
        asked.write_text(json.dumps(given))
        log = Path(folder, "call.log")
        files = {"asked": str(asked), "answer": str(answer), "log": str(log)}
        needed = [name.partition(":")[0], *imports]
        command = {"task": 0, "do": "call", "about": name, "imports": needed, **files}
        with contextlib.suppress(worker_pool.WorkerEndedError):
            code = _performed(command, within)
        if code < 0:  # what was killed is started again once
            code = _performed(command, within)
        if code != 0:
            raise _failure(name, code, log)
        found = json.loads(answer.read_text())
        if isinstance(function, str):
            return found
        return TypeAdapter(get_type_hints(function)["return"]).validate_python(found)


def answer_call(command: dict[str, Any]) -> None:
    """Execute a request of `call`; runs in the child."""
    asked = json.loads(Path(command["asked"]).read_text())
    module, _, name = asked["function"].partition(":")
    function = getattr(import_module(module), name)
    if hasattr(function, "__annotations__"):
        function = validate_call(function)
    result = function(**asked["arguments"])
    Path(command["answer"]).write_text(json.dumps(to_jsonable_python(result)))


def predict_rows(
    model: Path,
    snapshot: str,
    columns: Sequence[str],
    rows: Ints,
    own: OwnCode | None = None,
    digest: str = "",
) -> tuple[Array, Floats | None]:
    """Return what `predict` returns for `rows` (positions) of a snapshot by the model in a file."""
    # `own` are the estimators that the running pipeline file allows; `digest` is the SHA-256 that
    # the file must have, empty for any.
    with tempfile.TemporaryDirectory(prefix="keepfit-predict-") as folder:
        positions, out = Path(folder, "rows.npy"), Path(folder, "predicted.npz")
        np.save(positions, rows)
        given: dict[str, Any] = {"model": model, "snapshot": snapshot, "rows": positions}
        call(predict_into, **given, columns=columns, out=out, own=own, digest=digest)
        with np.load(out, allow_pickle=False) as kept:
            probability = kept["probability"] if "probability" in kept.files else None
            return kept["predicted"], probability


def predict_into(
    model: Path,
    snapshot: str,
    columns: list[str],
    rows: Path,
    out: Path,
    own: OwnCode | None = None,
    digest: str = "",
) -> None:
    """Predict and leave the result in the file `out`; runs in the child."""
    X = read_frame(snapshot, columns=columns, rows=np.load(rows))
    predicted, probability = predict(load_model(model, own, digest), X)
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
