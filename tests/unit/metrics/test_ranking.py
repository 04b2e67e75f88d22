"""NDCG and MAP at 10: scikit-learn's numbers, ties by every order, groups that tell nothing."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from tasks.base.errors import EvidenceError
from tasks.base.settings.evaluation import GateConfig
from tasks.base.training_records import Schema
from tasks.metrics.paired_bootstrap import Predictions, paired_evidence
from tasks.metrics.ranking import RankingGroups, by_group
from tasks.metrics.scorer import evaluate, score
from tasks.reporting.figures.ranking_figures import draw_ranking, ndcg_by_cut, ndcg_by_size

STARS = (1.0, 2.0, 3.0, 4.0, 5.0)
SCHEMA = Schema(
    target="stars", task="ranking", features={"x": "numeric"}, group="user", grades=STARS,
    relevant=4.0,
)  # fmt: skip


def made(users: int = 60, rows: int = 15, noise: float = 1.0, seed: int = 0):
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(users), rows)
    stars = rng.integers(1, 6, users * rows).astype(float)
    said = stars + rng.normal(0, noise, len(stars))
    return RankingGroups.of(groups, SCHEMA), stars, said


def test_ndcg_is_scikit_learns_with_ties_and_groups_in_any_order() -> None:
    rng = np.random.default_rng(1)
    users = rng.integers(0, 40, 600)
    stars, said = rng.choice(STARS, 600), rng.integers(0, 6, 600).astype(float)
    queries = RankingGroups.of(users, SCHEMA)

    (ndcg, _), telling, _ = by_group(stars, said, queries)

    theirs = [
        ndcg_score([stars[users == u] - 1], [said[users == u]], k=10) for u in np.unique(users)
    ]
    assert telling.all()
    assert ndcg == pytest.approx(theirs)
    assert score("ndcg_at_10", stars, said, None, (), None, queries) == pytest.approx(
        np.mean(theirs)
    )


@pytest.mark.parametrize("cut", [1, 2, 3, 6])
def test_ties_score_what_all_their_orders_score_on_average(cut: int) -> None:
    hits, said = np.array([1.0, 0, 1, 1, 0, 0]), np.array([2.0, 2, 1, 1, 1, 0])
    queries = RankingGroups(np.zeros(6, dtype=np.int64), (0.0, 1.0), 1)

    (_, precision), _, _ = by_group(hits, said, queries, cut)

    def average_precision(order: tuple[int, ...]) -> float:
        found = [hits[row] for row in order[:cut]]
        at = [sum(found[: k + 1]) / (k + 1) for k, hit in enumerate(found) if hit]
        return sum(at) / min(3, cut)

    allowed = [o for o in permutations(range(6)) if np.all(np.diff(said[list(o)]) <= 0)]
    assert precision[0] == pytest.approx(np.mean([average_precision(o) for o in allowed]))


def test_map_at_10_of_a_hand_written_order() -> None:
    queries = RankingGroups.of([0, 0, 0, 0], SCHEMA)
    # Relevant at the places 1 and 3: (1/1 + 2/3) / 2.
    value = score("map_at_10", [5, 1, 4, 3], [9, 8, 7, 6], None, (), None, queries)
    assert value == pytest.approx((1 + 2 / 3) / 2)


def test_groups_of_one_row_or_without_a_relevant_one_are_left_out() -> None:
    groups = [0, 0, 1, 2, 2, 2]
    stars, said = [5.0, 1.0, 5.0, 3.0, 1.0, 2.0], [2.0, 1.0, 1.0, 1.0, 2.0, 3.0]
    queries = RankingGroups.of(groups, SCHEMA)

    assert queries.telling(stars).tolist() == [True, False, False]
    assert score("ndcg_at_10", stars, said, None, (), None, queries) == 1.0
    nothing = queries.only(np.array([2, 3, 4, 5]))
    assert np.isnan(score("ndcg_at_10", stars[2:], said[2:], None, (), None, nothing))


def test_a_prediction_that_is_not_finite_leaves_every_metric_undefined() -> None:
    queries, stars, said = made()
    said[3] = np.nan
    assert (
        evaluate("a", stars, said, None, SCHEMA, queries=queries).metrics["map_at_10"].value is None
    )


def test_a_metric_of_another_task_is_refused() -> None:
    queries, stars, said = made()
    with pytest.raises(EvidenceError, match="ndcg_at_10, map_at_10; got 'rmse'"):
        score("rmse", stars, said, None, (), None, queries)


def test_intervals_draw_groups_not_rows() -> None:
    queries, stars, said = made(users=40)
    (_, precision), _, _ = by_group(stars, said, queries)
    found = evaluate("a", stars, said, None, SCHEMA, queries=queries, replicates=1_000)
    value = found.metrics["map_at_10"]

    assert value.low is not None
    assert value.high is not None
    half = 1.96 * precision.std(ddof=1) / np.sqrt(40)
    assert (value.high - value.low) / 2 == pytest.approx(half, rel=0.2)


def test_the_gate_compares_on_the_same_groups() -> None:
    queries, stars, said = made(noise=0.5)
    worse = Predictions(made(noise=3.0)[2])
    chance = Predictions(np.zeros(len(stars)))

    evidence = paired_evidence(
        "ndcg_at_10", stars, Predictions(said), worse, chance, SCHEMA,
        blocks=None, gate=GateConfig(), seed=0, queries=queries,
    )  # fmt: skip

    assert (evidence.blocks, evidence.blocks_of) == (60, "groups")
    assert evidence.low is not None
    assert evidence.low > 0
    assert evidence.baseline_low is not None
    assert evidence.baseline_low > 0


def test_a_sample_takes_whole_groups() -> None:
    queries, *_ = made(users=30, rows=7)
    chosen = queries.sample(70)
    assert len(chosen) == 70
    assert set(np.unique(queries.groups[chosen], return_counts=True)[1]) == {7}


def test_figures_say_what_chance_and_popularity_reach() -> None:
    queries, stars, said = made()
    sizes = np.concatenate([np.arange(15) < (5 if user % 2 else 15) for user in range(60)])
    queries, stars, said = queries.only(sizes), stars[sizes], said[sizes]
    given = {"lightgbm": said, "baseline": np.ones(len(said))}

    curves = ndcg_by_cut(stars, given, queries)
    assert curves["baseline"] == pytest.approx(curves["chance"])
    assert (curves["lightgbm"] > curves["chance"]).all()
    parts = ndcg_by_size(stars, said, queries)
    assert [(p.least, p.most) for p in parts] == [(5, 5), (15, 15)]
    assert all(p.low <= p.value <= p.high for p in parts)
    drawn = draw_ranking("lightgbm", stars, given, queries)
    assert [d.name for d in drawn] == ["ndcg_at_k", "ndcg_by_size"]
    assert "an order by chance" in drawn[0].caption
    assert drawn[0].svg.startswith("<svg")
