from __future__ import annotations

import numpy as np

from tasks.evaluation.diagnosis.error_analysis import (
    confusions,
    label_suspects,
    mistakes,
    worst_rows,
)
from tasks.metrics.losses import level_texts, row_losses
from tests.unit.evaluation.problems import binary, multiclass, regression, schema_of


def test_false_negatives_and_false_positives_are_counted() -> None:
    schema = schema_of(("no", "yes"), "yes")
    y = np.array(["yes"] * 10 + ["no"] * 10)
    predicted = np.array(["no"] * 7 + ["yes"] * 3 + ["yes"] * 1 + ["no"] * 9)
    text = mistakes(y, predicted, schema)
    assert "Of 10 rows that are yes it misses 7" in text
    assert "of 4 that it calls yes, 1 are not" in text
    assert "a lower threshold" in text


def test_the_commonest_confusions_come_first() -> None:
    schema = schema_of(("a", "b", "c"))
    y = np.array(["a"] * 5 + ["b"] * 4)
    predicted = np.array(["b"] * 3 + ["a"] * 2 + ["c"] * 1 + ["b"] * 3)
    found = confusions(y, predicted, schema)
    assert [(c.true, c.predicted, c.rows) for c in found] == [("a", "b", 3), ("b", "c", 1)]
    assert found[0].share == 0.6
    assert "a taken for b (3)" in mistakes(y, predicted, schema)


def test_the_worst_rows_are_unnamed_unless_ids_are_given() -> None:
    y, predicted, probability, schema = multiclass(100)
    losses = row_losses(y, predicted, probability, schema, "log_loss")
    worst = worst_rows(y, predicted, probability, losses, None, most=3)
    assert worst[0].loss == losses.max()
    assert [w.loss for w in worst] == sorted((w.loss for w in worst), reverse=True)
    assert {w.row for w in worst} == {""}
    named = worst_rows(y, predicted, probability, losses, [f"id {k}" for k in range(100)], most=1)
    assert named[0].row == f"id {losses.argmax()}"


def test_rows_that_cannot_be_named_and_look_alike_are_one_entry_with_their_count() -> None:
    y = np.array(["no"] * 30 + ["yes"] * 2)
    predicted = np.array(["yes"] * 30 + ["no"] * 2)
    stated = np.concatenate([np.linspace(0.991, 0.994, 30), [0.6, 0.6]])
    probability = np.column_stack([1 - stated, stated])
    losses = -np.log(1 - stated)

    found = worst_rows(y, predicted, probability, losses, None)
    named = worst_rows(y, predicted, probability, losses, [f"id {k}" for k in range(32)])

    assert [(w.true, w.rows) for w in found] == [("no", 30), ("yes", 2)]
    assert found[0].loss == losses.max()
    assert [w.rows for w in named] == [1] * 10


def test_flipped_labels_are_suspected_and_honest_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    schema = schema_of(("no", "yes"), "yes")
    p = np.clip(rng.beta(0.2, 0.2, 3000), 0.001, 0.999)
    truth = rng.random(3000) < p
    stated = np.column_stack([1 - p, p])
    labels = np.array(["no", "yes"])
    predicted = labels[(p > 0.5).astype(int)]
    count, text = label_suspects(labels[truth.astype(int)], predicted, stated, schema)
    assert (count, "no sign of wrong labels" in text) == (0, True)
    flipped = truth ^ (rng.random(3000) < 0.03)
    count, text = label_suspects(labels[flipped.astype(int)], predicted, stated, schema)
    assert 30 < count < 120
    assert "may be wrong" in text


def test_values_far_off_are_suspected_in_a_regression() -> None:
    y, predicted, schema = regression(2000)
    assert label_suspects(y, predicted, None, schema) == (0, "")
    y = y.copy()
    y[:5] += 100
    count, text = label_suspects(y, predicted, None, schema)
    assert count == 5
    assert "may be wrong" in text


def test_losses_are_the_log_loss_and_the_squared_or_absolute_error() -> None:
    y, predicted, probability, schema = binary(50)
    from sklearn.metrics import log_loss

    losses = row_losses(y, predicted, probability, schema, "roc_auc")
    assert np.isclose(losses.mean(), log_loss(y, probability))
    y, guess, schema = regression(50)
    assert np.allclose(row_losses(y, guess, None, schema, "rmse"), (y - guess) ** 2)
    assert np.allclose(row_losses(y, guess, None, schema, "mae"), np.abs(y - guess))


def test_levels_are_text_and_many_numbers_become_quartiles() -> None:
    import pandas as pd

    assert level_texts(pd.Series([1.0, None, 2.0])).tolist() == ["1", "(null)", "2"]
    cut = level_texts(pd.Series([*np.arange(100.0), np.inf, np.nan]))
    assert len(set(cut)) == 5
    assert cut[-1] == "(null)"
    times = pd.Series(pd.to_datetime(["2024-01-05", None]))
    assert level_texts(times).tolist() == ["2024-01", "(null)"]


def test_quartiles_of_numbers_alike_in_four_digits_are_distinguished() -> None:
    import pandas as pd

    months = pd.Series(np.repeat(np.arange(202301, 202325), 5))
    assert set(level_texts(months)) == {
        "202,301 to 202,307", "202,307 to 202,312", "202,312 to 202,318", "202,318 to 202,324",
    }  # fmt: skip
