"""Tasks performed in a child of the worker process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tasks.base.arrays import subsample_evenly
from tasks.base.errors import DataError
from tasks.data.column_kinds import target_values
from tasks.data.ranking_groups import queries_of
from tasks.data.row_groups import group_codes
from tasks.data.snapshots import read_frame
from tasks.metrics.ranking import RankingGroups
from tasks.models.run_context import FitRun
from tasks.models.splitters import Fold, Positions, make_folds
from tasks.models.validation.baselines import fit_baseline
from tasks.models.validation.candidate_fit import fit_candidate
from tasks.models.validation.encoded_matrices import encode
from tasks.models.validation.objective import try_params


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
    if len(y) == len(keep):
        y = y[keep]
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
        fit_baseline(run, report_progress)


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
