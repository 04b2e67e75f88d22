"""Score of each column alone: one that nearly decides may be known only after the event.

Source: Kaufman, Rosset, Perlich and Stitelman (2012), Leakage in data mining: formulation,
detection and avoidance, ACM TKDD 6: a column that does by itself what all do together is the first
to look at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tasks.base.arrays import Array, Floats, Ints, Matrix, subsample_evenly
from tasks.base.runtime.libraries import pd, sklearn
from tasks.base.text.numbers import number
from tasks.base.training_records import NUMBERS, Schema
from tasks.data.column_kinds import target_values
from tasks.data.leaks import auc
from tasks.data.snapshots import read_frame
from tasks.evaluation.findings import Suspicion
from tasks.metrics.paired_bootstrap import Predictions

MOST_ROWS = 8_000
MOST_COLUMNS = 200
NEARLY = 0.9
"""Share of what the model reaches with all columns."""
_APART = 0.9
"""Where the next column comes nearer than this share, several are alike and none stands out."""
_LEAST = 0.1
_STRONG = 0.75
"""Below it all columns together decide too little for one that does as much to be a wonder."""
LEAST_ROWS = 300
"""Of the holdout: on fewer, the best of many columns is the luckiest."""
_LEAVES = 64


@dataclass(frozen=True)
class Alone:
    """The column that gets furthest alone, and the next."""

    # Of two classes they reach 2 AUC - 1, of more the share of the baseline's mistakes that is
    # saved, of numbers R²; `all` is what the model reaches with all columns.

    column: str
    reached: float
    following: float
    all: float


def alone(
    path: str,
    schema: Schema,
    train: Ints,
    holdout: Ints,
    model: Predictions,
    importance: Mapping[str, float],
    seed: int,
) -> Alone | None:
    """Return the column that gets furthest alone; None where the evidence is too small."""
    # A tree of at most 64 leaves is fitted to each source column by itself, on at most 8,000
    # training rows, and judged on as many of the holdout. Of more than 200 columns the first by the
    # model's own `importance` are tried.
    if len(holdout) < LEAST_ROWS:
        return None
    names = sorted(schema.features, key=lambda name: -importance.get(name, 0.0))[:MOST_COLUMNS]
    own = train[subsample_evenly(len(train), MOST_ROWS)]
    places = subsample_evenly(len(holdout), MOST_ROWS)
    (given, y), (held, truth) = (_rows(path, schema, names, at) for at in (own, holdout[places]))
    if len(names) < 2 or len(truth) < len(places) or len(np.unique(y)) < 2:
        return None
    chances = None if model.probability is None else model.probability[places]
    predicted = np.asarray(model.predicted)[places]
    predicted = predicted if schema.task in NUMBERS else predicted.astype(str)
    whole = _reached(schema, y, truth, predicted, chances)
    if whole is None or whole < _LEAST:
        return None
    found = _each(schema, given, y, held, truth, seed)
    if len(found) < 2:
        return None
    first, second, *_ = sorted(found, key=lambda name: -found[name])
    return Alone(first, found[first], found[second], whole)


def _rows(path: str, schema: Schema, names: list[str], rows: Ints) -> tuple[pd.DataFrame, Array]:
    frame = read_frame(path, columns=[*names, schema.target], rows=rows)
    y, keep = target_values(frame, schema)
    frame = frame.loc[keep, names].reset_index(drop=True)
    return frame, y if schema.task in NUMBERS else y.astype(str)


def _each(
    schema: Schema, given: pd.DataFrame, y: Array, held: pd.DataFrame, truth: Array, seed: int
) -> dict[str, float]:
    from tasks.models.features.preprocessing import build_encoder  # defers scikit-learn

    part = schema.model_copy(update={"features": {n: schema.features[n] for n in given.columns}})
    encoder = build_encoder("tree", part, given, seed)
    X, Z = encoder.fit_transform(given, y), encoder.transform(held)
    sources = np.asarray(encoder.sources_)
    return {
        name: _by_itself(schema, X[:, sources == name], y, Z[:, sources == name], truth)
        for name in given.columns
        if (sources == name).any()
    }


def alone_suspicion(found: Alone | None) -> tuple[Suspicion, ...]:
    """Return that a column alone nearly decides, where it does and stands out."""
    if found is None or found.reached < NEARLY * found.all:
        return ()
    if found.following > _APART * found.reached:
        return ()
    share, following = (min(v / found.all, 1.0) for v in (found.reached, found.following))
    return (
        Suspicion(
            about="leak",
            level="warning" if found.all >= _STRONG else "note",
            sentence=f"{found.column!r} alone reaches {share:.0%} of what the model gains with all "
            f"columns ({number(found.reached, 0.01)} of {number(found.all, 0.01)}, where 1 is "
            f"perfect), the next column {following:.0%}: check that it is known before the "
            "prediction is made, and put it under `exclude` if it is not.",
        ),
    )


def _by_itself(schema: Schema, X: Matrix, y: Array, held: Matrix, truth: Array) -> float:
    bounds = {"max_leaf_nodes": _LEAVES, "min_samples_leaf": max(5, len(y) // 400)}
    if schema.task in NUMBERS:
        tree = sklearn.tree.DecisionTreeRegressor(**bounds, random_state=0).fit(X, y)
        return _reached(schema, y, truth, tree.predict(held), None) or 0.0
    tree = sklearn.tree.DecisionTreeClassifier(**bounds, random_state=0).fit(X, y)
    shares = np.zeros((len(held), len(schema.classes)))
    known = [schema.classes.index(str(label)) for label in tree.classes_]
    shares[:, known] = tree.predict_proba(held)
    labels = np.asarray(schema.classes)[shares.argmax(axis=1)]
    return _reached(schema, y, truth, labels, shares) or 0.0


def _reached(
    schema: Schema, y: Array, truth: Array, predicted: Array, shares: Floats | None
) -> float | None:
    """Return the score of predictions from guessing (0) to perfect (1); None where undefined."""
    if schema.task in NUMBERS:
        spread = float(((truth - truth.mean()) ** 2).sum())
        return 1 - float(((truth - predicted) ** 2).sum()) / spread if spread > 0 else None
    if len(schema.classes) == 2 and shares is not None:
        place = schema.classes.index(schema.positive or schema.classes[-1])
        positive = truth == schema.classes[place]
        if positive.all() or not positive.any():
            return None
        return 2 * auc(shares[:, place], positive.astype(int)) - 1
    labels, counts = np.unique(y, return_counts=True)
    guessed = float(np.mean(truth == labels[counts.argmax()]))
    right = float(np.mean(truth == predicted))
    return (right - guessed) / (1 - guessed) if guessed < 1 else None
