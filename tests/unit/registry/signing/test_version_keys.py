from __future__ import annotations

from pathlib import Path

import pytest

from tasks.base.errors import ModelRefusedError, UnsignedVersionError, UsageError
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.history.overview import overview
from tasks.lineage.evidence_chain import explain_version
from tasks.registry.mlflow.shared_stores import store_of
from tasks.registry.signing import keys
from tasks.registry.signing.version_signature import SIGNATURE_TAG
from tasks.registry.version_keys import rotate_key, sign_versions
from tests.opened import opened
from tests.tables import write_churn, write_pipeline
from tests.unit.registry.trained import SCHEMA, train

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline with two versions; the first is of a keepfit that did not sign."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv(keys.SIGNING_VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    write_pipeline(tmp_path, write_churn(tmp_path / "rows.csv", 50))
    made = load_pipeline(tmp_path)
    store, name, trained = store_of(made), made.config.name, train(tmp_path)
    for _ in range(2):
        run_id = store.start_run(store.experiment(name), "training")
        version = store.register(
            name, run_id=run_id, model=trained.path, sample=trained.X,
            predictions=trained.predicted, schema=SCHEMA,
        )  # fmt: skip
        store.verify(version, trained.X, trained.predicted)
    store._client().delete_model_version_tag(name, "1", SIGNATURE_TAG)
    return made


def test_a_version_from_before_is_accepted_by_its_number_only(pipeline: Pipeline) -> None:
    store, name = store_of(pipeline), pipeline.config.name
    with pytest.raises(UnsignedVersionError) as caught:
        store.promote_by_hand(name, "1")
    assert "keepfit keys sign 1" in caught.value.remedy
    found = sign_versions(opened(pipeline, store=store), "all")
    assert found["signed"] == ["2"]
    assert found["refused"] == {"1": "It was never signed: accept it by its number."}
    assert sign_versions(opened(pipeline, store=store), "v1")["signed"] == ["1"]
    assert store.promote_by_hand(name, "1").version.version == "1"


def test_one_command_rotates_the_key_and_signs_again(pipeline: Pipeline) -> None:
    store, name = store_of(pipeline), pipeline.config.name
    found = rotate_key(opened(pipeline, store=store))
    assert found["signed"] == ["2"]
    assert keys.distrust(str(found["former"]))
    version = store.version(name, "2")
    assert version is not None
    store.load(version)


def test_a_version_that_is_not_there_is_a_mistake_of_the_command_line(pipeline: Pipeline) -> None:
    with pytest.raises(UsageError, match="no version 9"):
        sign_versions(opened(pipeline), "9")


def test_status_says_why_a_champion_is_refused_and_why_refuses_it(pipeline: Pipeline) -> None:
    store, name = store_of(pipeline), pipeline.config.name
    store.point_alias(name, "2")
    version = store.found(name, "2")
    assert version is not None
    explain_version(pipeline, None)
    (store.model_file(version).parent / "requirements.txt").write_text("evil\n")
    (shown,) = overview([pipeline])
    assert shown.health == "stopped"
    assert "its requirements.txt is not the file that was signed" in shown.reason
    for asked in (None, "2"):
        with pytest.raises(ModelRefusedError, match=r"requirements\.txt"):
            explain_version(pipeline, asked)
    store.point_alias(name, "1")
    (shown,) = overview([pipeline])
    assert "keepfit keys sign 1" in shown.reason
