"""Searches as a whole, in the worker process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.base.training_records import CandidateResult, Task, Trial
from tasks.models.execution import worker_pool
from tasks.models.fitting import Progress, fit_candidates, refit
from tests.unit.models.factories import frame, snapshot, target, training
from tests.unit.models.processes import fits

METRIC = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}


@pytest.fixture(scope="module", autouse=True)
def _workers() -> Iterator[None]:
    worker_pool.warm_up()
    yield
    worker_pool.close_all()


def _tuned(
    folder: Path, task: Task, *names: str, out: str = "out", rows: int = 200, **given: Any
) -> list[CandidateResult]:
    X = frame(rows)
    ordered = given.pop("ordered", False)
    data = snapshot(folder / "data", X, target(X, task), task, ordered=ordered)
    tuning = given.pop("tuning", {"trials": 6, "share": 0.9})
    config = training(*names, tuning=tuning, **given)
    return list(fit_candidates(*data, config, METRIC[task], folder / out))


def _plain(trials: tuple[Trial, ...]) -> list[dict[str, Any]]:
    return [t.model_dump(exclude={"seconds"}) for t in trials]


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_untuned_settings_are_the_first_trial_and_every_trial_is_kept(
    task: Task, tmp_path: Path
) -> None:
    names = ("logistic_regression", "decision_tree")
    tuned = _tuned(tmp_path, task, *names)
    untuned = _tuned(tmp_path, task, *names, out="untuned", tuning=None)
    for result, before in zip(tuned[1:], untuned[1:], strict=True):
        assert result.status == "ok", result.reason
        assert [t.number for t in result.trials] == list(range(6))
        first = result.trials[0]
        assert first.state == "complete"
        assert first.score == pytest.approx(before.cv_mean)
        assert sum(t.chosen for t in result.trials) == 1
        chosen = next(t for t in result.trials if t.chosen)
        assert result.cv_mean == pytest.approx(chosen.score)
        assert any(note.startswith("tuning made 6 trials") for note in result.notes)
        assert before.trials == ()
        if not result.tuned:
            with np.load(result.predictions_path) as a, np.load(before.predictions_path) as b:
                assert np.array_equal(a["predicted"], b["predicted"])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trials_however_many_run_at_once(tmp_path: Path) -> None:
    given = {"tuning": {"trials": 9, "share": 0.9}}
    one = _tuned(tmp_path, "regression", "decision_tree", out="1", threads=1, **given)[1]
    two = _tuned(tmp_path, "regression", "decision_tree", out="2", threads=3, **given)[1]
    other = _tuned(tmp_path, "regression", "decision_tree", out="3", seed=7, **given)[1]
    assert _plain(one.trials) == _plain(two.trials)
    assert one.tuned == two.tuned
    assert _plain(one.trials)[1:] != _plain(other.trials)[1:]


def test_pruned_trials_fit_fewer_folds_than_complete_ones(tmp_path: Path) -> None:
    given = {"tuning": {"trials": 12, "share": 0.9}, "cv": 4}
    trials = _tuned(tmp_path, "regression", "decision_tree", **given)[1].trials
    pruned = [t for t in trials if t.state == "pruned"]
    assert pruned
    assert all(len(t.scores) < 4 for t in pruned)
    assert all(len(t.scores) == 4 for t in trials if t.state == "complete")
    best = min(t.score or np.inf for t in trials if t.state == "complete")
    assert all(np.mean([s for s in t.scores if s is not None]) > 0.9 * best for t in pruned)


def test_many_rows_are_tried_on_a_part_of_them_first(tmp_path: Path) -> None:
    given = {"tuning": {"trials": 9, "share": 0.9}}
    trials = _tuned(tmp_path, "regression", "decision_tree", rows=4_700, **given)[1].trials
    assert all(t.first is not None for t in trials)
    early = [t for t in trials if t.state == "pruned" and not t.scores]
    assert early
    assert all(t.rows < 1_200 for t in early)
    assert all(t.rows > 3_000 for t in trials if t.state == "complete")


def test_tuning_that_gains_nothing_says_so_and_keeps_the_untuned_settings(tmp_path: Path) -> None:
    X = frame(150)
    y = np.random.default_rng(3).normal(size=150)
    data = snapshot(tmp_path / "data", X, y, "regression")
    config = training("logistic_regression", tuning={"trials": 5, "share": 0.9}, cv=5)
    result = fit_candidates(*data, config, "rmse", tmp_path / "out")[1]
    assert result.tuned == {}
    assert result.trials[0].chosen
    assert any("the untuned settings" in n and "kept" in n for n in result.notes)


def test_tuning_that_gains_is_fitted_and_refitted_with_what_it_found(tmp_path: Path) -> None:
    X = frame(240)
    data = snapshot(tmp_path / "data", X, target(X, "regression"), "regression")
    config = training("svm", tuning={"trials": 12, "share": 0.9}, cv=4)
    result = fit_candidates(*data, config, "rmse", tmp_path / "out")[1]
    assert result.tuned
    assert set(result.tuned.items()) <= set(result.params.items())
    assert (result.cv_mean or 0) < (result.trials[0].score or 0)
    assert any("better in rmse, paired over 4 folds" in note for note in result.notes)
    again = refit(*data, config, result, tmp_path / "refit")
    assert again.params["C"] == result.tuned["C"]
    assert again.tuned == result.tuned


@pytest.mark.slow
def test_the_holdout_decides_nothing(tmp_path: Path) -> None:
    X = frame(200)
    y = target(X, "regression")
    config = training("decision_tree", tuning={"trials": 6, "share": 0.9})
    found = []
    for number, held in enumerate((y[-40:], np.random.default_rng(0).permutation(y[-40:]) * 9)):
        folder = tmp_path / str(number)
        data = snapshot(folder, X, np.concatenate([y[:-40], held]), "regression")
        found.append(fit_candidates(*data, config, "rmse", folder / "out")[1])
    assert _plain(found[0].trials) == _plain(found[1].trials)


def test_a_file_may_search_elsewhere(tmp_path: Path) -> None:
    spaces = {
        "decision_tree": {
            "min_samples_leaf": {"low": 3, "high": 9},
            "criterion": {"choices": ["log_loss"]},
        }
    }
    result = _tuned(tmp_path, "binary", "decision_tree", spaces=spaces)[1]
    assert {t.params["criterion"] for t in result.trials[1:]} == {"log_loss"}
    assert all(3 <= float(t.params["min_samples_leaf"]) <= 9 for t in result.trials[1:])


def test_a_space_with_few_values_is_searched_once(tmp_path: Path) -> None:
    spaces = {"logistic_regression": {"C": {"choices": [0.1, 1.0]}}}
    given = {"class_weight": "balanced", "spaces": spaces, "tuning": {"trials": 20}}
    result = _tuned(tmp_path, "binary", "logistic_regression", **given)[1]
    assert sorted(float(t.params["C"]) for t in result.trials[1:]) == [0.1, 1.0]
    assert "class_weight" not in result.trials[1].params


def test_rows_in_time_order_are_tuned_forward(tmp_path: Path) -> None:
    result = _tuned(tmp_path, "binary", "lightgbm", ordered=True, tuning={"trials": 4})[1]
    assert result.status == "ok"
    assert len(result.trials[0].iterations) == 3


@pytest.mark.slow
def test_the_budget_cuts_trials_and_every_candidate_has_its_fit(tmp_path: Path) -> None:
    X = frame(1_500)
    data = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    names = ("logistic_regression", "decision_tree", "lightgbm")
    config = training(*names, tuning={"trials": 1_000, "share": 0.2}, budget="40s")
    results = fit_candidates(*data, config, "roc_auc", tmp_path / "out")
    assert [r.status for r in results] == ["ok"] * 4
    for result in results[1:]:
        assert 1 <= len(result.trials) < 1_000
        assert any("of 1000 trials" in note for note in result.notes)


_PROGRAM = """
import sys
from pathlib import Path
from tests.unit.models.factories import frame, snapshot, target, training
from tasks.models.fitting import fit_candidates
X = frame(900)
folder = Path(sys.argv[1])
data = snapshot(folder / "data", X, target(X, "binary"), "binary")
config = training("lightgbm", tuning={"trials": 12, "share": 0.9}, threads=1)
fit_candidates(*data, config, "roc_auc", folder / "killed")
"""


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_with_the_same_trials(tmp_path: Path) -> None:
    journal = tmp_path / "killed" / "lightgbm.trials.jsonl"
    root = str(Path(__file__).parents[4])
    environ = {**os.environ, "PYTHONPATH": root}
    process = subprocess.Popen([sys.executable, "-c", _PROGRAM, str(tmp_path)], env=environ)
    deadline = time.monotonic() + 300
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 3):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with journal.open("ab") as file:
        file.write(b'{"number": 9, "par')
    before = journal.read_bytes().splitlines()[:3]
    X = frame(900)
    data = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    config = training("lightgbm", tuning={"trials": 12, "share": 0.9}, threads=1)
    told: list[Progress] = []
    killed = fit_candidates(*data, config, "roc_auc", tmp_path / "killed", progress=told.append)[1]
    whole = fit_candidates(*data, config, "roc_auc", tmp_path / "whole")[1]
    assert journal.read_bytes().splitlines()[:3] == before
    assert not [p for p in told if p.stage.startswith("trial 0")]
    assert _plain(killed.trials) == _plain(whole.trials)
    with np.load(killed.predictions_path) as a, np.load(whole.predictions_path) as b:
        assert np.array_equal(a["probability"], b["probability"])


def test_a_trial_that_is_killed_is_a_failed_one_and_the_search_goes_on(tmp_path: Path) -> None:
    X = frame(900)
    data = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    config = training("lightgbm", tuning={"trials": 5, "share": 0.9}, threads=1)

    def kill(progress: Progress) -> None:
        if progress.stage.startswith("trial 2: fold 1"):
            for child in fits():
                os.kill(child, signal.SIGKILL)

    result = fit_candidates(*data, config, "roc_auc", tmp_path / "out", progress=kill)[1]
    assert result.status == "ok"
    assert result.trials[2].state == "failed"
    assert "SIGKILL" in result.trials[2].reason
    assert result.trials[2].params
    assert len(result.trials) == 5
