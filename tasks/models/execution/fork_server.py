"""A process that has the heavy libraries imported and forks a child for every task.

It reads one command a line from its standard input and writes events to what was its standard
output. Forking from here, and not from the process that people started, means that no thread of
another library is copied half-way through its work, that memory is shared until written to, and
that a fit that is killed or runs out of memory ends alone.

The children die with this process, and this process with its input: when the one that started it
ends, however it ends.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from threadpoolctl import threadpool_limits

from expectations.engine.lazy_imports import uncollected
from tasks.base.arrays import subsample_evenly
from tasks.base.errors import DataError
from tasks.base.runtime.environment import end_with, return_freed_memory
from tasks.data.column_kinds import target_values
from tasks.data.ranking_groups import queries_of
from tasks.data.row_groups import group_codes
from tasks.data.snapshots import read_frame
from tasks.metrics.ranking import RankingGroups
from tasks.models.execution.child_calls import answer_call
from tasks.models.persistence.skops_io import skops_io
from tasks.models.run_context import FitRun
from tasks.models.splitters import Fold, Positions, make_folds
from tasks.models.validation.baselines import validate_baseline
from tasks.models.validation.candidate_fit import fit_candidate, try_params
from tasks.models.validation.encoded_matrices import encode

IDLE_SECONDS = 300.0


def main() -> None:
    """Serve until the input ends or no command came for a while."""
    return_freed_memory()
    out = os.dup(1)
    os.dup2(2, 1)  # what libraries print must not stand among the messages
    _preload()
    _send(out, {"event": "ready"})
    children: dict[int, int] = {}
    last = time.monotonic()
    for commands in _incoming(lambda: list(_ended(children, out))):
        if commands is None:
            break
        for command in commands:
            last = time.monotonic()
            _obey(command, children, out)
        if not children and time.monotonic() - last > IDLE_SECONDS:
            break
    for pid in children.values():
        _kill(pid)


_HEAVY = (
    "lightgbm", "pandas", "sklearn.calibration", "sklearn.ensemble",
    "sklearn.kernel_approximation", "sklearn.linear_model", "sklearn.neural_network",
    "sklearn.svm", "sklearn.tree", "tasks.data.column_kinds", "tasks.data.snapshots",
    "tasks.metrics.scorer", "tasks.models.validation.baselines",
    "tasks.models.persistence.prediction",
)  # fmt: skip


def _preload() -> None:
    for name in _HEAVY:
        import_module(name)
    skops_io()
    import_module("lightgbm").register_logger(_Quiet())
    gc.freeze()
    gc.enable()  # disabled since the start


class _Quiet:
    """Drop LightGBM's warnings, which are for manual tuning; errors are raised as exceptions."""

    def info(self, message: str) -> None:
        """Drop `message`."""

    def warning(self, message: str) -> None:
        """Drop `message`."""


def _incoming(reap: Callable[[], Any]) -> Iterator[list[dict[str, Any]] | None]:
    """Yield commands as they come, an empty list now and then, None at the end of the input."""
    buffer = b""
    parent = os.getppid()
    while True:
        ready, _, _ = select.select([0], [], [], 0.02)
        reap()
        if os.getppid() != parent:
            yield None
            return
        if not ready:
            yield []
            continue
        data = os.read(0, 65_536)
        if not data:
            yield None
            return
        *lines, buffer = (buffer + data).split(b"\n")
        yield [json.loads(line) for line in lines if line.strip()]


def _ended(children: dict[int, int], out: int) -> Iterator[int]:
    for task, pid in list(children.items()):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            del children[task]
            code = os.waitstatus_to_exitcode(status)
            _send(out, {"event": "ended", "task": task, "code": code})
            yield task


def _obey(command: dict[str, Any], children: dict[int, int], out: int) -> None:
    task = int(command["task"])
    if command["do"] == "kill":
        if task in children:
            _kill(children[task])
        return
    with uncollected():
        for name in command.get("imports", ()):
            with contextlib.suppress(Exception):  # the child raises what is wrong with it
                import_module(name)
    if command["do"] == "import":
        return
    server = os.getpid()
    pid = os.fork()
    if pid == 0:
        _work(command, out, server)
    children[task] = pid
    _send(out, {"event": "started", "task": task, "process": pid})


def _work(command: dict[str, Any], out: int, server: int) -> NoReturn:
    code = 1
    try:
        end_with(server)
        log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        _do(command, out)
        code = 0
    except BaseException as error:  # noqa: BLE001 - the parent reports it with its reason
        with contextlib.suppress(BaseException):
            _report_failure(Path(command["log"]), error)
    finally:
        sys.stdout.flush()
        os._exit(code)


def _do(command: dict[str, Any], out: int) -> None:
    if command["do"] == "call":
        with threadpool_limits(1):
            answer_call(command)
        return
    task = int(command["task"])
    perform(command, lambda step: _send(out, {"event": "step", "task": task, **step}))


def _report_failure(log: Path, error: BaseException) -> None:
    traceback.print_exc()
    sys.stderr.flush()
    name = type(error).__name__
    text = " ".join(str(error).split())[:700] or name
    kind = getattr(error, "kind", "")
    log.with_suffix(".error").write_text(
        json.dumps({"name": name, "kind": kind, "text": text}), encoding="utf-8"
    )


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _send(out: int, message: dict[str, Any]) -> None:
    # Lines below PIPE_BUF are written whole, even with other writers.
    with contextlib.suppress(BrokenPipeError):
        os.write(out, (json.dumps(message)[:4_000] + "\n").encode())


def perform(command: dict[str, Any], send: Callable[[dict[str, Any]], None]) -> None:
    """Perform the task that `command` names; `send` reports its progress."""
    run = FitRun.of(command["run"])

    def report_progress(stage: str) -> None:
        send({"candidate": command["about"], "stage": stage})

    with threadpool_limits(1):
        if command["do"] == "prepare":
            prepare(run, report_progress)
        elif command["do"] == "encode":
            encode(run, command["about"], report_progress)
        elif command["do"] == "trial":
            answer, threads = Path(command["answer"]), int(command["threads"])
            try_params(run, command["about"], command["trial"], answer, threads, report_progress)
        else:
            fit_candidate(run, command["about"], int(command["threads"]), report_progress)


def prepare(run: FitRun, report_progress: Callable[[str], None]) -> None:
    """Read targets, make folds, fit the baseline: what every other task builds on."""
    report_progress("reading the target")
    positions = np.load(run.split.train_path).astype(np.int64, copy=False)
    if run.whole:
        positions = np.concatenate([positions, np.load(run.split.holdout_path)])
    column = run.schema.target
    y, keep = target_values(
        read_frame(run.snapshot_path, columns=[column], rows=positions), run.schema
    )
    positions = positions[keep]
    if y.dtype == object:
        y = y.astype(str)
    if len(y) < 2 or (run.classification and len(np.unique(y)) < 2):
        raise DataError(
            f"training needs rows of at least two classes; got {len(y):,} rows."
            if run.classification
            else f"training needs at least two rows; got {len(y):,}.",
            "Train on a longer window, or set a smaller split.holdout.",
        )
    np.save(run.at("rows.npy"), positions)
    np.save(run.at("y.npy"), y)
    groups = None
    if run.split.group is not None:
        groups = group_codes(run.snapshot_path, run.split.group, positions)
        np.save(run.at("groups.npy"), groups)
    queries = queries_of(run.snapshot_path, run.schema, positions)
    if queries is not None:
        np.save(run.at("queries.npy"), queries.groups)
    folds, notes = _folds(run, y, groups, queries)
    kept: dict[str, Any] = {f"train{i}": fold.train for i, fold in enumerate(folds)}
    kept |= {f"valid{i}": fold.valid for i, fold in enumerate(folds)}
    np.savez(run.at("folds.npz"), **kept)
    run.at("notes.json").write_text(json.dumps(notes))
    if not run.whole or not run.names:
        validate_baseline(run, report_progress)


def _folds(
    run: FitRun, y: np.ndarray[Any, Any], groups: Positions | None, queries: RankingGroups | None
) -> tuple[tuple[Fold, ...], tuple[str, ...]]:
    if run.recipe is not None:
        return (), ()
    most = run.training.cv_rows
    sample = subsample_evenly(len(y), most) if queries is None else queries.sample(most)
    folds, notes = make_folds(
        y[sample],
        run.training.cv,
        ordered=run.ordered,
        classification=run.classification,
        seed=run.training.seed,
        groups=None if groups is None else groups[sample],
        queries=None if queries is None else queries.groups[sample],
    )
    if len(sample) < len(y):
        notes = (*notes, f"folds are made of {len(sample):,} of {len(y):,} rows, evenly spread")
    return tuple(Fold(sample[fold.train], sample[fold.valid]) for fold in folds), notes
