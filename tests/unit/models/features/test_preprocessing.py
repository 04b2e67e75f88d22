from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from tasks.base.errors import DataError
from tasks.base.training_records import Kind, Task
from tasks.models.features.preprocessing import Encoding, build_encoder
from tests.unit.models.factories import frame, schema, target

ENCODINGS: tuple[Encoding, ...] = ("native", "tree", "linear")
TASKS: tuple[Task, ...] = ("binary", "multiclass", "regression")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("task", TASKS)
def test_everything_becomes_dense_float32_with_a_name_and_a_source(
    encoding: Encoding, task: Task
) -> None:
    X = frame()
    y = target(X, task)
    encoder = build_encoder(encoding, schema(task, y), X, 0)
    encoded = encoder.fit_transform(X, y)
    assert encoded.dtype == np.float32
    assert encoded.flags.c_contiguous
    assert len(encoder.get_feature_names_out()) == encoded.shape[1] == len(encoder.sources_)
    assert set(encoder.sources_) <= set(X.columns)
    assert len(set(encoder.outputs_)) == encoded.shape[1]
    assert encoder.transform(X.iloc[:3]).shape == (3, encoded.shape[1])
    if encoding != "native":
        assert np.isfinite(encoded).all()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_moments_that_do_not_vary_come_to_no_column(encoding: Encoding) -> None:
    X = frame().assign(seen=pd.Timestamp("2012-05-01"))
    y = target(X, "binary")
    roles = schema("binary", y).model_copy(update={"time_column": "seen"})
    encoder = build_encoder(encoding, roles, X, 0)
    encoded = encoder.fit_transform(X, y)
    assert "seen" in roles.features
    assert "seen" not in encoder.sources_
    assert encoder.transform(X.head(4)).shape == (4, encoded.shape[1])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_missing_column_is_named_and_a_further_one_ignored(encoding: Encoding) -> None:
    X = frame()
    y = target(X, "binary")
    encoder = build_encoder(encoding, schema("binary", y), X, 0).fit(X, y)
    more = X[X.columns[::-1]].assign(further=1)
    assert np.array_equal(encoder.transform(more), encoder.transform(X), equal_nan=True)
    with pytest.raises(DataError, match="'plant'"):
        encoder.transform(X.drop(columns="plant"))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_unseen_levels_and_nulls_never_seen_are_encoded(encoding: Encoding) -> None:
    X = frame()
    y = target(X, "binary")
    encoder = build_encoder(encoding, schema("binary", y), X, 0).fit(X, y)
    new = X.iloc[:4].assign(colour="ultraviolet", plant=None, code=None, seen=None, note=None)
    assert encoder.transform(new).shape == (4, len(encoder.outputs_))


def test_native_keeps_nulls_and_puts_codes_first() -> None:
    X = frame()
    y = target(X, "binary")
    encoder = build_encoder("native", schema("binary", y), X, 0)
    encoded = encoder.fit_transform(X, y)
    assert encoder.categorical_ == 3
    assert encoder.sources_[:3] == ["colour", "code", "plant"]
    size = encoder.outputs_.index("größe, m")
    assert np.isnan(encoded[[0, 5, 6], size]).all()


def test_linear_columns_of_numbers_are_standardised() -> None:
    X = frame()
    y = target(X, "binary")
    encoder = build_encoder("linear", schema("binary", y), X, 0)
    encoded = encoder.fit_transform(X, y)
    size = encoded[:, encoder.outputs_.index("größe, m")]
    assert abs(size.mean()) < 1e-5
    assert size.std() == pytest.approx(1.0, abs=1e-5)


def test_long_categories_are_target_encoded_and_short_ones_spread() -> None:
    X = frame()
    y = target(X, "binary")
    encoder = build_encoder("tree", schema("binary", y), X, 0).fit(X, y)
    by_source = {s: encoder.sources_.count(s) for s in ("colour", "plant")}
    assert by_source == {"colour": 4, "plant": 1}
    assert "colour = red" in encoder.outputs_
    assert "colour = (null)" in encoder.outputs_


@pytest.mark.parametrize("encoding", ["tree", "linear"])
def test_target_encoding_does_not_tell_a_row_its_own_target(encoding: Encoding) -> None:
    rng = np.random.default_rng(0)
    kinds: dict[str, Kind] = {"noise": "categorical"}
    X = pd.DataFrame({"noise": [f"n{i}" for i in rng.integers(0, 700, 2000)]})
    y = rng.integers(0, 2, 2000)
    encoder = build_encoder(encoding, schema("binary", y, kinds), X, 0)
    encoded = encoder.fit_transform(X, y)[:, 0]
    assert abs(np.corrcoef(encoded, y)[0, 1]) < 0.1


def test_the_same_seed_encodes_the_same() -> None:
    X = frame()
    y = target(X, "regression")
    encoder = build_encoder("linear", schema("regression", y), X, 3)
    assert np.array_equal(encoder.fit_transform(X, y), clone(encoder).fit_transform(X, y))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_wide_table_is_encoded_in_a_handful_of_operations(encoding: Encoding) -> None:
    values = np.random.default_rng(0).integers(0, 255, (2_000, 785)).astype(float)
    values[::50, ::7] = np.nan
    X = pd.DataFrame(values, columns=[f"px{i}" for i in range(785)])
    kinds: dict[str, Kind] = dict.fromkeys(X.columns, "numeric")
    y = np.arange(2_000) % 2
    started = time.process_time()
    build_encoder(encoding, schema("binary", y, kinds), X, 0).fit_transform(X, y)
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_one_row_and_no_features_are_no_trouble(encoding: Encoding) -> None:
    X = frame().iloc[:2]
    y = np.array([1.0, 2.0])
    encoder = build_encoder(encoding, schema("regression", y), X, 0)
    assert encoder.fit_transform(X, y).shape[0] == 2
    assert encoder.transform(X.iloc[:0]).shape[0] == 0


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_many_classes_do_not_widen_long_categories_without_end(encoding: Encoding) -> None:
    X = frame(600)
    y = np.arange(600) % 50
    encoder = build_encoder(encoding, schema("multiclass", y), X, 0).fit(X, y)
    assert encoder.sources_.count("plant") <= 31
