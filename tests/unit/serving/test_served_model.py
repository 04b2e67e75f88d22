from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.ensemble import RandomForestClassifier

from tasks.data.sources.frames import typed_frame
from tasks.models.persistence.prediction import predict
from tasks.models.postprocessing.adjusted_classifier import AdjustedClassifier
from tasks.serving.served_model import Answer, ServedModel
from tests.unit.registry.trained import SCHEMA
from tests.unit.serving.served import contract, fitted, frame, records, served, version

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def model() -> ServedModel:
    return served()


def answer(model: ServedModel, rows: list[dict[str, Any]]) -> Answer:
    return model.answer(model.read_records(rows), NOW)


def rules(found: Answer) -> dict[int, list[tuple[str | None, str]]]:
    return {row: [(f.column, f.rule) for f in faults] for row, faults in found.faults.items()}


@pytest.mark.parametrize(
    ("estimator", "encoding"),
    [
        (None, "linear"),
        (None, "tree"),
        (LGBMClassifier(n_estimators=5, min_child_samples=5, verbose=-1, n_jobs=2), "native"),
        (RandomForestClassifier(12, random_state=0, n_jobs=1), "tree"),
    ],
)
def test_predictions_equal_the_pipelines_to_the_last_digit(estimator: Any, encoding: Any) -> None:
    asked = served(estimator, encoding)
    new = frame(200, seed=5)

    found = answer(asked, records(new))

    labels, shares = predict(asked.pipeline, new[list(SCHEMA.features)])
    assert asked.encoder is not None
    assert found.predicted.tolist() == labels.tolist()
    assert np.array_equal(np.asarray(found.probability), np.asarray(shares))


def test_an_adjusted_classifier_keeps_its_rule_of_decision() -> None:
    inner = fitted(LGBMClassifier(n_estimators=5, min_child_samples=5, verbose=-1), "native")
    inner.steps[-1] = ("model", AdjustedClassifier(inner[-1], threshold=0.9, positive="yes"))
    asked = ServedModel.of(version(), inner, contract())
    new = frame(50, seed=6)

    labels, shares = predict(inner, new[list(SCHEMA.features)])
    found = answer(asked, records(new))

    assert found.predicted.tolist() == labels.tolist()
    assert np.array_equal(np.asarray(found.probability), np.asarray(shares))


def test_rows_and_columns_of_a_request_get_the_same_answer(model: ServedModel) -> None:
    rows = records(frame(8, seed=2))
    lists = {name: [row[name] for row in rows] for name in rows[0]}

    by_lists = model.answer(model.read_lists(lists, 8), NOW)

    assert np.array_equal(answer(model, rows).probability, by_lists.probability)  # type: ignore[arg-type]


def test_numbers_booleans_and_times_as_text_are_typed_as_a_scoring_types_them(
    model: ServedModel,
) -> None:
    plain = records(frame(3, seed=3))
    texts = [
        {**row, "dep delay": str(row["dep delay"] or "0"), "flag": int(row["flag"]),
         "moment": row["moment"].replace("T", " ") + "+02:00"}
        for row in plain
    ]  # fmt: skip

    found = answer(model, texts)

    names = list(SCHEMA.features)
    forms = {name: model.columns[name].form for name in names}
    typed = typed_frame(pd.DataFrame(texts, dtype=object)[names], forms)
    assert not found.faults
    assert np.array_equal(found.probability, predict(model.pipeline, typed)[1])  # type: ignore[arg-type]


def test_a_row_at_fault_has_its_own_error_and_the_others_are_answered(model: ServedModel) -> None:
    rows = records(frame(5, seed=4))
    rows[1]["dep delay"] = "many"
    del rows[3]["flag"]
    rows[3]["<b>cat</b>"] = {"a": [1]}

    found = answer(model, rows)

    assert rules(found) == {
        1: [("dep delay", "kind")],
        3: [("<b>cat</b>", "kind"), ("flag", "present")],
    }
    assert found.places == [0, 2, 4]
    assert len(found.predicted) == 3


def test_a_row_without_its_time_has_that_of_its_arrival_and_a_null_stays_null(
    model: ServedModel,
) -> None:
    rows = records(frame(3, seed=4))
    del rows[0]["moment"]
    stated = records(frame(3, seed=4).assign(moment=pd.Timestamp(NOW).tz_localize(None)))

    found = answer(model, rows)

    assert not found.faults
    assert found.columns.cells["moment"][0] == int(NOW.timestamp() * 1e6)
    assert found.predicted[0] == answer(model, stated[:1]).predicted[0]
    null = answer(model, [rows[1], {**rows[2], "moment": None}])
    assert null.columns.cells["moment"][1] is None


def test_a_row_of_another_unit_breaks_its_scale(model: ServedModel) -> None:
    rows = records(frame(6, seed=4))
    rows[2]["größe; DROP TABLE"] = 1e9

    found = answer(model, rows)

    assert rules(found) == {2: [("größe; DROP TABLE", "scale")]}
    assert "contract" in found.faults[2][0].remedy


def test_few_strange_levels_are_a_warning_and_answered(model: ServedModel) -> None:
    rows = records(frame(20, seed=4))
    rows[0]["<b>cat</b>"] = "'); DROP TABLE keepfit_predictions; --"

    found = answer(model, rows)

    assert not found.faults
    assert [(w.column, w.rule, w.rows) for w in found.warnings if w.rule == "categories"] == [
        ("<b>cat</b>", "categories", (0,))
    ]


def test_a_row_of_the_future_and_an_id_that_stands_twice_are_refused(model: ServedModel) -> None:
    rows = records(frame(4, seed=4))
    rows[1]["moment"] = "2031-01-01T00:00:00Z"
    rows[3]["no"] = rows[0]["no"]

    found = answer(model, rows)

    assert ("moment", "future") in rules(found)[1]
    assert rules(found)[3] == [("no", "unique")]


def test_a_condition_in_sql_is_asked_of_each_row() -> None:
    stated = contract().to_dict()
    stated["rules"] = [{"sql": '"größe; DROP TABLE" < 8', "name": "small"}]
    asked = served(rules=type(contract()).model_validate(stated))
    rows = records(frame(4, seed=4))
    for row in rows:
        row["größe; DROP TABLE"] = 3
    rows[2]["größe; DROP TABLE"] = 8

    assert rules(answer(asked, rows)) == {2: [(None, "small")]}


@pytest.mark.parametrize(
    "cell", [2**64 - 1, -(2**63), 1e308, "١٢", "1e5", [], {}, True, "\x00", "=1+1"]
)
@pytest.mark.parametrize("column", ["dep delay", "<b>cat</b>", "flag", "moment", "no"])
def test_no_cell_makes_a_request_fail(model: ServedModel, column: str, cell: Any) -> None:
    rows = records(frame(2, seed=4))
    rows[0][column] = cell

    found = answer(model, rows)

    assert found.places in ([0, 1], [1])
    assert set(found.faults) <= {0}


def test_names_that_no_column_has_are_ignored_and_named(model: ServedModel) -> None:
    rows = [{**row, "spät?": "yes", "__class__": "x"} for row in records(frame(2))]

    assert set(answer(model, rows).ignored) == {"spät?", "__class__"}


def test_a_pipeline_with_a_step_of_its_own_goes_through_a_frame() -> None:
    class Strange:
        def transform(self, X: pd.DataFrame) -> Any:
            return X[["dep delay"]].fillna(0.0).to_numpy(np.float32)

    given = fitted()
    model = given[-1]
    model.coef_, model.n_features_in_ = model.coef_[:, :1], 1
    given.steps[0] = ("encode", Strange())
    asked = ServedModel.of(version(), given, contract())

    assert asked.encoder is None
    assert len(answer(asked, records(frame(3))).predicted) == 3
