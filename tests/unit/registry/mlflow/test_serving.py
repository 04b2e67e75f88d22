"""A version served by MLflow answers a request as `keepfit score` does the same rows."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline as Fitted

from expectations.facts.column_facts import facts_of
from expectations.rules.column_rules import ColumnCheck
from tasks.base.errors import DataError, ModelRefusedError
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.training_records import ModelVersion, Schema, Task
from tasks.contracts.contract_files import known_contract
from tasks.data.snapshots import read_frame
from tasks.models.features.preprocessing import build_encoder
from tasks.models.persistence.skops_io import save_model
from tasks.projects.draft import Request, draft_project
from tasks.registry.packaging.mlmodel import COLUMNS_FILE
from tasks.scoring.predictions import score_frame
from tasks.training.row_windows import scoring_snapshot, training_snapshot, with_overrides
from tests.unit.registry.mlflow.served_models import PROBABILITIES, answer, served_model

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning"),
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),
]
FEATURES = ("visits", "income", "member", "flag", "signup", "plan", "code", "zip")
T0 = datetime(2024, 1, 1)
T1 = datetime(2024, 4, 29)
BASE: tuple[dict[str, Any], ...] = (
    {"visits": 20, "income": -1.6, "member": False, "flag": None, "signup": T1.isoformat(),
     "plan": "a", "code": 3, "zip": "0042"},
    {"visits": 3, "income": 0.5, "member": True, "flag": True,
     "signup": (T1 + timedelta(hours=9)).isoformat(), "plan": "b", "code": 5, "zip": "0107"},
    {"visits": 9, "income": 0.1, "member": True, "flag": False,
     "signup": (T1 + timedelta(days=40)).isoformat(), "plan": None, "code": 3, "zip": "0042"},
)  # fmt: skip
Rows = list[dict[str, Any]]


def table(n: int = 240) -> pa.Table:
    rng = np.random.default_rng(0)
    flag = [(True, False, None)[i] for i in rng.integers(0, 3, n)]
    return pa.table(
        {
            "visits": rng.integers(0, 40, n),
            "income": rng.normal(size=n),
            "member": rng.random(n) > 0.4,
            "flag": flag,
            "signup": [T0 + timedelta(hours=int(h)) for h in rng.integers(0, 8000, n)],
            "plan": [("a", "b", "c", None)[i] for i in rng.integers(0, 4, n)],
            "code": rng.choice([3, 5, 7], n),
            "zip": [("0042", "0107", "0999")[i] for i in rng.integers(0, 3, n)],
            "y": rng.choice(["no", "yes"], n),
        }
    )


def learnt(X: pd.DataFrame) -> Any:
    """Return a number that every feature moves, nulls too."""
    return (
        X["visits"] / 20 + X["income"] + 0.7 * X["member"].astype(float)
        + X["flag"].map({True: 1.0, False: -1.0}).fillna(0.3).astype(float)
        + pd.to_datetime(X["signup"]).dt.hour / 12
        + X["plan"].map({"a": 0.5, "b": -0.5}).fillna(1.0).astype(float)
        + (X["code"].astype(str) == "3") * 0.4 + (X["zip"] == "0042") * 0.6
    )  # fmt: skip


@dataclass(frozen=True)
class Served:
    """A pipeline with a contract, and a model of it in MLflow's form."""

    pipeline: Pipeline
    schema: Schema
    fitted: Any
    folder: Path
    model: Any

    def scored(self, rows: Rows | Path) -> list[float] | str:
        """Return what `keepfit score` makes of rows in a Parquet file, or why it refuses."""
        path = rows if isinstance(rows, Path) else self.folder / "rows.parquet"
        if not isinstance(rows, Path):
            pq.write_table(pa.Table.from_pylist(rows), path)
        contract = known_contract(self.pipeline)
        assert contract is not None
        frame = read_frame(scoring_snapshot(with_overrides(self.pipeline, str(path), None)).path)
        for name, rule in contract.columns.items():
            if name in frame:
                results = ColumnCheck(name, rule, facts_of(frame[name]), {}).results()
                for result in results:
                    if result.rule == "kind" and not result.passed:
                        return f"{name}: {result.observed}"
        try:
            found, _ = score_frame(
                frame, self.schema, self.fitted,
                version=ModelVersion(name="s", version="1", run_id="r", created=datetime.now(UTC)),
                run_id="r", batch="b",
            )  # fmt: skip
        except DataError as error:
            return error.message
        return _numbers(found, self.schema)

    def answer(self, body: object, kind: str = "application/json") -> Any:
        """Return the predictions in the answer of MLflow's scoring server, or why it refuses."""
        return answer(self.model, body, kind)

    def asked(self, body: object, kind: str = "application/json") -> list[Any] | str:
        """Return a value a row, of probabilities the first, or why it refuses."""
        found = self.answer(body, kind)
        if isinstance(found, str):
            return found
        return [next(iter(row.values())) if isinstance(row, dict) else row for row in found]


def _numbers(found: pd.DataFrame, schema: Schema) -> list[float]:
    column = f"probability_{schema.classes[0]}" if schema.classes else "prediction"
    return [float(value) for value in found[column]]


def make(folder: Path, task: Task = "binary") -> Served:
    data = folder / "data.parquet"
    pq.write_table(table(), data)
    draft_project(Request(folder / "p", data, "y"))
    pipeline = load_pipeline(folder / "p", {})
    X = read_frame(training_snapshot(pipeline).path, columns=list(FEATURES))
    contract = known_contract(pipeline)
    assert contract is not None
    kinds = {name: contract.columns[name].kind for name in FEATURES}
    kinds |= {"code": "categorical", "zip": "categorical"}
    y: Any = learnt(X)
    classes: tuple[str, ...] = ()
    if task == "multiclass":
        y = np.asarray(pd.qcut(y, 3, labels=["low", "mid", "top"]).astype(str))
        classes = ("low", "mid", "top")
    elif task == "binary":
        y = np.where(y > np.median(y), "yes", "no")
        classes = ("no", "yes")
    schema = Schema(target="y", task=task, features=kinds, classes=classes)
    encoder = build_encoder("linear", schema, X, 0)
    last = LogisticRegression() if classes else Ridge()
    fitted = Fitted([("encode", encoder), ("model", last)]).fit(X, y)
    save_model(fitted, folder / "fitted.skops")
    model = served_model(folder / "model", folder / "fitted.skops", X, schema)
    return Served(pipeline, schema, fitted, folder, model)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return make(tmp_path_factory.mktemp("binary"))


def with_cells(**cells: Sequence[Any]) -> Rows:
    return [
        {**row, **{name: values[i] for name, values in cells.items()}} for i, row in enumerate(BASE)
    ]


def shifted(hours: int, suffix: str) -> list[str]:
    moments = (datetime.fromisoformat(str(row["signup"])) for row in BASE)
    return [(moment + timedelta(hours=hours)).isoformat() + suffix for moment in moments]


SECONDS = [
    int(datetime.fromisoformat(str(row["signup"])).replace(tzinfo=UTC).timestamp()) for row in BASE
]
# What cells a request may hold; the same cells go into a Parquet file that `keepfit score` reads.
CELLS: dict[str, Rows] = {
    "as trained": with_cells(),
    "whole numbers as floats": with_cells(visits=[20.0, 3.0, 9.0], code=[3.0, 5.0, 3.0]),
    "fractions among whole numbers": with_cells(visits=[2.99, 3.5, 9.0]),
    "floats as whole numbers": with_cells(income=[1, 0, 2]),
    "a null among whole numbers": with_cells(visits=[None, 3, 9]),
    "a null among floats": with_cells(income=[None, 0.5, 0.1]),
    "a null among booleans that had none": with_cells(member=[None, True, False]),
    "a null time": with_cells(signup=[None, *shifted(0, "")[1:]]),
    "a null among numbered categories": with_cells(code=[3, None, 5]),
    "a null among text": with_cells(zip=["0042", None, "0999"]),
    "a column of nulls": with_cells(flag=[None, None, None]),
    "times of nulls": with_cells(signup=[None, None, None]),
    "times in UTC by Z": with_cells(signup=shifted(0, "Z")),
    "times with an offset": with_cells(signup=shifted(2, "+02:00")),
    "times with several offsets": with_cells(
        signup=[shifted(2, "+02:00")[0], shifted(-5, "-05:00")[1], shifted(0, "Z")[2]]
    ),
    "days": with_cells(signup=["2024-04-29", "2024-05-01", "2024-06-30"]),
    "seconds since 1970": with_cells(signup=SECONDS),
    "milliseconds since 1970": with_cells(signup=[1000 * s for s in SECONDS]),
    "unseen categories": with_cells(plan=["zz", "a", None], code=[99, 3, 5], zip=["1", "2", "3"]),
    "numbers as text": with_cells(visits=["20", "3", "9"], income=["-1.6", "0.5", "0.1"]),
    "numbered categories as text": with_cells(code=["3", "5", "3"]),
    "booleans as 0 and 1": with_cells(member=[0, 1, 1]),
    "booleans for numbers": with_cells(income=[True, False, True]),
    "booleans as words": with_cells(member=["false", "true", "true"]),
    "a further column": [{**row, "more": 1} for row in BASE],
    "columns in another order": [dict(reversed(row.items())) for row in BASE],
}  # fmt: skip
REFUSED: dict[str, tuple[str, Rows]] = {
    "words among numbers": ("income", with_cells(income=["abc", "0.5", "0.1"])),
    "words that are no boolean": ("member", with_cells(member=["maybe", "true", "false"])),
    "numbers that are no boolean": ("member", with_cells(member=[0, 1, 2])),
    "words that are no time": ("signup", with_cells(signup=["soon", *shifted(0, "")[1:]])),
    "times with and without offset": (
        "signup", with_cells(signup=[*shifted(0, "")[:2], shifted(0, "Z")[2]])
    ),
    "booleans for text": ("plan", with_cells(plan=[True, False, True])),
}  # fmt: skip


def _split(rows: Rows) -> dict[str, Any]:
    names = list(rows[0])
    return {"columns": names, "data": [[row[name] for name in names] for row in rows]}


FORMS: dict[str, Callable[[Rows], dict[str, Any]]] = {
    "dataframe_split": lambda rows: {"dataframe_split": _split(rows)},
    "dataframe_records": lambda rows: {"dataframe_records": rows},
    "inputs": lambda rows: {"inputs": {name: [row[name] for row in rows] for name in rows[0]}},
    "instances": lambda rows: {"instances": rows},
}


@pytest.mark.parametrize("cells", CELLS)
def test_a_request_is_answered_as_the_same_rows_are_scored(served: Served, cells: str) -> None:
    scored = served.scored(CELLS[cells])

    assert isinstance(scored, list), scored
    for form, body in FORMS.items():
        asked = served.asked({**body(CELLS[cells]), **PROBABILITIES})
        assert asked == pytest.approx(scored, abs=1e-12), form


@pytest.mark.parametrize("cells", REFUSED)
def test_what_is_not_scored_is_not_served_and_the_column_is_named(
    served: Served, cells: str
) -> None:
    column, rows = REFUSED[cells]
    scored = served.scored(rows)

    assert isinstance(scored, str)
    assert column in scored
    for form, body in FORMS.items():
        asked = served.asked(body(rows))
        assert isinstance(asked, str), form
        assert repr(column) in asked.rpartition("Error:")[2]


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_tasks_are_served_as_they_are_scored(task: Task, tmp_path: Path) -> None:
    served = make(tmp_path, task)
    params = PROBABILITIES if served.schema.classes else {}

    for rows in CELLS.values():
        asked = served.asked({**FORMS["dataframe_records"](rows), **params})
        assert asked == pytest.approx(served.scored(rows), abs=1e-12)
    if not served.schema.classes:
        body = {**FORMS["dataframe_records"](list(BASE)), **PROBABILITIES}
        assert "no probabilities" in str(served.asked(body))


def test_an_absent_column_is_named_by_both(served: Served) -> None:
    rows = [{k: v for k, v in row.items() if k != "flag"} for row in BASE]

    assert "'flag'" in str(served.scored(rows))
    for body in FORMS.values():
        assert "['flag']" in str(served.asked(body(rows)))


@pytest.mark.parametrize(
    "cells",
    [
        "as trained", "fractions among whole numbers", "a null among booleans that had none",
        "a column of nulls", "times with several offsets", "unseen categories", "a further column",
        "booleans as words",
    ],
)  # fmt: skip
def test_a_request_in_csv_is_answered_as_the_file_is_scored(served: Served, cells: str) -> None:
    file = served.folder / "rows.csv"
    whole = {"visits": "Int64", "code": "Int64"} if cells != "fractions among whole numbers" else {}
    pd.DataFrame(CELLS[cells]).astype(whole).to_csv(file, index=False)
    expected = served.scored(CELLS[cells])
    assert isinstance(expected, list), expected
    labels = served.asked({**FORMS["dataframe_split"](CELLS[cells])})

    assert served.asked(file.read_text(encoding="utf-8"), "text/csv") == labels


def test_a_parquet_request_and_a_frame_are_answered_as_the_file_is_scored(served: Served) -> None:
    file = served.folder / "data.parquet"
    expected = served.scored(file)
    frame = pq.read_table(file).to_pandas()

    labels = served.asked(file.read_bytes(), "application/vnd.apache.parquet")
    found = served.model.predict(frame, params=PROBABILITIES["params"])

    assert np.asarray(found, float).reshape(len(frame), -1)[:, 0] == pytest.approx(expected)
    assert list(served.model.predict(frame)) == labels


def test_one_row_of_plain_cells_and_no_row_at_all_are_answered(served: Served) -> None:
    whole = served.asked(FORMS["dataframe_records"](list(BASE)))
    head = {"columns": list(BASE[0]), "data": []}

    assert served.asked({"inputs": BASE[1]}) == [whole[1]]
    assert served.asked({"dataframe_split": head}) == []


def test_probabilities_come_with_the_name_of_their_class(served: Served) -> None:
    answer = served.answer({**FORMS["dataframe_records"](list(BASE)), **PROBABILITIES})

    assert list(answer[0]) == ["probability_no", "probability_yes"]
    assert [sum(row.values()) for row in answer] == pytest.approx([1.0] * 3)


def test_an_unknown_method_is_refused_with_those_that_are_known(served: Served) -> None:
    body = {**FORMS["dataframe_records"](list(BASE)), "params": {"predict_method": "proba"}}

    assert "'predict', 'predict_proba'" in str(served.asked(body))


def test_numbers_that_json_cannot_hold_beside_a_null_are_refused(served: Served) -> None:
    rows = with_cells(code=[2**60 + 1, None, 5])

    assert "lost digits" in str(served.asked(FORMS["dataframe_records"](rows)))


def test_numbers_for_codes_with_leading_zeros_are_refused_with_such_a_code(served: Served) -> None:
    for cells in ([42, 107, 999], [42, None, None], ["0042", 107, None]):
        found = str(served.asked(FORMS["dataframe_records"](with_cells(zip=cells))))

        assert "'zip'" in found.rpartition("Error:")[2]
        assert "'0042'" in found or "types" in found


def test_a_model_of_before_that_knows_no_codes_is_served(served: Served, tmp_path: Path) -> None:
    from tasks.registry.mlflow.serving import _load_pyfunc

    shutil.copytree(served.folder / "model", tmp_path / "model")
    file = tmp_path / "model" / COLUMNS_FILE
    columns = json.loads(file.read_bytes())
    assert columns.pop("padded") == {"zip": "0042"}
    file.write_text(json.dumps(columns), encoding="utf-8")
    found = _load_pyfunc(str(tmp_path / "model")).predict(pd.DataFrame(with_cells()))

    assert list(found) == served.asked(FORMS["dataframe_records"](with_cells()))


def test_a_file_with_a_type_of_another_is_not_loaded(served: Served, tmp_path: Path) -> None:

    import mlflow.pyfunc

    shutil.copytree(served.folder / "model", tmp_path / "model")
    file = tmp_path / "model" / "model.skops"
    with zipfile.ZipFile(file) as before:
        parts = {name: before.read(name) for name in before.namelist()}
    schema = parts["schema.json"].decode().replace('"Pipeline"', '"system"', 1)
    parts["schema.json"] = schema.replace('"sklearn.pipeline"', '"os"', 1).encode()
    file.unlink()
    with zipfile.ZipFile(file, "w") as after:
        for name, content in parts.items():
            after.writestr(name, content)
    described = (tmp_path / "model" / "MLmodel").read_text(encoding="utf-8")
    trusting = described.replace('"skops_trusted_types": [', '"skops_trusted_types": ["os.system",')
    (tmp_path / "model" / "MLmodel").write_text(trusting, encoding="utf-8")

    with pytest.raises(ModelRefusedError, match=r"os\.system"):
        mlflow.pyfunc.load_model(str(tmp_path / "model"), suppress_warnings=True)
