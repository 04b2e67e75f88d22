"""A version that answers, over columns with hostile names, and rows as JSON holds them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from deploy.serving.app import Limits, PredictionServer
from expectations.contract import Contract
from expectations.inference import infer_contract
from tasks.base.pipeline_file import Pipeline as PipelineFile
from tasks.base.pipeline_file import load_pipeline
from tasks.base.training_records import SCHEMA_TAG, ModelVersion, Schema
from tasks.models.features.preprocessing import build_encoder
from tasks.serving.current_champion import CurrentChampion
from tasks.serving.delivery import announce
from tasks.serving.served_model import ServedModel
from tests.unit.registry.trained import SCHEMA, rows

with warnings.catch_warnings():
    # It asks for a successor of httpx that is not among what keepfit needs.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient as TestClient

WITH_IDS = SCHEMA.model_copy(update={"id_columns": ("no",)})


def frame(n: int = 60, seed: int = 0) -> pd.DataFrame:
    """Rows with ids and a target."""
    X = rows(n, seed)
    X["no"] = [f"r{seed}-{number}" for number in range(n)]
    X["spät?"] = ["yes" if number % 3 else "no" for number in range(n)]
    return X


def contract(roles: Schema = SCHEMA) -> Contract:
    """The contract that the rows suggest."""
    kinds = {**roles.features, "no": "identifier", "spät?": "categorical"}
    return infer_contract(
        frame(300), kinds, name="mine", target="spät?", time_column="moment", id_columns=["no"]
    )


def fitted(model: Any = None, encoding: Any = "linear", roles: Schema = SCHEMA) -> Any:
    """A pipeline that learned from the rows."""
    X = frame(300)
    features = X[list(roles.features)]
    encoder = build_encoder(encoding, roles, features, 0)
    steps = [("encode", encoder), ("model", LogisticRegression() if model is None else model)]
    return Pipeline(steps).fit(features, X["spät?"])


def version(number: str = "1", roles: Schema = WITH_IDS) -> ModelVersion:
    return ModelVersion(
        name="mine", version=number, run_id=f"run{number}",
        tags={SCHEMA_TAG: roles.model_dump_json()},
    )  # fmt: skip


def served(
    model: Any = None,
    encoding: Any = "linear",
    roles: Schema = WITH_IDS,
    number: str = "1",
    rules: Contract | None = None,
) -> ServedModel:
    return ServedModel.of(version(number, roles), fitted(model, encoding), rules or contract())


def records(given: pd.DataFrame, *names: str) -> list[dict[str, Any]]:
    """Rows as a client sends them: times as text, nulls as null."""
    columns = {}
    for name in names or given.columns.drop("spät?"):
        column = given[name]
        if column.dtype.kind == "M":
            column = column.dt.strftime("%Y-%m-%dT%H:%M:%S.%f")
        cells = zip(column.tolist(), column.isna(), strict=True)
        columns[str(name)] = [None if null else cell for cell, null in cells]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def pipeline_file(folder: Path, extra: str = "") -> PipelineFile:
    (folder / "keepfit.yaml").write_text(
        "name: mine\ntarget: spät?\nsource: {kind: parquet, path: x.parquet}\n"
        f"time_column: moment\nid_columns: [no]\n{extra}",
        encoding="utf-8",
    )
    return load_pipeline(folder / "keepfit.yaml", {})


class FixedChampion(CurrentChampion):
    """A champion that no registry is asked for."""

    def __init__(
        self, pipeline: PipelineFile, model: ServedModel | None, shadow: ServedModel | None = None
    ) -> None:
        super().__init__(pipeline)
        self.model, self.shadow = model, shadow
        for one in (model, shadow):
            if one is not None:
                announce(pipeline, one)

    def look(self) -> bool:
        return False


@contextmanager
def client(
    folder: Path,
    model: ServedModel | None,
    limits: Limits | None = None,
    shadow: ServedModel | None = None,
) -> Iterator[TestClient]:
    """Ask a server in this process."""
    champion = FixedChampion(pipeline_file(folder), model, shadow)
    with TestClient(PredictionServer([champion], limits).app()) as asking:
        yield asking
