"""The recipe of a version is kept beside it and read back, unless it was changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.base.errors import ModelRefusedError
from tasks.base.training_records import ModelVersion, Recipe
from tasks.registry.mlflow.store import Store
from tasks.registry.version_files.version_recipes import (
    DIGEST_TAG,
    FILE,
    keep_recipe,
    recipe_of_version,
)

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
RECIPE = Recipe(family="lightgbm", settings={"learning_rate": 0.03}, iterations=120, rows=900)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Store.open(tmp_path_factory.mktemp("state"))


def version(store: Store) -> ModelVersion:
    run_id = store.start_run(store.experiment("recipes"), "challenger")
    tags = keep_recipe(store, run_id, RECIPE)
    return ModelVersion(name="recipes", version="1", run_id=run_id, tags=tags)


def file_of(store: Store, kept: ModelVersion) -> Path:
    path = store.artifact(kept.run_id, FILE)
    assert path is not None
    return path


def test_a_recipe_is_read_back_as_it_was_kept(store: Store) -> None:
    assert recipe_of_version(store, version(store)) == RECIPE


def test_a_version_from_before_has_none(store: Store) -> None:
    assert recipe_of_version(store, version(store).model_copy(update={"tags": {}})) is None


def test_a_recipe_that_was_changed_is_refused(store: Store) -> None:
    kept = version(store)
    path = file_of(store, kept)
    path.write_text(path.read_text().replace("120", "999999"))

    with pytest.raises(ModelRefusedError, match="not the file"):
        recipe_of_version(store, kept)


def test_a_recipe_of_a_later_keepfit_is_none(store: Store) -> None:
    from tasks.base.runtime.files import digest_of

    kept = version(store)
    path = file_of(store, kept)
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    changed = kept.model_copy(update={"tags": {DIGEST_TAG: digest_of(path)}})

    assert recipe_of_version(store, changed) is None
