"""Objective of a search: one trial, rung by rung, pruned where it falls behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base.runtime.files import digests_of, write_whole
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.training_records import Trial
from tasks.models.estimators.candidates import Candidate, candidate_of
from tasks.models.persistence.artifacts import trial_folder
from tasks.models.persistence.skops_io import load_model
from tasks.models.run_context import FitRun
from tasks.models.splitters import Fold
from tasks.models.tuning.pruner import SMALL_ROWS, SMALL_SHARE, Bars, checks, falls_short
from tasks.models.validation.cross_validation import Validation, untuned
from tasks.models.validation.encoded_matrices import matrix, read_folds, read_rows


def try_params(
    run: FitRun,
    name: str,
    trial: Mapping[str, Any],
    answer: Path,
    threads: int,
    report: Callable[[str], None],
) -> None:
    """Validate one set of hyperparameters and write what became of it, a `Trial`, to `answer`."""
    # `trial` has its ``number``, ``params`` and the ``bars`` it has to reach.
    started = time.perf_counter()
    number, params, bars = int(trial["number"]), dict(trial["params"]), dict(trial["bars"])
    candidate, rows = candidate_of(run.schema.own, name, params), read_rows(run)
    folds = read_folds(run)
    encoder = load_model(run.at(candidate.encoding, "encoder.skops"))
    validation = Validation(run, candidate, rows, encoder, threads)
    if number == 0:
        params = _untuned(run, candidate, validation, folds)

    def so_far(state: str, first: float | None) -> Trial:
        done = validation.done()
        return Trial(
            number=number,
            params=params,
            state=state,
            score=float(np.mean(done.known)) if done.known else None,
            scores=done.scores,
            first=first,
            seconds=round(time.perf_counter() - started, 4),
            rows=validation.fitted,
            iterations=done.stops,
            notes=tuple(dict.fromkeys(done.notes)),
        )

    found = _climb(validation, folds, bars, so_far, lambda s: report(f"trial {number}: {s}"))
    if found.state == "complete":
        folder = trial_folder(run, name, number)
        written = validation.done().save(folder)
        found = found.model_copy(update={"digests": digests_of(folder, written)})
    write_whole(answer, found.model_dump_json())


def _untuned(
    run: FitRun, candidate: Candidate, validation: Validation, folds: list[Fold]
) -> dict[str, Any]:
    X = matrix(run, candidate.encoding, f"train{len(folds) - 1}")
    y = validation.rows.y[folds[-1].train]
    return dict(untuned(run, candidate, X, y, validation.encoder))


def _climb(
    validation: Validation,
    folds: list[Fold],
    bars: Bars,
    so_far: Callable[[str, float | None], Trial],
    report: Callable[[str], None],
) -> Trial:
    greater = greater_is_better(validation.run.metric)
    first, last = None, len(folds) - 1
    if len(folds[last].train) >= SMALL_ROWS:
        report("a part of the rows")
        first = validation.part(last, folds[last], SMALL_SHARE)
        if falls_short(so_far("pruned", first), 0, bars, greater=greater):
            return so_far("pruned", first)
    for number, fold in enumerate(folds):
        report(f"fold {number + 1} of {len(folds)}")
        validation.fold(number, fold)
        if number + 1 in checks(len(folds)):
            reached = so_far("pruned", first)
            if falls_short(reached, number + 1, bars, greater=greater):
                return reached
    return so_far("complete", first)
