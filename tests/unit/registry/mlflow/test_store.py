from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.base.errors import (
    ConfigError,
    EvidenceError,
    InfrastructureError,
    ModelRefusedError,
    TransientError,
)
from tasks.base.runtime.process_identity import this_process
from tasks.base.training_records import ModelVersion
from tasks.registry.mlflow.store import Store
from tasks.registry.packaging.provenance import PROCESS_TAG
from tests.unit.registry.trained import SCHEMA, Trained, train

# MLflow's own use of SQLAlchemy.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield Store.open(tmp_path_factory.mktemp("state") / "a state ü")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def experiment(store: Store) -> str:
    return store.experiment("flights", metric="roc_auc")


def registered(store: Store, trained: Trained, name: str, **changes: Any) -> ModelVersion:
    run_id = store.start_run(store.experiment(name), "training")
    given = {
        "run_id": run_id,
        "model": trained.path,
        "sample": trained.X,
        "predictions": trained.predicted,
        "schema": SCHEMA,
        **changes,
    }
    version = store.register(name, **given)
    store.finish_run(run_id)
    return version


ABROAD = f"{'a' * 16}-{'b' * 16}-1-1"


def ended() -> str:
    """Return the name of a process of this host that is not there."""
    host, boot, _, _ = this_process().split("-")
    return f"{host}-{boot}-4194305-1"


def run_of(store: Store, run_id: str) -> Any:
    return store._client().get_run(run_id)


# Opening


def test_opening_is_cheap_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tasks.registry.mlflow.store import Store; "
        f"Store.open(Path({str(tmp_path)!r})); "
        "sys.exit(bool({'mlflow', 'sklearn', 'skops'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_environment_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example/")
    opened = Store.open(tmp_path)
    assert opened.artifacts is None
    assert opened.address == "https://mlflow.example/"


def test_files_and_folders_are_the_owners_only(store: Store, experiment: str) -> None:
    database = store.state / "mlflow" / "mlflow.db"
    assert database.stat().st_mode & 0o077 == 0
    assert store.state.stat().st_mode & 0o077 == 0
    assert (store.state / "mlflow").stat().st_mode & 0o077 == 0


def test_the_database_keeps_a_write_ahead_log(store: Store, experiment: str) -> None:
    with sqlite3.connect(store.state / "mlflow" / "mlflow.db") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_absent_server_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(TransientError, match=r"No MLflow server answers at http://127\.0\.0\.1:1"):
        Store.open(tmp_path).warm_up()
    assert time.monotonic() - began < 10


def test_an_absent_database_server_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql+psycopg://me:secret@127.0.0.1:1/mlflow")
    began = time.monotonic()
    with pytest.raises(TransientError) as caught:
        Store.open(tmp_path).warm_up()
    assert "secret" not in str(caught.value)
    assert time.monotonic() - began < 10


def test_a_path_that_ends_an_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\? or #"):
        Store.open(tmp_path / "what?")


def test_a_database_half_made_by_a_killed_process_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "mlflow"
    folder.mkdir()
    (folder / ".mlflow.db.new").write_bytes(b"torn")
    (folder / ".mlflow.db.new-journal").write_bytes(b"torn")
    Store.open(tmp_path).warm_up()
    assert (folder / "mlflow.db").read_bytes()[:6] == b"SQLite"
    assert not list(folder.glob(".mlflow.db.new*"))


@pytest.mark.slow
def test_processes_that_start_at_once_on_a_fresh_folder_all_succeed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tasks.registry.mlflow.store import Store; "
        "s = Store.open(Path(sys.argv[1])); e = s.experiment('flights'); "
        "r = s.start_run(e, 'x', params={'a': 1}); s.finish_run(r); print(e)"
    )
    environ = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "state")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ,
        )
        for _ in range(3)
    ]  # fmt: skip
    ended = [(*process.communicate(), process.returncode) for process in started]
    assert [code for _, _, code in ended] == [0, 0, 0], ended
    assert len({out for out, _, _ in ended}) == 1
    assert [err for _, err, _ in ended] == ["", "", ""]


def test_a_short_lock_on_the_database_goes_unnoticed(store: Store, experiment: str) -> None:
    run_id = store.start_run(experiment, "locked out")
    other = sqlite3.connect(
        store.state / "mlflow" / "mlflow.db", check_same_thread=False, isolation_level=None
    )
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.7, lambda: other.execute("COMMIT"))
    release.start()
    store.log(run_id, metrics={"kept": 1.0})
    release.join()
    other.close()
    assert run_of(store, run_id).data.metrics == {"kept": 1.0}


# Runs


def test_the_same_experiment_keeps_its_id(store: Store, experiment: str) -> None:
    assert Store.open(store.state).experiment("flights") == experiment
    tags = store._client().get_experiment(experiment).tags
    assert tags["mlflow.experiment.primaryMetric.name"] == "roc_auc"


def test_an_experiment_of_before_is_shown_as_trainings_by_the_metric_of_now(store: Store) -> None:
    identity = store._client().create_experiment("of before")

    assert store.experiment("of before", metric="rmse", greater_is_better=False) == identity
    tags = store._client().get_experiment(identity).tags
    view = json.loads(tags["mlflow.sharedViewState.keepfit"])
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`rmse`", True)
    assert "metrics.`rmse`" in view["selectedColumns"]


def test_a_deleted_experiment_is_restored(store: Store) -> None:
    identity = store.experiment("deleted once")
    store._client().delete_experiment(identity)
    assert Store.open(store.state).experiment("deleted once") == identity


def test_a_run_says_what_it_is(store: Store, experiment: str) -> None:
    commit = "a" * 40
    parent = store.start_run(
        experiment,
        "training",
        tags={"keepfit.role": "training", "keepfit.git_commit": commit, "keepfit.note": "# Hi"},
    )
    child = store.start_run(experiment, "svm", tags={"keepfit.role": "candidate"}, parent=parent)
    tags = run_of(store, parent).data.tags
    assert tags["mlflow.source.git.commit"] == commit
    assert tags["mlflow.note.content"] == "# Hi"
    assert "keepfit.note" not in tags
    assert tags["mlflow.user"] == "keepfit"
    assert tags["mlflow.source.name"] == "keepfit"
    assert [run.run_id for run in store.children(parent)] == [child]


def test_logged_values_come_back(store: Store, experiment: str) -> None:
    run_id = store.start_run(experiment, "values", params={f"p{i}": i for i in range(250)})
    store.log(
        run_id,
        metrics={f"m{i}": i / 7 for i in range(30)},
        curves={"loss": [0.5, 0.25, 0.125]},
        tags={"keepfit.candidate": "svm"},
    )
    data = run_of(store, run_id).data
    assert len(data.params) == 250
    assert data.metrics["m3"] == 3 / 7
    assert data.tags["keepfit.candidate"] == "svm"
    history = store._client().get_metric_history(run_id, "loss")
    assert [(m.step, m.value) for m in history] == [(0, 0.5), (1, 0.25), (2, 0.125)]


def test_hostile_names_and_values_are_stored_visibly_changed(store: Store, experiment: str) -> None:
    run_id = store.start_run(
        experiment,
        "'; DROP TABLE runs; --" * 30,
        params={"long": "x" * 10_000, "../../etc": "\x00\ud800", "a?": 1, "a!": 2, "": 3},
        tags={"keepfit.reason": "y" * 20_000},
    )
    store.log(run_id, metrics={"f1[klass=<b>]": 0.5, "../up": 1.0, "ü": 2.0})
    data = run_of(store, run_id).data
    assert len(data.params["long"]) <= 6000
    assert data.params["long"].endswith("[cut; 10000 characters]")
    assert data.params["etc"] == "�?"
    assert (data.params["a_"], data.params["a__2"], data.params["_"]) == ("1", "2", "3")
    assert data.tags["keepfit.reason"].endswith("[cut; 20000 characters]")
    assert data.metrics == {"f1_klass__b__": 0.5, "up": 1.0, "ü": 2.0}


def test_metrics_without_a_finite_value_are_absent_and_named(store: Store, experiment: str) -> None:
    run_id = store.start_run(experiment, "not finite")
    store.log(
        run_id,
        metrics={"good": 1.0, "none": None, "nan": float("nan"), "inf": float("inf")},
        curves={"loss": [1.0, float("-inf"), 0.5]},
    )
    data = run_of(store, run_id).data
    assert data.metrics == {"good": 1.0, "loss": 0.5}
    assert data.tags["keepfit.not_finite"] == "none, nan, inf"


def test_long_curves_are_thinned_and_keep_both_ends(store: Store, experiment: str) -> None:
    run_id = store.start_run(experiment, "long curve")
    store.log(run_id, curves={"loss": [float(i) for i in range(5001)]})
    history = store._client().get_metric_history(run_id, "loss")
    assert len(history) <= 501
    assert (history[0].step, history[-1].step) == (0, 5000)


def test_files_keep_their_paths(store: Store, experiment: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<p>report</p>")
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "one.txt").write_text("one")
    run_id = store.start_run(experiment, "files")
    store.log_files(
        run_id,
        {"index.html": tmp_path / "report.html", "a/b ü.html": str(tmp_path / "report.html"),
         "contract": tmp_path / "pages"},
    )  # fmt: skip
    store.log_text(run_id, "verdict.json", "{}")
    client = store._client()
    folder = Path(client.download_artifacts(run_id, ""))
    found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    assert found == ["a/b ü.html", "contract/one.txt", "index.html", "verdict.json"]
    assert (folder / "index.html").read_text() == "<p>report</p>"
    assert not list((store.state / "mlflow").glob(".keepfit-*"))


@pytest.mark.parametrize("path", ["../up.txt", "/etc/passwd", "a/../../b", ""])
def test_files_cannot_leave_their_run(
    store: Store, experiment: str, tmp_path: Path, path: str
) -> None:
    (tmp_path / "x").write_text("x")
    run_id = store.start_run(experiment, "escape")
    with pytest.raises(InfrastructureError, match="stays inside"):
        store.log_files(run_id, {path: tmp_path / "x"})


def test_datasets_are_inputs_with_digest_and_context(store: Store, experiment: str) -> None:
    run_id = store.start_run(experiment, "data")
    for context, n in (("training", 70), ("holdout", 30)):
        store.log_dataset(
            run_id, name="flights", digest="d" * 64, rows=n, schema=SCHEMA, context=context,
            source="postgresql://me:secret@db/x",
        )  # fmt: skip
    inputs = run_of(store, run_id).inputs.dataset_inputs
    assert sorted(i.tags[0].value for i in inputs) == ["holdout", "training"]
    training = next(i.dataset for i in inputs if i.tags[0].value == "training")
    assert training.digest == "d" * 36
    assert json.loads(training.profile)["num_rows"] == 70
    assert "secret" not in training.source
    columns = {c["name"]: c["type"] for c in json.loads(training.schema)["mlflow_colspec"]}
    assert columns["moment"] == "datetime"


def test_runs_are_found_by_tags_and_status(store: Store, experiment: str) -> None:
    key = {"keepfit.key": "it's 1"}
    first = store.start_run(
        experiment, "one", tags=key, started=datetime.now(UTC) - timedelta(hours=1)
    )
    store.finish_run(first)
    running = store.start_run(experiment, "two", tags=key)
    found = store.find_run(key)
    assert found is not None
    assert (found.run_id, found.status, found.name) == (first, "FINISHED", "one")
    newest = store.find_run(key, status=None)
    assert newest is not None
    assert newest.run_id == running
    assert store.find_run({"keepfit.key": "another"}) is None


def test_threads_log_into_their_own_runs(store: Store, experiment: str) -> None:
    def train_one(number: int) -> tuple[int, str]:
        run_id = store.start_run(experiment, f"thread {number}", params={"n": number})
        store.log(run_id, metrics={"n": number}, curves={"c": [number] * 5})
        store.finish_run(run_id)
        return number, run_id

    with ThreadPoolExecutor(4) as pool:
        for number, run_id in pool.map(train_one, range(8)):
            run = run_of(store, run_id)
            assert (run.data.params, run.data.metrics) == (
                {"n": str(number)},
                {"n": number, "c": number},
            )


def test_two_stores_of_one_process_do_not_meet(store: Store, tmp_path: Path) -> None:
    other = Store.open(tmp_path)
    run_id = other.start_run(other.experiment("elsewhere"), "x", tags={"keepfit.key": "elsewhere"})
    other.finish_run(run_id)
    assert store.find_run({"keepfit.key": "elsewhere"}) is None
    assert other.find_run({"keepfit.key": "elsewhere"}) is not None


def test_runs_of_ended_processes_are_closed_and_living_ones_left(
    store: Store, experiment: str
) -> None:
    mine = store.start_run(experiment, "living")
    dead = store.start_run(experiment, "dead", tags={PROCESS_TAG: ended()})
    foreign = store.start_run(experiment, "elsewhere", tags={PROCESS_TAG: ABROAD})
    forgotten = store.start_run(
        experiment, "long ago", tags={PROCESS_TAG: ABROAD},
        started=datetime.now(UTC) - timedelta(days=9),
    )  # fmt: skip
    assert set(store.close_dead_runs()) == {dead, forgotten}
    assert run_of(store, dead).info.status == "KILLED"
    assert run_of(store, dead).data.tags["keepfit.killed"]
    assert run_of(store, mine).info.status == "RUNNING"
    assert run_of(store, foreign).info.status == "RUNNING"


def test_the_next_store_that_is_connected_closes_what_ended_processes_left(
    store: Store, experiment: str
) -> None:
    mine = store.start_run(experiment, "living")
    store.reap()
    dead = store.start_run(experiment, "dead", tags={PROCESS_TAG: ended()})

    Store(store.uri, store.artifacts, store.state).warm_up()

    assert run_of(store, dead).info.status == "KILLED"
    assert run_of(store, mine).info.status == "RUNNING"


def test_the_next_process_that_connects_to_a_server_closes_what_ended_processes_left(
    store: Store, experiment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = store.start_run(experiment, "living")
    dead = store.start_run(experiment, "dead", tags={PROCESS_TAG: ended()})
    # What cannot be read as a file, as a server.
    monkeypatch.setattr("tasks.registry.mlflow.store.reader_of", lambda *_: None)
    monkeypatch.setattr(Store, "_connect", lambda _: store._client())
    monkeypatch.setattr("tasks.registry.mlflow.sqlite_database.sqlite_path", lambda _: None)

    Store("http://127.0.0.1:1", None, store.state).warm_up()

    assert run_of(store, dead).info.status == "KILLED"
    assert run_of(store, mine).info.status == "RUNNING"


# Versions


def test_a_version_is_registered_whole(store: Store, trained: Trained) -> None:
    version = registered(
        store, trained, "whole", tags={"keepfit.candidate": "svm"}, metrics={"roc_auc": 0.9},
        description="**svm**",
    )  # fmt: skip
    assert (version.name, version.version, version.description) == ("whole", "1", "**svm**")
    assert version.tags["keepfit.candidate"] == "svm"
    assert store.version("whole", "1") == version
    assert store.versions("whole") == (version,)
    client = store._client()
    logged = client.get_logged_model(version.tags["keepfit.model_id"])
    assert str(logged.status) == "READY"
    assert {m.key: m.value for m in logged.metrics or ()} == {"roc_auc": 0.9}
    assert json.loads(logged.tags["mlflow.modelVersions"]) == [{"name": "whole", "version": "1"}]
    outputs = run_of(store, version.run_id).outputs.model_outputs
    assert [o.model_id for o in outputs] == [logged.model_id]


def test_a_tag_longer_than_mlflow_takes_comes_back_whole(store: Store, trained: Trained) -> None:
    long = "ü" * 250_000
    version = registered(store, trained, "wide", tags={"keepfit.schema": long})
    assert version.tags["keepfit.schema"] == long
    found = store.version("wide", version.version)
    assert found is not None
    assert found.tags["keepfit.schema"] == long


def test_a_models_metrics_name_the_holdout(store: Store, trained: Trained) -> None:
    run_id = store.start_run(store.experiment("held"), "training")
    for context in ("training", "holdout"):
        store.log_dataset(
            run_id, name="held", digest="d" * 64, rows=9, schema=SCHEMA, context=context
        )
    version = registered(store, trained, "held", run_id=run_id, metrics={"roc_auc": 0.9})
    logged = store._client().get_logged_model(version.tags["keepfit.model_id"])
    metric = (logged.metrics or [])[0]
    assert (metric.dataset_name, metric.dataset_digest) == ("held holdout", "d" * 36)


def test_registering_the_same_file_again_gives_the_same_version(
    store: Store, trained: Trained
) -> None:
    version = registered(store, trained, "again")
    assert registered(store, trained, "again", run_id=version.run_id) == version
    assert len(store.versions("again")) == 1


def test_a_loaded_version_predicts_the_same(store: Store, trained: Trained) -> None:
    version = registered(store, trained, "loaded")
    assert (store.load(version).predict(trained.X) == trained.predicted).all()


def test_a_version_that_predicts_something_else_is_not_verified(
    store: Store, trained: Trained
) -> None:
    version = registered(store, trained, "differs")
    with pytest.raises(ModelRefusedError, match="does not predict"):
        store.verify(version, trained.X, trained.predicted[::-1])
    with pytest.raises(EvidenceError, match="never loaded back"):
        store.set_champion("differs", version.version, None)
    assert store.champion("differs") is None


def test_only_a_verified_version_becomes_champion_and_only_over_the_one_it_beat(
    store: Store, trained: Trained
) -> None:
    first, second, third = (
        store.verify(registered(store, trained, "judged"), trained.X, trained.predicted)
        for _ in range(3)
    )
    assert store.champion("judged") is None
    champion = store.set_champion("judged", first.version, None)
    assert champion.aliases == ("champion",)
    store.set_champion("judged", second.version, first.version)
    with pytest.raises(EvidenceError, match="changed from version 1 to version 2"):
        store.set_champion("judged", third.version, first.version)
    now = store.champion("judged")
    assert now is not None
    assert now.version == second.version
    assert now.tags["keepfit.replaced"] == first.version
    assert store.set_champion("judged", second.version, first.version).version == second.version


def test_an_interrupted_promotion_is_completed_when_the_store_opens(
    store: Store, trained: Trained
) -> None:
    version = store.verify(registered(store, trained, "cut-off"), trained.X, trained.predicted)
    intent = {
        "name": "cut-off", "version": version.version, "previous": None,
        "written": datetime.now(UTC).isoformat(),
    }  # fmt: skip
    journal = store.state / "promotions" / "cut-off.journal"
    journal.parent.mkdir(exist_ok=True)
    journal.write_text(json.dumps(intent))
    opened = Store.open(store.state)
    champion = opened.champion("cut-off")
    assert champion is not None
    assert champion.version == version.version
    assert not journal.exists()


def test_a_version_that_its_dead_process_never_verified_is_marked(
    store: Store, trained: Trained
) -> None:
    dead = {PROCESS_TAG: ended()}
    version = registered(store, trained, "unfinished", tags=dead)
    living = registered(store, trained, "unfinished")
    assert f"unfinished/{version.version}" in store.mark_unfinished()
    assert "keepfit.incomplete" in store._fresh(version).tags
    assert "keepfit.incomplete" not in store._fresh(living).tags
    pending = store._client().create_logged_model(
        store.experiment("unfinished"), name="torn", tags=dead
    )
    assert store.mark_unfinished() == (pending.model_id,)
    assert str(store._client().get_logged_model(pending.model_id).status) == "FAILED"
    assert not store.mark_unfinished()


# Tampering


def test_a_changed_model_file_is_refused(store: Store, trained: Trained, tmp_path: Path) -> None:
    version = registered(store, trained, "changed")
    file = store.model_file(version)
    shutil.copyfile(train(tmp_path, seed=1).path, file)
    with pytest.raises(ModelRefusedError, match=r"its model\.skops is not the file"):
        store.load(version)


def test_a_model_file_that_is_a_link_elsewhere_is_refused(store: Store, trained: Trained) -> None:
    version = registered(store, trained, "linked")
    file = store.model_file(version)
    file.unlink()
    file.symlink_to(trained.path)
    with pytest.raises(ModelRefusedError, match="leads elsewhere"):
        store.load(version)


def test_a_model_file_that_is_gone_is_refused(store: Store, trained: Trained) -> None:
    version = registered(store, trained, "gone")
    store.model_file(version).unlink()
    with pytest.raises(ModelRefusedError, match="no model file"):
        store.load(version)


@pytest.mark.parametrize("source", ["file:///etc", "../../etc", "{artifacts}/../.."])
def test_a_source_outside_the_store_is_refused(store: Store, trained: Trained, source: str) -> None:
    version = registered(store, trained, "outside")
    address = source.format(artifacts=store.artifacts)
    with sqlite3.connect(store.state / "mlflow" / "mlflow.db") as connection:
        connection.execute(
            "UPDATE model_versions SET source = ?, storage_location = ? WHERE name = 'outside' "
            "AND version = ?",
            (address, address, int(version.version)),
        )
    connection.close()
    with pytest.raises(ModelRefusedError, match="leads elsewhere"):
        store.load(version)


def test_a_type_that_is_not_allowed_is_refused_before_anything_is_stored(
    store: Store, trained: Trained, tmp_path: Path
) -> None:
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    skops.io.dump(FunctionTransformer(np.log1p), tmp_path / "other.skops")
    with pytest.raises(ModelRefusedError, match="FunctionTransformer"):
        registered(store, trained, "refused", model=tmp_path / "other.skops")
    assert store.versions("refused") == ()
