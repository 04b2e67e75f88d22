"""When the champion can be refitted, and on which rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.base.config import PipelineConfig
from tasks.base.errors import NoNewerRowsError, UsageError
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.training_records import (
    SCHEMA_TAG,
    ModelVersion,
    Recipe,
    Schema,
    Snapshot,
    TrainingMode,
)
from tasks.training.refit_candidacy import (
    Candidacy,
    mode_of,
    obstacle,
    on_champions_columns,
    require_newer_rows,
)
from tests.tables import write_pipeline

SCHEMA = Schema(
    target="churned",
    task="binary",
    features={"age": "numeric", "plan": "categorical"},
    classes=("no", "yes"),
    positive="yes",
)
RECIPE = Recipe(family="decision_tree")
SNAPSHOT = Snapshot.model_construct(
    kinds={"age": "numeric", "plan": "categorical", "churned": "categorical"}, digest="a" * 64
)


def champion(**tags: str) -> ModelVersion:
    told = {SCHEMA_TAG: SCHEMA.model_dump_json(), "keepfit.metric": "roc_auc", **tags}
    return ModelVersion(name="churn", version="3", run_id="r", tags=told)


def asked(recipe: Recipe | None = RECIPE, *, strict: bool = False, **tags: str) -> Candidacy:
    return Candidacy(champion(**tags), recipe, "an alarm", strict)


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return load_pipeline(write_pipeline(tmp_path, tmp_path / "rows.csv"))


@pytest.fixture
def config(pipeline: Pipeline) -> PipelineConfig:
    return pipeline.config


def test_a_champion_with_its_recipe_and_columns_is_refitted(pipeline: Pipeline) -> None:
    mode = mode_of(asked(), pipeline, SNAPSHOT, SCHEMA, "roc_auc")

    assert (mode.kind, mode.recipe_of, mode.recipe) == ("refit", "3", RECIPE)
    assert mode.newer_rows is None


@pytest.mark.parametrize(
    ("of", "schema", "metric", "words"),
    [
        (Candidacy(None, None, "", False), SCHEMA, "roc_auc", "no champion"),
        (asked(None), SCHEMA, "roc_auc", "no recipe"),
        (asked(), SCHEMA, "log_loss", "the file states log_loss"),
        (asked(), SCHEMA.model_copy(update={"classes": ("a", "no", "yes")}), "roc_auc", "classes"),
        (asked(Recipe(family="mine")), SCHEMA, "roc_auc", "does not name mine"),
        (
            asked(), SCHEMA.model_copy(update={"features": {"age": "categorical"}}), "roc_auc",
            "another kind now: age",
        ),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_of_a_refit_is_named(
    config: PipelineConfig, of: Candidacy, schema: Schema, metric: str, words: str
) -> None:
    assert words in obstacle(of, config, SNAPSHOT, schema, metric)


def test_columns_that_are_gone_are_an_error_by_hand_and_a_search_in_the_loop(
    pipeline: Pipeline,
) -> None:
    kinds = {"age": "numeric", "churned": "categorical"}
    narrow = Snapshot.model_construct(kinds=kinds, digest="a")
    given = (pipeline, narrow, SCHEMA, "roc_auc")

    mode = mode_of(asked(), *given)
    with pytest.raises(UsageError, match="plan"):
        mode_of(asked(strict=True), *given)

    assert (mode.kind, mode.recipe) == ("search", None)
    assert mode.obstacle == "columns of champion v3 are gone: plan"


def test_a_refit_is_fitted_on_the_champions_columns_of_todays_schema() -> None:
    today = SCHEMA.model_copy(update={"features": {**SCHEMA.features, "new": "numeric"}})

    assert on_champions_columns(today, champion()).features == SCHEMA.features


def test_without_a_time_the_champions_own_rows_are_nothing_new(pipeline: Pipeline) -> None:
    of = asked(**{"keepfit.data_digest": "a" * 16})
    mode = mode_of(of, pipeline, SNAPSHOT, SCHEMA, "roc_auc")

    assert mode.newer_rows == 0
    with pytest.raises(NoNewerRowsError, match="0 labelled rows"):
        require_newer_rows(mode)


def test_a_search_needs_no_newer_rows() -> None:
    require_newer_rows(TrainingMode(newer_rows=0, newer_needed=400))
    require_newer_rows(TrainingMode(kind="refit", newer_rows=400, newer_needed=400))


def test_what_the_last_training_saw_is_not_refitted_on_again() -> None:
    mode, seen = TrainingMode(kind="refit", newer_rows=900), datetime(2026, 3, 9, tzinfo=UTC)

    with pytest.raises(NoNewerRowsError, match="2026-03-09"):
        require_newer_rows(mode, seen, seen)
    require_newer_rows(mode, seen + timedelta(hours=1), seen)
    require_newer_rows(TrainingMode(), seen, seen)
