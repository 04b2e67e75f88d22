"""Contents of the report of a training, gathered."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tasks.base.command_results import TrainingOutcome
from tasks.base.monitoring_records import is_of_prefect
from tasks.base.pipeline_file import Pipeline
from tasks.base.servers.stack_file import prefect_run_page
from tasks.base.text.commands import command
from tasks.base.text.durations import format_duration
from tasks.base.training_records import (
    Assessment,
    Basis,
    CandidateResult,
    Figures,
    ModelVersion,
    Verdict,
)
from tasks.evaluation.explanation.shap_values import looked_at
from tasks.evaluation.findings import Diagnosis
from tasks.models.run_context import BASELINE
from tasks.registry.open_pipeline import OpenPipeline
from tasks.registry.packaging.provenance import keepfit_version
from tasks.registry.tracking.training_runs import flat, source_words
from tasks.reporting.report.model_card import Card, make_card
from tasks.reporting.report.report import changed, render_report
from tasks.reporting.report.report_data import Change, FigureText, Link, ReportData


def report_html(
    pipeline: OpenPipeline,
    basis: Basis,
    assessment: Assessment,
    figures: Figures,
    outcome: TrainingOutcome,
    diagnosis: Diagnosis,
) -> str:
    """Return the report of a training as one page of HTML."""
    verdict = outcome.verdict
    champion = None
    if verdict.champion_version is not None:
        champion = pipeline.store.version(pipeline.config.name, verdict.champion_version)
    return render_report(
        ReportData(
            pipeline=pipeline.config.name,
            keepfit_version=keepfit_version(),
            created=outcome.finished,
            source=source_words(pipeline),
            snapshot=basis.snapshot,
            schema=basis.roles,
            split=basis.split,
            metric=basis.prepared.metric,
            leaderboard=assessment.leaderboard,
            challenger=assessment.of(assessment.challenger),
            baseline=assessment.of(BASELINE),
            verdict=verdict,
            contract=basis.contract,
            assumptions=outcome.assumptions,
            champion_version=verdict.champion_version,
            registered=f"{outcome.model.name} v{outcome.model.version}" if outcome.model else None,
            figures=tuple(FigureText(p.name, p.title, p.caption, p.svg) for p in figures.pictures),
            diagnosis=diagnosis,
            compared=_compared(champion, outcome.model),
            changes=_changes(champion, outcome.model),
            settings=_settings(pipeline),
            links=_links(pipeline, basis, outcome),
            next_command=outcome.next_command,
            mode=outcome.mode,
        )
    )


def card_of(
    pipeline: Pipeline,
    basis: Basis,
    results: Sequence[CandidateResult],
    assessment: Assessment,
    verdict: Verdict,
    version: ModelVersion,
    diagnosis: Diagnosis,
) -> Card:
    """Return the model card of a version."""
    stated = (pipeline.config.description, source_words(pipeline), retraining_words(pipeline))
    return make_card(*stated, basis, results, assessment, verdict, version, diagnosis)


def retraining_words(pipeline: Pipeline) -> tuple[str, ...]:
    """Return the reasons for which the pipeline is trained again, a sentence each."""
    config = pipeline.config
    policy, reasons = config.policy, []
    wanted = " of ".join(map(str, policy.persistent))
    if "gain" in policy.retrain_on and config.time_column:
        reasons.append("What retraining would bring, measured on labelled rows of new windows.")
    if "drift" in policy.retrain_on and config.time_column:
        reasons.append(f"Drift of its columns or predictions in {wanted} windows.")
    if "performance" in policy.retrain_on and config.time_column:
        reasons.append(f"A fall of {config.metric or 'its metric'} in {wanted} windows.")
    if "schedule" in policy.retrain_on:
        zone = config.schedules.timezone
        if config.schedules.training:
            reasons.append(f"The calendar: {config.schedules.training} ({zone}).")
        if config.schedules.refit:
            reasons.append(f"The calendar of refits: {config.schedules.refit} ({zone}).")
    if config.time_column:
        cooldown = format_duration(policy.cooldown)
        reasons.append(f"After an alarm at most once in {cooldown}.")
    return (*reasons, f"A person: {command('run', file=pipeline.path)}.")


def _compared(champion: ModelVersion | None, challenger: ModelVersion | None) -> str:
    if champion is None or challenger is None:
        return ""
    ours, theirs = (
        {column: float(str(loss)) for column, loss in v.read_mapping("keepfit.importance").items()}
        for v in (challenger, champion)
    )
    return looked_at(ours, theirs)


def _settings(pipeline: Pipeline) -> dict[str, str]:
    values = pipeline.config.model_dump(
        mode="json", include={"training", "split", "gate", "exclude", "kinds", "id_columns"}
    )
    return {name: str(value) for name, value in flat(values).items()}


def _links(pipeline: Pipeline, basis: Basis, outcome: TrainingOutcome) -> tuple[Link, ...]:
    contract = os.path.relpath(basis.contract.page, Path(outcome.report).parent)
    links = [Link("Data contract", contract), Link("MLflow run", outcome.mlflow_run_id)]
    if (pages := outcome.mlflow_pages) is not None:
        links[1:] = [
            Link("Candidates compared in MLflow", pages.compare),
            Link("Candidates of every training, by metric", pages.table),
            Link("MLflow run", pages.run),
        ]
        if pages.server:
            links.append(Link("These three need MLflow's server", pages.server))
    if outcome.prefect_run_id and is_of_prefect(outcome.prefect_run_id):
        page = prefect_run_page(pipeline.state, outcome.prefect_run_id)
        links.append(Link("Prefect flow run", page or outcome.prefect_run_id))
    return tuple(link for link in links if link.target)


def _changes(
    champion: ModelVersion | None, challenger: ModelVersion | None
) -> dict[str, tuple[Change, ...]]:
    if champion is None or challenger is None:
        return {}
    tables = {
        f"Against champion v{champion.version}": changed(_facts(champion), _facts(challenger)),
        "Model settings": changed(
            champion.read_mapping("keepfit.params"), challenger.read_mapping("keepfit.params")
        ),
        "What they rely on (loss when shuffled)": changed(
            champion.read_mapping("keepfit.importance"),
            challenger.read_mapping("keepfit.importance"),
        ),
    }
    return {title: changes for title, changes in tables.items() if changes}


def _facts(version: ModelVersion) -> dict[str, object]:
    names = {
        "candidate": "keepfit.candidate",
        "metric": "keepfit.metric",
        "score on its own holdout": "keepfit.score",
        "rows fitted": "keepfit.rows_fitted",
        "trained until": "keepfit.trained_until",
        "data": "keepfit.data_digest",
        "contract": "keepfit.contract_digest",
        "settings": "keepfit.config_digest",
        "keepfit": "keepfit.version",
    }
    return {name: version.tags[tag] for name, tag in names.items() if tag in version.tags}
