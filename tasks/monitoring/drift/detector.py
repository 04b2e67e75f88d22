"""Whether a window drifted: every column, the predictions, and the window as a whole.

A column drifted when two things hold. The two-sample test, corrected over the columns, shows that
chance does not explain its distance from the training rows; and the distance exceeds the
operating limit, so that it is more than what weeks ordinarily differ by. Of the distance of the
values, the excess share of one value, and the difference of the shares of nulls, a column shows
the one that stands out most against its limit. The window's score is the greatest excess of a
column over its limit, weighted by the column's importance; above 1 the window is unusual.

Whether it could hurt is another question, see `harm.verdict`: it looks at what the champion
learned from and at its predictions. Columns that time itself moves are judged by what they do to
the predictions, and by their nulls.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from tasks.base.monitoring_records import ColumnFinding, DriftResult, HarmFinding
from tasks.base.runtime.libraries import pd
from tasks.base.training_records import Kind
from tasks.monitoring.drift.column_comparison import Compared, Part, absent, compare
from tasks.monitoring.drift.column_values import column_of
from tasks.monitoring.drift.compared_rows import Side
from tasks.monitoring.drift.distances import corrected
from tasks.monitoring.drift.harm.ordinary_blocks import moving_columns
from tasks.monitoring.drift.harm.verdict import (
    Evidence,
    Predictions,
    harm_of,
    moved_columns,
    moved_predictions,
    new_levels,
    of_columns,
)
from tasks.monitoring.drift.operating_limits import LEAST_DISTANCE, Calibration, calibrate
from tasks.monitoring.drift.reference_summary import Reference, build_reference
from tasks.monitoring.drift.seasons import Season, in_season, season_of
from tasks.monitoring.drift.sentences import arrived, harm_sentence, sentence

PREDICTION = "prediction"
_LEAST_WEIGHT = 0.5
_LEAST_IMPORTANCE = 0.05
_UNIMPORTANT = "; the model depends on them too little for the window to be unusual"


@dataclass(frozen=True)
class _Family:
    """Columns with one way to get their limits."""

    compared: dict[str, Compared]
    kinds: dict[str, Kind]
    calibration: Calibration | None
    weights: dict[str, float]
    level: float  # share of ordinary windows in which one of them may exceed its limit
    inflation: float = 1.0  # what the sampling limits are multiplied by where there is no history
    moving: frozenset[str] = frozenset()  # columns that time itself moves


@dataclass(frozen=True)
class _Judged:
    """One column with its limit."""

    part: Part | None
    threshold: float | None
    ratio: float  # excess over the limit, unweighted: above 1 the distance exceeds it
    weighted: float

    @property
    def trends(self) -> bool:
        """Whether no distance of its values is out of the ordinary."""
        return self.part is not None and self.part.part == "value" and self.threshold == 1.0


def measure(
    reference: Reference,
    frame: pd.DataFrame,
    *,
    false_alarms: float,
    min_rows: int,
    importance: Mapping[str, float] | None = None,
    predictions: NDArray[np.generic] | None = None,
    reference_predictions: NDArray[np.generic] | None = None,
    reference_prediction_times: NDArray[np.datetime64] | None = None,
    new: Mapping[str, Kind] | None = None,
    evidence: Evidence | None = None,
) -> DriftResult:
    """Return the drift of the rows of `frame`; `score` is in units of the limit, so `limit` is 1.

    `false_alarms`: share of ordinary windows that may raise an alarm, a fraction; `min_rows`: with
    fewer there is no score; `importance`: feature to what the metric loses without it: one of less
    than average importance needs up to twice the excess to raise an alarm; `predictions`,
    `reference_predictions`: scores of the positive class, predicted classes or values: of the
    window's rows, and of rows that the model was not trained on; shape (n,) each, both or neither;
    with `reference_prediction_times` their limits come from their own history, else the sampling
    limit is widened as the features' history widens theirs; `new`: columns that the training had
    not, named only; `evidence`: what harm is judged by: without it an unusual window counts as
    harmful.
    """
    started = time.perf_counter()
    rows = len(frame)
    both = predictions is not None and reference_predictions is not None
    level = false_alarms / 2 if both else false_alarms
    moving = moving_columns(reference)
    times = None if evidence is None else evidence.times
    known = times if times is None else times[~np.isnat(times)]
    begins = None if known is None or not len(known) else known.min()
    families = [_features(reference, frame, importance or {}, level, moving, begins)]
    if predictions is not None and reference_predictions is not None:
        families.append(
            _of_predictions(
                predictions, reference_predictions, reference_prediction_times, reference,
                families[0], level, begins,
            )
        )  # fmt: skip
    enough = rows >= min_rows and bool(families[0].compared)
    findings, score = _findings(families, importance or {}, false_alarms, enough)
    alarm = enough and score > 1.0
    harm: list[HarmFinding] = []
    if enough and evidence is not None:
        window = Side(frame, evidence.times)
        weights = watched(reference, importance or {})
        harm = harm_of(reference, window, evidence, weights, false_alarms=false_alarms)
        harm += new_levels(_unseen(families[0], findings, weights), false_alarms=false_alarms)
        if predictions is not None and reference_predictions is not None:
            scores = Predictions(
                predictions, reference_predictions, reference_prediction_times,
                families[1].compared[PREDICTION].p_value, begins,
            )  # fmt: skip
            harm.append(moved_predictions(scores, reference.length, false_alarms=false_alarms))
        kinds = {f.column: f.kind for f in findings if f.kind and (f.drifted or f.moving)}
        effects = moved_columns(window, evidence, kinds)
        harm += of_columns({n: e for n, e in effects.items() if n in moving})
        findings = tuple(_with_effect(f, effects) for f in findings)
    harmful = alarm if evidence is None else any(found.found for found in harm)
    notes = ("new: the model does not use it",)
    added = [
        ColumnFinding(column=n, kind=k, role="new", notes=notes) for n, k in (new or {}).items()
    ]
    return DriftResult(
        rows=rows,
        reference_rows=reference.rows,
        enough=enough,
        alarm=alarm,
        score=score if enough else None,
        limit=1.0 if enough else None,
        false_alarms=false_alarms,
        columns=(*findings, *added),
        harmful=harmful,
        harm=tuple(harm),
        restless=evidence is not None and evidence.blocks.restless,
        sentence=sentence(reference, families[0].calibration, findings, rows, min_rows)
        + ("" if alarm or not any(f.drifted for f in findings) else _UNIMPORTANT)
        + arrived(tuple(new or ())),
        harm_sentence=harm_sentence(harm) if harm else "",
        seconds=time.perf_counter() - started,
    )


def watched(reference: Reference, importance: Mapping[str, float]) -> dict[str, float]:
    """Return the columns that the champion depends on with their weights, 0 to 1."""
    # Where nothing is known of importance, all columns count; those that must move do not.
    moving = moving_columns(reference)
    names = [name for name in reference.columns if name not in moving]
    gains = {name: max(importance.get(name, 0.0), 0.0) for name in names}
    greatest = max(gains.values(), default=0.0)
    if greatest <= 0:
        return dict.fromkeys(names, 1.0)
    mean = sum(gains.values()) / len(gains)
    return {
        name: min(1.0, gain / mean)
        for name, gain in gains.items()
        if gain > _LEAST_IMPORTANCE * greatest
    }


def _with_effect(finding: ColumnFinding, effects: Mapping[str, float]) -> ColumnFinding:
    effect = effects.get(finding.column) if finding.role == "feature" else None
    return finding if effect is None else finding.model_copy(update={"effect": effect})


def _features(
    reference: Reference,
    frame: pd.DataFrame,
    importance: Mapping[str, float],
    level: float,
    moving: frozenset[str],
    begins: np.datetime64 | None,
) -> _Family:
    each = level / max(len(reference.columns), 1)
    compared = {}
    alike, season = _alike(reference, begins)
    for name, summary in alike.columns.items():
        if name in frame.columns:
            compared[name] = compare(summary, column_of(frame, name), level=each)
        else:
            compared[name] = absent(summary, len(frame), level=each)
        if name in moving:
            # A column that must move is tested by its nulls only.
            nulls = [p.found.p_value for p in compared[name].parts if p.part == "nulls"]
            compared[name] = replace(compared[name], p_value=nulls[0] if nulls else 1.0)
    weights = _weights(importance, list(reference.columns))
    return _Family(
        compared=compared,
        kinds={name: summary.kind for name, summary in reference.columns.items()},
        calibration=calibrate(
            reference, false_alarms=level, weights=weights, season=season, moving=moving
        ),
        weights=weights,
        level=level,
        moving=moving,
    )


def _unseen(
    family: _Family, findings: Sequence[ColumnFinding], names: Collection[str]
) -> dict[str, tuple[float, float, float]]:
    """Return share of new levels beyond the expected one, limit and p-value of each such column."""
    p_values = {f.column: f.p_value for f in findings if f.role == "feature"}
    return {
        name: (part.found.distance, _against(family, name, part)[0], p_values[name] or 0.0)
        for name in names
        for part in family.compared[name].parts
        if part.part == "unseen"
    }


def _alike(reference: Reference, begins: np.datetime64 | None) -> tuple[Reference, Season | None]:
    """Return the part of a reference that lies in a window's season, where seasons are known."""
    season = None if begins is None else season_of(reference)
    if season is None or begins is None:
        return reference, None
    part = in_season(reference, season, begins)
    return (reference, None) if part is None else (part, season)


def _weights(importance: Mapping[str, float], names: Sequence[str]) -> dict[str, float]:
    """Return weights from one half to 1, which those of average importance and more have."""
    gains = {name: max(importance.get(name, 0.0), 0.0) for name in names}
    gains = {name: gain if np.isfinite(gain) else 0.0 for name, gain in gains.items()}
    mean = sum(gains.values()) / max(len(gains), 1)
    if mean <= 0:
        return {}
    return {
        name: _LEAST_WEIGHT + (1 - _LEAST_WEIGHT) * min(1.0, gain / mean)
        for name, gain in gains.items()
    }


def _of_predictions(
    predictions: NDArray[np.generic],
    references: NDArray[np.generic],
    times: NDArray[np.datetime64] | None,
    reference: Reference,
    features: _Family,
    level: float,
    begins: np.datetime64 | None,
) -> _Family:
    theirs = pd.Series(np.asarray(references))
    kind: Kind = "numeric" if theirs.dtype.kind in "iuf" else "categorical"
    summary = build_reference(
        pd.DataFrame({PREDICTION: theirs}),
        {PREDICTION: kind},
        times,
        timedelta(seconds=reference.length),
    )
    alike, season = _alike(summary, begins)
    compared = compare(alike.columns[PREDICTION], pd.Series(np.asarray(predictions)), level=level)
    # Out of fold several models predicted: a recurring value of theirs is no evidence.
    parts = tuple(part for part in compared.parts if part.part != "peak")
    compared = replace(compared, parts=parts)
    calibration = calibrate(summary, false_alarms=level, season=season)
    return _Family(
        compared={PREDICTION: compared},
        kinds={PREDICTION: kind},
        calibration=calibration,
        weights={},
        level=level,
        inflation=1.0 if calibration else _inflation(features),
    )


def _inflation(features: _Family) -> float:
    """Return the ratio of the features' limits to those from sampling alone."""
    if features.calibration is None:
        return 1.0
    ratios = []
    for name, compared in features.compared.items():
        for part in compared.parts:
            limit = features.calibration.limits.get((name, part.part))
            if part.part == "value" and limit is not None and part.found.critical > 0:
                threshold = limit.threshold(features.calibration.limit, part.found.noise)
                ratios.append(threshold / part.found.critical)
    return max(1.0, float(np.median(ratios))) if ratios else 1.0


def _findings(
    families: Sequence[_Family], importance: Mapping[str, float], false_alarms: float, enough: bool
) -> tuple[tuple[ColumnFinding, ...], float]:
    """Return a finding per column and the window's score."""
    named = [(family, name) for family in families for name in family.compared]
    p_values = corrected([family.compared[name].p_value for family, name in named])
    findings = []
    score = 0.0
    for (family, name), p_value in zip(named, p_values, strict=True):
        compared = family.compared[name]
        judged = _judge(family, name, compared)
        rejected = p_value <= false_alarms
        score = max(score, judged.weighted if rejected else min(judged.weighted, 1.0))
        notes = compared.notes
        if name in family.moving:
            notes += ("moves with time: judged by what it does to the predictions",)
        elif judged.trends and family.calibration is not None:
            notes += ("its values trend within the reference: no distance is out of the ordinary",)
        findings.append(
            ColumnFinding(
                column=name,
                kind=family.kinds[name],
                role="feature" if family is families[0] else "prediction",
                method=judged.part.method if judged.part else "",
                statistic=judged.part.found.distance if judged.part else None,
                threshold=judged.threshold,
                p_value=p_value if compared.parts else None,
                drifted=enough and rejected and judged.ratio > 1.0,
                missing=compared.missing,
                missing_reference=compared.missing_reference,
                unseen=compared.unseen,
                importance=importance.get(name) if family is families[0] else None,
                moving=name in family.moving,
                notes=notes,
            )
        )
    return tuple(findings), score


def _judge(family: _Family, name: str, compared: Compared) -> _Judged:
    """Return the part of a column that stands out most against its limit."""
    best = _Judged(None, None, 0.0, 0.0)
    weight = family.weights.get(name, 1.0)
    for part in compared.parts:
        threshold, ratio = _against(family, name, part)
        if name in family.moving and part.part != "nulls":
            threshold, ratio = 1.0, 0.0
        if best.part is None or ratio > best.ratio:
            weighted = ratio * weight if family.calibration is not None else ratio
            best = _Judged(part, threshold, ratio, weighted)
    return best


def _against(family: _Family, name: str, part: Part) -> tuple[float, float]:
    """Return the limit of a distance, and how often its excess holds the limit's."""
    calibration = family.calibration
    limit = None if calibration is None else calibration.limits.get((name, part.part))
    distance, noise = part.found.distance, part.found.noise
    if calibration is None or limit is None:
        threshold = min(1.0, max(LEAST_DISTANCE[part.part], part.found.critical * family.inflation))
        if family.inflation > 1.0:
            threshold = min(threshold, (1.0 + part.found.critical) / 2)
        return threshold, distance / threshold
    threshold = limit.threshold(calibration.limit, noise)
    if threshold >= 1.0:
        return 1.0, 0.0
    return threshold, max(limit.excess(distance, noise), 0.0) / calibration.limit
