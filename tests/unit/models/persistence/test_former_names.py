from __future__ import annotations

import json
import zipfile
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from tasks.models.persistence.skops_io import load_model, types_of
from tasks.models.persistence.trusted_types import ALLOWED_TYPES, FORMER_MODULES
from tests.unit.models.factories import frame

BEFORE = Path(__file__).with_name("before_rooms.skops")
"""Pipelines of every class, written when modules still bore their former names, and predictions."""


def test_the_kept_file_names_every_module_that_moved_into_an_inner_room() -> None:
    with zipfile.ZipFile(BEFORE) as file:
        schema = json.dumps(json.loads(file.read("schema.json")))

    before_rooms = [name for name in FORMER_MODULES if name.count(".") == 2]
    assert [name for name in before_rooms if f'"{name}"' not in schema] == []


@pytest.mark.parametrize("name", ["adjusted", "regressor", "classifier"])
def test_models_saved_under_former_names_predict_as_they_did(name: str) -> None:
    models = load_model(BEFORE)
    rows = frame(60).drop(columns=["plant"]).head(5)

    predicted, before = models[name].predict(rows), models[f"predicted_{name}"]

    if name == "regressor":
        assert predicted == pytest.approx(np.array(before))
    else:
        assert predicted.tolist() == before


def test_a_baseline_saved_under_a_former_name_predicts_as_it_did() -> None:
    popularity = load_model(BEFORE)["popularity"]

    assert popularity.predict(np.array([[1.0]], dtype=np.float32)) == pytest.approx(
        [(6 + 5 * 7 / 3) / 7]
    )


def test_types_are_listed_by_their_names_of_today() -> None:
    own = [name for name in types_of(BEFORE) if name.startswith("tasks.")]

    assert set(own) <= ALLOWED_TYPES


@pytest.mark.parametrize("module", sorted(set(FORMER_MODULES.values())))
def test_every_name_of_today_can_be_imported(module: str) -> None:
    import_module(module)
