"""A store that fails in the middle of what is recorded: tried again, nothing is there twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.base.errors import TransientError
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.runtime.files import digest_of
from tasks.base.training_records import (
    MODEL_DIGEST_TAG,
    Assessment,
    Basis,
    CandidateResult,
    Evaluation,
    LeaderboardRow,
    MetricValue,
    ModelVersion,
    Trial,
    Verdict,
)
from tasks.registry.mlflow.store import Store
from tasks.registry.tracking.training_runs import left_version, open_run, record_candidates
from tests.opened import opened
from tests.tables import write_churn, write_pipeline
from tests.unit.registry.version_files.test_holdouts import basis_of

NAMES = ("baseline", "lightgbm", "svm")
RESULTS = tuple(
    CandidateResult(
        candidate=name, status="ok", params={"C": 1.0}, cv_mean=0.5,
        trials=(Trial(number=0, state="complete", score=0.5),) if name == "svm" else (),
    )
    for name in NAMES
)  # fmt: skip
ASSESSMENT = Assessment(
    evaluations=(),
    leaderboard=tuple(
        LeaderboardRow(candidate=name, status="ok", cv_mean=0.5, cv_std=None, holdout=0.5)
        for name in NAMES
    ),
    challenger="lightgbm",
)
WRITES = ("log", "log_dataset", "log_text", "log_files", "finish_run")


class Failing:
    """Lets the write with a number fail once, before or after it reached the store."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.at: int | None = None
        self.written = False
        for name in WRITES:
            patch.setattr(Store, name, self.counted(getattr(Store, name)))

    def counted(self, write: Any) -> Any:
        def said(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            fails = self.calls == self.at
            done = write(*args, **kwargs) if self.written or not fails else None
            if fails:
                raise TransientError("database is locked")
            return done

        return said


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Store.open(tmp_path / "state")


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    write_pipeline(tmp_path, write_churn(tmp_path / "rows.csv", 50))
    return load_pipeline(tmp_path)


def recorded(store: Store, pipeline: Pipeline, basis: Basis) -> str:
    """Record a training as its doors do, each tried once more after a failure; return its run."""

    def door(record: Any, *args: Any) -> Any:
        try:
            return record(opened(pipeline, store=store), basis, *args)
        except TransientError:
            return record(opened(pipeline, store=store), basis, *args)

    run_id = str(door(open_run, None))
    children = door(record_candidates, RESULTS, ASSESSMENT, run_id)
    assert set(children) == set(NAMES)
    store.finish_run(run_id)
    return run_id


@pytest.mark.parametrize("written", [False, True])
def test_whichever_write_fails_every_run_is_there_once_and_whole(
    store: Store, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    basis = basis_of(tmp_path)
    failing = Failing(monkeypatch)
    recorded(store, pipeline, basis)
    writes = failing.calls
    assert writes > 10
    failing.written = written
    for at in range(1, writes):
        failing.calls, failing.at = 0, at
        run_id = recorded(store, pipeline, basis)
        assert failing.calls > at

        client = store._client()
        parent, children = client.get_run(run_id), store.children(run_id)
        assert Counter(child.tags["keepfit.candidate"] for child in children) == Counter(NAMES), at
        assert {child.status for child in children} == {"FINISHED"}
        assert parent.data.params["rows"] == "100"
        assert store.artifact(run_id, "schema.json") is not None
        for child in children:
            run = client.get_run(child.run_id)
            assert run.data.params["model.C"] == "1.0"
            assert run.data.metrics["cv_mean"] == 0.5
        assert store.find_run({"keepfit.role": "training"}, status="RUNNING") is None
        trainings = store._search({"keepfit.role": "training"}, None, 1000)
        assert len(trainings) == at + 1


VERDICT = Verdict(
    promoted=False, rule="superior", reason="is no better", sentence="Kept: it is no better.",
    reasons=("is no better",), champion_version="1",
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "recorded", "found"),
    [
        ({}, (), True),
        ({}, ("2",), False),
        ({"keepfit.verified": "collected"}, (), False),
        ({"keepfit.verdict": "promoted"}, (), False),
        ({"keepfit.training_key": "another"}, (), False),
        ({MODEL_DIGEST_TAG: "0" * 64}, (), False),
    ],
)
def test_a_version_that_no_training_is_recorded_for_is_registered_only_once(
    pipeline: Pipeline, tmp_path: Path, changes: dict[str, str], recorded: tuple[str, ...],
    found: bool,
) -> None:  # fmt: skip
    basis, model = basis_of(tmp_path), tmp_path / "model.skops"
    model.write_bytes(b"model")
    winner = RESULTS[1].model_copy(update={"model_path": str(model)})
    tags = {
        "keepfit.training_key": basis.prepared.key[:16], "keepfit.candidate": winner.candidate,
        "keepfit.verdict": "refused", "keepfit.verified": "true",
        MODEL_DIGEST_TAG: digest_of(model),
    }  # fmt: skip
    left = ModelVersion(name="churn", version="2", run_id="r", tags={**tags, **changes})
    store: Any = SimpleNamespace(versions=lambda name: (left,) if name == "churn" else ())

    again = left_version(opened(pipeline, store=store), basis, winner, VERDICT, recorded)

    assert (again == left) is found


def test_the_ends_of_intervals_are_listed_below_the_metrics(
    store: Store, pipeline: Pipeline, tmp_path: Path
) -> None:
    score = MetricValue(value=0.7, low=0.6, high=0.8)
    evaluation = Evaluation(candidate="svm", metrics={"roc_auc": score, "accuracy": score})
    assessment = ASSESSMENT.model_copy(update={"evaluations": (evaluation,)})
    basis = basis_of(tmp_path)

    run_id = open_run(opened(pipeline, store=store), basis, None)
    children = record_candidates(opened(pipeline, store=store), basis, RESULTS, assessment, run_id)

    names = sorted(store._client().get_run(children["svm"]).data.metrics)
    ends = [f"uncertainty/{m}_{end}" for m in ("accuracy", "roc_auc") for end in ("high", "low")]
    assert names[-4:] == ends
    assert {"accuracy", "roc_auc", "cv_mean"} < set(names)
