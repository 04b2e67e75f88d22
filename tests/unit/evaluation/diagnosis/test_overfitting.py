from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from tasks.base.training_records import MetricValue
from tasks.evaluation.diagnosis.overfitting import fit_verdict, headline, lines_of
from tasks.evaluation.findings import Diagnosis
from tasks.metrics.bootstrap import interval, resampling
from tasks.metrics.scorer import sampled
from tests.unit.evaluation.problems import schema_of

SCHEMA = schema_of(("0", "1"), "1")


def _verdicts(models: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Return the verdicts on fitted models, as a training has them."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((1500, 10))
    y = (X[:, 0] + 0.5 * X[:, 1] + rng.standard_normal(1500) > 0).astype(int)
    train, rest = slice(0, 700), slice(700, None)
    plan = resampling(800, None, 200, seed)
    scored = {}
    for name, model in models.items():
        model.fit(X[train], y[train])
        p = model.predict_proba(X)
        labels = p.argmax(axis=1)
        own, _ = sampled(
            "roc_auc", y[train], labels[train], p[train], SCHEMA, resampling(700, None, 0, 0)
        )
        scored[name] = (own, *sampled("roc_auc", y[rest], labels[rest], p[rest], SCHEMA, plan))
    found = {}
    for name, (own, value, drawn) in scored.items():
        others = [v for n, v in scored.items() if n != name]
        best = max(others, key=lambda one: one[1])
        low, high = interval(best[2] - drawn, 0.95, 800) or (None, None)
        ends = interval(drawn, 0.95, 800) or (None, None)
        found[name] = fit_verdict(
            name,
            "roc_auc",
            train=own,
            holdout=MetricValue(value=value, low=ends[0], high=ends[1]),
            baseline=0.5,
            behind=MetricValue(value=best[1] - value, low=low, high=high),
        )
    return found


def test_a_tree_without_bounds_is_called_overfitting_and_a_linear_model_is_not() -> None:
    found = _verdicts(
        {
            "decision_tree": DecisionTreeClassifier(random_state=0),
            "logistic_regression": LogisticRegression(),
        }
    )
    assert found["decision_tree"].fit == "overfits"
    assert "larger leaves" in found["decision_tree"].advice
    assert found["decision_tree"].train == 1.0
    assert found["logistic_regression"].fit == "good"


def _verdict(train: float, value: float, behind: float | None, **more: Any) -> Any:
    gap = None if behind is None else MetricValue(value=behind, low=behind - 1, high=behind + 1)
    return fit_verdict(
        "mlp",
        more.pop("metric", "rmse"),
        train=train,
        holdout=MetricValue(value=value, low=value - 0.5, high=value + 0.5),
        baseline=20.0,
        behind=gap,
        **more,
    )


@pytest.mark.parametrize(
    ("train", "value", "behind", "fit"),
    [
        (2.0, 10.0, 3.0, "overfits"),
        (2.0, 10.0, None, "overfits"),
        (2.0, 10.0, 0.0, "memorises"),
        (10.0, 10.2, 3.0, "underfits"),
        (10.0, 10.2, 0.0, "good"),
        (10.0, 10.2, None, "good"),
        (19.9, 19.8, 3.0, "no_signal"),
        (5.0, 20.0, 0.0, "overfits"),
    ],
)
def test_gap_baseline_and_rivals_make_the_verdict(
    train: float, value: float, behind: float | None, fit: str
) -> None:
    assert _verdict(train, value, behind).fit == fit


def test_who_knows_its_own_rows_better_than_a_better_one_trails() -> None:
    trails = _verdict(10.0, 10.2, 3.0, rival_train=14.0)
    assert trails.fit == "trails"
    assert "better on its own rows than another candidate" in trails.sentence
    assert trails.advice == "Try fewer units, a stronger `alpha`, an earlier stop."
    assert "newer rows" in _verdict(10.0, 10.2, 3.0, rival_train=14.0, ordered=True).advice
    # A rival that knows its own rows as well or better, or hardly worse, leaves it underfitting.
    assert _verdict(10.0, 10.2, 3.0, rival_train=8.0).fit == "underfits"
    assert _verdict(10.0, 10.2, 3.0, rival_train=10.4).fit == "underfits"
    # Nor is it said of who is not behind, or keeps little of what it knows.
    assert _verdict(10.0, 10.2, 0.0, rival_train=14.0).fit == "good"
    assert _verdict(2.0, 10.0, 3.0, rival_train=14.0).fit == "overfits"


def test_trailing_is_told_by_scores_that_rise_too() -> None:
    at = {"metric": "roc_auc", "baseline": 0.5, "behind": MetricValue(value=0.1, low=0.05)}
    score = MetricValue(value=0.78, low=0.77, high=0.79)
    kinds = [
        fit_verdict("svm", train=0.8, holdout=score, rival_train=rival, **at).fit  # type: ignore[arg-type]
        for rival in (0.75, 0.85)
    ]
    assert kinds == ["trails", "underfits"]


def test_the_baseline_is_beaten_row_by_row_where_that_is_known() -> None:
    # Scores may vary more between groups of rows than the gain over the baseline does.
    score = MetricValue(value=19.0, low=17.0, high=21.0)
    at = {"train": 18.5, "holdout": score, "baseline": 20.0, "behind": None}
    kinds = [
        fit_verdict("mlp", "rmse", gained=gained, **at).fit  # type: ignore[arg-type]
        for gained in (
            None,
            MetricValue(value=1.0, low=0.8, high=1.2),
            MetricValue(value=1.0, low=-0.1, high=2.1),
        )
    ]
    assert kinds == ["no_signal", "good", "no_signal"]


def test_a_gap_within_the_noise_is_none() -> None:
    assert _verdict(10.0, 10.4, 3.0).fit == "underfits"
    noisy = fit_verdict(
        "mlp",
        "rmse",
        train=5.0,
        holdout=MetricValue(value=10.0, low=2.0, high=18.0),
        baseline=20.0,
        behind=None,
    )
    assert noisy.fit == "good"


def test_a_later_holdout_says_that_a_gap_may_be_change() -> None:
    assert "change over time" in _verdict(2.0, 10.0, 3.0, ordered=True).sentence
    assert "change over time" not in _verdict(2.0, 10.0, 3.0).sentence


def test_what_is_not_defined_is_not_judged() -> None:
    found = fit_verdict(
        "mlp", "roc_auc", train=None, holdout=MetricValue(value=0.7), baseline=0.5, behind=None
    )
    assert (found.fit, found.advice) == ("unknown", "")
    assert np.isnan(_verdict(float("nan"), 10.0, 0.0).train)


def test_the_headline_speaks_of_the_challenger_and_names_who_fails() -> None:
    found = _verdicts(
        {
            "decision_tree": DecisionTreeClassifier(random_state=0),
            "logistic_regression": LogisticRegression(),
        }
    )
    text = headline(list(found.values()), "logistic_regression")
    assert text.startswith("logistic_regression fits well")
    assert text.endswith("decision_tree overfits.")


def test_a_terminal_is_told_what_became_of_all_that_was_asked_for() -> None:
    asked: dict[str, tuple[str, ...]] = {
        "tuning": ("tuning made 3 trials (3 complete): none beats the untuned settings",),
        "calibrated": ("probabilities calibrated by sigmoid, out of fold: log loss 0.5 → 0.4",),
        "decides": (
            "'bad' is predicted from a probability of 0.2 on, which is cheaper out of fold",
            "cost a row on the holdout 0.5, against 0.9 at 0.5",
        ),
    }
    lines = dict(lines_of(Diagnosis(asked=asked), "svm"))
    assert list(lines) == ["tuning", "calibrated", "decides", "doubt"]
    assert lines["decides"].startswith("'bad' is predicted from a probability of 0.2 on")
    assert lines["decides"].endswith("Cost a row on the holdout 0.5, against 0.9 at 0.5.")
