"""Trial of a refused version beside the champion: the gate judges it once more, on new rows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.config import PipelineConfig
from tasks.base.errors import EvidenceError
from tasks.base.monitoring_records import Decision, decision_id
from tasks.base.plugin_settings import OwnCode
from tasks.base.runtime.libraries import pd
from tasks.base.training_records import ModelVersion, Record, Schema, Verdict
from tasks.metrics.bootstrap import time_blocks
from tasks.metrics.paired_bootstrap import Predictions, constant_predictions, paired_evidence
from tasks.monitoring.performance.labelled_predictions import Answers
from tasks.monitoring.performance.window_performance import made_by, metric_of, unseen_rows
from tasks.monitoring.probation.verdict import both, comparable, paired
from tasks.monitoring.windows.window_grid import grid
from tasks.registry.alias.champion_alias import ROLLED_BACK
from tasks.registry.gate.gate import decide
from tasks.registry.open_pipeline import OpenPipeline
from tasks.scoring.batches import challenger_of
from tasks.training.interrupted_promotion import move_and_record

BY = "shadow"
_OPEN = frozenset({"superior", "non_inferior", "refit", "no new evidence", "too few rows"})
"""Rules by which a version was refused for want of evidence, which new rows may bring."""
_LOGGER = logging.getLogger(__name__)


class Trial(Record):
    """Progress of the trial of a version."""

    windows: int  # those with enough labelled rows of both versions
    needed: int
    verdict: Verdict | None = None  # None until there are as many as are needed; then it stands


def judge_trial(
    pairs: Sequence[pd.DataFrame],
    *,
    config: PipelineConfig,
    roles: Schema,
    metric: str,
    refused: Verdict,
    champion: str,
    refit: bool = False,
) -> Trial:
    """Return the gate's verdict on rows that two versions predicted, one frame per window.

    It is judged once, when `policy.probation` windows can be judged (one where that is 0): more
    looks at growing evidence would promote a version that is no better more often than stated. It
    is the gate of a training at a quarter of its level, since that has judged the version before
    (`refused`): they are exceeded by chance in 0.6 and 2.5 % of cases at a confidence of 0.95. The
    trivial baseline is the best constant of these very rows; latency and size are those of the
    training. `pairs`: as `tasks.monitoring.probation.verdict.paired` returns them, oldest first;
    the champion is the former.
    """
    needed = max(1, config.policy.probation)
    judged = [p for p in pairs if comparable(p, roles, config.monitoring.min_rows) is not None]
    if len(judged) < needed:
        return Trial(windows=len(judged), needed=needed)
    ours, theirs = both(pd.concat(judged[:needed], ignore_index=True), roles)
    gate = config.gate.model_copy(update={"confidence": 1 - (1 - config.gate.confidence) / 4})
    held = refused.evidence
    truth = _named(ours.truth, roles)
    evidence = paired_evidence(
        metric,
        truth,
        _predictions(ours, roles),
        _predictions(theirs, roles),
        constant_predictions(truth, ours.rows, roles, metric),
        roles,
        blocks=None if ours.times is None else time_blocks(ours.times),
        gate=gate,
        seed=config.training.seed,
        name=held.challenger if held is not None else "",
        queries=ours.queries,
    )
    if held is not None:
        kept = {"latency_ms_per_1k": held.latency_ms_per_1k, "model_bytes": held.model_bytes}
        evidence = evidence.model_copy(update=kept)
    verdict = decide(evidence, gate, champion_version=champion, new_evidence=True, refit=refit)
    return Trial(windows=needed, needed=needed, verdict=verdict)


def trial_of(
    pipeline: OpenPipeline,
    champion: ModelVersion,
    challenger: ModelVersion,
    known: Sequence[Decision],
    now: datetime,
) -> Trial | None:
    """Return the trial of a version; None where it has none, or its verdict is recorded."""
    # A version is tried that the gate refused for want of evidence and that never scored. Where
    # `gate.slices` names columns a person decides: these rows are not compared by them.
    config, until = pipeline.config, champion.trained_until
    if config.scoring.shadow is None or config.gate.slices or until is None:
        return None
    trained = next((d for d in known if d.kind == "trained"), None)
    refused = None if trained is None else trained.read(Verdict, "verdict")
    spent = any(d.kind == "promoted" or d.evidence.get("by") == BY for d in known)
    if trained is None or refused is None or spent or ROLLED_BACK in challenger.tags:
        return None
    if refused.promoted or refused.rule not in _OPEN:
        return None
    name, length = config.name, config.monitoring.window
    mature = now - (config.monitoring.label_delay or length * 0)
    windows = grid(max(until, challenger.trained_until or until), mature, length)
    roles = challenger.roles.running(OwnCode.of(config.hooks, pipeline.base))
    pairs = []
    for window in windows:
        shadow = pipeline.ledger.window_rows(
            name, window, roles, role="shadow", version=challenger.version
        )
        ours = unseen_rows(made_by(shadow, challenger), challenger)
        if len(ours):
            theirs = made_by(pipeline.ledger.window_rows(name, window, roles), champion)
            pairs.append(paired(ours, unseen_rows(theirs, champion)))
    return judge_trial(
        pairs,
        config=config,
        roles=roles,
        metric=metric_of(pipeline, challenger),
        refused=refused,
        champion=champion.version,
        refit=trained.evidence.get("training") == "refit",
    )


def try_challenger(
    pipeline: OpenPipeline, champion: ModelVersion, correlation: str, now: datetime
) -> Decision | None:
    """Judge the version that predicts beside the champion where it is time; return the decision."""
    if pipeline.config.scoring.shadow is None:
        return None
    challenger = challenger_of(pipeline.store, champion)
    if challenger is None:
        return None
    known = pipeline.ledger.decisions(champion.name, version=challenger.version)
    trial = trial_of(pipeline, champion, challenger, known, now)
    if trial is None or trial.verdict is None:
        return None
    verdict, evidence = trial.verdict, trial.verdict.evidence
    if not verdict.promoted:
        # It is not reported; it stands with the training that it belongs to.
        correlation = next(d.correlation for d in known if d.kind == "trained")
    decision = Decision(
        id=decision_id(champion.name, BY, challenger.version, challenger.run_id),
        pipeline=champion.name,
        kind="promoted" if verdict.promoted else "refused",
        at=now.astimezone(UTC),
        correlation=correlation,
        sentence=f"By its predictions beside the champion. {verdict.sentence}",
        version=challenger.version,
        config_digest=pipeline.digest,
        mlflow_run=challenger.run_id,
        evidence={
            "former": champion.version,
            "difference": verdict.difference,
            "interval": list(verdict.interval) if verdict.interval else None,
            "rows": evidence.rows if evidence is not None else None,
            "windows": trial.windows,
            "confidence": verdict.confidence,
            "rule": verdict.rule,
            "metric": evidence.metric if evidence is not None else None,
            "by": BY,
        },
    )
    if not verdict.promoted:
        pipeline.ledger.record(decision)
        return decision
    try:
        move_and_record(
            pipeline, decision,
            lambda: pipeline.store.set_champion(champion.name, challenger.version, champion.version)
        )  # fmt: skip
    except EvidenceError as error:
        # Moved meanwhile: the next pass compares with the new champion.
        _LOGGER.warning("%s: %s", champion.name, error)
        return None
    return decision


def _named(places: NDArray[Any], roles: Schema) -> NDArray[Any]:
    names: NDArray[Any] = np.asarray([*roles.classes, None], dtype=object)
    return names[places] if roles.classes else places


def _predictions(answers: Answers, roles: Schema) -> Predictions:
    return Predictions(_named(answers.predicted, roles), answers.probability)
