from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.retention.state_folder import collect
from deploy.retention.versions import kept_versions, named_by
from tasks.base.errors import EvidenceError
from tasks.base.monitoring_records import Decision, new_correlation
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.runtime.process_identity import this_process
from tasks.base.training_records import ModelVersion
from tasks.history.state_sizes import sizes
from tasks.ledger.ledger import ledger_of
from tasks.lineage.evidence_chain import explain_version
from tasks.registry.alias.champion_alias import REPLACED, ROLLED_BACK, VERIFIED, rolled_back_to
from tasks.registry.mlflow.store import Store
from tasks.registry.packaging.provenance import PROCESS_TAG
from tests.opened import opened
from tests.tables import FAST, write_churn, write_pipeline
from tests.unit.registry.trained import SCHEMA, Trained, train

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
LATER = datetime.now(UTC) + timedelta(days=30)
BEFORE = LATER - timedelta(days=7)
ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.delenv("KEEPFIT_STATE", raising=False)
        yield tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return Store.open(folder / ".keepfit")


def plan_of(folder: Path, name: str) -> Pipeline:
    """Write a pipeline; all of a folder share its state."""
    data = write_churn(folder / "c.csv", 20)
    file = write_pipeline(folder, data, f"{FAST}retention: 7d\n").rename(folder / f"{name}.yaml")
    file.write_text(file.read_text().replace("name: churn", f"name: {name}"))
    plan = load_pipeline(file)
    plan.work.mkdir(parents=True, exist_ok=True)
    return plan


def listed(store: Store, name: str, **tags: str) -> str:
    """Register a version that has no files, as cheaply as MLflow does it."""
    client = store._client()
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    given = {"keepfit.pipeline": name, PROCESS_TAG: this_process(), VERIFIED: "true", **tags}
    made = client.create_model_version(
        name, source="file:///nowhere", run_id=None, tags=given, await_creation_for=0
    )
    return str(made.version)


def training(store: Store, name: str, trained: Trained) -> ModelVersion:
    """Register a version as a training does, under a parent and two candidates."""
    experiment = store.experiment(name)
    tags = {"keepfit.pipeline": name, "keepfit.role": "training"}
    parent = store.start_run(experiment, "training", tags=tags)
    candidate = {**tags, "keepfit.role": "candidate"}
    loser, winner = (
        store.start_run(experiment, one, tags=candidate, parent=parent, params={"a": one})
        for one in ("svm", "lightgbm")
    )
    store.log_text(loser, "trials.json", "x" * 100_000)
    for run in (parent, winner):
        store.log_dataset(run, name=name, digest=parent, rows=20, schema=SCHEMA, context="holdout")
    store.log(winner, curves={"loss": [1.0 / n for n in range(1, 300)]})
    version = store.register(
        name, run_id=winner, model=trained.path, sample=trained.X, schema=SCHEMA,
        predictions=trained.predicted, metrics={"auc": 0.9}, tags={"keepfit.pipeline": name},
    )  # fmt: skip
    for run in (loser, winner, parent):
        store.finish_run(run)
    return store.verify(version, trained.X, trained.predicted)


def monitored(store: Store, name: str, version: str) -> str:
    tags = {
        "keepfit.pipeline": name, "keepfit.role": "monitoring", "keepfit.model_version": version,
    }  # fmt: skip
    run = store.start_run(
        store.experiment(f"{name}-monitoring"), f"monitoring v{version}", tags=tags
    )
    store.log(run, metrics={"drift.score": 0.5}, step=3)
    store.finish_run(run)
    return run


def decided(plan: Pipeline, kind: str, version: str, at: datetime, **evidence: str) -> Decision:
    made = Decision(
        id=new_correlation(), pipeline=plan.config.name, kind=kind, at=at, version=version,
        correlation=new_correlation(), sentence="So it was.", evidence=evidence,
    )  # fmt: skip
    ledger_of(plan).record(made)
    return made


def active_runs(store: Store) -> set[str]:
    client = store._client()
    experiments = [e.experiment_id for e in client.search_experiments()]
    return {run.info.run_id for run in client.search_runs(experiments)}


def mentions(state: Path, word: str) -> list[str]:
    """Return the tables and the files that hold a text."""
    found = [str(path) for path in (state / "mlflow" / "artifacts").rglob("*") if word in str(path)]
    with closing(sqlite3.connect(state / "mlflow" / "mlflow.db")) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            rows = connection.execute(f"SELECT * FROM {table}").fetchall()
            found += [table for row in rows if any(word in str(value) for value in row)]
    return found


def test_a_version_stays_for_each_of_the_reasons(folder: Path, store: Store) -> None:
    plan = plan_of(folder, "reasons")
    numbers = {
        name: listed(store, "reasons", **tags)
        for name, tags in {
            "forgotten": {},
            "first": {},
            "left": {ROLLED_BACK: "2026-01-01T00:00:00+00:00", REPLACED: "2"},
            "champion": {REPLACED: "3"},
            "aliased": {},
            "mentioned": {},
            "tried": {},
            "outcome": {},
            **{f"new {n}": {} for n in range(5)},
        }.items()
    }
    client = store._client()
    client.set_registered_model_alias("reasons", "champion", numbers["champion"])
    client.set_registered_model_alias("reasons", "blue", numbers["aliased"])
    decided(plan, "promoted", "4", BEFORE - timedelta(days=2), former=numbers["tried"])
    decided(plan, "monitored", "4", BEFORE + timedelta(days=1), champion=numbers["mentioned"])
    decided(plan, "collected", "1", BEFORE + timedelta(days=1))

    kept = kept_versions(opened(plan), [numbers["outcome"]], BEFORE)

    assert kept == {
        numbers["champion"]: "champion",
        numbers["aliased"]: "alias",
        numbers["left"]: "rollback",
        numbers["first"]: "rollback",
        numbers["tried"]: "probation",
        numbers["outcome"]: "trained",
        numbers["mentioned"]: "decided",
        **{numbers[f"new {n}"]: "newest" for n in range(5)},
    }
    everything = kept_versions(opened(plan), [], datetime.now(UTC) - timedelta(days=1))
    assert everything[numbers["forgotten"]] == "recent"


def test_without_a_registry_nothing_is_kept_and_none_is_made(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "churn")
    assert kept_versions(opened(plan), [], BEFORE) == {}
    assert not (plan.state / "mlflow").exists()


def test_the_line_of_rollbacks_ends_also_where_it_runs_in_a_circle() -> None:
    back = {ROLLED_BACK: "yes"}
    versions = [
        ModelVersion(name="m", version="1", run_id="", tags={**back, REPLACED: "2"}),
        ModelVersion(name="m", version="2", run_id="", tags={**back, REPLACED: "1"}),
    ]
    champion = ModelVersion(name="m", version="3", run_id="", tags={REPLACED: "1"})

    line = rolled_back_to(champion, {version.version: version for version in versions}.get)
    assert tuple(version.version for version in line) == ("1", "2")


def test_a_refusal_names_the_champion_it_was_judged_against(folder: Path) -> None:
    plan = plan_of(folder, "refusing")
    made = decided(plan, "refused", "7", BEFORE, former="4")

    assert named_by(made) == {"7", "4"}
    assert named_by(made.model_copy(update={"kind": "collected"})) == set()


def moved(store: Store, name: str, version: str, replaced: str) -> None:
    """Let a version that is listed only be champion."""
    found = store.found(name, version)
    assert found is not None
    store.point_alias(name, version)
    store.tag_version(found, {REPLACED: replaced})


def grown(plan: Pipeline, store: Store, trained: Trained) -> list[ModelVersion]:
    """Return two old trainings; five newer versions, of which one is champion, are there too."""
    name = plan.config.name
    versions = [training(store, name, trained) for _ in range(2)]
    for version in versions:
        decided(plan, "trained", version.version, BEFORE - timedelta(days=20))
    for _ in range(5):
        listed(store, name)
    moved(store, name, "7", "none")
    return versions


def test_a_version_goes_with_its_runs_models_files_and_rows(
    folder: Path, store: Store, trained: Trained
) -> None:
    plan = plan_of(folder, "churn")
    first, second = grown(plan, store, trained)
    client = store._client()
    old, new = monitored(store, "churn", "1"), monitored(store, "churn", "7")
    theirs = client.create_run(store.experiment("churn"), run_name="somebody's").info.run_id
    client.create_registered_model("theirs")
    client.create_model_version("theirs", source="file:///x", run_id=second.run_id)
    models = client.search_logged_models(
        [store.experiment("churn")], filter_string=f"source_run_id = '{first.run_id}'"
    )
    parent = client.get_run(first.run_id).data.tags["mlflow.parentRunId"]
    family = {parent, first.run_id, *(run.run_id for run in store.children(parent))}
    before = sizes(plan.state)

    done = collect(opened(plan), LATER)

    assert [v.version for v in store.versions("churn")] == ["7", "6", "5", "4", "3"]
    assert done.items == 6, "two versions, a family of three runs and a monitoring run"
    assert len(family) == 3
    for gone in (*family, old):
        assert mentions(plan.state, gone) == []
    assert mentions(plan.state, models[0].model_id) == ["model_versions"], "keeps the number taken"
    assert {theirs, new, second.run_id} <= active_runs(store), "not keepfit's, or still in use"
    assert sizes(plan.state)["artifacts"] < before["artifacts"] - 100_000
    assert done.size > 100_000
    assert collect(opened(plan), LATER).items == 0

    ledger_of(plan).prune(LATER, -timedelta(days=1))
    told = explain_version(plan, "v1")
    assert told.steps[-1].what == "collected"
    assert told.steps[-1].sentence.startswith("v1 was collected by retention")


def test_what_an_alias_took_meanwhile_is_not_retired(folder: Path, store: Store) -> None:
    numbers = [listed(store, "moving") for _ in range(4)]
    foreign = listed(store, "moving", **{"keepfit.pipeline": "another"})
    moved(store, "moving", "2", "none")
    moved(store, "moving", "3", "2")
    store._client().set_registered_model_alias("moving", "mine", "1")
    versions = {v.version: v for v in store.versions("moving")}

    retired = [number for number in (*numbers, foreign) if store.retire_version(versions[number])]

    assert retired == ["4"]
    with pytest.raises(EvidenceError, match="never loaded back"):
        store.promote_by_hand("moving", "4")


def test_what_a_rollback_goes_back_to_past_another_is_not_retired(store: Store) -> None:
    for _ in range(3):
        listed(store, "line")
    moved(store, "line", "2", "1")
    moved(store, "line", "3", "2")
    versions = {v.version: v for v in store.versions("line")}
    store.tag_version(versions["2"], {ROLLED_BACK: "2026-03-01T00:00:00+00:00"})

    assert not store.retire_version(versions["1"])


def test_a_family_with_a_run_of_somebody_else_stays_whole(folder: Path, store: Store) -> None:
    plan = plan_of(folder, "shared")
    tags = {"keepfit.pipeline": "shared", "keepfit.role": "training"}
    parent, running, alone = (
        store.start_run(store.experiment("shared"), "training", tags=tags) for _ in range(3)
    )
    store._client().create_run(store.experiment("shared"), tags={"mlflow.parentRunId": parent})
    store.finish_run(parent)
    store.finish_run(alone, "FAILED")

    assert collect(opened(plan), LATER).items == 1

    assert {parent, running} <= active_runs(store)
    assert alone not in active_runs(store), "a training that failed holds no version"


def test_files_outside_the_store_are_never_removed(
    folder: Path, store: Store, tmp_path: Path
) -> None:
    plan = plan_of(folder, "leading")
    kept = tmp_path / "theirs" / "precious.txt"
    kept.parent.mkdir()
    kept.write_text("x")
    experiment = store._client().create_experiment(
        "leading", artifact_location=kept.parent.as_uri()
    )
    tags = {"keepfit.pipeline": "leading", "keepfit.role": "training"}
    run = store.start_run(experiment, "training", tags=tags)
    store.log_text(run, "a.txt", "x")
    store.finish_run(run)

    collect(opened(plan), LATER)

    assert run not in active_runs(store)
    assert kept.exists()
    assert list(kept.parent.rglob("a.txt"))


_INTERRUPTED = """
import os, sys
from datetime import datetime
from pathlib import Path
import mlflow.tracking
from deploy.retention.state_folder import collect
from tasks.base.runtime.failpoints import VARIABLE
from tasks.base.pipeline_file import load_pipeline
from tasks.registry.open_pipeline import open_pipeline

def once(place):
    child = os.fork()
    if child == 0:
        os.environ[VARIABLE] = place
        pipeline = open_pipeline(load_pipeline(Path(sys.argv[1])))
        os._exit(0 if collect(pipeline, now).items else 3)
    return os.waitpid(child, 0)[1]

now = datetime.fromisoformat(sys.argv[2])
print(*[once(place) for place in sys.argv[3:]], once(""))
"""
_PLACES = (
    "deploy.retention.versions.after_retiring",
    "deploy.retention.versions.after_recording",
    "registry.collecting.before_version",
    "deploy.retention.versions.after_version",
    "registry.collecting.after_model_files",
    "registry.collecting.after_run_files",
    "registry.collecting.after_run",
)


@pytest.mark.slow
def test_what_a_kill_left_at_any_place_the_next_pass_ends(
    folder: Path, store: Store, trained: Trained
) -> None:
    plan = plan_of(folder, "killed")
    first, second = grown(plan, store, trained)
    parents = [
        store._client().get_run(v.run_id).data.tags["mlflow.parentRunId"] for v in (first, second)
    ]
    environ = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED, str(plan.path), LATER.isoformat(), *_PLACES],
        env={**environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=600,
        check=False,
    )  # fmt: skip

    assert done.stdout.split() == ["9"] * len(_PLACES) + ["0"], done.stderr[-2000:]
    assert [v.version for v in store.versions("killed")] == ["7", "6", "5", "4", "3"]
    for gone in (first.run_id, second.run_id, *parents):
        assert mentions(plan.state, gone) == []
    told = ledger_of(plan).decisions("killed", kinds=("collected",))
    assert sorted(d.version or "" for d in told) == ["1", "2"]
