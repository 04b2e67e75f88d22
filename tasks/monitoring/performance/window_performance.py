"""Performance where labels have arrived: of the window, and of earlier ones that matured since."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.arrays import Ints
from tasks.base.errors import KeepfitError, TransientError
from tasks.base.monitoring_records import Decision, Performance, SegmentPerformance, Window
from tasks.base.pipeline_file import Pipeline
from tasks.base.plugin_settings import OwnCode
from tasks.base.runtime.libraries import pd
from tasks.base.training_records import ModelVersion, Schema, Snapshot
from tasks.base.utc_times import as_utc
from tasks.data.snapshots import read_frame
from tasks.ledger.labels import read_labels
from tasks.ledger.storage.row_keys import row_keys
from tasks.monitoring.drift.harm.segments import segment_values
from tasks.monitoring.drift.reference_store import training_rows
from tasks.monitoring.monitored_window import Look
from tasks.monitoring.performance.estimation.covariate_shift import CovariateShift
from tasks.monitoring.performance.labelled_predictions import answers_of
from tasks.monitoring.performance.realised import assess_window, is_mature
from tasks.monitoring.performance.segments import Scored, judge_segments, with_segments
from tasks.policy.triggers import start_of, watched
from tasks.registry.open_pipeline import OpenPipeline
from tasks.registry.version_files.holdouts import PLACE, holdout_of, reference_predictions
from tasks.serving.answered_rows import monitored_rows


def performances_of(
    pipeline: OpenPipeline,
    look: Look,
    snapshot: Snapshot,
    earlier: Sequence[Decision],
    now: datetime,
    tried: Sequence[Window] = (),
) -> tuple[Performance, ...]:
    """Return the champion's performance on this window; at a pass's end, on earlier ones."""
    # An earlier window is measured again when labels of it have arrived since, or when so many are
    # there that they count as mature; the oldest first, `monitoring.catch_up` of them in one pass.
    # A probation waits for the labels of windows `tried`.
    if look.window is None:
        if pipeline.config.scoring.source is None:
            # Without a time these rows cannot be distinguished from those of the training.
            return ()
        problem = _collect(pipeline, look.champion, None)
        return (_measured(pipeline, look.champion, None, now, problem),)
    unsettled = _unsettled(earlier, look) if look.last else []
    # Labels of former champions' windows show the gain of retraining, and end a probation.
    former = (*former_windows(earlier, look), *tried) if look.last else ()
    known = [look.window, *former, *(p.window for p in unsettled if p.window)]
    span = Window(start=min(w.start for w in known), end=max(w.end for w in known))
    problem, config = _collect(pipeline, look.champion, span), pipeline.config.monitoring
    due = [p.window for p in unsettled if _has_more_labels(pipeline, look.champion, p, now)]
    settled = [_measured(pipeline, look.champion, w, now, problem) for w in due[: config.catch_up]]
    return (*settled, _measured(pipeline, look.champion, look.window, now, problem, snapshot))


def former_windows(earlier: Sequence[Decision], look: Look) -> tuple[Window, ...]:
    """Return the windows of former champions that are newer than what this one learned from."""
    learned = look.champion.trained_until
    ours = {d.window for d in earlier if d.version == look.champion.version} | {look.window}
    found = {
        d.window
        for d in earlier
        if d.kind == "monitored" and d.window is not None and d.window not in ours
    }
    newer = (w for w in found if learned is not None and as_utc(w.end) > learned)
    return tuple(sorted(newer, key=start_of))


def _unsettled(earlier: Sequence[Decision], look: Look) -> list[Performance]:
    """Return the last statements about earlier windows of this champion that are not final."""
    found = watched(earlier, look.champion).performances
    unsettled = [p for w, p in found.items() if w is not None and w != look.window and not p.mature]
    return sorted(unsettled, key=lambda p: start_of(p.window))


def _has_more_labels(
    pipeline: OpenPipeline, champion: ModelVersion, stated: Performance, now: datetime
) -> bool:
    """Return whether the ledger has more labels of a window than were reported."""
    name = pipeline.config.name
    known = (
        pipeline.ledger.coverage(name, stated.window),
        pipeline.ledger.coverage(name, stated.window, role="shadow", version=champion.version),
    )
    best = max(known, key=lambda found: found.labelled)
    delay = pipeline.config.monitoring.label_delay
    return best.labelled > stated.labelled or is_mature(
        best.labelled, best.rows, stated.window, delay, now
    )


def _collect(pipeline: OpenPipeline, champion: ModelVersion, span: Window | None) -> str:
    """Write the labels of rows in `span` to the ledger; return what kept them from being read."""
    ends, schema = (span.start, span.end) if span else (None, None), _roles(pipeline, champion)
    try:
        pipeline.ledger.write_labels(
            pipeline.config.name, read_labels(pipeline, schema, *ends), schema
        )
    except TransientError:
        raise
    except KeepfitError as error:
        return f" Labels could not be read: {error.message}"
    return ""


def _roles(pipeline: Pipeline, champion: ModelVersion) -> Schema:
    return champion.roles.running(OwnCode.of(pipeline.config.hooks, pipeline.base))


def _measured(
    pipeline: OpenPipeline,
    champion: ModelVersion,
    window: Window | None,
    now: datetime,
    problem: str,
    snapshot: Snapshot | None = None,
) -> Performance:
    config = pipeline.config
    metric = metric_of(pipeline, champion)
    rows, version = judged_rows(pipeline, champion, window)
    reference, shift = reference_predictions(pipeline.store, version), None
    if snapshot is not None and reference is not None:
        shift = shift_of(pipeline, version, rows, reference, snapshot)
    found = assess_window(
        rows,
        roles=_roles(pipeline, champion),
        metric=metric,
        version=version.version,
        window=window,
        holdout=holdout_of(pipeline.store, version),
        reference=reference,
        shift=shift,
        label_delay=config.monitoring.label_delay,
        now=now,
        false_alarms=config.monitoring.false_alarms,
        length=config.monitoring.window,
        seed=config.training.seed,
        min_rows=config.monitoring.min_rows,
    )
    if problem:
        found = found.model_copy(update={"sentence": found.sentence + problem})
    if window is None or not config.monitoring.segments or not found.labelled:
        return found
    return with_segments(found, _segments(pipeline, champion, version, window))


def shift_of(
    pipeline: Pipeline,
    version: ModelVersion,
    rows: pd.DataFrame,
    reference: pd.DataFrame,
    snapshot: Snapshot,
) -> CovariateShift | None:
    """Return the features of judged rows and of a version's reference."""
    # None where the version was kept without its rows' places, the snapshot of its training is
    # gone, or that of the window lacks judged rows.
    if PLACE not in reference or not len(rows) or not snapshot.rows:
        return None
    # Time is no covariate: all rows of a window are later than the reference.
    training, kinds = training_rows(pipeline, version), version.roles.watched
    names = [name for name in kinds if name in training.columns]
    frame = read_frame(snapshot.path)
    at = _places(frame, rows, version.roles, snapshot)
    if (at < 0).any() or not training.original or any(name not in frame for name in names):
        return None
    return CovariateShift(
        frame[names].iloc[at],
        read_frame(training.path, names, reference[PLACE].to_numpy()),
        {name: kinds[name] for name in names},
    )


def _places(frame: pd.DataFrame, rows: pd.DataFrame, roles: Schema, snapshot: Snapshot) -> Ints:
    """Return where in a snapshot each of the rows stands, -1 where it lacks one."""
    keys = pd.Index(row_keys(frame, roles, snapshot.digest))
    first = np.flatnonzero(~keys.duplicated())
    return np.append(first, -1)[keys[first].get_indexer(pd.Index(rows["key"]))]


_WINDOWS_OF_SEGMENTS = 3  # so many windows are pooled where one holds too few rows of a segment


def _segments(
    pipeline: OpenPipeline, champion: ModelVersion, version: ModelVersion, window: Window
) -> tuple[SegmentPerformance, ...]:
    """Return the performance of `version` by segment in a window, in three where rows are few."""
    config, roles = pipeline.config.monitoring, _roles(pipeline, version)
    before = reference_predictions(pipeline.store, version)
    columns = [c for c in config.segments if c in roles.features]
    training = training_rows(pipeline, version)
    present = [c for c in columns if c in training.columns]
    if before is None or PLACE not in before or not present or not training.original:
        return ()
    seen = read_frame(training.path, present, before[PLACE].to_numpy())
    answers = answers_of(before, roles)
    rows, span = pooled_rows(pipeline, champion, version, window)
    values = _values(pipeline, champion, rows, span, present)
    own = pd.to_datetime(rows["time"], utc=True) >= pd.Timestamp(window.start)
    scored = []
    for chosen in (own.to_numpy(), np.ones(len(rows), dtype=bool)):
        found = answers_of(rows[chosen], roles)
        if found.rows == int(chosen.sum()):
            scored.append(Scored(found, {c: v[chosen] for c, v in values.items()}))
    if answers.rows != len(before):
        return ()
    return judge_segments(
        scored,
        Scored(answers, {c: segment_values(seen[c], roles.features[c]) for c in present}),
        min_rows=config.min_rows,
        false_alarms=config.false_alarms,
        length=config.window,
    )


def pooled_rows(
    pipeline: OpenPipeline, champion: ModelVersion, version: ModelVersion, window: Window
) -> tuple[pd.DataFrame, Window]:
    """Return what `version` predicted in three windows up to one, and the stretch of time."""
    # Where another version predicted most of that, it is the window alone.
    start = window.end - _WINDOWS_OF_SEGMENTS * (window.end - window.start)
    span = Window(start=start, end=window.end)
    rows, made = judged_rows(pipeline, champion, span)
    if made.version == version.version:
        return rows, span
    return judged_rows(pipeline, champion, window)[0], window


def _values(
    pipeline: OpenPipeline,
    champion: ModelVersion,
    rows: pd.DataFrame,
    span: Window,
    columns: Sequence[str],
) -> dict[str, NDArray[Any]]:
    """Return for each column the values of judged rows of a span, empty where unknown."""
    snapshot = monitored_rows(pipeline, champion.roles, span)
    frame = read_frame(snapshot.path)
    at = _places(frame, rows, champion.roles, snapshot)
    values = {}
    for column in columns:
        texts = np.append(segment_values(frame[column], champion.roles.features[column]), "")
        values[column] = texts[at]
    return values


def judged_rows(
    pipeline: OpenPipeline, champion: ModelVersion, window: Window | None
) -> tuple[pd.DataFrame, ModelVersion]:
    """Return the predictions that were served in the window, with labels, and who made most."""
    # Where fewer than half of the rows were scored in their time, the champion's own predictions of
    # them are taken. Rows that the version was trained on are left out.
    name, roles = pipeline.config.name, champion.roles
    served = pipeline.ledger.window_rows(name, window, roles)
    own = pipeline.ledger.window_rows(name, window, roles, role="shadow", version=champion.version)
    version = champion
    if 2 * len(served) >= len(own) and len(served):
        most = str(served["version"].astype(str).mode().iloc[0])
        served = served[served["version"].astype(str) == most]
        version = pipeline.store.version(name, most) or champion
        served = made_by(served, version)
    own = made_by(own, champion)
    rows = served if 2 * len(served) >= len(own) else own
    version = version if rows is served else champion
    return unseen_rows(rows, version), version


def metric_of(pipeline: OpenPipeline, version: ModelVersion) -> str:
    """Return the metric that a version was chosen by; without its tag the file's."""
    return version.tags.get("keepfit.metric", pipeline.config.metric or "")


def made_by(rows: pd.DataFrame, version: ModelVersion) -> pd.DataFrame:
    """Return the rows that this very version predicted."""
    # Its number alone is ambiguous: after a model was deleted in MLflow, it is given again.
    return rows[rows["run_id"] == version.run_id] if version.run_id else rows


def unseen_rows(rows: pd.DataFrame, version: ModelVersion) -> pd.DataFrame:
    """Return the rows that `version` was not trained on."""
    until = version.trained_until
    if until is None or not len(rows):
        return rows
    times = pd.to_datetime(rows["time"], utc=True)
    included = version.tags.get("keepfit.trained_until", "").endswith("included")
    return rows[times > until] if included else rows[times >= until]
