"""A training as MLflow runs: one parent, one child a candidate."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base.arrays import spread
from tasks.base.errors import ModelRefusedError
from tasks.base.pipeline_file import Pipeline
from tasks.base.runtime.files import changed_file, digest_of
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.text.numbers import mode_words
from tasks.base.training_records import (
    FAMILY_TAG,
    MODEL_DIGEST_TAG,
    RECIPE_OF_TAG,
    TRAINING_TAG,
    Assessment,
    Basis,
    CandidateResult,
    Evaluation,
    MetricValue,
    ModelVersion,
    TrainingMode,
    Verdict,
)
from tasks.data.snapshots import read_frame
from tasks.evaluation.findings import Diagnosis
from tasks.evaluation.leaderboard import read_predictions
from tasks.models.ensemble.blend_call import made_of
from tasks.plugins.versions import hooks_tags
from tasks.registry.alias.champion_alias import VERIFIED
from tasks.registry.gate.holdout_verdict import version_tags
from tasks.registry.gate.reproduction import require_reproduced
from tasks.registry.mlflow.store import Store
from tasks.registry.open_pipeline import OpenPipeline
from tasks.registry.packaging.provenance import git_commit
from tasks.registry.signing import keys
from tasks.registry.version_files.holdouts import keep_holdout
from tasks.registry.version_files.version_recipes import keep_recipe, recipe_for
from tasks.reporting.report.model_card import Card, card_html, card_markdown

KEY_TAG, VERDICT_TAG = "keepfit.training_key", "keepfit.verdict"
_DIGITS = 16
_NO_PARAMETERS = {
    "alerts", "schedules", "kinds", "ledger", "monitoring", "policy", "retention",
}  # fmt: skip


def open_run(pipeline: OpenPipeline, basis: Basis, prefect_run: str | None) -> str:
    """Start the parent run of a training and return its id."""
    # It holds the settings, the data's digests, the pipeline file and the contract's result. Tried
    # again after the store failed in the middle, it goes on with the run that is there.
    # Where versions cannot be signed, hours of fits would be for nothing.
    keys.sign(b"")
    pipeline.store.close_leftovers()
    config, split, roles = pipeline.config, basis.split, basis.roles
    snapshot, prepared, contract = basis.snapshot, basis.prepared, basis.contract
    experiment = pipeline.store.experiment(
        config.name,
        metric=prepared.metric,
        greater_is_better=greater_is_better(prepared.metric),
    )
    tags = {
        **common_tags(pipeline, basis),
        "keepfit.role": "training",
        "keepfit.key": prepared.key,
        **_mode_tags(prepared.mode),
        "keepfit.note": (
            f"{_title_of(prepared.mode)} of **{config.name}**: "
            f"`{roles.target}` ({roles.task}) from {snapshot.rows:,} rows, "
            f"{split.n_train:,} to train on and {split.n_holdout:,} "
            f"held out by {split.kind}. Metric: `{prepared.metric}`.\n\n"
            "The report is the artifact `report.html`."
        ),
    }
    if prefect_run:
        tags["keepfit.prefect_flow_run"] = prefect_run
    params: dict[str, object] = {
        **flat(config.model_dump(mode="json", exclude=_NO_PARAMETERS)),
        "rows": snapshot.rows,
        "rows_train": split.n_train,
        "rows_holdout": split.n_holdout,
        "features": len(roles.features),
        "task": roles.task,
        "metric": prepared.metric,
    }
    marks = {key: tags[key] for key in ("keepfit.pipeline", "keepfit.role", "keepfit.key")}
    begun = pipeline.store.own_run(marks)
    title = f"{'refit' if prepared.mode.kind == 'refit' else 'training'} {snapshot.digest[:8]}"
    run_id = begun.run_id if begun else pipeline.store.start_run(experiment, title, tags=tags)
    pipeline.store.log(run_id, params=params)
    for context, rows in (("training", split.n_train), ("holdout", split.n_holdout)):
        pipeline.store.log_dataset(
            run_id,
            name=config.name,
            digest=snapshot.digest,
            rows=rows,
            schema=roles,
            context=context,
            source=source_words(pipeline),
        )
    # The file's own text: what came from the environment is not in it.
    pipeline.store.log_text(run_id, "pipeline.yaml", pipeline.document.text)
    if contract.page:
        pipeline.store.log_files(run_id, {"contract.html": contract.page})
    pipeline.store.log_text(run_id, "contract.json", contract.model_dump_json(indent=1))
    pipeline.store.log_text(run_id, "schema.json", roles.running(None).model_dump_json(indent=1))
    return run_id


def _title_of(mode: TrainingMode) -> str:
    return "Training" if mode.recipe_of is None else f"Refit (by the recipe of v{mode.recipe_of})"


def common_tags(pipeline: Pipeline, basis: Basis) -> dict[str, str]:
    """Return the tags that identify runs and versions."""
    tags = {
        "keepfit.pipeline": pipeline.config.name,
        "keepfit.task": basis.roles.task,
        "keepfit.metric": basis.prepared.metric,
        "keepfit.data_digest": basis.snapshot.digest[:_DIGITS],
        "keepfit.contract_digest": basis.contract.contract_digest[:_DIGITS],
        "keepfit.config_digest": pipeline.digest[:_DIGITS],
        KEY_TAG: basis.prepared.key[:_DIGITS],
    }
    commit = git_commit(pipeline.base)
    return {**tags, "keepfit.git_commit": commit} if commit else tags


def record_candidates(
    pipeline: OpenPipeline,
    basis: Basis,
    results: Sequence[CandidateResult],
    assessment: Assessment,
    run_id: str,
) -> dict[str, str]:
    """Log a child run for every candidate and return their run ids by name."""
    # Tried again after the store failed in the middle, it goes on with the children that are there.
    common = common_tags(pipeline, basis)
    experiment = pipeline.store.experiment(pipeline.config.name)
    evaluations = {e.candidate: e for e in assessment.evaluations}
    begun = {run.tags.get("keepfit.candidate"): run for run in pipeline.store.children(run_id)}
    runs = {}
    for rank, row in enumerate(assessment.leaderboard, start=1):
        result = next(r for r in results if r.candidate == row.candidate)
        earlier = begun.get(result.candidate)
        if earlier is not None and earlier.status != "RUNNING":
            runs[result.candidate] = earlier.run_id
            continue
        tags = {
            **common,
            "keepfit.role": "candidate",
            "keepfit.candidate": result.candidate,
            "keepfit.status": result.status,
            "keepfit.rank": str(rank),
            "keepfit.challenger": str(result.candidate == assessment.challenger).lower(),
        }
        if result.reason:
            tags["keepfit.reason"] = result.reason
        child = (
            earlier.run_id
            if earlier is not None
            else pipeline.store.start_run(experiment, result.candidate, tags=tags, parent=run_id)
        )
        pipeline.store.log(
            child,
            params={
                "candidate": result.candidate,
                "encoding": result.encoding,
                "rows_fitted": result.rows_fitted,
                **{f"model.{k}": v for k, v in result.params.items()},
            },
            metrics=_metrics(result, evaluations.get(result.candidate)),
            curves=result.curves,
        )
        log_trials(pipeline.store, child, result)
        pipeline.store.finish_run(child, "FAILED" if result.status == "failed" else "FINISHED")
        runs[result.candidate] = child
    return runs


def log_trials(store: Store, run_id: str, result: CandidateResult) -> None:
    """Store the trials of a candidate as a table and, step by step, as a metric."""
    # The table has the form that MLflow's pages show for `log_table`.
    if not result.trials:
        return
    names = sorted({name for trial in result.trials for name in trial.params})
    columns = ["trial", "state", "chosen", "score", "folds", "seconds", "rows", *names, "scores"]
    rows = [
        [
            trial.number, trial.state, trial.chosen, trial.score, len(trial.scores), trial.seconds,
            trial.rows, *(trial.params.get(name) for name in names), list(trial.scores),
        ]
        for trial in result.trials
    ]  # fmt: skip
    store.log_text(run_id, "trials.json", json.dumps({"columns": columns, "data": rows}))
    table = json.dumps([{"path": "trials.json", "type": "table"}])
    tuned = str(bool(result.tuned)).lower()
    # A pruned trial's score is over fewer folds and compares with none of these.
    scores = [
        t.score if t.state == "complete" and t.score is not None else nan for t in result.trials
    ]
    curves = {
        "trial.score": scores,
        "trial.folds": [float(len(trial.scores)) for trial in result.trials],
        "trial.seconds": [trial.seconds for trial in result.trials],
    }
    store.log(run_id, curves=curves, tags={"mlflow.loggedArtifacts": table, "keepfit.tuned": tuned})


def log_candidate_figures(
    store: Store, runs: Mapping[str, str], figures: Mapping[str, Mapping[str, str]]
) -> None:
    """Store each candidate's figures under its own run, so that runs compare by picture too."""
    for candidate, files in figures.items():
        store.log_files(runs[candidate], {f"figures/{n}.svg": p for n, p in files.items()})


def close_run(
    store: Store,
    run_id: str,
    assessment: Assessment,
    verdict: Verdict,
    version: ModelVersion,
    files: Mapping[str, str],
) -> None:
    """Log the challenger's metrics and figures, the verdict and the report; end the parent run."""
    evaluation = assessment.of(assessment.challenger)
    tags = {
        "keepfit.challenger": assessment.challenger,
        VERDICT_TAG: _outcome(verdict),
        "keepfit.reason": verdict.reason,
        "keepfit.model_version": version.version,
        **({"keepfit.skipped": ", ".join(verdict.skipped)} if verdict.skipped else {}),
    }
    store.log(run_id, metrics=_values(evaluation.metrics), tags=tags)
    store.log_text(run_id, "verdict.json", verdict.model_dump_json(indent=1))
    store.log_text(run_id, "leaderboard.json", assessment.model_dump_json(indent=1))
    store.log_files(run_id, files)
    store.finish_run(run_id)


def keep_card(store: Store, version: ModelVersion, run_id: str, card: Card) -> None:
    """Store a model card under the training's and the version's run; show it by the version."""
    for run in dict.fromkeys((run_id, version.run_id)):
        store.log_text(run, "model_card.md", card_markdown(card))
        store.log_text(run, "model_card.html", card_html(card))
    store.describe(version, f"{card.summary}\n\nThe card: `model_card.md` of its run.")


def log_diagnosis(store: Store, run_id: str, diagnosis: Diagnosis) -> None:
    """Store what the training teaches, without its pictures; trials stand under the candidates."""
    text = diagnosis.model_copy(update={"pictures": (), "trials": {}}).model_dump_json(indent=1)
    store.log_text(run_id, "diagnosis.json", text)
    for point in diagnosis.learning.points if diagnosis.learning is not None else ():
        scores = {"learning_curve_train": point.train, "learning_curve_validation": point.valid}
        store.log(run_id, metrics=scores, step=point.rows)


def register_challenger(
    pipeline: OpenPipeline,
    basis: Basis,
    winner: CandidateResult,
    assessment: Assessment,
    verdict: Verdict,
    run_id: str,
    importance: Mapping[str, float],
    recorded: Collection[str] = (),
) -> ModelVersion:
    """Register a model and load it back; then make it champion if the gate promotes it.

    What the judged model predicted of the holdout is stored under the run, see
    `tasks.registry.version_files.holdouts.holdout_of`. What a process registered that was killed
    before the training was recorded is not registered again: `recorded` are the versions whose
    training is. `winner`: the challenger, fitted once more on the whole window if so decided;
    `run_id`: the challenger's own.
    """
    changed = changed_file(Path(winner.model_path).parent, winner.digests)
    if changed is not None:
        raise ModelRefusedError(
            f"{winner.candidate}: {changed} is not the file that was kept with this fit.",
            "Nothing was registered. Run the training again: it is fitted again.",
        )
    version = left_version(pipeline, basis, winner, verdict, recorded) or _register(
        pipeline, basis, winner, assessment, verdict, run_id, importance
    )
    named = f"{version.name} version {version.version}"
    require_reproduced(basis, winner, pipeline.store.model_file(version), named)
    version = pipeline.store.confirm(version)
    if not verdict.promoted:
        return version
    return pipeline.store.set_champion(version.name, version.version, verdict.champion_version)


def left_version(
    pipeline: OpenPipeline,
    basis: Basis,
    winner: CandidateResult,
    verdict: Verdict,
    recorded: Collection[str],
) -> ModelVersion | None:
    """Return the verified version of this model that a killed process left; None without one."""
    wanted = {
        KEY_TAG: basis.prepared.key[:_DIGITS],
        FAMILY_TAG: winner.candidate,
        VERDICT_TAG: _outcome(verdict),
        MODEL_DIGEST_TAG: digest_of(Path(winner.model_path)),
        VERIFIED: "true",
    }
    for version in pipeline.store.versions(pipeline.config.name):
        if version.version not in recorded and wanted.items() <= version.tags.items():
            return version
    return None


def _register(
    pipeline: OpenPipeline,
    basis: Basis,
    winner: CandidateResult,
    assessment: Assessment,
    verdict: Verdict,
    run_id: str,
    importance: Mapping[str, float],
) -> ModelVersion:
    roles, metric = basis.roles, basis.prepared.metric
    # Spread over the window, so that columns with nulls are seen to have some.
    rows = spread(basis.snapshot.rows, 500)
    sample = read_frame(basis.snapshot.path, columns=list(roles.features), rows=rows)
    predicted = np.asarray(read_predictions(winner.predictions_path).predicted)
    evaluation = assessment.of(winner.candidate)
    value = evaluation.metrics[metric]
    refitted = verdict.promoted and verdict.complete and basis.prepared.refit
    held = keep_holdout(pipeline.store, basis, winner, run_id, refitted=refitted)
    ordered = sorted(importance.items(), key=lambda item: -item[1])[:10]
    return pipeline.store.register(
        pipeline.config.name,
        run_id=run_id,
        model=Path(winner.model_path),
        sample=sample,
        predictions=predicted,
        schema=roles,
        metrics=_values(evaluation.metrics),
        tags={
            **common_tags(pipeline, basis),
            **version_tags(basis, refitted=refitted),
            **hooks_tags(
                pipeline.config.hooks, pipeline.base, made_of(winner), basis.snapshot.given
            ),
            **held,
            **keep_recipe(pipeline.store, run_id, recipe_for(basis, winner)),
            FAMILY_TAG: winner.candidate,
            **_mode_tags(basis.prepared.mode),
            "keepfit.score": repr(value.value),
            VERDICT_TAG: _outcome(verdict),
            "keepfit.refitted": str(refitted).lower(),
            "keepfit.rows_fitted": str(winner.rows_fitted),
            "keepfit.params": json.dumps(winner.params),
            "keepfit.importance": json.dumps({column: f"{loss:.4g}" for column, loss in ordered}),
        },
        description=(
            f"{winner.candidate}, {metric} {_with_interval(value)} on "
            f"{basis.split.n_holdout:,} held-out rows.\n\n{mode_words(basis.prepared.mode)}"
            f"\n\n{verdict.sentence}"
            + ("\n\nFitted once more on the whole window after the verdict." if refitted else "")
        ),
    )


def _outcome(verdict: Verdict) -> str:
    return "promoted" if verdict.promoted else "refused"


def _mode_tags(mode: TrainingMode) -> dict[str, str]:
    of = {} if mode.recipe_of is None else {RECIPE_OF_TAG: mode.recipe_of}
    return {TRAINING_TAG: mode.kind, **of}


def source_words(pipeline: Pipeline) -> str:
    """Return where the rows come from, without secrets."""
    source = pipeline.config.source
    if source.kind == "sql":
        return f"sql: {source.table or 'a query'}"
    if source.kind == "demo":
        return f"demo: {source.name}"
    return f"{source.kind}: {source.path}"


def _with_interval(value: MetricValue) -> str:
    if value.value is None:
        return "not defined"
    if value.low is None or value.high is None:
        return f"{value.value:.4g}"
    return f"{value.value:.4g} ({value.low:.4g} to {value.high:.4g})"


def _metrics(result: CandidateResult, evaluation: Evaluation | None) -> dict[str, float | None]:
    metrics: dict[str, float | None] = {
        "cv_mean": result.cv_mean,
        "cv_std": result.cv_std,
        "fit_seconds": result.fit_seconds,
        "predict_seconds": result.predict_seconds,
        "model_bytes": float(result.model_bytes),
    }
    if evaluation is not None:
        metrics |= _values(evaluation.metrics)
        metrics["rows_per_second"] = evaluation.rows_per_second
        for label, values in evaluation.per_class.items():
            metrics |= {f"{n}_{label}": v.value for n, v in values.items()}
    # A deviation over one validation part does not exist: it is left out, not stored as absent.
    return {name: value for name, value in metrics.items() if value is not None}


def _values(metrics: Mapping[str, MetricValue]) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for name, metric in metrics.items():
        if metric.value is None:
            continue
        values[name] = metric.value
        if metric.low is not None and metric.high is not None:
            # A section of their own, below the metrics: MLflow compares in the order of names.
            values[f"uncertainty/{name}_low"] = metric.low
            values[f"uncertainty/{name}_high"] = metric.high
    return values


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    """Return nested settings as one level with dots in the names; secrets are hidden already.

    >>> flat({"training": {"cv": 5, "window": None}})
    {'training.cv': 5}
    """
    level: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            level |= flat(value, f"{prefix}{key}.")
        elif value is not None and value != []:
            level[f"{prefix}{key}"] = (
                ",".join(map(str, value)) if isinstance(value, list) else value
            )
    return level
