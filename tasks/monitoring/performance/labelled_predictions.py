"""Predictions with their labels, as a ledger or a holdout keeps them, ready to be scored."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.base.arrays import Floats, Ints, Mask
from tasks.base.errors import EvidenceError
from tasks.base.runtime.libraries import pd
from tasks.base.training_records import Schema
from tasks.metrics.ranking import RankingGroups


@dataclass(frozen=True)
class Answers:
    """Rows that have a prediction, with the label where it is known."""

    # truth, predicted: places among the classes, shape (rows,), with the number of classes where it
    # is none of them or not known; values of a regression, not a number where not known.
    truth: NDArray[Any]
    predicted: NDArray[Any]
    probability: Floats | None  # shape (rows, n_classes); None for a regression, or if not kept
    times: NDArray[np.datetime64] | None  # UTC without a zone, NaT where unknown; None without any
    labelled: Mask  # rows whose label is known
    strange: int = 0  # rows left unlabelled because their label is none of the classes
    queries: RankingGroups | None = None  # which rows are ranked together, if any
    features: pd.DataFrame | None = None  # what was predicted from, a row each, if known

    @property
    def rows(self) -> int:
        """Rows that have a prediction."""
        return len(self.labelled)

    def only(self, rows: Mask | Ints) -> Answers:
        """Return the predictions of `rows`."""
        return Answers(
            truth=self.truth[rows],
            predicted=self.predicted[rows],
            probability=None if self.probability is None else self.probability[rows],
            times=None if self.times is None else self.times[rows],
            labelled=self.labelled[rows],
            queries=None if self.queries is None else self.queries.only(rows),
            features=None if self.features is None else self.features.iloc[rows],
        )

    @property
    def of_labelled(self) -> Answers:
        """The rows whose label is known."""
        return self.only(self.labelled)


def answers_of(rows: pd.DataFrame, roles: Schema, features: pd.DataFrame | None = None) -> Answers:
    """Return predictions and labels of `rows` on the schema's terms, with their `features`."""
    # Labels may be native or text; 1, 1.0, "1" and "1.0" are the same class. Of a ranking the group
    # stands in `id_<group>`, or among the ids of `key`.
    rows = rows.reset_index(drop=True)
    label = rows["label"] if "label" in rows else pd.Series([None] * len(rows), dtype="object")
    probability = _probability(rows, roles.classes)
    truth: NDArray[Any]
    predicted: NDArray[Any]
    if roles.classes:
        truth = places(label, roles.classes)
        predicted = places(rows["prediction"], roles.classes)
        usable = rows["prediction"].notna().to_numpy(dtype=bool)
    else:
        truth, predicted = _numbers(label), _numbers(rows["prediction"])
        usable = np.isfinite(predicted)
    if probability is not None:
        usable = usable & np.isfinite(probability).all(axis=1)
    labelled = truth < len(roles.classes) if roles.classes else np.isfinite(truth)
    whole = Answers(
        truth=truth,
        predicted=predicted,
        probability=probability,
        times=_times(rows),
        labelled=np.asarray(labelled, dtype=bool),
        queries=_queries(rows, roles),
        features=features,
    )
    kept = whole if usable.all() else whole.only(usable)
    stated = label.notna().to_numpy(dtype=bool)
    return replace(kept, strange=int((stated & ~whole.labelled & usable).sum()))


def places(labels: pd.Series[Any], classes: Sequence[str]) -> Ints:
    """Return the place of each label in `classes`, shape (rows,); len(classes) if none.

    >>> places(pd.Series([1.0, "0", None, "1.0", "other"], dtype="object"), ("0", "1"))
    array([1, 0, 2, 1, 2])
    """
    codes, found = pd.factorize(labels)
    known = {name: place for place, name in enumerate(classes)}
    lookup = [_place(label, known) for label in found]
    return np.asarray([*lookup, len(classes)], dtype=np.int64)[codes]


def _place(label: Any, known: dict[str, int]) -> int:
    text = str(label)
    if text in known:
        return known[text]
    try:
        number = float(label)
    except (TypeError, ValueError):
        # A boolean that came through JSON or SQL.
        return known.get(text.capitalize(), len(known))
    for name in (str(int(number)), str(number)) if np.isfinite(number) else ():
        if name in known and float(name) == number:
            return known[name]
    return known.get({0.0: "False", 1.0: "True"}.get(number, ""), len(known))


def _numbers(values: pd.Series[Any]) -> Floats:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _probability(rows: pd.DataFrame, classes: Sequence[str]) -> Floats | None:
    """Return probabilities in the order of `classes`; a class the model never saw has none."""
    names = [f"probability_{label}" for label in classes]
    if not any(name in rows for name in names):
        return None
    return np.column_stack([_numbers(rows[n]) if n in rows else np.zeros(len(rows)) for n in names])


def _queries(rows: pd.DataFrame, roles: Schema) -> RankingGroups | None:
    if roles.group is None:
        return None
    if f"id_{roles.group}" in rows:
        groups = rows[f"id_{roles.group}"].astype("str")
    elif "key" in rows:
        place = roles.id_columns.index(roles.group)
        groups = pd.Series([_id_in(key, place) for key in rows["key"]], dtype="str")
    else:
        raise EvidenceError(
            f"it is unknown which {roles.group!r} the predictions belong to.",
            "Train again: the version was kept without its ids.",
        )
    return RankingGroups.of(pd.factorize(groups)[0], roles)


def _id_in(key: str, place: int) -> str:
    """Return one of the ids of a ledger's key; the whole key where it was digested.

    >>> _id_in('["u7","film 3"]', 0), _id_in("sha256:ab", 0)
    ('u7', 'sha256:ab')
    """
    try:
        return str(json.loads(key)[place])
    except ValueError:
        return key


def _times(rows: pd.DataFrame) -> NDArray[np.datetime64] | None:
    if "time" not in rows:
        return None
    times = pd.to_datetime(rows["time"], utc=True, errors="coerce").dt.tz_localize(None)
    moments = times.to_numpy(dtype="datetime64[us]")
    return moments if not np.isnat(moments).all() else None
