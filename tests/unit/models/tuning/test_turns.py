"""Whose trial is next, and when a fit goes before all trials: plain values, no processes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from shutil import copytree

from tasks.base.training_records import Schema, Split, Trial
from tasks.models.run_context import FitRun
from tasks.models.tuning.tuning_schedule import Tuning
from tests.unit.models.factories import training

BUDGET = 100.0
NAMES = ("lightgbm", "logistic_regression", "mlp")


def _tuning(folder: Path, *, threads: int = 2, share: float = 0.8) -> Tuning:
    split = Split(
        train_path="", holdout_path="", rule="hash", holdout=0.2, n_train=1_000, n_holdout=200
    )
    schema = Schema(target="y", task="binary", features={"a": "numeric"}, classes=("0", "1"))
    config = training(*NAMES, tuning={"trials": 40, "share": share}, cv=4)
    given = ("", split, schema, config, "roc_auc", str(folder), str(folder), NAMES)
    return Tuning(FitRun(*given), threads, BUDGET)


def _told(tuning: Tuning, name: str, number: int, score: float, seconds: float) -> None:
    trial = Trial(
        number=number, state="complete", score=score, scores=(score,) * 4, seconds=seconds,
        rows=1_000, params={"C": 1.0},
    )  # fmt: skip
    tuning.tell(name, trial)


def _untuned(tuning: Tuning, **seconds: float) -> None:
    for place, (name, spent) in enumerate(seconds.items()):
        assert tuning.next({name}) == (name, {"number": 0, "params": {}, "bars": {}})
        _told(tuning, name, 0, 0.9 - place / 10, spent)


def test_the_one_at_the_top_has_most_of_the_seconds(tmp_path: Path) -> None:
    tuning = _tuning(tmp_path)
    _untuned(tuning, lightgbm=1.0, logistic_regression=1.0, mlp=1.0)
    turns: Counter[str] = Counter()
    for _ in range(28):
        found = tuning.next(set(NAMES))
        assert found is not None
        turns[found[0]] += 1
        _told(tuning, found[0], found[1]["number"], 0.5, 1.0)
    assert turns["lightgbm"] > 2 * turns["logistic_regression"]
    assert turns["logistic_regression"] >= turns["mlp"]


def test_a_search_is_over_when_no_further_trial_could_be_complete(tmp_path: Path) -> None:
    tuning = _tuning(tmp_path, share=0.5)
    _untuned(tuning, lightgbm=4.0)
    tuning.settle(set(), elapsed=45.0)
    assert "lightgbm" in tuning.open
    tuning.settle(set(), elapsed=47.0)
    assert "lightgbm" not in tuning.open
    assert tuning.next({"mlp"}) is not None


def test_a_fit_that_has_to_start_presses(tmp_path: Path) -> None:
    tuning = _tuning(tmp_path)
    assert not tuning.pressing(NAMES, elapsed=99.0)
    # A fold takes 10 s, so the fit could take twice as long until the end of the budget.
    _untuned(tuning, lightgbm=40.0)
    assert not tuning.pressing(NAMES, elapsed=79.0)
    assert tuning.pressing(NAMES, elapsed=81.0)
    assert not tuning.pressing(("mlp",), elapsed=81.0)


def test_trials_end_early_enough_for_the_longest_fit_and_for_all_of_them(tmp_path: Path) -> None:
    alone = _tuning(tmp_path / "alone", threads=2, share=0.99)
    (tmp_path / "alone").mkdir()
    _untuned(alone, lightgbm=40.0)
    assert [alone.due(79.0), alone.due(81.0)] == [False, True]
    (tmp_path / "both").mkdir()
    both = _tuning(tmp_path / "both", threads=1, share=0.99)
    _untuned(both, lightgbm=40.0, mlp=40.0)
    assert [both.due(59.0), both.due(61.0)] == [False, True]


def test_a_journal_of_another_candidate_or_training_is_not_resumed(tmp_path: Path) -> None:
    here, there = (tmp_path / name / "candidates" for name in ("here", "there"))
    here.mkdir(parents=True)
    _untuned(_tuning(here), lightgbm=1.0)
    journal = here / "lightgbm.trials.jsonl"
    there.parent.mkdir()
    copytree(here, there)
    journal.with_name("mlp.trials.jsonl").write_bytes(journal.read_bytes())
    own = _tuning(here).next({"lightgbm"})

    assert own is not None
    assert own[1]["number"] == 1
    for folder, name in ((here, "mlp"), (there, "lightgbm")):
        assert _tuning(folder).next({name}) == (name, {"number": 0, "params": {}, "bars": {}})
    journal.write_bytes(journal.read_bytes().replace(b"0.9", b"0.8"))
    changed = _tuning(here).next({"lightgbm"})
    assert changed is not None
    assert changed[1]["number"] == 0
