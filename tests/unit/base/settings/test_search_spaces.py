from __future__ import annotations

from pathlib import Path

import pytest

from tasks.base.errors import ConfigError
from tasks.base.pipeline_file import load_pipeline
from tasks.base.settings.search_spaces import SPACES, fault_of, spaces_of
from tasks.base.settings.training import SpaceConfig, TrainingConfig
from tasks.models.estimators.candidates import CANDIDATES

HEAD = "name: t\ntarget: y\nsource: {kind: csv, path: x.csv}\ntraining:\n"


def _error(folder: Path, text: str) -> str:
    path = folder / "keepfit.yaml"
    path.write_text(HEAD + text)
    with pytest.raises(ConfigError) as caught:
        load_pipeline(path)
    return str(caught.value)


def test_every_candidate_is_searched_in_spaces_that_its_model_allows() -> None:
    assert [candidate.name for candidate in CANDIDATES] == list(TrainingConfig().candidates)
    for candidate in CANDIDATES:
        assert candidate.spaces == SPACES[candidate.name]
        for space in candidate.spaces:
            low, high = (None, None) if space.choices else (space.low, space.high)
            assert fault_of(candidate.name, space.name, low, high, space.choices) is None


def test_a_stated_class_weight_is_not_searched() -> None:
    names = [
        s.name for s in spaces_of("lightgbm", {}, classification=True, class_weight="balanced")
    ]
    assert "class_weight" not in names
    assert "num_leaves" in names


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (
            "  spaces:\n    lightgmb: {num_leaves: {low: 4, high: 8}}\n",
            6,
            "did you mean 'lightgbm'",
        ),
        (
            "  spaces:\n    lightgbm:\n      num_leafs: {low: 4, high: 8}\n",
            7,
            "did you mean `num_leaves`",
        ),
        (
            "  spaces:\n    lightgbm:\n      subsample: {low: 0.5, high: 1.5}\n",
            7,
            "at most 1; got 1.5",
        ),
        ("  spaces: {svm: {C: {low: 0, high: 5}}}\n", 5, "more than 0; got 0"),
        ("  spaces: {svm: {C: {low: 9, high: 5}}}\n", 5, "`low` has to lie below `high`"),
        ("  spaces: {svm: {C: {low: -1, high: 5, log: true}}}\n", 5, "above 0; got -1"),
        ("  spaces: {svm: {C: {low: .nan, high: 5}}}\n", 5, "finite"),
        (f"  spaces: {{svm: {{C: {{low: 1, high: {10**400}}}}}}}\n", 5, "and 1e300"),
        (f"  spaces: {{mlp: {{alpha: {{choices: [{10**400}]}}}}}}\n", 5, "and 1e300"),
        ("  spaces: {svm: {C: {choices: [a]}}}\n", 5, "is a number; got 'a'"),
        ("  spaces: {svm: {class_weight: {choices: [balance]}}}\n", 5, "did you mean 'balanced'"),
        ("  spaces: {svm: {class_weight: {low: 1, high: 2}}}\n", 5, "needs `choices`"),
        ("  spaces: {mlp: {hidden_layer_sizes: {choices: ['64;32']}}}\n", 5, "such as '64,32'"),
        ("  spaces: {lightgbm: {num_leaves: {low: 4.5, high: 8}}}\n", 5, "whole number; got 4.5"),
        ("  tuning: {trails: 3}\n", 5, "did you mean `trials`"),
        ("  tuning: true\n  cv: 1\n", 5, "at least 3"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_the_nearest_name(
    text: str, line: int, said: str, tmp_path: Path
) -> None:
    message = _error(tmp_path, text)
    assert f"line {line}:" in message
    assert said in message


def test_whole_ends_search_whole_numbers_of_one_s_own() -> None:
    given = {"k": SpaceConfig(low=1, high=9), "pace": SpaceConfig(low=-1, high=2.5)}
    overrides = {name: space.model_dump() for name, space in given.items()}
    k, pace = spaces_of("mine", overrides, classification=True)
    assert (k.whole, pace.whole) == (True, False)
    assert spaces_of("mine", {}, classification=True) == ()


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = "  spaces:\n    svm: {D: {low: 1, high: 2}}\n    mlp: {alfa: {low: 1, high: 2}}\n"
    message = _error(tmp_path, text)
    assert "line 6" in message
    assert "line 7" in message


def test_true_means_the_defaults_and_absence_means_none() -> None:
    assert TrainingConfig().tuning is None
    assert TrainingConfig.model_validate({"tuning": False}).tuning is None
    tuning = TrainingConfig.model_validate({"tuning": True}).tuning
    assert tuning is not None
    assert (tuning.trials, tuning.share) == (30, 0.8)
    again = TrainingConfig.model_validate(
        {"tuning": True, "spaces": {"svm": {"C": {"low": 1, "high": 9}}}}
    )
    assert TrainingConfig.model_validate(again.model_dump(mode="json")) == again
