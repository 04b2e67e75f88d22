from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from tasks.base.config import ParquetSink
from tasks.base.errors import ConfigError
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.records import ContractResult, ModelVersion, Snapshot
from tasks.data.snapshots import write_snapshot
from tasks.ledger.ledger import ledger_of
from tasks.registry.stores import store_of
from tasks.scoring.batches import champion_of, score_batch
from tests.unit.registry.trained import SCHEMA, rows, train

# MLflow's own use of SQLAlchemy.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]
PASSED = ContractResult(passed=True, contract_digest="", data_digest="", rows=0, rules=())


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline with a champion; its rows have no ids."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "keepfit.yaml").write_text(
        "name: mine\ntarget: spät?\nsource: {kind: parquet, path: x.parquet}\ntime_column: moment\n"
    )
    pipeline = load_pipeline(folder / "keepfit.yaml", {})
    store, trained = store_of(pipeline.state), train(folder)
    run_id = store.start_run(store.experiment("mine"), "training")
    version = store.register(
        "mine", run_id=run_id, model=trained.path, sample=trained.X, schema=SCHEMA,
        predictions=trained.predicted, tags={"keepfit.schema": SCHEMA.model_dump_json()},
    )  # fmt: skip
    store.finish_run(run_id)
    version = store.verify(version, trained.X, trained.predicted)
    store.set_champion("mine", version.version, None)
    return pipeline


@pytest.fixture
def champion(pipeline: Pipeline) -> ModelVersion:
    return champion_of(pipeline)


def snapshot(frame: pd.DataFrame, folder: Path) -> Snapshot:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return write_snapshot(table, SCHEMA.features, folder, time_column="moment", assumptions=())


def test_every_scoring_is_in_the_ledger_once(
    pipeline: Pipeline, champion: ModelVersion, tmp_path: Path
) -> None:
    first = score_batch(pipeline, snapshot(rows(40), tmp_path), PASSED, champion)
    assert (first.rows, first.ledger_new, first.ledger_known) == (40, 40, 0)
    again = score_batch(pipeline, snapshot(rows(40), tmp_path), PASSED, champion)
    assert (again.ledger_new, again.ledger_known) == (0, 40)
    overlapping = pd.concat([rows(40).iloc[30:], rows(60, seed=1).iloc[40:]])
    more = score_batch(pipeline, snapshot(overlapping, tmp_path), PASSED, champion)
    assert (more.rows, more.ledger_new, more.ledger_known) == (30, 20, 10)
    stored = ledger_of(pipeline).window_rows("mine", None, champion.roles)
    written = pd.read_parquet(first.output)
    assert stored["prediction"].tolist()[:40] == written["prediction"].tolist()
    assert stored["probability_yes"].tolist()[:40] == written["probability_yes"].tolist()
    assert len(stored) == 60


def test_a_sink_that_fails_leaves_the_ledger_to_be_completed(
    pipeline: Pipeline, champion: ModelVersion, tmp_path: Path
) -> None:
    later = rows(10, seed=2)
    later["moment"] += pd.Timedelta(days=1000)
    batch = snapshot(later, tmp_path)
    config = pipeline.config
    sink = ParquetSink(kind="parquet", path=str(tmp_path))  # a folder
    scoring = config.scoring.model_copy(update={"sink": sink})

    broken = replace(pipeline, config=config.model_copy(update={"scoring": scoring}))
    with pytest.raises(ConfigError, match="this is a folder"):
        score_batch(broken, batch, PASSED, champion)
    mended = score_batch(pipeline, batch, PASSED, champion)
    assert (mended.ledger_new, mended.ledger_known) == (0, 10)
    assert len(pd.read_parquet(mended.output)) == 10
