"""What tuning tried is drawn, and told what to conclude from."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure

from tasks.base.settings.training import TrainingConfig
from tasks.base.training_records import CandidateResult, Trial
from tasks.reporting.figures.tuning_figures import draw_search

TRAINING = TrainingConfig(candidates=("lightgbm",))


def result(*trials: Trial, **how: Any) -> CandidateResult:
    return CandidateResult(candidate="lightgbm", status="ok", trials=trials, **how)


def trial(number: int, score: float, leaves: int, state: str = "complete", **how: Any) -> Trial:
    params = {"num_leaves": leaves, "reg_alpha": 0.0 if number == 0 else 0.01 * number}
    return Trial.model_validate(
        {
            "number": number, "params": params, "state": state, "score": score,
            "scores": (score,) * 3, **how,
        }
    )  # fmt: skip


def points(figure: Figure, panel: int) -> set[tuple[str, float, float]]:
    """Return marker, value and score of what is drawn in one panel."""
    return {
        (str(line.get_marker()), float(x), float(y))
        for line in figure.axes[panel].lines
        if line.get_marker() not in ("None", "", None)
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)  # type: ignore[arg-type]
    }


def test_every_trial_stands_at_its_value_and_early_stops_at_the_foot() -> None:
    given = result(
        trial(0, 0.70, 31),
        trial(1, 0.72, 64, chosen=True),
        trial(2, 0.40, 8, "pruned"),
        trial(3, 0.71, 16),
        notes=("another note",),
        asked={"tuning": ("tuning made 4 trials: trial 1 is 0.02 better",)},
    )
    drawing = draw_search(given, "roc_auc", TRAINING)
    assert drawing is not None
    assert drawing.name == "tuning_lightgbm"
    panels = {axes.get_xlabel(): place for place, axes in enumerate(drawing.figure.axes)}
    assert set(panels) == {"num_leaves", "reg_alpha"}
    assert points(drawing.figure, panels["num_leaves"]) == {
        ("D", 31, 0.70), ("o", 64, 0.72), ("|", 8, 0.04), ("o", 16, 0.71),
    }  # fmt: skip
    leaves = drawing.figure.axes[panels["num_leaves"]]
    assert leaves.get_xscale() == "log"
    assert drawing.caption.startswith("Tuning made 4 trials: trial 1 is 0.02 better.")
    assert "another note" not in drawing.caption
    assert "edge" not in drawing.caption


def test_a_value_that_a_logarithm_has_no_place_for_is_a_line_only() -> None:
    drawing = draw_search(result(trial(0, 0.7, 31), trial(1, 0.72, 64)), "roc_auc", TRAINING)
    assert drawing is not None
    of_alpha = next(a for a in drawing.figure.axes if a.get_xlabel() == "reg_alpha")
    assert {float(y) for line in of_alpha.lines for y in line.get_ydata()} == {0.7, 0.72}  # type: ignore[union-attr]
    assert "D" not in {line.get_marker() for line in of_alpha.lines}


@pytest.mark.parametrize(("metric", "marker"), [("roc_auc", "v"), ("rmse", "^")])
def test_a_far_worse_trial_is_at_the_rim(metric: str, marker: str) -> None:
    sign = 1.0 if metric == "roc_auc" else -1.0
    scores = [sign * s for s in (0.80, 0.81, 0.82, 0.83, 0.10)]
    drawing = draw_search(
        result(*(trial(n, s, 8 + n) for n, s in enumerate(scores))), metric, TRAINING
    )
    assert drawing is not None
    drawn = points(drawing.figure, 0)
    assert (marker, 12, sign * 0.73) in {(m, x, round(y, 6)) for m, x, y in drawn}


def test_a_kept_value_at_the_edge_asks_for_a_wider_search() -> None:
    given = result(trial(0, 0.7, 31), trial(1, 0.8, 256, chosen=True))
    drawing = draw_search(given, "roc_auc", TRAINING)
    assert drawing is not None
    assert "widen num_leaves (4 to 256) in training.spaces" in drawing.caption
    spaces = {"lightgbm": {"num_leaves": {"low": 8, "high": 4096, "log": True}}}
    wider = TrainingConfig.model_validate({"spaces": spaces})
    again = draw_search(given, "roc_auc", wider)
    assert again is not None
    assert "edge" not in again.caption


def test_words_to_choose_from_are_names_on_the_axis() -> None:
    trials = [
        Trial(number=n, params={"class_weight": w}, state="complete", score=0.5 + n / 10)
        for n, w in enumerate(("none", "balanced"))
    ]
    drawing = draw_search(result(*trials), "roc_auc", TRAINING)
    assert drawing is not None
    assert [t.get_text() for t in drawing.figure.axes[0].get_xticklabels()] == ["none", "balanced"]


def test_one_score_is_no_search() -> None:
    assert draw_search(result(trial(0, 0.7, 31)), "roc_auc", TRAINING) is None
    assert draw_search(result(), "roc_auc", TRAINING) is None
