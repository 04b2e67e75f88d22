from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline

from tasks.base.errors import DataError
from tasks.base.training_records import ModelVersion, Schema
from tasks.models.features.preprocessing import build_encoder
from tasks.scoring import predictions as predicting
from tasks.scoring.predictions import ScoringCounts, score_frame, unseen_levels

VERSION = ModelVersion(name="flights", version="7", run_id="abc")
KNOWN = {"carrier": ["AA", "UA", "DL"], "month": ["1", "2"]}


def rows(n: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": np.arange(n) + 1000,
            "time": pd.date_range("2020", periods=n, freq="h").astype("datetime64[us]"),
            "delay": rng.normal(size=n),
            "carrier": rng.choice(["AA", "UA", "DL"], n),
            "month": rng.integers(1, 3, n),
        }
    )


def schema(**changes: Any) -> Schema:
    given: dict[str, Any] = {
        "target": "late",
        "task": "binary",
        "features": {"delay": "numeric", "carrier": "categorical", "month": "categorical"},
        "classes": ("no", "yes"),
        "positive": "yes",
        "time_column": "time",
        "id_columns": ("id",),
        **changes,
    }
    return Schema(**given)


def fitted(roles: Schema, y: Any, model: Any) -> Any:
    X = rows()[list(roles.features)]
    return Pipeline([("encode", build_encoder("linear", roles, X, 0)), ("model", model)]).fit(X, y)


@pytest.fixture(scope="module")
def pipeline() -> Any:
    frame = rows()
    return fitted(schema(), np.where(frame["delay"] > 0, "yes", "no"), LogisticRegression())


def scored(frame: pd.DataFrame, roles: Schema, pipeline: Any) -> tuple[pd.DataFrame, ScoringCounts]:
    return score_frame(
        frame, roles, pipeline, version=VERSION, run_id="abc", batch="d1", known=KNOWN
    )


def test_each_row_gets_its_prediction_beside_what_identifies_it(pipeline: Any) -> None:
    frame = rows()
    before = frame.copy()
    predictions, counts = scored(frame, schema(), pipeline)
    assert list(predictions.columns) == [
        "id", "time", "prediction", "probability_no", "probability_yes",
        "model_name", "model_version", "run_id", "batch",
    ]  # fmt: skip
    assert predictions["id"].tolist() == frame["id"].tolist()
    assert predictions["prediction"].tolist() == pipeline.predict(frame).tolist()
    assert np.allclose(predictions["probability_yes"], pipeline.predict_proba(frame)[:, 1])
    assert predictions.iloc[0, 5:].tolist() == ["flights", "7", "abc", "d1"]
    assert counts.rows == 60
    assert sum(counts.predicted.values()) == 60
    pd.testing.assert_frame_equal(frame, before)


def test_predicting_in_parts_changes_nothing(
    pipeline: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = scored(rows(), schema(), pipeline)
    monkeypatch.setattr(predicting, "CHUNK_ROWS", 7)
    parts, _ = scored(rows(), schema(), pipeline)
    pd.testing.assert_frame_equal(parts, whole)


def test_rows_without_an_id_are_numbered(pipeline: Any) -> None:
    frame = rows().iloc[10:15]
    predictions, _ = scored(frame, schema(id_columns=(), time_column=None), pipeline)
    assert predictions["row"].tolist() == [0, 1, 2, 3, 4]
    assert "time" not in predictions


def test_a_row_without_an_id_is_numbered_by_its_place_in_what_was_read(pipeline: Any) -> None:
    found, _ = score_frame(
        rows().iloc[:2], schema(id_columns=(), time_column=None), pipeline,
        version=VERSION, run_id="r", batch="b", places=np.array([3, 9]),
    )  # fmt: skip
    assert found["row"].tolist() == [3, 9]


def test_a_time_column_that_is_absent_is_left_out(pipeline: Any) -> None:
    predictions, _ = scored(rows().drop(columns="time"), schema(), pipeline)
    assert "time" not in predictions


def test_regression_gives_values_without_probabilities() -> None:
    roles = schema(task="regression", classes=(), positive=None)
    pipeline = fitted(roles, rows()["delay"] * 2, LinearRegression())
    predictions, counts = scored(rows(), roles, pipeline)
    assert predictions["prediction"].dtype == np.float64
    assert not [c for c in predictions if str(c).startswith("probability")]
    assert counts.predicted == {}


def test_numbers_and_booleans_stay_labels_of_their_own_type() -> None:
    for labels in ([1, 5], [False, True]):
        y = np.array(labels)[(rows()["delay"] > 0).astype(int)]
        roles = schema(classes=tuple(map(str, labels)), positive=str(labels[1]))
        predictions, counts = scored(rows(), roles, fitted(roles, y, LogisticRegression()))
        assert predictions["prediction"].dtype == y.dtype
        assert set(counts.predicted) == set(map(str, labels))
        assert f"probability_{labels[0]}" in predictions


def test_a_class_the_model_never_saw_has_probability_zero(pipeline: Any) -> None:
    predictions, _ = scored(rows(), schema(classes=("maybe", "no", "yes")), pipeline)
    assert (predictions["probability_maybe"] == 0).all()
    assert np.allclose(predictions["probability_no"] + predictions["probability_yes"], 1)


def test_a_model_with_classes_of_another_schema_is_refused(pipeline: Any) -> None:
    with pytest.raises(DataError, match="does not name: yes"):
        scored(rows(), schema(classes=("no", "other")), pipeline)


def test_every_missing_column_is_named(pipeline: Any) -> None:
    with pytest.raises(DataError) as caught:
        scored(rows().drop(columns=["delay", "month", "id"]), schema(), pipeline)
    assert "features 'delay', 'month'; id columns 'id'" in caught.value.message
    assert caught.value.remedy


def test_an_id_column_named_like_a_result_keeps_its_values(pipeline: Any) -> None:
    frame = rows().rename(columns={"id": "prediction", "time": "batch"})
    frame["prediction_input"] = "x"
    roles = schema(id_columns=("prediction", "prediction_input"), time_column="batch")
    predictions, _ = scored(frame, roles, pipeline)
    assert predictions["prediction_input"].tolist() == frame["prediction"].tolist()
    assert predictions["prediction_input_input"].tolist() == ["x"] * 60
    assert predictions["batch_input"].tolist() == frame["batch"].tolist()
    assert set(predictions["prediction"]) == {"yes", "no"}


def test_no_rows_give_no_predictions(pipeline: Any) -> None:
    predictions, counts = scored(rows().iloc[:0], schema(), pipeline)
    assert len(predictions) == counts.rows == 0
    assert "probability_yes" in predictions


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_unseen_levels_are_scored_and_counted(pipeline: Any, share: float) -> None:
    frame = pd.concat([rows()] * 10, ignore_index=True)
    strange = int(len(frame) * share)
    frame.loc[: strange - 1, "carrier"] = "ZZ"
    frame.loc[0, "month"] = 13
    predictions, counts = scored(frame, schema(), pipeline)
    assert counts.unseen == {"carrier": strange, "month": 1}
    assert predictions["probability_yes"].notna().all()


def test_nulls_infinities_and_other_types_are_scored(pipeline: Any) -> None:
    frame = rows(6)
    frame["delay"] = [np.nan, np.inf, -np.inf, 1e300, -1e300, 0.0]
    frame["carrier"] = pd.Series([None, 1, "ü", "", "AA", True], dtype=object)
    frame["month"] = frame["month"].astype(float)
    predictions, counts = scored(frame, schema(), pipeline)
    assert np.isfinite(predictions["probability_yes"]).all()
    assert counts.unseen == {"carrier": 4}


def test_levels_count_as_text() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, np.nan, 2.5], "b": [True, False, True, True]})
    assert unseen_levels(frame, {"a": ["1", "2"], "b": ["True"], "c": ["x"]}) == {"a": 1, "b": 1}
    assert unseen_levels(frame, {"a": []}) == {"a": 3}


class Stubborn:
    """A pipeline that takes no rows."""

    def __getitem__(self, place: int) -> Stubborn:
        return self

    def transform(self, X: pd.DataFrame) -> None:  # noqa: ARG002
        raise ValueError("could not convert string to float: 'abc'\nmore")


def test_rows_the_model_cannot_take_are_an_error_of_the_data() -> None:
    with pytest.raises(DataError, match="cannot take these rows: could not convert"):
        scored(rows(), schema(), Stubborn())
