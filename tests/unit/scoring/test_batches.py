from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa

from tasks.base.command_results import ScoringOutcome
from tasks.base.errors import ConfigError
from tasks.base.monitoring_records import Cause
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.runtime.failpoints import VARIABLE
from tasks.base.settings.scoring import ParquetSink
from tasks.base.training_records import ContractResult, ModelVersion, Snapshot
from tasks.data.snapshots import write_snapshot
from tasks.ledger import outbox
from tasks.ledger.ledger import ledger_of
from tasks.registry.mlflow.shared_stores import store_of
from tasks.scoring import version_predictions
from tasks.scoring.batches import champion_of, score_batch, score_nothing
from tasks.scoring.incremental import record_batch, scored_since
from tests.opened import opened
from tests.unit.registry.trained import SCHEMA, rows, train

# MLflow's own use of SQLAlchemy.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]
ROOT = Path(__file__).resolve().parents[3]
PASSED = ContractResult(passed=True, contract_digest="", data_digest="", rows=0, rules=())


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A pipeline with a champion; its rows have no ids."""
    folder = tmp_path_factory.mktemp("mine")
    (folder / "keepfit.yaml").write_text(
        "name: mine\ntarget: spät?\nsource: {kind: parquet, path: x.parquet}\ntime_column: moment\n"
    )
    pipeline = load_pipeline(folder / "keepfit.yaml", {})
    store, trained = store_of(pipeline), train(folder)
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
    return champion_of(opened(pipeline))


def snapshot(frame: pd.DataFrame, folder: Path) -> Snapshot:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return write_snapshot(table, SCHEMA.features, folder, time_column="moment", assumptions=())


def scored(
    pipeline: Pipeline, batch: Snapshot, champion: ModelVersion, **asked: bool
) -> ScoringOutcome:
    ledger, store = ledger_of(pipeline), store_of(pipeline)
    return score_batch(
        opened(pipeline, ledger=ledger, store=store), batch, PASSED, champion, **asked
    )


def test_every_scoring_is_in_the_ledger_once(
    pipeline: Pipeline, champion: ModelVersion, tmp_path: Path
) -> None:
    first = scored(pipeline, snapshot(rows(40), tmp_path), champion)
    assert (first.rows, first.ledger_new, first.ledger_known) == (40, 40, 0)
    again = scored(pipeline, snapshot(rows(40), tmp_path), champion)
    assert (again.ledger_new, again.ledger_known) == (0, 40)
    overlapping = pd.concat([rows(40).iloc[30:], rows(60, seed=1).iloc[40:]])
    more = scored(pipeline, snapshot(overlapping, tmp_path), champion)
    assert (more.rows, more.ledger_new, more.ledger_known) == (30, 20, 10)
    stored = ledger_of(pipeline).window_rows("mine", None, champion.roles)
    written = pd.read_parquet(first.output)
    assert stored["prediction"].tolist()[:40] == written["prediction"].tolist()
    assert stored["probability_yes"].tolist()[:40] == written["probability_yes"].tolist()
    assert len(stored) == 60


def test_a_batch_scored_in_parts_is_what_it_is_at_once(
    pipeline: Pipeline, champion: ModelVersion, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = snapshot(rows(30, seed=8), tmp_path)
    whole = pd.read_parquet(scored(pipeline, batch, champion).output)
    monkeypatch.setattr(version_predictions, "PART_ROWS", 7)
    again = scored(pipeline, batch, champion)
    assert (again.rows, again.written, again.ledger_known) == (30, 30, 30)
    pd.testing.assert_frame_equal(pd.read_parquet(again.output), whole)
    later = rows(20, seed=9).assign(moment=lambda f: f["moment"] + pd.Timedelta(days=900))
    more = pd.concat([rows(30, seed=8), later])
    new = scored(
        pipeline,
        snapshot(more, tmp_path),
        champion,
        newcomers=True,
    )
    assert (new.ledger_new, new.written) == (20, 20)
    assert len(pd.read_parquet(new.output)) == 20
    ledger_of(pipeline).sent("mine", new.batch)


def test_a_sink_that_fails_leaves_the_ledger_to_be_completed(
    pipeline: Pipeline, champion: ModelVersion, tmp_path: Path
) -> None:
    later = rows(10, seed=2)
    later["moment"] += pd.Timedelta(days=100)
    batch = snapshot(later, tmp_path)
    config = pipeline.config
    sink = ParquetSink(kind="parquet", path=str(tmp_path))  # a folder
    scoring = config.scoring.model_copy(update={"sink": sink})

    broken = replace(pipeline, config=config.model_copy(update={"scoring": scoring}))
    with pytest.raises(ConfigError, match="this is a folder"):
        scored(broken, batch, champion)
    mended = scored(pipeline, batch, champion)
    assert (mended.ledger_new, mended.ledger_known) == (0, 10)
    assert len(pd.read_parquet(mended.output)) == 10


def test_a_batch_without_rows_is_written_with_the_columns_of_others(
    pipeline: Pipeline, champion: ModelVersion, tmp_path: Path
) -> None:
    empty = snapshot(rows(1).iloc[:0], tmp_path)
    done = score_nothing(opened(pipeline), empty, champion)
    full = scored(pipeline, snapshot(rows(3), tmp_path), champion)
    assert (done.rows, done.written, done.ledger_new) == (0, 0, 0)
    written, like = pd.read_parquet(done.output), pd.read_parquet(full.output)
    assert len(written) == 0
    assert written.columns.tolist() == like.columns.tolist()


def test_new_rows_go_to_the_output_that_a_person_names(
    pipeline: Pipeline, champion: ModelVersion, tmp_path: Path
) -> None:
    sink = ParquetSink(kind="parquet", path=str(tmp_path / "named.parquet"))
    config = pipeline.config
    scoring = config.scoring.model_copy(update={"sink": sink})
    named = replace(pipeline, config=config.model_copy(update={"scoring": scoring}))
    fresh = rows(10, seed=4).assign(moment=lambda f: f["moment"] + pd.Timedelta(days=300))
    again = pd.concat([fresh.iloc[:4], fresh.iloc[4:].assign(moment=fresh["moment"])])
    scored(pipeline, snapshot(fresh.iloc[:6], tmp_path), champion)
    done = scored(named, snapshot(again, tmp_path), champion, newcomers=True, named=True)
    assert done.output == str(tmp_path / "named.parquet")
    assert (done.ledger_new, done.written) == (4, 4)
    record_batch(opened(named), done.model_copy(update={"scope": "new"}), BY_HAND, "")
    assert ledger_of(pipeline).unsent("mine") == ()
    recorded = [d.sentence for d in ledger_of(pipeline).decisions("mine", kinds=("scored",))]
    assert recorded == ["4 new rows scored by v1."], "not the known ones that were read again"


def test_a_single_new_row_is_recorded_in_the_singular(
    pipeline: Pipeline, champion: ModelVersion, tmp_path: Path
) -> None:
    late = rows(1, seed=6).assign(moment=lambda f: f["moment"] + pd.Timedelta(days=900))
    done = scored(pipeline, snapshot(late, tmp_path), champion, newcomers=True)
    record_batch(opened(pipeline), done.model_copy(update={"scope": "new"}), BY_HAND, "")
    recorded = ledger_of(pipeline).decisions("mine", kinds=("scored",))
    assert "1 new row scored by v1." in [d.sentence for d in recorded]


def test_a_scored_row_of_the_future_hides_no_row_that_comes_before_it(
    pipeline: Pipeline, champion: ModelVersion, tmp_path: Path
) -> None:
    before = scored_since(opened(pipeline), champion)
    later = rows(1, seed=9)
    later["moment"] += pd.Timedelta(days=60 * 365)
    scored(pipeline, snapshot(later, tmp_path), champion)
    assert scored_since(opened(pipeline), champion) == before


BY_HAND = Cause(kind="manual", correlation="c", at=datetime.now(UTC))


def killed_at(place: str, pipeline: Pipeline, batch: Snapshot) -> None:
    """Score by the calendar in a process that is killed at a place."""
    code = (
        "import sys; from pathlib import Path; from tasks.base.pipeline_file import load_pipeline; "
        "from tasks.base.training_records import Snapshot; "
        "from tests.unit.scoring.test_batches import *; "
        "p = opened(load_pipeline(Path(sys.argv[1]), {})); "
        "s = Snapshot.model_validate_json(sys.argv[2]); "
        "score_batch(p, s, PASSED, champion_of(p), newcomers=True)"
    )
    command = [sys.executable, "-c", code, str(pipeline.path), batch.model_dump_json()]
    environ = {**os.environ, VARIABLE: place, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environ, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.parametrize(
    ("place", "kind"), [("scoring.sink.before", "files"), ("scoring.sink.after", "table")]
)
def test_what_a_kill_kept_from_the_sink_comes_with_the_next_rows_and_once(
    pipeline: Pipeline, tmp_path: Path, place: str, kind: str
) -> None:
    sink = {
        "files": f"{{kind: parquet, path: '{tmp_path}/out/p.parquet'}}",
        "table": f"{{kind: sql, url: 'sqlite:///{tmp_path}/out.db', table: predicted}}",
    }[kind]
    file = pipeline.path.with_name(f"{kind}-{place}.yaml")
    file.write_text(f"{pipeline.path.read_text()}scoring: {{sink: {sink}}}\n")
    mine, first = load_pipeline(file, {}), rows(30, seed=len(f"{kind}{place}"))
    first["moment"] += pd.Timedelta(days=len(file.name) * 50)
    later = rows(10, seed=90 + len(file.name)).assign(moment=lambda f: f["moment"])
    later["moment"] += pd.Timedelta(days=len(file.name) * 50 + 60)

    killed_at(place, mine, snapshot(first, tmp_path))
    assert len(ledger_of(mine).unsent("mine")) == 1
    since = scored_since(opened(mine), champion_of(opened(mine)))
    assert since is not None
    assert since.replace(tzinfo=None) <= first["moment"].min(), "older than one window, still read"
    both = snapshot(pd.concat([first, later]), tmp_path)
    done = scored(
        mine,
        both,
        champion_of(opened(mine)),
        newcomers=True,
    )

    assert done.ledger_new == 10
    assert [b.batch for b in ledger_of(mine).unsent("mine")] == [done.batch], "until it is recorded"
    record_batch(opened(mine), done, BY_HAND, "")
    assert ledger_of(mine).unsent("mine") == ()
    recorded = {d.data_digest: d.evidence["new"] for d in ledger_of(mine).decisions("mine")}
    assert recorded[snapshot(first, tmp_path).digest] == 30, "the killed one's is recorded too"
    assert recorded[done.batch] == 10
    if kind == "files":
        written = pd.concat(map(pd.read_parquet, (tmp_path / "out").glob("*.parquet")))
    else:
        with closing(sqlite3.connect(tmp_path / "out.db")) as database:
            written = pd.read_sql("SELECT * FROM predicted", database)
    moments = pd.to_datetime(written["moment"])
    assert sorted(moments) == sorted([*first["moment"], *later["moment"]])
    assert written["batch"].nunique() == 2


def test_a_batch_is_recorded_once_wherever_its_scoring_was_killed(
    pipeline: Pipeline, champion: ModelVersion, tmp_path: Path
) -> None:
    later = rows(12, seed=77).assign(moment=lambda f: f["moment"] + pd.Timedelta(days=1900))
    batch, ledger = snapshot(later, tmp_path), ledger_of(pipeline)

    def score() -> None:
        store = store_of(pipeline)
        done = score_batch(
            opened(pipeline, ledger=ledger, store=store), batch, PASSED, champion, newcomers=True
        )
        record_batch(
            opened(pipeline, ledger=ledger), done.model_copy(update={"scope": "new"}), BY_HAND, ""
        )

    killed_at("scoring.sink.after", pipeline, batch)
    score()
    with ledger.writing("test") as connection:  # as one killed after its record leaves it
        outbox.mark(connection, "mine", batch.digest, champion.version)
    score()
    score()

    recorded = ledger.decisions("mine", kinds=("scored",))
    assert [d.evidence["new"] for d in recorded if d.data_digest == batch.digest] == [12]
    assert ledger.unsent("mine") == ()


def test_after_retention_nothing_is_scored_anew(
    pipeline: Pipeline, champion: ModelVersion, tmp_path: Path
) -> None:
    """Rows that were scored long ago: retention leaves what scoring goes on from."""
    fortnight = rows(300, seed=7)
    fortnight["moment"] += pd.Timedelta(days=2200)
    scored(
        pipeline,
        snapshot(fortnight, tmp_path),
        champion,
        newcomers=True,
    )
    ledger = ledger_of(pipeline)
    with ledger.writing("test") as connection:
        connection.execute(sa.text("UPDATE keepfit_batches SET written_at = '2021-01-01'"))

    gone = ledger.prune(datetime(2040, 1, 1, tzinfo=UTC), pipeline.config.monitoring.window)
    assert gone.predictions > 100

    since = scored_since(opened(pipeline), champion)
    assert since is not None
    newer = fortnight[fortnight["moment"] >= since.replace(tzinfo=None)]
    again = scored(
        pipeline,
        snapshot(newer, tmp_path),
        champion,
        newcomers=True,
    )
    assert 0 < again.rows < 300
    assert again.ledger_new == 0
