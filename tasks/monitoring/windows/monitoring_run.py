"""One monitoring pass: its windows, and the evidence of their rows about the champion."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from tasks.base.arrays import spread
from tasks.base.errors import DataError, UsageError
from tasks.base.monitoring_records import Cause, DriftResult, Window
from tasks.base.pipeline_file import Pipeline
from tasks.base.plugin_settings import OwnCode
from tasks.base.runtime.libraries import pd
from tasks.base.training_records import NUMBERS, Kind, ModelVersion, Schema, Snapshot
from tasks.base.utc_times import as_utc
from tasks.data.snapshots import open_table, read_frame
from tasks.monitoring.drift.column_values import naive_times
from tasks.monitoring.drift.compared_rows import Side
from tasks.monitoring.drift.detector import measure, watched
from tasks.monitoring.drift.evidently_page import write_page
from tasks.monitoring.drift.harm.evidence import evidence_of
from tasks.monitoring.drift.harm.segments import harm_of_segments, segment_values, with_segments
from tasks.monitoring.drift.reference_store import reference_of, reference_rows, training_rows
from tasks.monitoring.incidents.contract_stops import contract_digest
from tasks.monitoring.monitored_window import Look, Watch
from tasks.monitoring.windows.window_grid import (
    Backlog,
    backlog_of,
    latest_complete,
    left_over,
    looked_at,
    mostly_before,
    occupied_in,
    parse_windows,
    watched_since,
)
from tasks.registry.open_pipeline import OpenPipeline
from tasks.registry.version_files.holdouts import reference_predictions
from tasks.scoring.predictions import score_frame
from tasks.scoring.version_predictions import predictions_of
from tasks.serving.answered_rows import newest_monitored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from tasks.monitoring.drift.harm.verdict import Evidence
    from tasks.monitoring.drift.reference_summary import Reference

_IMPORTANCE_TAG = "keepfit.importance"
_IMPORTANCE = TypeAdapter(dict[str, float])


def choose_looks(
    pipeline: OpenPipeline,
    champion: ModelVersion,
    cause: Cause,
    now: datetime,
    *,
    asked: str | None = None,
    every: str | None = None,
) -> Watch:
    """Return the windows of ``A..B`` in `asked`, cut by `every`; else those of this pass."""
    # Raises UsageError when a window is named and rows have no time, or `every` stands alone;
    # DataError when no row has a time.
    if every is not None and asked is None:
        raise UsageError(
            "--every cuts a window into shorter ones, and no --window is named.",
            "Write both: --window 2013-01-07..2013-03-04 --every 7d.",
        )
    if pipeline.config.time_column is None:
        if asked is not None:
            raise UsageError(
                f"{pipeline.path}: --window needs rows with a time, and the file names no "
                "`time_column`.",
                "Leave --window out: all rows of the scoring source are looked at.",
            )
        return Watch(looks=(Look(champion=champion, window=None, cause=cause),))
    if asked is not None:
        found = Backlog(windows=parse_windows(asked, every))
    else:
        found = _backlog(pipeline, champion, now)
    rest = () if asked is None else left_over(asked, found.windows)
    looks = tuple(
        Look(
            champion=champion,
            window=window,
            cause=cause,
            notes=_seen_before(window, champion) + (rest if window == found.windows[-1] else ()),
            last=window == found.windows[-1],
            asked=asked is not None,
        )
        for window in found.windows
    )
    return Watch(looks=looks, waiting=found.waiting, empty=found.empty)


def _backlog(pipeline: OpenPipeline, champion: ModelVersion, now: datetime) -> Backlog:
    config = pipeline.config.monitoring
    newest = newest_monitored(pipeline, now)
    if newest is None:
        raise DataError(
            f"No row to monitor has a value in {pipeline.config.time_column!r}.",
            "Look at the source; name a window with --window A..B.",
        )
    earlier = pipeline.ledger.decisions(pipeline.config.name, kinds=("monitored", "stopped"))
    until = champion.trained_until
    return backlog_of(
        latest_complete(newest, now, config.window),
        looked_at(earlier, contract_digest(pipeline)),
        watched_since(earlier, None if until is None else mostly_before(until, config.window)),
        most=config.catch_up,
        recent=pipeline.config.policy.persistent[1],
        occupied=lambda windows: occupied_in(pipeline, windows),
    )


def _seen_before(window: Window, champion: ModelVersion) -> tuple[str, ...]:
    """Return a note on a window of which the champion's training saw rows."""
    until = champion.trained_until
    if until is None or window.start >= until:
        return ()
    return (
        f"The window starts before {until:%Y-%m-%d %H:%M} UTC, up to when the champion was "
        "trained: drift and performance look better there than they are.",
    )


def _is_learned(look: Look, length: timedelta) -> bool:
    """Return whether the champion was fitted on nearly all rows of the window."""
    until = look.champion.trained_until
    return (
        look.window is not None
        and until is not None
        and as_utc(look.window.end) <= mostly_before(until, length)
    )


def drift_of(pipeline: OpenPipeline, look: Look, snapshot: Snapshot) -> DriftResult:
    """Compare the window's features and predictions with the champion's training rows."""
    # The champion's predictions of the window go into the ledger too, as shadow predictions, so
    # that performance is known of windows that were never scored.
    champion, roles = look.champion, look.champion.roles
    config, importance = pipeline.config.monitoring, importance_of(champion)
    frame = read_frame(snapshot.path, columns=list(watched_columns(look, snapshot)))
    reference = reference_of(pipeline, champion)
    predicted, then, times, evidence = None, None, None, None
    if snapshot.rows:
        found = predictions_of(pipeline, snapshot, champion)
        predictions = found.predictions
        pipeline.ledger.write_predictions(
            pipeline.config.name, predictions, roles, version=champion.version,
            run_id=champion.run_id, batch=snapshot.digest, role="shadow", rows=found.rows,
        )  # fmt: skip
        # Of rows that the champion learned from its predictions are surer than of rows it did not.
        unseen = reference_predictions(pipeline.store, champion, even=True)
        if unseen is not None and not _is_learned(look, config.window):
            predicted, then = _scores(predictions, champion), _scores(unseen, champion)
            times = unseen["time"].to_numpy() if "time" in unseen else None
        evidence = evidence_of(
            pipeline, champion, reference, watched(reference, importance),
            times=_times_of(found.rows, roles), predict=_predictor(pipeline, champion),
        )  # fmt: skip
    drift = measure(
        reference,
        frame,
        false_alarms=config.false_alarms,
        min_rows=config.min_rows,
        importance=importance,
        predictions=predicted,
        reference_predictions=then,
        reference_prediction_times=times,
        new=new_columns(look, snapshot),
        evidence=evidence,
    )
    if evidence is None or not drift.enough or not config.segments:
        return drift
    return _with_segments(pipeline, look, drift, frame, reference, evidence)


def _with_segments(
    pipeline: Pipeline,
    look: Look,
    found: DriftResult,
    frame: pd.DataFrame,
    reference: Reference,
    evidence: Evidence,
) -> DriftResult:
    """Return the drift of a window with that of the segments that the file names."""
    config, kinds = pipeline.config.monitoring, look.champion.roles.features
    rows = training_rows(pipeline, look.champion)
    columns = [c for c in config.segments if c in rows.columns and c in kinds]
    before = read_frame(rows.path, columns, rows.places)
    segments = harm_of_segments(
        reference, Side(frame, evidence.times), evidence,
        {c: segment_values(before[c], kinds[c]) for c in columns},
        lambda at: rows.side(at).frame, watched(reference, importance_of(look.champion)),
        min_rows=config.min_rows, false_alarms=config.false_alarms,
    )  # fmt: skip
    return found.model_copy(
        update={
            "segments": segments,
            "harmful": found.harmful or any(segment.harmful for segment in segments),
            "harm_sentence": found.harm_sentence + with_segments(segments),
        }
    )


def _times_of(rows: pd.DataFrame, roles: Schema) -> NDArray[np.datetime64] | None:
    if roles.time_column is None or roles.time_column not in rows:
        return None
    return naive_times(rows[roles.time_column])


def _predictor(
    pipeline: OpenPipeline, champion: ModelVersion
) -> Callable[[pd.DataFrame], NDArray[Any]]:
    """Return a function that scores rows as the champion does."""
    own = OwnCode.of(pipeline.config.hooks, pipeline.base)

    def predict(rows: pd.DataFrame) -> NDArray[Any]:
        model = pipeline.store.load(champion, own)
        scored, _ = score_frame(
            rows, champion.roles, model, version=champion, run_id=champion.run_id, batch=""
        )
        return _scores(scored, champion)

    return predict


def watched_columns(look: Look, snapshot: Snapshot) -> dict[str, Kind]:
    """Return the features of the window whose drift is watched."""
    return {c: kind for c, kind in look.champion.roles.watched.items() if c in snapshot.kinds}


def new_columns(look: Look, snapshot: Snapshot) -> dict[str, Kind]:
    """Return the columns of the window that were not there when the champion was trained."""
    # A column without a value in the window is another window's.
    roles = look.champion.roles
    known = {*roles.features, *roles.dropped, roles.target, roles.time_column, *roles.id_columns}
    new = {column: kind for column, kind in snapshot.kinds.items() if column not in known}
    if not new:
        return new
    table = open_table(snapshot.path)
    return {c: kind for c, kind in new.items() if table[c].null_count < table.num_rows}


def _scores(predictions: pd.DataFrame, champion: ModelVersion) -> NDArray[Any]:
    """Return the positive class's probability, the predicted class, or the value."""
    roles = champion.roles
    if roles.task == "binary":
        column = f"probability_{roles.positive}"
        if column in predictions:
            return predictions[column].to_numpy()
    if roles.task in NUMBERS:
        return predictions["prediction"].to_numpy(dtype=float)
    return predictions["prediction"].astype(str).to_numpy(dtype=object)


def importance_of(champion: ModelVersion) -> dict[str, float]:
    """Return the loss of the champion's metric when a column is shuffled, the greatest ten."""
    if _IMPORTANCE_TAG not in champion.tags:
        return {}
    stated = champion.read_tag(_IMPORTANCE_TAG, _IMPORTANCE.validate_json)
    return {column: max(0.0, loss) for column, loss in stated.items()}


def draw_page(pipeline: Pipeline, look: Look, snapshot: Snapshot, drift: DriftResult) -> str:
    """Write Evidently's page of a window in which something moved, or that a person named."""
    # A page holds Evidently's scripts and five megabytes; of quiet windows nobody opens it.
    if not drift.enough or not (drift.drifted or drift.alarm or look.asked):
        return ""
    champion, most = look.champion, pipeline.config.monitoring.sample_rows
    features = watched_columns(look, snapshot)
    window = str(look.window) if look.window else "all rows to score"
    path = page_folder(pipeline, look) / "evidently.html"
    write_page(
        reference_rows(pipeline, champion, most),
        read_frame(snapshot.path, columns=list(features), rows=spread(snapshot.rows, most)),
        features,
        path,
        findings=drift.columns,
        rows=most,
        title=f"{pipeline.config.name} v{champion.version}, {window}",
    )
    return str(path)


def page_folder(pipeline: Pipeline, look: Look) -> Path:
    """Return where the pages of this window are kept."""
    name = "all" if look.window is None else str(look.window).replace(":", "")
    return pipeline.work / "monitoring" / f"v{look.champion.version}-{name}"
