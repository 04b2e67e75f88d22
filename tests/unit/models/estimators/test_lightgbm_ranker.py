"""Rankers, popularity, and folds that leave groups whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tasks.base.settings.training import TrainingConfig
from tasks.base.training_records import Schema, Split
from tasks.data.snapshots import write_snapshot
from tasks.metrics.ranking import RankingGroups
from tasks.metrics.scorer import score
from tasks.models.estimators.candidates import find
from tasks.models.estimators.fit_context import FitContext
from tasks.models.estimators.lightgbm_ranker import in_groups
from tasks.models.estimators.popularity import Popularity
from tasks.models.execution import worker_pool
from tasks.models.fitting import fit_candidates
from tasks.models.persistence.skops_io import load_model, save_model
from tasks.models.splitters import make_folds, part_of_groups
from tests.unit.registry.mlflow.served_models import differences

GRADES = (0.0, 1.0, 2.0, 3.0)


def made(users: int = 120, rows: int = 10) -> tuple[RankingGroups, np.ndarray, np.ndarray]:
    """Rows in which only the difference within a user tells: each rates on a scale of their own."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(users), rows)
    own = rng.normal(0, 5, users)[groups]
    worth = rng.normal(0, 1, len(groups))
    grades = np.digitize(worth + rng.normal(0, 0.4, len(groups)), [-0.7, 0.3, 1.2]).astype(float)
    order = rng.permutation(len(groups))
    X = np.column_stack([worth, own]).astype(np.float32)
    return RankingGroups(groups[order], GRADES, 2), X[order], grades[order]


def setting(queries: RankingGroups, rows: int, **given: object) -> FitContext:
    at = FitContext("ranking", "ndcg_at_10", rows, 2, queries=queries)
    return replace(at, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("ordered", [True, False])
def test_lambdarank_ranks_stops_early_and_round_trips(ordered: bool, tmp_path: Path) -> None:
    queries, X, y = made()
    candidate = find("lightgbm")
    at = setting(queries, len(y), ordered=ordered)

    learned = candidate.fit(candidate.build(at, candidate.params), X, y, at)

    assert learned.estimator.get_params()["objective"] == "lambdarank"
    assert learned.estimator.get_params()["label_gain"] == [0, 1, 2, 3]
    assert list(learned.curves) == ["training_ndcg_at_10", "validation_ndcg_at_10"]
    assert 1 <= (learned.iterations or 0) <= 1_000
    said = learned.estimator.predict(X)
    assert score("ndcg_at_10", y, said, None, (), None, queries) > 0.9
    save_model(learned.estimator, tmp_path / "model.skops")
    assert np.array_equal(load_model(tmp_path / "model.skops").predict(X), said)


def test_known_iterations_fit_all_groups_and_tuned_settings_are_kept() -> None:
    queries, X, y = made(users=20)
    candidate = find("lightgbm").with_params({"num_leaves": 5})
    at = setting(queries, len(y), iterations=7)

    learned = candidate.fit(candidate.build(at, candidate.params), X, y, at)

    assert learned.iterations == 7
    assert learned.estimator.get_params()["num_leaves"] == 5


def test_rows_of_a_group_are_laid_side_by_side() -> None:
    queries, *_ = made(users=9)
    rows, sizes = in_groups(queries)
    assert sorted(rows) == list(range(90))
    assert (np.diff(queries.groups[rows]) != 0).sum() == 8
    assert sizes.tolist() == [10] * 9


def test_popularity_leans_on_the_mean_where_rows_are_few() -> None:
    codes = np.array([[0], [0], [0], [0], [0], [1]], dtype=np.float32)
    y = np.array([4.0, 4, 4, 4, 4, 5])
    model = Popularity().fit(codes, y)
    first, second, unseen, absent = model.predict(np.array([[0], [1], [7], [-1]], np.float32))
    assert unseen == absent == pytest.approx(25 / 6)
    # One five of one person counts for less than its face value.
    assert first == pytest.approx((20 + 5 * 25 / 6) / 10)
    assert second == pytest.approx((5 + 5 * 25 / 6) / 6)


@pytest.mark.parametrize("folds", [1, 4])
def test_folds_of_rows_without_a_time_leave_groups_whole(folds: int) -> None:
    queries, _, y = made(users=25)
    made_folds, _ = make_folds(
        y, folds, ordered=False, classification=False, seed=0, queries=queries.groups
    )
    assert len(made_folds) == folds
    for fold in made_folds:
        assert not set(queries.groups[fold.train]) & set(queries.groups[fold.valid])
        assert len(fold.train) + len(fold.valid) == len(y)
    if folds > 1:
        assert sorted(np.concatenate([f.valid for f in made_folds])) == list(range(len(y)))


def test_folds_forward_in_time_do_not_cut_a_list() -> None:
    sizes = np.random.default_rng(3).integers(1, 12, 40)
    groups = np.repeat(np.arange(40), sizes)
    made_folds, _ = make_folds(
        groups, 3, ordered=True, classification=False, seed=0, queries=groups
    )
    for fold in made_folds:
        assert fold.train.max() + 1 == fold.valid.min()
        assert not set(groups[fold.train]) & set(groups[fold.valid])
    newest = part_of_groups(groups, 0.2, ordered=True, seed=0)
    assert newest.valid.max() == len(groups) - 1
    assert groups[newest.train].max() < groups[newest.valid].min()


def test_candidates_are_tuned_and_fitted_beside_the_popularity_of_the_items(
    tmp_path: Path,
) -> None:
    queries, X, y = made()
    items = np.random.default_rng(1).integers(0, 30, len(y))
    y = np.clip(y + (items < 8), 0, 3)
    columns = {"worth": X[:, 0], "own": X[:, 1], "item": items, "user": queries.groups, "y": y}
    schema = Schema(
        target="y", task="ranking", features={"worth": "numeric", "own": "numeric"},
        group="user", item="item", grades=GRADES, relevant=2.0,
    )  # fmt: skip
    kinds = {**schema.features, "item": "numeric", "user": "numeric", "y": "numeric"}
    kept = write_snapshot(pa.table(columns), kinds, tmp_path, time_column=None, assumptions=())
    held = np.isin(queries.groups, np.arange(20))
    np.save(tmp_path / "train.npy", np.flatnonzero(~held))
    np.save(tmp_path / "holdout.npy", np.flatnonzero(held))
    split = Split(
        train_path=str(tmp_path / "train.npy"), holdout_path=str(tmp_path / "holdout.npy"),
        rule="hash", holdout=0.2, n_train=int((~held).sum()), n_holdout=int(held.sum()),
    )  # fmt: skip
    training = TrainingConfig.model_validate(
        {"candidates": ["decision_tree", "lightgbm"], "cv": 3, "tuning": {"trials": 2}}
    )

    try:
        results = fit_candidates(kept.path, split, schema, training, "ndcg_at_10", tmp_path / "out")
    finally:
        worker_pool.close_all()

    found = {result.candidate: result for result in results}
    # Users and films that the training did not have among them.
    rows = (
        pd.DataFrame(columns)
        .drop(columns="y")
        .tail(90)
        .assign(user=[f"u{i // 9}" for i in range(90)])
    )
    for name in ("decision_tree", "lightgbm"):
        assert differences(tmp_path / name, found[name].model_path, rows, schema) == []
    assert {r.status: r.reason for r in results} == {"ok": ""}
    assert found["baseline"].params["strategy"] == "popularity"
    assert found["lightgbm"].trials
    assert any("pointwise" in note for note in found["decision_tree"].notes)
    assert not any("pointwise" in note for note in found["lightgbm"].notes)
    held_queries = queries.only(held)
    scores = {}
    for name, result in found.items():
        with np.load(result.predictions_path) as said:
            given = (y[held], said["predicted"], None, (), None, held_queries)
            scores[name] = score("ndcg_at_10", *given)
    chance = score("ndcg_at_10", y[held], np.zeros(held.sum()), None, (), None, held_queries)
    assert chance < scores["baseline"] < scores["lightgbm"]
    # Ranking needs only what differs within a user, and lambdarank sees nothing else.
    assert scores["lightgbm"] > scores["decision_tree"]
