"""Challenger and champion on rows that neither was trained on, and the gate's verdict."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.config import PipelineConfig
from tasks.base.errors import KeepfitError, ModelRefusedError, TransientError
from tasks.base.training_records import (
    FAMILY_TAG,
    SCHEMA_TAG,
    SNAPSHOT_TAG,
    TRAINED_UNTIL_TAG,
    Basis,
    CandidateResult,
    ModelVersion,
    RecipeGain,
    RefitGain,
    Split,
    Verdict,
)
from tasks.base.utc_times import latest_believed
from tasks.data.splits import split_rows
from tasks.evaluation.leaderboard import (
    holdout_groups,
    holdout_queries,
    holdout_target,
    holdout_times,
    read_predictions,
)
from tasks.metrics.bootstrap import independent
from tasks.metrics.paired_bootstrap import Predictions, paired_evidence
from tasks.models.execution.child_calls import predict_rows
from tasks.models.postprocessing.adjustment import as_served
from tasks.models.run_context import BASELINE
from tasks.registry.gate.equal_age import ends_before, fit_twin
from tasks.registry.gate.gate import decide, incomplete_words
from tasks.registry.gate.recipe_comparison import compared
from tasks.registry.gate.refit_history import judged_before
from tasks.registry.gate.reproduction import require_reproduced
from tasks.registry.gate.slice_guard import worse_slices
from tasks.registry.mlflow.store import Store

_LOGGER = logging.getLogger(__name__)

HOLDOUT_TAG = "keepfit.holdout"
RULE_TAG = "keepfit.split"


@dataclass(frozen=True)
class _Rows:
    """Holdout rows that neither model was trained on, as a mask over the holdout."""

    mask: NDArray[np.bool_]
    why_not: str = ""


def judge(
    store: Store,
    config: PipelineConfig,
    basis: Basis,
    results: Sequence[CandidateResult],
    challenger: str,
    skipped: Sequence[str] = (),
    earlier: Sequence[RefitGain] = (),
) -> Verdict:
    """Return the gate's verdict on the challenger; refused, with the reason, without evidence."""
    # `results`: fitted candidates and the baseline with their predictions of the holdout;
    # `skipped`: candidates not fitted within the time budget; `earlier`: earlier refits, the newest
    # last, of which those count that were judged on older rows.
    by_name = {result.candidate: result for result in results}
    if (ours_kept := by_name[challenger]).cached:
        # Fits of an earlier process: the files on disk are what is left of them.
        require_reproduced(basis, ours_kept, Path(ours_kept.model_path), f"the kept {challenger}")
    champion = store.champion(config.name)
    withdrawn = () if champion is None else excluded_features(champion, config)
    rival = None if withdrawn else champion
    rows = _all_rows(basis.split) if rival is None else _unseen(rival, basis)
    theirs, problem, equal_age = None, rows.why_not, False
    refit = basis.prepared.mode.kind == "refit"
    if rival is not None and rows.mask.any():
        # Only where a promoted challenger will be fitted on the whole window as well.
        if basis.prepared.refit and not skipped and ends_before(basis, rival):
            twin, problem = fit_twin(store, config, rival, basis)
            if twin is not None:
                equal_age = True
                theirs = read_predictions(twin.predictions_path).only(rows.mask)
        if theirs is None:
            theirs, cannot = champion_predictions(store, rival, basis, rows.mask)
            problem = cannot or problem
    times, groups = holdout_times(basis), holdout_groups(basis)
    times = None if times is None else times[rows.mask]
    groups = None if groups is None else groups[rows.mask]
    queries = holdout_queries(basis)
    y_true = holdout_target(basis)[rows.mask]
    ours, trivial = (
        read_predictions(by_name[name].predictions_path).only(rows.mask)
        for name in (challenger, BASELINE)
    )
    units = independent(times, groups)
    grouped = groups is not None and units is groups
    evidence = paired_evidence(
        basis.prepared.metric,
        y_true,
        ours,
        theirs,
        trivial,
        basis.roles,
        blocks=units,
        gate=config.gate,
        seed=config.training.seed,
        name=challenger,
        queries=None if queries is None else queries.only(rows.mask),
        refit=refit,
    )
    evidence = evidence.model_copy(
        update={
            "latency_ms_per_1k": _latency(by_name[challenger], basis.split.n_holdout),
            "model_bytes": by_name[challenger].model_bytes,
            "equal_age": equal_age,
            "recipes": None if refit else _recipes(config, basis, results, challenger, rival),
            **({"blocks_of": f"groups of {basis.split.group}"} if grouped else {}),
        }
    )
    verdict = decide(
        evidence,
        config.gate,
        champion_version=champion.version if champion else None,
        new_evidence=bool(rows.mask.any()),
        skipped=skipped,
        champion_family=champion.tags.get(FAMILY_TAG) if champion else None,
        refit=refit,
        earlier=judged_before(earlier, basis.split.boundary),
        withdrawn=withdrawn,
    )
    if equal_age and basis.split.boundary is not None:
        verdict = verdict.model_copy(
            update={"sentence": f"{verdict.sentence} {_equal_age(basis.split.boundary)}"}
        )
    if verdict.promoted and theirs is not None:
        positions = np.load(basis.split.holdout_path)[rows.mask]
        models = (ours, theirs, trivial)
        worse = worse_slices(config, basis, y_true, models, times, positions, groups=groups)
        if worse:
            return _refused(verdict, worse)
    if problem and not verdict.promoted:
        return verdict.model_copy(
            update={
                "reasons": (*verdict.reasons, problem),
                "sentence": f"{verdict.sentence} {problem}",
            }
        )
    return verdict


def excluded_features(champion: ModelVersion, config: PipelineConfig) -> tuple[str, ...]:
    """Return the columns that a version predicts from and the pipeline file excludes."""
    try:
        return tuple(name for name in champion.roles.features if name in config.exclude)
    except ModelRefusedError:
        return ()  # its predictions are refused for that reason


def _recipes(
    config: PipelineConfig,
    basis: Basis,
    results: Sequence[CandidateResult],
    challenger: str,
    champion: ModelVersion | None,
) -> RecipeGain | None:
    """Return the folds' evidence on the challenger's recipe against the champion family's."""
    # None where they do not compare them: the same recipe, one that was tuned on these folds, or
    # one that was not fitted. A ranking is judged by the holdout alone.
    by_name = {result.candidate: result for result in results}
    theirs = by_name.get(champion.tags.get(FAMILY_TAG, "")) if champion is not None else None
    ours = by_name[challenger]
    if theirs is None or theirs is ours or basis.roles.task == "ranking":
        return None
    if ours.trials or theirs.trials or not theirs.predictions_path:
        return None
    held, other = (
        as_served(folder.parent, folder.name, basis.roles)
        for folder in (Path(one.predictions_path).parent for one in (ours, theirs))
    )
    if held is None or other is None:
        return None
    others = {BASELINE, theirs.candidate}
    return compared(
        basis.prepared.metric,
        held,
        other,
        basis.roles,
        gate=config.gate,
        seed=config.training.seed,
        trained=basis.split.n_train,
        candidates=sum(r.status == "ok" and r.candidate not in others for r in results),
    )


def _equal_age(boundary: datetime) -> str:
    return (
        f"Both were fitted on rows before {boundary:%Y-%m-%d %H:%M} UTC, the champion anew, since "
        "the registered one was trained on newer rows than the challenger."
    )


def _refused(verdict: Verdict, worse: list[str]) -> Verdict:
    """Return a promotion taken back because of slices that would lose."""
    reason = "; ".join(worse)
    return verdict.model_copy(
        update={
            "promoted": False,
            "rule": "slices",
            "reason": reason,
            "reasons": tuple(worse),
            "sentence": " ".join(
                (
                    f"Kept champion v{verdict.champion_version}: the challenger is {reason}.",
                    *([incomplete_words(verdict.skipped)] if verdict.skipped else []),
                )
            ),
        }
    )


def version_tags(basis: Basis, *, refitted: bool) -> dict[str, str]:
    """Return the tags that record a version's training rows for later gates."""
    split = basis.split
    tags = {
        SCHEMA_TAG: basis.roles.running(None).model_dump_json(exclude_defaults=True),
        RULE_TAG: split.kind,
        HOLDOUT_TAG: repr(split.holdout),
        SNAPSHOT_TAG: basis.snapshot.file_digest,
    }
    until = newest_labelled(basis) if refitted else split.boundary
    if split.rule == "time" and until is not None:
        # Windows are closed at their start: the boundary itself was not trained on, the end was.
        tags[TRAINED_UNTIL_TAG] = f"{until.isoformat()}{' included' if refitted else ''}"
    return tags


def newest_labelled(basis: Basis) -> datetime | None:
    """Return the time of the newest row with a label, in UTC; None where the split is by hash."""
    # Rows whose label has not arrived are newer and teach nothing. One that is dated in the future
    # ends no training: what came before its time would never be scored.
    times = holdout_times(basis)
    if times is None or not len(times):
        return None
    limit = np.datetime64(latest_believed(datetime.now(UTC)).replace(tzinfo=None))
    past = times[times < limit]
    newest = past.max() if len(past) else times.min()
    return datetime.fromisoformat(str(newest)).replace(tzinfo=UTC)


def _all_rows(split: Split) -> _Rows:
    return _Rows(np.ones(split.n_holdout, dtype=bool))


def _unseen(champion: ModelVersion, basis: Basis) -> _Rows:
    split = basis.split
    none = np.zeros(split.n_holdout, dtype=bool)
    if champion.tags.get(RULE_TAG) != split.kind:
        return _Rows(none, "The champion was split by another rule, so its rows are not known.")
    try:
        if split.rule == "time":
            return newer_rows(champion, basis)
        theirs = champion.read_tag(HOLDOUT_TAG, float)
    except ModelRefusedError as error:
        return _Rows(none, f"The champion cannot be compared: {error}")
    if split.holdout <= theirs:
        return _all_rows(split)
    # A row below the smaller share is a holdout row under both.
    folder = Path(split.holdout_path).parent / "champion"
    folder.mkdir(exist_ok=True)
    smaller = split_rows(basis.snapshot, basis.roles, theirs, folder, group=split.group)
    return _Rows(np.isin(np.load(split.holdout_path), np.load(smaller.holdout_path)))


def newer_rows(champion: ModelVersion, basis: Basis) -> _Rows:
    """Return the holdout rows that are newer than all that `champion` was trained on."""
    times = holdout_times(basis)
    moment = champion.trained_until
    if times is None or moment is None:
        return _Rows(
            np.zeros(basis.split.n_holdout, dtype=bool), "The champion's training end is absent."
        )
    text, _, included = champion.tags[TRAINED_UNTIL_TAG].partition(" ")
    until = np.datetime64(moment.replace(tzinfo=None), "us")
    mask = times > until if included else times >= until
    why = "" if mask.any() else f"The champion was trained on rows up to {text}; none is newer."
    return _Rows(np.asarray(mask), why)


def champion_predictions(
    store: Store, champion: ModelVersion, basis: Basis, mask: NDArray[np.bool_]
) -> tuple[Predictions | None, str]:
    """Return the champion's predictions of the rows, or None and the reason."""
    try:
        theirs = champion.roles
    except ModelRefusedError as error:
        return None, f"The champion cannot be compared: {error}"
    schema = basis.roles
    if theirs.task != schema.task or theirs.target != schema.target:
        return None, f"The champion predicts {theirs.target!r} ({theirs.task})."
    absent = [column for column in theirs.features if column not in basis.snapshot.kinds]
    if absent:
        return None, (
            f"The champion needs columns that the pipeline no longer reads: "
            f"{', '.join(absent[:5])}."
        )
    rows = np.load(basis.split.holdout_path)[mask]
    try:
        predicted, probability = predict_rows(
            store.model_file(champion),
            basis.snapshot.path,
            list(theirs.features),
            rows,
            schema.own,
            champion.model_digest,
        )
    except TransientError:
        raise
    except KeepfitError as error:
        return None, f"The champion cannot score these rows: {error.message}"
    return Predictions(predicted, _aligned(probability, theirs.classes, schema.classes)), ""


def _aligned(
    probability: NDArray[Any] | None, theirs: Sequence[str], ours: Sequence[str]
) -> NDArray[np.float64] | None:
    """Return probabilities in the order of our classes; a class it never saw has none."""
    if probability is None or tuple(theirs) == tuple(ours):
        return probability
    aligned = np.zeros((len(probability), len(ours)))
    for place, label in enumerate(ours):
        if label in theirs:
            aligned[:, place] = probability[:, list(theirs).index(label)]
    return aligned


def _latency(result: CandidateResult, rows: int) -> float | None:
    if result.predict_seconds is None or rows == 0:
        return None
    return 1_000_000 * result.predict_seconds / rows
