"""The person's feature function in the server: as in a scoring, and row by row where it fails."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tasks.base.pipeline_file import Pipeline
from tasks.base.training_records import ModelVersion
from tasks.models.persistence.prediction import predict
from tasks.plugins.versions import hooks_tags
from tasks.serving.feature_hook import FeatureHook
from tasks.serving.served_model import ServedModel
from tests.unit.registry.trained import SCHEMA
from tests.unit.serving.served import (
    client,
    contract,
    fitted,
    frame,
    pipeline_file,
    records,
    version,
)

CODE = """
import pandas as pd

def add(rows):
    if (rows["delay in seconds"] > 1e6).any():
        raise RuntimeError("no such delay")
    assert str(rows["day"].dtype) == "datetime64[ms]"
    return pd.DataFrame({
        "dep delay": rows["delay in seconds"] / 60,
        "moment": rows["day"] + pd.to_timedelta(rows["hour"], unit="h"),
    }, index=rows.index)
"""
GIVEN = pa.schema(
    {"no": pa.string(), "delay in seconds": pa.float64(), "day": pa.timestamp("ms"),
     "hour": pa.int64(), "größe; DROP TABLE": pa.int64(), "<b>cat</b>": pa.string(),
     "flag": pa.bool_(), "perhaps": pa.bool_()}
)  # fmt: skip


def source(n: int = 30) -> pd.DataFrame:
    rows = frame(n)
    rows["delay in seconds"] = rows.pop("dep delay") * 60
    rows["hour"] = rows["moment"].dt.hour
    rows["day"] = rows.pop("moment").dt.normalize()
    return rows


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    (tmp_path / "mine.py").write_text(CODE, encoding="utf-8")
    return pipeline_file(tmp_path, "hooks: {features: 'mine:add'}\n")


def hooked(pipeline: Pipeline, given: pa.Schema = GIVEN) -> ServedModel:
    roles = SCHEMA.model_copy(update={"id_columns": ("no",), "time_column": None})
    stated = b64encode(given.serialize()).decode("ascii")
    plain = version("1", roles)
    tags = {**plain.tags, **hooks_tags(pipeline.config.hooks, pipeline.base, given=stated)}
    hook = FeatureHook.of(pipeline, ModelVersion(**{**plain.model_dump(), "tags": tags}))
    return ServedModel.of(plain, fitted(), contract(), hook=hook)


def test_features_are_made_as_the_function_makes_them_for_a_batch(pipeline: Pipeline) -> None:
    model, rows = hooked(pipeline), source()

    found = model.answer(model.read_records(records(rows)))

    whole = frame(30)[list(SCHEMA.features)]
    labels, shares = predict(model.pipeline, whole)
    assert not found.faults
    assert found.predicted.tolist() == labels.tolist()
    assert np.array_equal(np.asarray(found.probability), np.asarray(shares))
    assert [column.name for column in model.sent if column.needed] == [
        "größe; DROP TABLE", "<b>cat</b>", "flag", "perhaps", "delay in seconds", "day", "hour",
    ]  # fmt: skip


def test_a_row_on_which_the_function_fails_has_its_error_and_the_others_are_answered(
    pipeline: Pipeline,
) -> None:
    model, rows = hooked(pipeline), records(source(20))
    rows[3]["delay in seconds"] = rows[17]["delay in seconds"] = 2e6
    rows[9]["hour"] = "noon"

    found = model.answer(model.read_records(rows))

    assert {row: faults[0].rule for row, faults in found.faults.items()} == {
        3: "features", 9: "kind", 17: "features",
    }  # fmt: skip
    assert "no such delay" in found.faults[3][0].message
    assert found.places == [row for row in range(20) if row not in (3, 9, 17)]
    alone = hooked(pipeline)
    others = alone.answer(alone.read_records([rows[row] for row in found.places]))
    assert np.array_equal(found.probability, others.probability)  # type: ignore[arg-type]


def test_over_http_the_columns_of_the_source_are_sent(pipeline: Pipeline) -> None:
    rows = records(source(3))
    rows[1]["delay in seconds"] = 2e6
    with client(pipeline.base, hooked(pipeline)) as asking:
        answered = asking.post("/pipelines/mine/predict", json={"rows": rows}).json()
        described = asking.get("/pipelines/mine").json()

    assert (answered["answered"], answered["refused"]) == (2, 1)
    assert answered["rows"][1]["errors"][0]["rule"] == "features"
    (as_rows, _) = described["request"]["oneOf"]
    asked = as_rows["properties"]["rows"]["items"]["properties"]
    assert "delay in seconds" in asked
    assert "dep delay" not in asked


def test_a_version_that_does_not_say_what_the_function_was_given_is_sent_its_features(
    pipeline: Pipeline,
) -> None:
    assert FeatureHook.of(pipeline, version()) is None
