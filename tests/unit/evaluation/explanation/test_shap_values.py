from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier, LGBMRegressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tasks.base.training_records import Schema
from tasks.evaluation.explanation.partial_dependence import dependence
from tasks.evaluation.explanation.shap_values import (
    contributions,
    explain_frame,
    looked_at,
    outputs_of,
    summary,
)
from tasks.evaluation.explanation.tree_shap import explained
from tasks.models.features.preprocessing import build_encoder
from tasks.models.postprocessing.adjusted_classifier import AdjustedClassifier

FEATURES = {"strong": "numeric", "city": "categorical", "noise": "numeric"}


def _rows(rows: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "strong": rng.standard_normal(rows),
            "city": rng.choice(["Bern", "Basel", "Chur"], rows),
            "noise": rng.standard_normal(rows),
        }
    )


def _target(X: pd.DataFrame) -> np.ndarray:
    return (3 * X["strong"] + 2 * (X["city"] == "Chur")).to_numpy()


def _fitted(model: Any, encoding: Any, classes: int = 0) -> tuple[Pipeline, Schema]:
    X = _rows()
    y: Any = _target(X)
    labels: tuple[str, ...] = ()
    if classes == 2:
        y, labels = np.where(y > 0.5, "yes", "no"), ("no", "yes")
    elif classes == 3:
        y, labels = np.digitize(y, [-1, 1]).astype(str), ("0", "1", "2")
    task = {0: "regression", 2: "binary", 3: "multiclass"}[classes]
    schema = Schema(
        target="y",
        task=task,
        features=FEATURES,
        classes=labels,
        positive="yes" if classes == 2 else None,
    )
    encoder = build_encoder(encoding, schema, X, 0)
    matrix = encoder.fit_transform(X, y)
    return Pipeline([("encode", encoder), ("model", model.fit(matrix, y))]), schema


def test_contributions_of_source_columns_add_up_to_the_raw_output() -> None:
    pipeline, _ = _fitted(LGBMRegressor(n_estimators=30, verbosity=-1), "native")
    X = _rows(50)
    found = contributions(pipeline, X)
    assert found is not None
    assert sorted(found.columns) == sorted(FEATURES)
    total = found.values[:, :, 0].sum(axis=1) + found.base[0]
    assert np.allclose(total, pipeline[-1].predict(pipeline[0].transform(X)))
    told = summary(pipeline, X)
    assert told is not None
    assert (list(told[0]), told[1]) == (["strong", "city", "noise"], "value")


@pytest.mark.parametrize("classes", [0, 2, 3])
@pytest.mark.parametrize("kind", ["tree", "forest"])
def test_contributions_of_scikit_learn_s_trees_add_up_to_what_they_say(
    kind: str, classes: int
) -> None:
    models = {
        "tree": DecisionTreeClassifier if classes else DecisionTreeRegressor,
        "forest": RandomForestClassifier if classes else RandomForestRegressor,
    }
    given = {"random_state": 0, "min_samples_leaf": 4}
    pipeline, _ = _fitted(models[kind](**given), "tree", classes)
    X = _rows(60)
    X.loc[::7, "strong"] = np.nan

    found = contributions(pipeline, X)

    assert found is not None
    matrix = pipeline[0].transform(X)
    said = pipeline[-1].predict_proba(matrix) if classes else pipeline[-1].predict(matrix)
    said = said[:, 1:] if classes == 2 else said.reshape(len(X), -1)
    assert np.allclose(found.values.sum(axis=1) + found.base, said)
    assert found.scale == ("probability" if classes else "value")
    assert found.columns[int(np.abs(found.values).mean(axis=(0, 2)).argmax())] == "strong"


def test_contributions_are_those_of_the_conditional_expectations() -> None:
    """Two splits by hand: Shapley values of a game whose coalitions are weighed by rows."""
    X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    tree = DecisionTreeRegressor().fit(X, np.array([0.0, 0.0, 0.0, 8.0]))
    found = explained(tree)
    assert found is not None
    both, none = 8.0, 2.0
    first, second = 4.0, 4.0
    expected = [(first - none + both - second) / 2, (second - none + both - first) / 2]
    assert found.contributions(X[3:])[0, :, 0].tolist() == pytest.approx([*expected, none])


def test_what_would_take_long_is_left_out() -> None:
    pipeline, _ = _fitted(RandomForestRegressor(20, random_state=0), "tree")
    found = explained(pipeline[-1])
    assert found is not None
    few = contributions(pipeline, _rows(60), steps=5.5 * found.work)
    assert few is not None
    assert len(few.values) == 5
    assert contributions(pipeline, _rows(60), steps=0.5 * found.work) is None


def test_a_calibrator_s_unfitted_forest_explains_nothing() -> None:
    calibrated = CalibratedClassifierCV(RandomForestClassifier(5), cv=2)
    pipeline, _ = _fitted(calibrated, "tree", 2)
    assert explained(pipeline[-1]) is None


def test_another_model_has_no_contributions() -> None:
    pipeline, _ = _fitted(LinearRegression(), "linear")
    assert contributions(pipeline, _rows(5)) is None
    assert summary(pipeline, _rows(5)) is None


@pytest.mark.parametrize(
    ("model", "encoding"),
    [(LGBMRegressor(n_estimators=50, verbosity=-1), "native"), (LinearRegression(), "linear")],
)
def test_one_row_is_explained_by_what_pushed_it(model: Any, encoding: Any) -> None:
    pipeline, schema = _fitted(model, encoding)
    row = pd.DataFrame({"strong": [2.0], "city": ["Bern"], "noise": [0.0]})
    found = explain_frame(pipeline, row, _rows(), schema, "7")
    assert [found.row, found.pushes[0].column, found.pushes[0].value] == ["7", "strong", "2.000"]
    assert found.pushes[0].push == pytest.approx(6, abs=1)
    assert next(p.push for p in found.pushes if p.column == "city") < 0
    assert found.scale == "y"


@pytest.mark.parametrize("classes", [2, 3])
def test_a_push_upwards_makes_the_told_class_likelier(classes: int) -> None:
    high = pd.DataFrame({"strong": [3.0], "city": ["Chur"], "noise": [0.0]})
    for model, encoding in (
        (LGBMClassifier(n_estimators=30, verbosity=-1), "native"),
        (RandomForestClassifier(30, random_state=0), "tree"),
        (LogisticRegression(), "linear"),
    ):
        pipeline, schema = _fitted(model, encoding, classes)
        found = explain_frame(pipeline, high, _rows(), schema, "a")
        assert found.prediction == ("yes" if classes == 2 else "2")
        assert found.probability is not None
        assert found.probability > 0.8
        assert found.pushes[0].column == "strong"
        assert found.pushes[0].push > 0


def test_the_positive_class_is_explained_though_it_is_not_the_last() -> None:
    pipeline, schema = _fitted(LGBMClassifier(n_estimators=30, verbosity=-1), "native", 2)
    schema = schema.model_copy(update={"positive": "no"})
    low = pd.DataFrame({"strong": [-3.0], "city": ["Bern"], "noise": [0.0]})
    found = explain_frame(pipeline, low, _rows(), schema, "a")
    assert found.scale == "log-odds of no"
    assert found.pushes[0].push > 0


def test_pushes_of_a_forest_add_up_to_the_probability_of_the_class_that_is_told() -> None:
    pipeline, schema = _fitted(RandomForestClassifier(30, random_state=0), "tree", 2)
    schema = schema.model_copy(update={"positive": "no"})
    row = pd.DataFrame({"strong": [0.1], "city": ["Bern"], "noise": [0.0]})
    found = explain_frame(pipeline, row, _rows(), schema, "a")
    assert found.scale == "probability of no"
    assert (found.label, found.prediction) == ("no", "no")
    assert found.method == "contributions"
    assert found.base + sum(p.push for p in found.pushes) == pytest.approx(found.probability)


def test_a_calibrated_model_is_explained_before_its_calibration() -> None:
    pipeline, schema = _fitted(RandomForestClassifier(30, random_state=0), "tree", 2)
    tables = {"yes": np.array([[0.5], [0.0]])}
    adjusted = AdjustedClassifier(pipeline[-1], "sigmoid", tables)
    row = pd.DataFrame({"strong": [0.14], "city": ["Bern"], "noise": [0.5]})

    found = explain_frame(Pipeline([pipeline.steps[0], ("m", adjusted)]), row, _rows(), schema, "a")

    assert found.scale == "probability of yes before calibration"
    raw = pipeline[-1].predict_proba(pipeline[0].transform(row))[0, 1]
    assert found.base + sum(p.push for p in found.pushes) == pytest.approx(raw)
    assert found.probability != pytest.approx(raw, abs=1e-3)


def test_dependence_follows_the_function() -> None:
    pipeline, schema = _fitted(LinearRegression(), "linear")
    strong, city = dependence(outputs_of(pipeline, schema, None), _rows(), ["strong", "city"])
    slope = np.polyfit(strong.x, strong.y, 1)[0]
    assert slope == pytest.approx(3, abs=0.1)
    assert city.labels == ("Basel", "Bern", "Chur")
    assert city.y[2] - city.y[0] == pytest.approx(2, abs=0.1)


def test_dependence_is_of_rows_from_everywhere() -> None:
    X = pd.DataFrame({"strong": np.linspace(0, 1, 599), "late": np.arange(599.0)})
    found = dependence(lambda rows: rows["late"].to_numpy(), X, ["strong"])
    assert found[0].y == pytest.approx(np.full(len(found[0].x), 299), abs=1)


def test_what_the_new_model_looks_at_is_told() -> None:
    assert "looks at b" in looked_at({"a": 0.2, "b": 0.1}, {"a": 0.3})
    assert "no longer looks at a" in looked_at({"b": 0.1}, {"a": 0.3, "b": 0.3})
    assert "the same columns" in looked_at({"a": 0.2}, {"a": 0.3})
    assert looked_at({}, {"a": 0.3}) == ""
