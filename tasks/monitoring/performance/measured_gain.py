"""The gain of retraining, measured in a pipeline: one fit, both models on newly labelled rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.arrays import spread
from tasks.base.errors import KeepfitError, TransientError
from tasks.base.monitoring_records import (
    Decision,
    Gain,
    GainSkipped,
    Performance,
    Window,
)
from tasks.base.pipeline_file import Pipeline
from tasks.base.training_records import Basis, ContractResult, ModelVersion, Split
from tasks.base.utc_times import as_utc, naive_utc
from tasks.contracts.contract_files import late_labels
from tasks.evaluation.leaderboard import (
    holdout_queries,
    holdout_target,
    holdout_times,
    read_predictions,
)
from tasks.models.fitting import objective_of
from tasks.models.recipe import fit_recipe
from tasks.monitoring.monitored_window import Look
from tasks.monitoring.performance.gain_estimate import (
    inside,
    interval_confidence,
    retraining_gain,
)
from tasks.monitoring.performance.realised import is_mature
from tasks.monitoring.performance.window_performance import former_windows
from tasks.policy.triggers import start_of, watched
from tasks.registry.gate.holdout_verdict import champion_predictions, newer_rows
from tasks.registry.mlflow.store import Store
from tasks.registry.open_pipeline import OpenPipeline
from tasks.registry.version_files.version_recipes import recipe_of_version
from tasks.scoring.quarantine import without_waiting
from tasks.training.refit_candidacy import Candidacy
from tasks.training.row_windows import training_snapshot
from tasks.training.training_plan import prepare

MOST_ROWS = 400_000  # of the fit at most: a pass over a huge table stays bounded


@dataclass(frozen=True)
class _Inputs:
    """Input of one measurement."""

    pipeline: Pipeline
    store: Store
    champion: ModelVersion
    until: datetime
    learned: datetime
    windows: tuple[Window, ...]
    rows_expected: int
    earlier: tuple[Gain, ...]  # of this champion, the oldest first
    aged: tuple[Gain, ...]  # of all champions, the newest first


def measure_gain(
    pipeline: OpenPipeline,
    look: Look,
    performance: Sequence[Performance],
    earlier: Sequence[Decision],
    now: datetime,
) -> Gain | None:
    """Return the gain of retraining; None where nothing new is known of it."""
    # The champion's recipe is fitted on the training window without the newest labelled rows, as a
    # refit would be judged, so that a training that follows finds the fit done. Rows whose labels
    # are due are judged, of former champions' windows too: where labels come late, no others are
    # known for long after a promotion. It is measured once for each newest mature window.
    config, champion = pipeline.config, look.champion
    learned = champion.trained_until
    if look.window is None or learned is None or "gain" not in config.policy.retrain_on:
        return None
    known = watched(earlier, champion)
    stated = known.performances | {p.window: p for p in performance}
    rows = {
        w: p.rows
        for w, p in stated.items()
        if w is not None and p.mature and as_utc(w.end) > learned
    } | _of_former(pipeline, look, earlier, now)
    mature = tuple(sorted(rows, key=start_of))
    if not mature:
        return None
    until = as_utc(mature[-1].end)
    last = known.gains[0] if known.gains else None
    if last is not None and last.skipped != "failed" and last.until and last.until >= until:
        return None
    newest = [rows[window] for window in mature[-4:]]
    looked = (decision for decision in earlier if decision.kind == "monitored")
    inputs = _Inputs(
        pipeline,
        pipeline.store,
        champion,
        until,
        learned,
        mature,
        round(sum(newest) / len(newest)),
        tuple(reversed(known.gains)),
        tuple(g for decision in looked if (g := decision.read(Gain, "gain")) is not None),
    )
    began = monotonic()
    try:
        found = _measured(inputs)
    except TransientError:
        raise
    except KeepfitError as error:
        found = _skipped(inputs, "failed", error.message)
    return found.model_copy(update={"seconds": monotonic() - began})


def _of_former(
    pipeline: OpenPipeline, look: Look, earlier: Sequence[Decision], now: datetime
) -> dict[Window, int]:
    """Return the same of windows that a former champion scored."""
    config = pipeline.config
    known = {w: pipeline.ledger.coverage(config.name, w) for w in former_windows(earlier, look)}
    delay = config.monitoring.label_delay
    return {w: c.rows for w, c in known.items() if is_mature(c.labelled, c.rows, w, delay, now)}


def _measured(inputs: _Inputs) -> Gain:
    pipeline, champion, learned = inputs.pipeline, inputs.champion, inputs.learned
    recipe = recipe_of_version(inputs.store, champion)
    if recipe is None:
        return _skipped(inputs, "no recipe")
    snapshot = training_snapshot(pipeline, keep_contract=False, whole=False)
    snapshot = without_waiting(pipeline, snapshot) or snapshot
    refit = Candidacy(champion, recipe, "", strict=False)
    prepared = prepare(pipeline, snapshot, champion_until=learned, refit=refit)
    split = prepared.split
    if prepared.mode.kind != "refit":
        return _skipped(inputs, "changed", prepared.mode.obstacle)
    if split.boundary is None or as_utc(split.boundary) <= learned:
        return _skipped(inputs, "nothing newer")
    # A training that follows checks the contract.
    unchecked = ContractResult(
        passed=True, contract_digest="", data_digest=snapshot.digest, rows=snapshot.rows, rules=()
    )
    basis = Basis(snapshot=snapshot, contract=unchecked, prepared=prepared)
    judged = _judged_rows(inputs, basis)
    if judged.sum() < pipeline.config.monitoring.fewest_judged:
        return _skipped(inputs, "too few rows")
    bound, folder = bounded(split, Path(prepared.folder))
    fitted = fit_recipe(
        snapshot.path,
        bound,
        prepared.roles,
        pipeline.config.competing,
        prepared.metric,
        recipe,
        folder / "candidates",
        objective=objective_of(pipeline.config),
    )
    stated = {
        "until": inputs.until,
        "rows_expected": inputs.rows_expected,
        "boundary": split.boundary,
        "family": recipe.family,
        "rows_fitted": fitted.rows_fitted or bound.n_train,
        "rows_available": split.n_train,
    }
    return _compared(inputs, basis, judged, fitted.predictions_path, stated)


def _judged_rows(inputs: _Inputs, basis: Basis) -> NDArray[np.bool_]:
    """Return the holdout rows newer than the champion whose labels would be there if they came."""
    # They are those that are older than the label delay, and those of windows with mature labels.
    times = holdout_times(basis)
    mask = newer_rows(inputs.champion, basis).mask
    if times is None:
        return mask
    due = np.zeros(len(times), dtype=bool)
    for window in inputs.windows:
        due |= inside(times, window)
    stated = inputs.pipeline.config.monitoring.label_delay is not None
    late = late_labels(inputs.pipeline, basis.snapshot) if stated else None
    if late is not None:
        due |= times <= np.datetime64(naive_utc(late.until), "us")
    return np.asarray(mask & due)


def _compared(
    inputs: _Inputs,
    basis: Basis,
    mask: NDArray[np.bool_],
    predictions: str,
    stated: dict[str, Any],
) -> Gain:
    pipeline, champion = inputs.pipeline, inputs.champion
    theirs, problem = champion_predictions(inputs.store, champion, basis, mask)
    times = holdout_times(basis)
    if theirs is None or times is None:
        return _skipped(inputs, "failed", problem)
    queries = holdout_queries(basis)
    newest = inputs.windows[-1]
    return retraining_gain(
        pipeline.config.policy,
        champion.tags.get("keepfit.metric", basis.prepared.metric),
        holdout_target(basis)[mask],
        read_predictions(predictions).only(mask),
        theirs,
        basis.roles,
        times=times[mask],
        windows=inputs.windows,
        earlier=inputs.earlier,
        aged=inputs.aged,
        learned=inputs.learned,
        length=as_utc(newest.end) - as_utc(newest.start),
        stated=stated,
        false_alarms=pipeline.config.monitoring.false_alarms,
        version=champion.version,
        min_rows=pipeline.config.monitoring.fewest_judged,
        seed=pipeline.config.training.seed,
        queries=None if queries is None else queries.only(mask),
    )


def bounded(split: Split, folder: Path) -> tuple[Split, Path]:
    """Return a split of at most `MOST_ROWS` training rows, and the folder of its fit."""
    # The rows are spread evenly; a training cannot use the fit of a sample, so it is kept apart.
    if split.n_train <= MOST_ROWS:
        return split, folder
    folder = folder / f"sample-{MOST_ROWS}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = np.load(split.train_path)[spread(split.n_train, MOST_ROWS)]
    np.save(folder / "train.npy", rows)
    update = {"train_path": str(folder / "train.npy"), "n_train": len(rows)}
    return split.model_copy(update=update), folder


def _skipped(inputs: _Inputs, why: GainSkipped, problem: str = "") -> Gain:
    return Gain(
        version=inputs.champion.version, metric=inputs.champion.tags.get("keepfit.metric", ""),
        confidence=interval_confidence(inputs.pipeline.config.monitoring.false_alarms),
        skipped=why, problem=problem, until=inputs.until, rows_expected=inputs.rows_expected,
    )  # fmt: skip
