from __future__ import annotations

from tasks.base.training_records import Trial
from tasks.reporting.report.report_rows import trial_table

TRIALS = (
    Trial(number=0, state="complete", score=0.8, scores=(0.8, 0.8), params={"C": 1.0}),
    Trial(number=1, state="pruned", score=0.9, scores=(0.9,), params={"C": 0.123456}),
    Trial(number=2, state="complete", score=0.85, scores=(0.8, 0.9), seconds=1.26, chosen=True,
          params={"C": 10.0, "class_weight": "balanced"}),
    Trial(number=3, state="failed", params={"C": 5.0}),
)  # fmt: skip


def test_complete_trials_come_first_the_best_on_top_and_none_is_left_out() -> None:
    table = trial_table(TRIALS, greater=True)
    assert [row.title for row in table.rows] == ["2", "untuned", "1, pruned", "3, failed"]
    assert [row.chosen for row in table.rows] == [True, False, False, False]
    assert [row.title for row in trial_table(TRIALS, greater=False).rows][:2] == ["untuned", "2"]


def test_every_hyperparameter_has_its_column_and_what_a_trial_lacks_is_absent() -> None:
    table = trial_table(TRIALS, greater=True)
    assert table.names == ("C", "class_weight")
    assert [row.settings for row in table.rows] == [
        ("10", "balanced"), ("1", "–"), ("0.1235", "–"), ("5", "–"),
    ]  # fmt: skip
    assert (table.rows[0].folds, table.rows[0].seconds) == ("2", "1.3")
