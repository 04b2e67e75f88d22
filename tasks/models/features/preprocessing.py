"""The first step of every pipeline: a frame of features turned into one dense matrix.

There are three encodings, for three families of models. Columns are handled in groups of one kind,
never one by one, so that a table of a thousand columns costs a handful of array operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, Self, cast

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder

from tasks.base.arrays import Array, Matrix
from tasks.base.runtime.libraries import pd
from tasks.base.training_records import NUMBERS, Schema
from tasks.models.features.columns import CategoryCodes, Numbers, Output, count_levels, features_of
from tasks.models.features.datetime_features import DateParts
from tasks.models.features.scaling import Scale
from tasks.models.features.text_features import TextTopics

Encoding = Literal["native", "tree", "linear"]

CATEGORIES = "categories"
ONE_HOT = {"tree": 8, "linear": 30}
"""Levels up to which a category becomes one column per level."""
MAX_ONE_HOT_COLUMNS = 600
MAX_TARGET_CLASSES = 20
NATIVE_LEVELS = 254
TARGET_LEVELS = 5_000
SAMPLE_ROWS = 200_000


class FeatureEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A frame of the schema's `features` as dense float32, by transformers for each kind of column.

    ``outputs_`` names each column of the matrix, ``sources_`` the feature that it comes from;
    ``categorical_`` leading columns are codes of categories (encoding ``native`` only).
    """

    def __init__(self, features: list[str], groups: ColumnTransformer) -> None:
        self.features = features
        self.groups = groups

    def fit(self, X: pd.DataFrame, y: Array | None = None) -> Self:
        """Learn the encoding."""
        self.fit_transform(X, y)
        return self

    def fit_transform(self, X: pd.DataFrame, y: Array | None = None) -> Matrix:
        """Learn the encoding and return the training rows in it, shape (n_rows, n_outputs)."""
        # Targets behind high-cardinality categories are cross-fitted: no row sees its own.
        frame = features_of(X, self.features)
        self.groups_ = clone(self.groups)
        encoded = _dense(self.groups_.fit_transform(frame, y), len(frame))
        outputs = list(_outputs(self.groups_))
        self.outputs_ = [output.name for output in outputs]
        self.sources_ = [output.source for output in outputs]
        self.categorical_ = sum(
            len(columns)
            for name, step, columns in self.groups_.transformers_
            if name == CATEGORIES and isinstance(step, CategoryCodes)
        )
        self.n_features_in_ = len(self.features)
        self.feature_names_in_ = np.asarray(self.features, dtype=object)
        return encoded

    def transform(self, X: pd.DataFrame) -> Matrix:
        """Return `X` encoded, shape (n_rows, n_outputs); DataError if it lacks a feature."""
        frame = features_of(X, self.features)
        if not len(frame):  # scikit-learn refuses what has no rows
            return np.empty((0, len(self.outputs_)), dtype=np.float32)
        return _dense(self.groups_.transform(frame), len(frame))

    def get_feature_names_out(
        self,
        input_features: object = None,  # noqa: ARG002 - scikit-learn's signature
    ) -> Array:
        """Return the name of each column of the matrix."""
        return np.asarray(self.outputs_, dtype=object)


def _dense(values: Any, rows: int) -> Matrix:
    if values.shape[1] == 0:
        return np.empty((rows, 0), dtype=np.float32)
    return np.ascontiguousarray(values, dtype=np.float32)


def _outputs(groups: ColumnTransformer) -> Iterator[Output]:
    for name, step, columns in groups.transformers_:
        if name == "remainder" or isinstance(step, str):
            continue
        given = [Output(str(column), str(column)) for column in columns]
        codes: CategoryCodes | None = None
        for part in step if isinstance(step, Pipeline) else [step]:
            codes = part if isinstance(part, CategoryCodes) else codes
            given = _through(part, given, codes)
        yield from given


def _through(part: Any, given: list[Output], codes: CategoryCodes | None) -> list[Output]:
    if isinstance(part, OneHotEncoder):
        assert codes is not None  # noqa: S101 - one-hot encoding always follows the codes
        return [
            Output(f"{column.name} = {codes.level_name(place, int(code))}", column.source)
            for place, column in enumerate(given)
            for code in part.categories_[place]
        ]
    if isinstance(part, TargetEncoder):
        if part.target_type_ != "multiclass":
            return [Output(f"{column.name} (target mean)", column.source) for column in given]
        return [
            Output(f"{column.name} (share of {label})", column.source)
            for column in given
            for label in part.classes_
        ]
    if isinstance(part, StandardScaler):
        return given
    return cast("list[Output]", part.outputs(given))


def build_encoder(encoding: Encoding, schema: Schema, X: pd.DataFrame, seed: int) -> FeatureEncoder:
    """Return the unfitted transformer of `encoding` for the features of `schema`."""
    # ``native`` keeps nulls as NaN and categories as codes (LightGBM); ``tree`` imputes and spreads
    # short categories over columns; ``linear`` standardises as well. The count of the training rows
    # `X`, and the levels of their categories, choose between one column a level and target
    # encoding, whose cross-fitting folds `seed` draws. Values are not learnt here.
    groups = _by_kind(schema, X)
    steps = (
        _native(groups, schema, len(X), seed)
        if encoding == "native"
        else _filled(encoding, groups, schema, X, seed)
    )
    transformer = ColumnTransformer(
        [step for step in steps if step[2]],
        remainder="drop",
        sparse_threshold=0.0,
        verbose_feature_names_out=False,
    )
    return FeatureEncoder(list(schema.features), transformer)


def _by_kind(schema: Schema, X: pd.DataFrame) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {"numbers": [], CATEGORIES: [], "dates": [], "text": []}
    for name, kind in schema.features.items():
        if kind == "constant":
            group = "numbers" if X[name].dtype.kind in "iufb" else CATEGORIES
        else:
            group = {
                "numeric": "numbers", "boolean": "numbers", "datetime": "dates", "text": "text",
            }.get(kind, CATEGORIES)  # fmt: skip
        groups[group].append(name)
    return groups


Step = tuple[str, Any, list[str]]


def _native(groups: dict[str, list[str]], schema: Schema, rows: int, seed: int) -> list[Step]:
    # Codes come first: LightGBM gets their positions by count.
    codes = CategoryCodes(max_levels=NATIVE_LEVELS, min_rows=_rare_below(rows))
    return [
        (CATEGORIES, codes, groups[CATEGORIES]),
        ("numbers", Numbers(), groups["numbers"]),
        ("dates", DateParts(schema.time_column), groups["dates"]),
        ("text", TextTopics(random_state=seed), groups["text"]),
    ]


def _filled(
    encoding: str, groups: dict[str, list[str]], schema: Schema, X: pd.DataFrame, seed: int
) -> list[Step]:
    linear = encoding == "linear"
    scale = [("scale", Scale())] if linear else []
    short, spread, long = _by_length(groups[CATEGORIES], ONE_HOT[encoding], schema, X)
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    numbers = Numbers(fill=True, bounded=linear)
    dates = DateParts(schema.time_column, cyclic=linear)
    text = TextTopics(random_state=seed)
    levels = CategoryCodes(max_levels=ONE_HOT[encoding], min_rows=_rare_below(len(X)))
    return [
        (CATEGORIES, Pipeline([("codes", levels), ("spread", one_hot)]), short + spread),
        ("targets", Pipeline([*_target_mean(schema, len(X), seed), *scale]), long),
        ("numbers", Pipeline([("fill", numbers), *scale]), groups["numbers"]),
        ("dates", Pipeline([("parts", dates), ("fill", numbers), *scale]), groups["dates"]),
        ("text", Pipeline([("topics", text), *scale]), groups["text"]),
    ]


def _target_mean(schema: Schema, rows: int, seed: int) -> list[tuple[str, Any]]:
    kind = "continuous" if schema.task in NUMBERS else schema.task
    folds = KFold(max(2, min(5, rows // 2)), shuffle=True, random_state=seed)
    return [
        ("codes", CategoryCodes(max_levels=TARGET_LEVELS)),
        ("mean", TargetEncoder(target_type=kind, cv=folds)),
    ]


def _by_length(
    columns: list[str], limit: int, schema: Schema, X: pd.DataFrame
) -> tuple[list[str], list[str], list[str]]:
    """Split `columns` into those with few levels, those cut to few levels, and the others."""
    sample = X.iloc[:: max(1, len(X) // SAMPLE_ROWS)]
    counts = {name: count_levels(sample[name]) for name in columns}
    while limit > 2 and sum(min(n, limit) for n in counts.values()) > MAX_ONE_HOT_COLUMNS:
        limit //= 2
    short = [name for name, n in counts.items() if n <= limit]
    long = [name for name in columns if name not in set(short)]
    # One column per class for each category would be too wide.
    if len(schema.classes) > MAX_TARGET_CLASSES:
        return short, long, []
    return short, [], long


def _rare_below(rows: int) -> int:
    """Return how many rows a level needs: 2 in 100 rows, 10 in 10,000, 20 from 40,000 on."""
    return int(np.clip(np.sqrt(rows) / 10, 2, 20)) if rows >= 50 else 1
