"""What the report of a training says, gathered."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tasks.base.outcomes import TrainingOutcome
from tasks.base.pipeline_file import Pipeline
from tasks.base.records import Assessment, Basis, Figures, ModelVersion
from tasks.evaluation.assessing import BASELINE
from tasks.evaluation.report import (
    Change,
    FigureText,
    Link,
    ReportData,
    changed,
    render_report,
)
from tasks.registry.provenance import keepfit_version
from tasks.registry.recording import flat, source_words
from tasks.registry.store import Store


def report_html(
    pipeline: Pipeline,
    basis: Basis,
    assessment: Assessment,
    figures: Figures,
    outcome: TrainingOutcome,
    store: Store,
) -> str:
    """Return the report of a training as one page of HTML."""
    verdict = outcome.verdict
    champion = None
    if verdict.champion_version is not None:
        champion = store.version(pipeline.config.name, verdict.champion_version)
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
            changes=_changes(champion, outcome.model),
            settings=_settings(pipeline),
            links=_links(basis, outcome),
            next_command=outcome.next_command,
        )
    )


def _settings(pipeline: Pipeline) -> dict[str, str]:
    values = pipeline.config.model_dump(
        mode="json", include={"training", "split", "gate", "exclude", "kinds", "id_columns"}
    )
    return {name: str(value) for name, value in flat(values).items()}


def _links(basis: Basis, outcome: TrainingOutcome) -> tuple[Link, ...]:
    links = [
        Link("MLflow run", f"{outcome.mlflow_run_id} at {outcome.mlflow_uri}"),
        Link("Data contract", os.path.relpath(basis.contract.page, Path(outcome.report).parent)),
    ]
    if outcome.prefect_run_id:
        links.append(Link("Prefect flow run", outcome.prefect_run_id))
    return tuple(links)


def _changes(
    champion: ModelVersion | None, challenger: ModelVersion | None
) -> dict[str, tuple[Change, ...]]:
    """Return what differs between the former champion and the new version."""
    if champion is None or challenger is None:
        return {}
    tables = {
        f"Against champion v{champion.version}": changed(_facts(champion), _facts(challenger)),
        "Model settings": changed(
            _json(champion, "keepfit.params"), _json(challenger, "keepfit.params")
        ),
        "What they rely on (loss when shuffled)": changed(
            _json(champion, "keepfit.importance"), _json(challenger, "keepfit.importance")
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


def _json(version: ModelVersion, tag: str) -> dict[str, object]:
    values: dict[str, object] = json.loads(version.tags.get(tag, "{}"))
    return values
