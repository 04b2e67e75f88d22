"""A person's own metric is tried at start, drawn with the rows, and told by name where it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, roc_auc_score

from tasks.base.errors import ConfigError, EvidenceError
from tasks.base.plugin_settings import HooksConfig, OwnCode
from tasks.base.settings.evaluation import GateConfig
from tasks.base.training_records import Schema
from tasks.metrics.bootstrap import resampling
from tasks.metrics.paired_bootstrap import Predictions, paired_evidence
from tasks.metrics.plugin_metrics import native, try_metric
from tasks.metrics.scorer import evaluate, sampled, score
from tasks.models.fitting import fit_candidates
from tests.unit.models.factories import frame, snapshot, target, training

TEXT = """
import numpy as np
from sklearn.metrics import mean_absolute_error, roc_auc_score

def profit(y_true, y_pred):
    lent = y_pred != "bad"
    return np.mean(lent * np.where(y_true == "bad", -5.0, 1.0))

def auc(y_true, chance):
    return roc_auc_score(y_true, chance)

def mae(y_true, y_pred):
    return mean_absolute_error(y_true, y_pred)

def shares(y_true, chances):
    return float(chances.shape[1])

def kinds(y_true, y_pred):
    assert y_true.dtype.kind == y_pred.dtype.kind == "i"
    y_true[:] = 0
    return len(y_true)
"""


def own(folder: Path, text: str = TEXT, **metrics: Any) -> OwnCode:
    (folder / "mine.py").write_text(text, encoding="utf-8")
    made = OwnCode.of(HooksConfig.model_validate({"metrics": metrics}), folder)
    assert made is not None
    return made


def up(call: str, **more: Any) -> dict[str, Any]:
    return {"call": call, "greater_is_better": True, **more}


def loans(code: OwnCode | None, rows: int = 400) -> tuple[Schema, Any, Any, Any]:
    rng = np.random.default_rng(0)
    bad = rng.random(rows) < 0.3
    chance = np.clip(0.3 * bad + 0.7 * rng.random(rows), 0, 1)
    schema = Schema(
        target="status", task="binary", features={}, classes=("bad", "good"), positive="bad",
        own=code,
    )  # fmt: skip
    y = np.where(bad, "bad", "good")
    return schema, y, np.where(chance > 0.5, "bad", "good"), np.column_stack([chance, 1 - chance])


def test_a_metric_of_labels_is_reported_with_its_interval(tmp_path: Path) -> None:
    schema, y, predicted, chances = loans(own(tmp_path, profit=up("mine:profit")))

    found = evaluate("svm", y, predicted, chances, schema).metrics["profit"]

    assert found.value == np.mean((predicted == "good") * np.where(y == "bad", -5.0, 1.0))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high


def test_a_metric_of_probabilities_draws_what_keepfit_s_own_draws(tmp_path: Path) -> None:
    schema, y, predicted, chances = loans(own(tmp_path, mine=up("mine:auc", needs="probability")))
    schema = schema.model_copy(update={"positive": "good"})
    plan = resampling(len(y), None, 100, seed=1)

    value, drawn = sampled("mine", y, predicted, chances, schema, plan)
    theirs, theirs_drawn = sampled("roc_auc", y, predicted, chances, schema, plan)

    assert value == pytest.approx(theirs)
    assert value == pytest.approx(roc_auc_score(y == "good", chances[:, 1]))
    np.testing.assert_allclose(drawn, theirs_drawn)


def test_blocks_are_drawn_whole(tmp_path: Path) -> None:
    code = own(tmp_path, mine_error={"call": "mine:mae", "greater_is_better": False})
    rng = np.random.default_rng(0)
    y, said = rng.normal(size=300), rng.normal(size=300)
    schema = Schema(target="y", task="regression", features={}, own=code)
    plan = resampling(300, np.arange(300) // 10, 200, seed=1)

    value, drawn = sampled("mine_error", y, said, None, schema, plan)

    assert value == pytest.approx(mean_absolute_error(y, said))
    np.testing.assert_allclose(drawn, sampled("mae", y, said, None, schema, plan)[1])


def test_large_tables_are_drawn_less_often(tmp_path: Path) -> None:
    code = own(tmp_path, mine_error={"call": "mine:mae", "greater_is_better": False})
    y = np.zeros(60_000)
    schema = Schema(target="y", task="regression", features={}, own=code)

    _, drawn = sampled("mine_error", y, y, None, schema, resampling(len(y), None, 1_000, seed=0))

    assert len(drawn) == 333


def test_the_gate_decides_by_it_and_by_its_direction(tmp_path: Path) -> None:
    code = own(tmp_path, profit=up("mine:profit"),
               mine_cost={"call": "mine:profit", "greater_is_better": False})  # fmt: skip
    schema, y, predicted, chances = loans(code)
    ours = Predictions(y, chances)
    theirs, trivial = Predictions(predicted, chances), Predictions(np.full(len(y), "good"), chances)

    for metric, better in (("profit", True), ("mine_cost", False)):
        told = paired_evidence(
            metric, y, ours, theirs, trivial, schema, blocks=None, gate=GateConfig(), seed=0
        )
        assert told.low is not None
        assert told.high is not None
        assert (told.low > 0) is better
        assert (told.high < 0) is not better


def test_labels_are_numbers_where_all_are_and_matrices_have_a_column_each(tmp_path: Path) -> None:
    code = own(tmp_path, kinds=up("mine:kinds"), shares=up("mine:shares", needs="probability"))
    y = np.array([1, 2, 3, 1])
    chances = np.full((4, 3), 1 / 3)

    assert score("kinds", y, y, chances, ("1", "2", "3"), None, own=code) == 4
    assert score("shares", y, y, chances, ("1", "2", "3"), None, own=code) == 3
    assert y.tolist() == [1, 2, 3, 1]


def test_labels_that_only_look_like_numbers_stay_text() -> None:
    assert native(("--1", "-1")).tolist() == ["--1", "-1"]
    assert native(("-1", "1")).tolist() == [-1, 1]


def test_a_failure_or_no_number_on_real_rows_names_the_hook(tmp_path: Path) -> None:
    text = (
        "def gone(y_true, y_pred):\n    return 1 / (len(y_true) - 400)\n"
        "def nothing(y_true, y_pred):\n    return float('nan')\n"
        "def many(y_true, y_pred):\n    return y_true\n"
    )
    for name, said in (
        ("gone", "failed on 400 rows: ZeroDivisionError"),
        ("nothing", "gave nan for 400 rows"),
        ("many", "must return one number; got ndarray"),
    ):
        schema, y, predicted, chances = loans(own(tmp_path, text, mine=up(f"mine:{name}")))
        with pytest.raises(ConfigError, match=f"hooks.metrics.mine: mine:{name}.*{said}"):
            evaluate("svm", y, predicted, chances, schema)


def test_a_draw_it_fails_on_is_undefined_and_many_leave_no_interval(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "def f(y_true, y_pred):\n    return 1.0 if (y_true[:9] == {}).all() else 1 / 0\n"
    schema, y, predicted, chances = loans(own(tmp_path, text.format("y_true[:9]"), m=up("mine:f")))
    assert evaluate("svm", y, predicted, chances, schema).metrics["m"].value == 1.0
    first = y[:9].tolist()
    schema = schema.running(own(tmp_path, text.format(repr(first)), m=up("mine:f")))

    found = evaluate("svm", y, predicted, chances, schema).metrics["m"]

    assert found.value == 1.0
    assert found.low is None
    assert "hooks.metrics.m failed on" in caplog.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("text", "more", "task", "said"),
    [
        ("x = 1", {}, None, "has no function 'f'"),
        ("def f(y_true): ...", {}, None, "called with two arguments"),
        ("def f(a, b):\n    return 'much'", {}, None, "must return one number; got str"),
        ("def f(a, b):\n    return True", {}, None, "must return one number; got bool"),
        ("def f(a, b):\n    return float('inf')", {}, None, "gave inf for made-up rows"),
        ("def f(a, b):\n    return 1 / 0", {}, None, "failed on made-up rows.*ZeroDivisionError"),
        ("def f(a, b):\n    raise SystemExit", {}, None, "SystemExit"),
        ("import random\ndef f(a, b):\n    return random.random()", {}, None, "seed what is rand"),
        ("def f(a, b):\n    return {'bad': 1.0}[a[0]]", {}, None, "labels: "),
        ("def f(a, b):\n    return 1.0", {"needs": "probability"}, "regression", "regression"),
    ],
)
def test_a_function_that_cannot_serve_is_refused_at_start(
    text: str, more: dict[str, Any], task: str | None, said: str, tmp_path: Path
) -> None:
    code = own(tmp_path, text, mine=up("mine:f", **more))

    with pytest.raises(ConfigError, match=said) as caught:
        try_metric(code, "mine", task, None)

    assert "mine:f" in caught.value.message


def test_it_is_tried_with_the_labels_of_the_file(tmp_path: Path) -> None:
    text = "def f(a, b):\n    return sum({'bad': 1.0, 'good': 2.0}[x] for x in a)"

    try_metric(own(tmp_path, text, mine=up("mine:f", labels=["good", "bad"])), "mine", None, None)
    with pytest.raises(ConfigError, match=r"KeyError: .*not bad"):
        try_metric(own(tmp_path, text, mine=up("mine:f")), "mine", "binary", "bad")
    for task, needs in (("regression", "prediction"), ("multiclass", "probability")):
        text = "def f(a, b):\n    assert b.shape in [(24,), (36, 3)]\n    return 1.0"
        try_metric(own(tmp_path, text, mine=up("mine:f", needs=needs)), "mine", task, None)


def test_a_metric_that_the_running_file_does_not_name_is_not_called(tmp_path: Path) -> None:
    schema, y, predicted, chances = loans(None)

    with pytest.raises(EvidenceError, match=r"hooks\.metrics"):
        sampled("profit", y, predicted, chances, schema, resampling(len(y), None, 0, 0))


def test_candidates_are_chosen_by_it_and_its_failure_ends_the_training(tmp_path: Path) -> None:
    X = frame(rows=160)
    y = target(X, "binary")
    path, split, schema = snapshot(tmp_path / "data", X, y, "binary")
    text = "def right(y_true, y_pred):\n    return (y_true == y_pred).mean()\n"
    given = (path, split, schema.running(own(tmp_path, text, right=up("mine:right"))))

    results = fit_candidates(
        *given, training("decision_tree", cv=2), "right", tmp_path / "fits"
    )  # fmt: skip
    told = {result.candidate: result.cv_mean for result in results}
    assert told["decision_tree"] is not None
    assert told["baseline"] is not None
    assert told["decision_tree"] > told["baseline"]

    own(tmp_path, text.replace(".mean()", ".mean() / 0"), right=up("mine:right"))
    with pytest.raises(ConfigError, match=r"hooks\.metrics\.right: mine:right` gave (inf|nan)"):
        fit_candidates(*given, training("decision_tree", cv=2), "right", tmp_path / "others")
