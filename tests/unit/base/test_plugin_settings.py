"""What the pipeline file says of a person's own code is checked as it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.base.config import PipelineConfig
from tasks.base.errors import ConfigError
from tasks.base.pipeline_file import load_pipeline
from tasks.base.plugin_settings import OwnCode
from tasks.base.settings.evaluation import greater_is_better
from tasks.base.settings.training import CandidateName

GOOD = "name: p\ntarget: y\nsource: {kind: demo, name: credit}\n"
ESTIMATOR = "hooks: {estimators: {mine: 'm:C'}}\n"
METRIC = "hooks: {metrics: {profit: {call: 'm:f', greater_is_better: true}}}\n"


def config(folder: Path, text: str) -> PipelineConfig:
    (folder / "keepfit.yaml").write_text(text, encoding="utf-8")
    return load_pipeline(folder / "keepfit.yaml", {}).config


def test_estimators_of_one_s_own_compete_unless_the_file_names_who_does(tmp_path: Path) -> None:
    joined = config(tmp_path, GOOD + ESTIMATOR)
    named = config(tmp_path, GOOD + ESTIMATOR + "training: {candidates: [mine, svm]}\n")
    left = config(tmp_path, GOOD + ESTIMATOR + "training: {candidates: [svm]}\n")

    assert joined.competing.candidates == (*joined.training.candidates, "mine")
    assert named.competing.candidates == ("mine", "svm")
    assert left.competing.candidates == ("svm",)
    assert config(tmp_path, GOOD).competing.candidates == CandidateName.__args__  # type: ignore[attr-defined]


def test_a_metric_of_one_s_own_decides_for_any_task(tmp_path: Path) -> None:
    for task in ("binary", "regression"):
        found = config(tmp_path, f"{GOOD}{METRIC}metric: profit\ntask: {task}\n")
        assert found.metric == "profit"
    assert greater_is_better("profit")
    assert not greater_is_better("late_cost")


def test_only_estimators_and_metrics_are_code_that_travels(tmp_path: Path) -> None:
    hooks = config(tmp_path, GOOD + "hooks: {features: 'm:f'}\n").hooks
    assert OwnCode.of(hooks, tmp_path) is None
    found = OwnCode.of(config(tmp_path, GOOD + ESTIMATOR).hooks, tmp_path)
    assert found is not None
    assert found.estimators["mine"].call == "m:C"
    assert OwnCode.model_validate(found.model_dump(mode="json")) == found


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (ESTIMATOR + "training:\n  candidates: [mime]\n", 6, "did you mean 'mine'"),
        ("training: {candidates: [mine]}\n", 4, "or your own, named in `hooks.estimators`"),
        (METRIC + "metric: profits\n", 5, "did you mean 'profit'"),
        ("metric: profit\n", 4, "or your own, named in `hooks.metrics`"),
        ("hooks: {estimators: {svm: 'm:C'}}\n", 4, "'svm' is a name that keepfit uses itself"),
        ("hooks: {estimators: {baseline: 'm:C'}}\n", 4, "'baseline' is a name"),
        ("hooks: {estimators: {'../x': 'm:C'}}\n", 4, "pattern"),
        ("hooks: {estimators: {mine: 'm'}}\n", 4, "pattern"),
        ("hooks: {estimators: {mine: {call: 'm:C', typos: []}}}\n", 4, "unknown key `typos`"),
        ("hooks: {estimators: {mine: {call: 'm:C', types: [eval]}}}\n", 4, "pattern"),
        ("hooks: {metrics: {f1: {call: 'm:f', greater_is_better: true}}}\n", 4, "'f1' is a name"),
        ("hooks: {metrics: {profit: 'm:f'}}\n", 4, "hooks.metrics.profit"),
        ("hooks: {metrics: {profit: {call: 'm:f'}}}\n", 4, "`greater_is_better` is required"),
        ("hooks: {metrics: {profit: {call: 'm:f', greater_is_better: false}}}\n", 4,
         "ends in _loss, _error, _cost"),
        ("hooks: {metrics: {late_cost: {call: 'm:f', greater_is_better: true}}}\n", 4,
         "no other does; late_cost"),
        ("hooks: {metrics: {profit_low: {call: 'm:f', greater_is_better: true}}}\n", 4,
         "ends of intervals"),
        ("hooks: {metrics: {m: {call: 'm:f', greater_is_better: true, needs: y}}}\n", 4, "needs"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(text: str, line: int, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"line {line}: ") as caught:
        config(tmp_path, GOOD + text)

    assert said in caught.value.message
