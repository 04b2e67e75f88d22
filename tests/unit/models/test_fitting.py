from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.base.errors import DataError, InfrastructureError
from tasks.base.settings.training import TrainingConfig
from tasks.base.training_records import Kind, Task
from tasks.models.execution import worker_pool
from tasks.models.fitting import Progress, fit_candidates, refit
from tasks.models.out_of_fold import OutOfFold
from tasks.models.persistence.prediction import predict
from tasks.models.persistence.skops_io import load_model
from tests.unit.models.factories import frame, snapshot, target, training
from tests.unit.models.processes import fits, fitters

CANDIDATES = TrainingConfig().candidates
QUICK = ("logistic_regression", "decision_tree")


@pytest.fixture(scope="module", autouse=True)
def _workers() -> Iterator[None]:
    worker_pool.warm_up()
    yield
    worker_pool.close_all()


@pytest.mark.parametrize(("task", "folds"), [("binary", 2), ("multiclass", 1), ("regression", 1)])
def test_every_candidate_is_validated_fitted_and_kept(
    task: Task, folds: int, tmp_path: Path
) -> None:
    X = frame(200)
    path, split, schema = snapshot(tmp_path / "data", X, target(X, task), task)
    metric = "rmse" if task == "regression" else "log_loss"
    seen: list[Progress] = []
    config = training(*CANDIDATES, cv=folds)
    out = tmp_path / "out"
    results = fit_candidates(path, split, schema, config, metric, out, progress=seen.append)

    assert [r.candidate for r in results] == ["baseline", *CANDIDATES]
    assert {r.status: r.reason for r in results} == {"ok": ""}
    for result in results:
        assert result.cv_folds == folds
        assert result.cv_mean is not None
        assert (result.cv_std is None) == (folds == 1)
        assert result.rows_fitted == 160
        model = load_model(result.model_path)
        predicted, probability = predict(model, X.iloc[-40:])
        with np.load(result.predictions_path) as kept:
            assert np.array_equal(kept["predicted"], predicted)
            if probability is not None:
                assert np.allclose(kept["probability"], probability)
                assert kept["probability"].shape == (40, len(schema.classes))
    best = min(r.cv_mean or np.inf for r in results[1:])
    assert best < (results[0].cv_mean or 0)
    assert (seen[-1].done, seen[-1].total, seen[-1].seconds_left) == (10, 10, 0.0)
    assert not list(out.glob(".work-*"))


def test_a_second_call_reuses_what_is_complete_and_makes_what_is_not(tmp_path: Path) -> None:
    X = frame(120)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    out = tmp_path / "out"
    first = fit_candidates(*given, training(*QUICK), "roc_auc", out)
    (out / "decision_tree" / "result.json").unlink()
    second = fit_candidates(*given, training(*QUICK), "roc_auc", out)
    assert [r.cached for r in first] == [False, False, False]
    assert [r.cached for r in second] == [True, True, False]
    # skops writes memory addresses into its files, so their size varies by some bytes.
    timing = {"cached", "fit_seconds", "predict_seconds", "model_bytes", "digests"}
    for one, two in zip(first, second, strict=True):
        assert one.model_dump(exclude=timing) == two.model_dump(exclude=timing)


def test_a_model_file_that_was_cut_is_made_again(tmp_path: Path) -> None:
    X = frame(120)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    first = fit_candidates(*given, training("decision_tree"), "roc_auc", tmp_path / "out")
    Path(first[1].model_path).write_bytes(b"half")
    again = fit_candidates(*given, training("decision_tree"), "roc_auc", tmp_path / "out")
    assert [r.cached for r in again] == [True, False]
    load_model(again[1].model_path)


def test_a_fit_whose_file_was_exchanged_for_one_of_the_same_size_is_named_and_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    X = frame(120)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    first = fit_candidates(*given, training("decision_tree"), "roc_auc", tmp_path / "out")
    caplog.set_level("INFO")
    model = Path(first[1].model_path)
    exchanged = bytearray(model.read_bytes())
    exchanged[-1] ^= 1
    model.write_bytes(exchanged)
    again = fit_candidates(*given, training("decision_tree"), "roc_auc", tmp_path / "out")
    assert [r.cached for r in again] == [True, False]
    assert "decision_tree: model.skops is not the file" in caplog.text
    predictions = Path(again[1].predictions_path)
    with np.load(predictions) as held:
        np.savez(predictions, **{name: held[name][::-1] for name in held.files})
    third = fit_candidates(*given, training("decision_tree"), "roc_auc", tmp_path / "out")
    assert [r.cached for r in third] == [True, False]
    assert "decision_tree: holdout.npz is not the file" in caplog.text


def test_the_same_seed_gives_the_same_numbers_however_many_threads(tmp_path: Path) -> None:
    X = frame(160)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary", ordered=True)
    names = ("lightgbm", "random_forest")
    scores = [
        [
            (r.cv_mean, np.load(r.predictions_path)["probability"].tolist())
            for r in fit_candidates(
                *given, training(*names, threads=n, cv=1), "roc_auc", tmp_path / str(n)
            )
        ]
        for n in (1, 4)
    ]
    assert scores[0] == scores[1]


def test_a_budget_for_nothing_still_fits_the_champion_s_candidate(tmp_path: Path) -> None:
    X = frame(3_000)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    config = training(*CANDIDATES, budget="0.01s", cv=5)
    results = fit_candidates(
        *given, config, "roc_auc", tmp_path / "out", champion=lambda: "decision_tree"
    )
    status = {r.candidate: r.status for r in results}
    assert status["baseline"] == "ok"
    assert [name for name in CANDIDATES if status[name] == "ok"] == ["decision_tree"]
    fitted = next(r for r in results if r.candidate == "decision_tree")
    assert fitted.cv_folds == 1
    assert any("1 of 5 folds" in note for note in fitted.notes)
    late = [r for r in results if r.out_of_time]
    assert {r.candidate for r in late} == set(CANDIDATES) - {"decision_tree"}
    assert "time budget of 0.01s" in late[0].reason
    assert "training.budget" in late[0].reason
    more = training("decision_tree", "logistic_regression", cv=2)
    again = fit_candidates(*given, more, "roc_auc", tmp_path / "out")
    assert [(r.status, r.cached) for r in again[1:]] == [("ok", True), ("ok", False)]


def test_a_candidate_that_fails_is_told_with_its_reason_and_the_rest_go_on(
    tmp_path: Path,
) -> None:
    X = frame(120)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    out = tmp_path / "out"
    out.mkdir()
    (out / "decision_tree").write_text("a file where a folder has to be")
    results = fit_candidates(*given, training(*QUICK), "roc_auc", out)
    assert [r.status for r in results] == ["ok", "ok", "failed"]
    assert "decision_tree" in results[2].reason
    assert "\n" not in results[2].reason


@pytest.mark.parametrize("times", [1, 2])
def test_a_child_that_is_killed_is_started_again_once(times: int, tmp_path: Path) -> None:
    X = frame(3_000)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.stage.startswith("fold 1") and len(killed) < times:
            killed.extend(fits())
            for child in fits():
                os.kill(child, signal.SIGKILL)

    results = fit_candidates(*given, training("mlp"), "roc_auc", tmp_path / "o", progress=kill)
    assert len(set(killed)) == times
    assert results[1].status == ("ok" if times == 1 else "failed")
    if times == 2:
        assert "twice by SIGKILL" in results[1].reason
        assert "memory" in results[1].reason


def test_a_caller_that_gives_up_leaves_no_process_behind(tmp_path: Path) -> None:
    X = frame(3_000)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    running: list[int] = []

    def give_up(progress: Progress) -> None:
        if progress.candidate == "mlp":
            running.extend(fits())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_candidates(*given, training("mlp"), "roc_auc", tmp_path / "o", progress=give_up)
    assert running
    deadline = time.monotonic() + 120
    while any(Path(f"/proc/{pid}").exists() for pid in running):
        assert time.monotonic() < deadline


def test_a_worker_process_that_dies_is_started_again_and_goes_on(tmp_path: Path) -> None:
    X = frame(120)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if progress.candidate == "decision_tree" and not killed:
            killed.extend(fitters())
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    config = training(*QUICK, tuning={"trials": 3})
    results = fit_candidates(*given, config, "roc_auc", tmp_path / "o", progress=kill)
    assert len(killed) == 1
    assert {r.status for r in results} == {"ok"}


def test_one_that_dies_again_is_an_error_and_the_next_call_has_another(tmp_path: Path) -> None:
    X = frame(120)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")

    def kill(progress: Progress) -> None:
        for pid in fitters():
            os.kill(pid, signal.SIGKILL)

    with pytest.raises(InfrastructureError, match="ended unexpectedly"):
        fit_candidates(*given, training(*QUICK), "roc_auc", tmp_path / "o", progress=kill)
    results = fit_candidates(*given, training(*QUICK), "roc_auc", tmp_path / "o")
    assert {r.status for r in results} == {"ok"}


def test_two_threads_may_fit_at_once(tmp_path: Path) -> None:
    X = frame(120)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    statuses: dict[int, set[str]] = {}

    def fit(number: int) -> None:
        out = tmp_path / str(number)
        results = fit_candidates(*given, training("decision_tree"), "roc_auc", out)
        statuses[number] = {r.status for r in results}

    threads = [threading.Thread(target=fit, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {0: {"ok"}, 1: {"ok"}}


def test_encodings_do_not_see_validation_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kinds: dict[str, Kind] = {"noise": "categorical"}
    X = pd.DataFrame({"noise": [f"n{i}" for i in rng.integers(0, 400, 1_500)]})
    y = np.where(rng.random(1_500) < 0.5, "a", "b")
    given = snapshot(tmp_path / "data", X, y, "binary", kinds=kinds, holdout=300)
    results = fit_candidates(*given, training(*QUICK, cv=4), "roc_auc", tmp_path / "out")
    for result in results[1:]:
        assert result.cv_mean == pytest.approx(0.5, abs=0.06)


def test_one_validation_part_has_a_mean_and_no_deviation(tmp_path: Path) -> None:
    X = frame(150)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary", ordered=True)
    result = fit_candidates(*given, training("lightgbm", cv=0), "roc_auc", tmp_path / "o")[1]
    assert result.cv_folds == 1
    assert result.cv_std is None
    assert result.rows_fitted == 110
    assert result.curves


@pytest.mark.parametrize("tuning", [None, {"trials": 2}])
def test_a_fit_of_known_iterations_has_the_mean_curve_of_the_folds(
    tmp_path: Path, tuning: dict[str, int] | None
) -> None:
    X = frame(200)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    config = training("lightgbm", "mlp", cv=3, tuning=tuning)
    for result in fit_candidates(*given, config, "log_loss", tmp_path / "o")[1:]:
        assert result.rounds is not None
        assert f"{result.params['iterations']:,} iterations" in result.curves_of
        validation = next(v for name, v in result.curves.items() if name.startswith("validation"))
        own = next(v for name, v in result.curves.items() if name.startswith("training"))
        assert int(np.argmin(validation)) + 1 == result.rounds.best
        assert len(own) == len(validation)


def test_folds_keep_groups_whole_so_that_nothing_is_remembered(tmp_path: Path) -> None:
    who = np.repeat(np.arange(40), 6)
    X = pd.DataFrame({"trait": who / 7, "who": who})
    y = np.random.default_rng(0).normal(size=40)[who]
    kinds: dict[str, Kind] = {"trait": "numeric"}
    path, split, schema = snapshot(tmp_path / "d", X, y, "regression", kinds=kinds, holdout=48)
    apart = split.model_copy(update={"group": "who"})
    tree = training("decision_tree", cv=4)
    remembered = fit_candidates(path, split, schema, tree, "rmse", tmp_path / "rows")
    config = training("decision_tree", "lightgbm", "mlp", cv=4)
    honest = fit_candidates(path, apart, schema, config, "rmse", tmp_path / "groups")
    assert (remembered[1].cv_mean or 9) < 0.4
    assert min(r.cv_mean or 0 for r in honest[1:]) > 0.7
    held = OutOfFold.read(tmp_path / "groups" / "decision_tree")
    assert held is not None
    folds_of = [set(held.part[who[held.rows] == one]) for one in np.unique(who[held.rows])]
    assert {len(folds) for folds in folds_of} == {1}


def test_folds_of_a_large_table_are_made_of_a_sample_and_say_so(tmp_path: Path) -> None:
    X = frame(400)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    config = training("decision_tree", cv_rows=100)
    result = fit_candidates(*given, config, "roc_auc", tmp_path / "o")[1]
    assert result.rows_fitted == 360
    assert "100 of 360 rows" in result.notes[0]


def test_the_winner_is_fitted_once_more_on_all_rows_with_its_settings(tmp_path: Path) -> None:
    X = frame(200)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary", ordered=True)
    config = training("lightgbm", cv=1)
    winner = fit_candidates(*given, config, "roc_auc", tmp_path / "o")[1]
    again = refit(*given, config, winner, tmp_path / "refit")
    assert again.candidate == "lightgbm"
    assert again.rows_fitted == 200
    assert again.params["iterations"] == winner.params["iterations"]
    assert again.cv_mean == winner.cv_mean
    assert again.model_path != winner.model_path
    assert "correlation" in again.notes[-1]
    assert refit(*given, config, winner, tmp_path / "refit").cached


def test_a_baseline_that_wins_is_fitted_once_more_too(tmp_path: Path) -> None:
    X = frame(120)
    given = snapshot(tmp_path / "data", X, target(X, "regression"), "regression")
    config = training("decision_tree")
    baseline = fit_candidates(*given, config, "mae", tmp_path / "o")[0]
    again = refit(*given, config, baseline, tmp_path / "refit")
    assert (again.status, again.rows_fitted) == ("ok", 120)
    assert again.params == {"strategy": "median"}


def test_a_target_of_one_class_is_refused_with_its_reason(tmp_path: Path) -> None:
    X = frame(120)
    y = target(X, "binary")
    path, split, schema = snapshot(tmp_path / "data", X, y, "binary")
    only = np.flatnonzero(y[:80] == "yes").astype(np.int64)
    np.save(split.train_path, only)
    with pytest.raises(DataError, match="two classes"):
        fit_candidates(path, split, schema, training(*QUICK), "roc_auc", tmp_path / "o")


def test_a_rare_class_is_noted(tmp_path: Path) -> None:
    X = frame(300)
    y = np.where(np.arange(300) % 40 == 0, "yes", "no")
    given = snapshot(tmp_path / "data", X, y, "binary")
    result = fit_candidates(*given, training("decision_tree"), "roc_auc", tmp_path / "o")[1]
    assert any("rarest class has 2.7%" in note for note in result.notes)


def test_the_side_that_waits_imports_no_heavy_library() -> None:
    heavy = "{'pandas', 'sklearn', 'lightgbm', 'pyarrow', 'scipy', 'skops'}"
    code = f"import sys, tasks.models.fitting; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_result_on_disk_is_the_record_returned(tmp_path: Path) -> None:
    X = frame(120)
    given = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    result = fit_candidates(*given, training("decision_tree"), "roc_auc", tmp_path / "o")[1]
    kept = json.loads((tmp_path / "o" / "decision_tree" / "result.json").read_text())
    assert kept == result.model_dump(mode="json")
