from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from tasks.base.training_records import LeaderboardRow
from tasks.evaluation.explanation.permutation_importance import ColumnImportance, Importance
from tasks.metrics.paired_bootstrap import Predictions
from tasks.metrics.scorer import evaluate
from tasks.reporting.figures.style import INK, plain
from tasks.reporting.figures.training_figures import (
    Drawing,
    diagnose,
    draw_importance,
    draw_leaderboard,
    draw_learning,
    save_figures,
)
from tests.unit.evaluation.problems import binary, multiclass, regression, schema_of

HOSTILE = (
    "<script>alert(1)</script>", "$\\frac{1}{2}$", "$x", "a\\$b$", "_hidden", "日本語 שלום",
    "x" * 300, "\x00\x1b[31m\n\u2028", "", "]]>&amp;<!--", "\ud800",
)  # fmt: skip


def _row(candidate: str, holdout: float | None) -> LeaderboardRow:
    ends = (None, None) if holdout is None else (holdout - 0.01, holdout + 0.01)
    return LeaderboardRow(
        candidate=candidate,
        status="ok",
        cv_mean=holdout,
        cv_std=0.01,
        holdout=holdout,
        holdout_low=ends[0],
        holdout_high=ends[1],
    )


def _diagnosed(problem: tuple) -> dict[str, Drawing]:  # type: ignore[type-arg]
    y, predicted, probability, schema = problem
    evaluation = evaluate("a", y, predicted, probability, schema, replicates=0)
    said = Predictions(predicted, probability)
    return {d.name: d for d in diagnose(y, said, schema, evaluation)}


def _sound(svg: str) -> ET.Element:
    """Return the parsed SVG after asserting what holds of every one."""
    root = ET.fromstring(svg)  # noqa: S314 - our own
    assert root.get("viewBox")
    assert root.get("role") == "img"
    assert INK not in svg
    assert "currentColor" in svg
    # Only names of XML vocabularies and references into the same picture.
    assert not re.search(r'(?:href|src)="(?!#|data:image/png;)', svg)
    assert "url(http" not in svg
    assert not [e for e in root.iter() if e.tag.rpartition("}")[2] in ("script", "style")]
    assert len(svg) < 120_000
    return root


def test_a_binary_task_has_confusion_roc_precision_recall_and_calibration() -> None:
    drawn = _diagnosed(binary())
    assert list(drawn) == ["confusion_matrix", "roc", "precision_recall", "calibration"]
    for drawing in drawn.values():
        _sound(drawing.svg)


@pytest.mark.parametrize("k", [3, 10, 20, 30])
def test_many_classes_stay_drawable(k: int) -> None:
    for drawing in _diagnosed(multiclass(2000, k=k)).values():
        _sound(drawing.svg)


def test_of_too_many_classes_the_commonest_confusions_are_drawn() -> None:
    assert _diagnosed(multiclass(2000, k=20))["confusion_matrix"].title == "Confusion matrix"
    drawn = _diagnosed(multiclass(2000, k=21))["confusion_matrix"]
    assert drawn.title == "Commonest confusions"
    assert "→" in drawn.svg


def test_a_regression_has_predicted_against_observed_and_residuals() -> None:
    y, predicted, schema = regression(5000)
    evaluation = evaluate("a", y, predicted, None, schema, replicates=0)
    drawn = diagnose(y, Predictions(predicted), schema, evaluation)
    assert [d.name for d in drawn] == ["predicted_observed", "residuals"]
    for drawing in drawn:
        _sound(drawing.svg)


def test_without_probabilities_only_the_confusion_is_drawn() -> None:
    y, predicted, _, schema = binary()
    evaluation = evaluate("a", y, predicted, None, schema, replicates=0)
    assert len(diagnose(y, Predictions(predicted), schema, evaluation)) == 1


def test_one_class_in_the_holdout_draws_what_it_can() -> None:
    y, predicted, probability, schema = binary()
    kept = y == "no"
    drawn = _diagnosed((y[kept], predicted[kept], probability[kept], schema))
    assert list(drawn) == ["confusion_matrix", "calibration"]
    assert "No row of the holdout is yes" in drawn["confusion_matrix"].caption


def test_captions_say_what_to_conclude() -> None:
    y, predicted, _, _ = binary()
    recall = ((y == "yes") & (predicted == "yes")).sum() / (y == "yes").sum()
    assert f"it finds {recall:.1%}" in _diagnosed(binary())["confusion_matrix"].caption


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_class_names_are_text(name: str) -> None:
    y, predicted, probability, _ = binary()
    classes = tuple(sorted((name, "~other")))
    labels = {"no": classes[0], "yes": classes[1]}
    y = np.array([labels[v] for v in y], dtype=object)
    predicted = np.array([labels[v] for v in predicted], dtype=object)
    for drawing in _diagnosed((y, predicted, probability, schema_of(classes, name))).values():
        _sound(drawing.svg)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_column_and_candidate_names_are_text(name: str, tmp_path: Path) -> None:
    record = Importance("rmse", 9, (ColumnImportance(name, 0.2, 0.1, 0.3),))
    drawings = [
        draw_importance(record),
        draw_leaderboard([_row(name, 0.7), _row("b", 0.6)], "roc_auc", name),
        *draw_learning("lightgbm", {f"validation_{name}": [1.0, 0.5], "other": [1.0, 0.6]}, name),
    ]
    assert None not in drawings
    for drawing in drawings:
        _sound(drawing.svg)  # type: ignore[union-attr]
    save_figures(drawings[:1], tmp_path)  # type: ignore[arg-type]


def test_a_dollar_is_a_dollar() -> None:
    record = Importance("rmse", 9, (ColumnImportance("$a_1$", 0.2, 0.1, 0.3),))
    drawing = draw_importance(record)
    assert drawing is not None
    texts = [e.text for e in _sound(drawing.svg).iter() if e.tag.endswith("}text")]
    assert "$a_1$" in texts


def test_long_labels_are_shortened_in_the_middle() -> None:
    assert plain("beginning_of_a_name_and_its_end", 11) == "begin…s_end"


def test_figures_are_the_same_every_time(tmp_path: Path) -> None:
    one, two = (_diagnosed(binary())["roc"] for _ in range(2))
    assert one.svg == two.svg
    first, second = tmp_path / "a", tmp_path / "b"
    save_figures([one], first)
    save_figures([two], second)
    assert (first / "roc.svg").read_bytes() == (second / "roc.svg").read_bytes()


def test_files_are_named_by_figure_and_dark_on_white(tmp_path: Path) -> None:
    paths = save_figures(list(_diagnosed(binary()).values()), tmp_path)
    assert set(paths) == {"confusion_matrix", "roc", "precision_recall", "calibration"}
    root = ET.fromstring(Path(paths["roc"]).read_text(encoding="utf-8"))  # noqa: S314 - our own
    assert root.get("style") == f"background: white; color: {INK}"
    assert (root.get("width"), root.get("height")) == ("660", "495")
    assert len(list(tmp_path.iterdir())) == 4


def test_the_leaderboard_leaves_out_a_far_baseline_and_says_so() -> None:
    near = [_row("a", 0.80), _row("b", 0.78), _row("baseline", 0.75)]
    far = [*near[:2], _row("baseline", 0.5), _row("svm", None)]
    drawn = [draw_leaderboard(rows, "roc_auc", "a") for rows in (near, far)]
    assert drawn[0] is not None
    assert drawn[1] is not None
    assert "off this scale" not in drawn[0].caption
    assert "The baseline, at 0.5000, lies far off this scale." in drawn[1].caption
    assert "baseline" not in drawn[1].figure.axes[0].get_yticklabels()[-1].get_text()


def test_without_a_score_there_is_no_leaderboard() -> None:
    assert draw_leaderboard([_row("a", None)], "roc_auc", "a") is None


def test_without_a_tried_column_there_is_no_importance() -> None:
    assert draw_importance(Importance("rmse", 9, (), ("a",))) is None


def test_curves_of_one_loss_share_a_figure() -> None:
    curves = {
        "training_l2": [1.0, 0.5],
        "validation_l2": [1.1, 0.7],
        "validation_l1": [5.0, 9.0],
    }
    drawn = draw_learning("mlp", curves)
    assert [d.name for d in drawn] == ["learning_mlp", "learning_mlp_1"]
    legend = drawn[0].figure.axes[0].get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == [" rows learnt from", " rows set aside"]


def test_curves_that_are_empty_or_not_finite_are_not_drawn() -> None:
    told = {"validation_loss": [], "validation_other": [1.0, float("nan")], "training_x": [1.0]}
    assert draw_learning("mlp", told) == ()


def test_iterations_say_where_the_model_was_cut_and_what_it_knows_by_heart() -> None:
    curves = {
        "training_loss": [3.0, 2.0, 0.5, 0.4, 0.3],
        "validation_loss": [3.0, 2.0, 1.0, 1.5, 1.8],
    }
    (drawing,) = draw_learning("lightgbm", curves, "the third fold")
    assert "best at iteration 3 of 5" in drawing.caption
    assert "There it is 1.0000, and 0.5000 on rows that are learnt from." in drawing.caption
    assert drawing.caption.endswith("Drawn of the third fold.")
    dashed = [line for line in drawing.figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed] == [3]


@pytest.mark.parametrize(
    ("loss", "values", "best"),
    [
        ("ndcg", [0.5, 0.7, 0.8, 0.7, 0.6], 3),
        ("ndcg", [0.5, 0.4, 0.8, 0.7, 0.6], 3),
        ("log_loss", [0.5, 0.6, 0.8, 0.9, 0.9], 1),
    ],
)
def test_a_score_is_best_where_it_is_highest_a_loss_where_it_is_lowest(
    loss: str, values: list[float], best: int
) -> None:
    (drawing,) = draw_learning("lightgbm", {f"validation_{loss}": values})
    assert f"best at iteration {best} of 5" in drawing.caption


def test_the_reliability_of_a_calibrated_model_is_drawn_before_and_after() -> None:
    y, predicted, probability, schema = binary()
    far = np.where(probability > 0.5, 0.99, 0.01)
    evaluation = evaluate("a", y, predicted, probability, schema, replicates=0)
    given = Predictions(predicted, probability, far)

    drawn = {d.name: d for d in diagnose(y, given, schema, evaluation)}["calibration"]

    assert drawn.title == "Calibration, before and after"
    legend = drawn.figure.axes[0].get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == [" before", " calibrated"]
    after, before = re.findall(r"by (\d+\.\d)", drawn.caption)
    assert float(before) > float(after)
