"""A person's own estimator is tried before data is read, competes, and is loaded only by name."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.pipeline import Pipeline

from tasks.base.config import PipelineConfig
from tasks.base.errors import ConfigError, ModelRefusedError
from tasks.base.plugin_settings import HooksConfig
from tasks.base.settings.sources import CsvSource
from tasks.base.training_records import ModelVersion, Schema
from tasks.models.ensemble.blend_call import made_of
from tasks.models.estimators.candidates import find
from tasks.models.estimators.fit_context import FitContext
from tasks.models.estimators.plugin_estimators import own_params
from tasks.models.execution import plugin_checks
from tasks.models.execution.plugin_checks import check_hooks, trial_rows, try_estimator
from tasks.models.fitting import fit_candidates, refit
from tasks.models.persistence.skops_io import load_model, save_model, types_of
from tasks.plugins.versions import code_identity, hooks_tags, require_hooks
from tests.unit.models.factories import frame, snapshot, target, training
from tests.unit.models.own_modules import ESTIMATORS, own_code

CLASS = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

class Mine(ClassifierMixin, BaseEstimator):
    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self
    def predict_proba(self, X):
        return np.full((len(X), len(self.classes_)), 1 / len(self.classes_))
    def predict(self, X):
        return np.full(len(X), self.classes_[0])
"""


@pytest.mark.parametrize(("hook", "task"), [("Nearest", "binary"), ("Nearest", "multiclass"),
                                            ("Slope", "regression"), ("Slope", None)])  # fmt: skip
def test_a_sound_estimator_passes(hook: str, task: str | None, tmp_path: Path) -> None:
    own = own_code(tmp_path, ESTIMATORS, estimators={"own": f"mine:{hook}"})

    try_estimator(own, "own", task)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CLASS.replace("class Mine", "class Other"), "no class or function 'Mine'"),
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("Mine = 3", "no class or function 'Mine'"),
        ("def Mine(rows): ...", "called with no argument"),
        ("def Mine():\n    raise RuntimeError('no licence')", "cannot be made: RuntimeError: no l"),
        ("def Mine():\n    return object()", "which has no `fit`.*BaseEstimator"),
        (CLASS.replace("BaseEstimator, ClassifierMixin", "ClassifierMixin").replace(
            "(ClassifierMixin, BaseEstimator)", "(ClassifierMixin)"), "has no `get_params`"),
        (CLASS + "    def __init__(self, a=1):\n        self.a = [a]\n", "cannot be cloned"),
        (CLASS.replace("predict_proba", "decision_function"),
         "only `decision_function`.*CalibratedClassifierCV"),
        (CLASS.replace("predict_proba", "chances"), "no `predict_proba`"),
        (CLASS.replace("def fit(self, X, y):", "def fit(self, X, y):\n        1 / 0"),
         "cannot fit 90 made-up rows: ZeroDivisionError"),
        (CLASS.replace("return self", "raise SystemExit(3)"), "SystemExit"),
        (CLASS.replace("self.classes_ = np.unique(y)", "self.classes_ = np.array(['x', 'y'])"),
         "the labels are"),
        (CLASS.replace("1 / len(self.classes_)", "0.9"), "do not add up to 1"),
        (CLASS.replace("1 / len(self.classes_)", "np.nan"), "not finite"),
        (CLASS.replace("(len(X), len(self.classes_))", "(len(X), 5)"), "shape"),
        (CLASS.replace("return self", "self.how = lambda x: x\n        return self"),
         "cannot be saved without pickle"),
        (CLASS.replace("return self", "self.how = len\n        return self"),
         "cannot be saved without pickle"),
        (CLASS.replace("        return self",
                       "        import fractions; self.how = fractions.Fraction(1, 2)\n"
                       "        return self"), "cannot be saved without pickle"),
        (CLASS + "    def __getstate__(self):\n        return {}\n", "loaded: AttributeError"),
        ("from sklearn.ensemble import ExtraTreesClassifier\n"
         "def Mine():\n    return ExtraTreesClassifier(3)",
         r"ensemble\._forest\.ExtraTreesClassifier.*types: "),
    ],
)  # fmt: skip
def test_an_estimator_that_cannot_serve_is_refused_with_its_reason(
    text: str, said: str, tmp_path: Path
) -> None:
    own = own_code(tmp_path, text, estimators={"own": "mine:Mine"})

    with pytest.raises(ConfigError, match=said) as caught:
        try_estimator(own, "own", "binary")

    assert "mine" in caught.value.message


def test_an_estimator_of_the_other_kind_of_target_is_refused(tmp_path: Path) -> None:
    own = own_code(tmp_path, ESTIMATORS, estimators={"c": "mine:Nearest", "v": "mine:Slope"})

    with pytest.raises(ConfigError, match="is a classifier, and the task is regression"):
        try_estimator(own, "c", "regression")
    with pytest.raises(ConfigError, match="has no `predict_proba`, and the task is one of classes"):
        try_estimator(own, "v", "binary")


def test_a_type_named_in_the_file_is_allowed(tmp_path: Path) -> None:
    text = (
        "from sklearn.ensemble import ExtraTreesClassifier\n"
        "from sklearn.tree import ExtraTreeClassifier\n"
        "def Mine():\n    return ExtraTreesClassifier(3)"
    )
    types = ["sklearn.ensemble._forest.ExtraTreesClassifier",
             "sklearn.tree._classes.ExtraTreeClassifier"]  # fmt: skip
    own = own_code(tmp_path, text, estimators={"own": {"call": "mine:Mine", "types": types}})

    try_estimator(own, "own", "multiclass")


def test_a_fit_that_does_not_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugin_checks, "TRIAL_SECONDS", 1)
    text = CLASS.replace("return self", "while True:\n            pass")
    own = own_code(tmp_path, text, estimators={"own": "mine:Mine"})

    with pytest.raises(ConfigError, match="it takes longer than 1 s"):
        try_estimator(own, "own", "binary")


def test_a_task_of_neither_classes_nor_numbers_is_refused(tmp_path: Path) -> None:
    own = own_code(tmp_path, ESTIMATORS, estimators={"own": "mine:Nearest"})

    with pytest.raises(ConfigError, match="for classes and numbers; the task is ranking"):
        plugin_checks.check_own(own, "ranking", None)
    plugin_checks.check_own(own, "binary", "yes")


def test_hooks_are_tried_before_data_is_read(tmp_path: Path) -> None:
    own_code(tmp_path, "def Mine(rows): ...", estimators={"own": "mine:Mine"})
    config = PipelineConfig(
        name="p",
        target="y",
        source=CsvSource(kind="csv", path="absent.csv"),
        hooks=HooksConfig(estimators={"own": "mine:Mine"}),
    )

    with pytest.raises(ConfigError, match="called with no argument"):
        check_hooks(config, tmp_path)


def saved(folder: Path, name: str = "model.skops") -> tuple[Path, Any]:
    own = own_code(folder, ESTIMATORS, estimators={"near": "mine:Nearest"})
    X, y = trial_rows(2, True)
    setting = FitContext(task="binary", metric="roc_auc", rows=90, columns=5, seed=7)
    candidate = find("near").with_params(own_params(own, "near"))
    model = candidate.fit(candidate.build(setting, candidate.params), X, y, setting).estimator
    save_model(Pipeline([("model", model)]), folder / name, own=own)
    return folder / name, own


def test_a_model_is_loaded_only_where_the_file_names_its_hook(tmp_path: Path) -> None:
    path, own = saved(tmp_path)
    X, _ = trial_rows(2, True)
    others = own_code(tmp_path, ESTIMATORS, metrics={"m": {"call": "mine:f", **_UP}})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    other = own_code(elsewhere, CLASS, estimators={"near": "mine:Mine"})

    assert load_model(path, own)[-1].predict_proba(X).shape == (90, 2)
    assert {"mine.Nearest", "mine.Middle"} <= set(types_of(path, own))
    for allowed in (None, others, other):
        with pytest.raises(ModelRefusedError, match=r"mine\.Middle, mine\.Nearest.*by its name"):
            load_model(path, allowed)
    with pytest.raises(ModelRefusedError, match=r"mine\.Nearest"):
        types_of(path)
    assert "mine" not in sys.modules


_UP = {"greater_is_better": True}


def test_a_module_gives_only_the_classes_that_it_defines(tmp_path: Path) -> None:
    path, own = saved(tmp_path)
    for name in ("np", "BaseEstimator", "absent"):
        forged = tmp_path / f"{name}.skops"
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(forged, "w") as new:
            for entry in old.namelist():
                text = old.read(entry)
                if entry == "schema.json":
                    text = text.replace(b'"Middle"', json.dumps(name).encode())
                new.writestr(entry, text)

        with pytest.raises(ModelRefusedError, match=rf"mine\.{name}"):
            load_model(forged, own)


def test_a_module_of_a_package_s_name_shadows_nothing(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(ESTIMATORS, encoding="utf-8")
    own = own_code(tmp_path, "", estimators={"near": "json:Nearest"})

    try_estimator(own, "near", "binary")

    assert sys.modules["json"] is json


def test_a_changed_module_still_loads_what_was_saved(tmp_path: Path) -> None:
    path, own = saved(tmp_path)

    (tmp_path / "mine.py").write_text(f"{ESTIMATORS}\n# another\n", encoding="utf-8")

    assert load_model(path, own)[-1].pace == 1.0


def test_the_seed_and_class_weights_of_the_file_are_given(tmp_path: Path) -> None:
    path, own = saved(tmp_path)
    assert load_model(path, own)[-1].random_state == 7
    at = FitContext(task="binary", metric="f1", rows=9, columns=5, class_weight="balanced")

    made = find("near").build(at, own_params(own, "near"))

    assert made.class_weight == "balanced"


def test_the_identity_of_a_fit_changes_with_the_code(tmp_path: Path) -> None:
    hooks = own_code(tmp_path, ESTIMATORS, estimators={"near": "mine:Nearest"}).hooks
    first = code_identity(hooks, tmp_path)
    assert first == code_identity(hooks, tmp_path)

    (tmp_path / "mine.py").write_text(f"{ESTIMATORS}\n# another\n", encoding="utf-8")

    assert code_identity(hooks, tmp_path) != first
    assert code_identity(HooksConfig(), tmp_path) == ""


def test_a_version_is_used_only_where_the_file_names_the_estimators_it_is_made_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hooks = own_code(tmp_path, ESTIMATORS, estimators={"near": "mine:Nearest"}).hooks
    plain = PipelineConfig(name="p", target="y", source=CsvSource(kind="csv", path="x.csv"))
    naming = plain.model_copy(update={"hooks": hooks})
    tags = hooks_tags(hooks, tmp_path, ["lightgbm", "near"])
    version = ModelVersion(name="p", version="3", run_id="r", tags=tags)

    require_hooks(naming, tmp_path, version)
    assert not caplog.records
    with pytest.raises(ModelRefusedError, match="does not name mine:Nearest") as caught:
        require_hooks(plain, tmp_path, version)
    assert "estimators: {near: 'mine:Nearest'}" in caught.value.remedy
    assert hooks_tags(hooks, tmp_path, ["lightgbm"]) == {}
    (tmp_path / "mine.py").write_text(f"{ESTIMATORS}\n# another\n", encoding="utf-8")
    require_hooks(naming, tmp_path, version)
    assert "mine:Nearest has changed since version 3" in caplog.text


def test_what_may_be_imported_is_never_read_from_a_version(tmp_path: Path) -> None:
    own = own_code(tmp_path, ESTIMATORS, estimators={"near": "mine:Nearest"})
    hostile = Schema(target="y", task="binary", features={}, own=own).model_dump_json()

    version = ModelVersion(name="p", version="1", run_id="r", tags={"keepfit.schema": hostile})

    assert version.roles.own is None


FAILING = (
    ESTIMATORS
    + """

class Failing(Nearest):
    def fit(self, X, y):
        if len(X) > 90:
            raise ValueError("more rows than it can hold")
        return super().fit(X, y)
"""
)


def test_one_s_own_candidates_compete_and_a_failing_one_stops_no_other(tmp_path: Path) -> None:
    X = frame(rows=240)
    y = target(X, "binary")
    path, split, schema = snapshot(tmp_path / "data", X, y, "binary")
    own = own_code(
        tmp_path, FAILING, estimators={"near": "mine:Nearest", "failing": "mine:Failing"}
    )
    schema = schema.running(own)
    config = training("failing", "near", "decision_tree", cv=2)

    results = fit_candidates(path, split, schema, config, "roc_auc", tmp_path / "fits")

    of = {result.candidate: result for result in results}
    assert [r.candidate for r in results] == ["baseline", "failing", "near", "decision_tree"]
    assert of["failing"].status == "failed"
    assert "Failing.fit raised ValueError: more rows than it can hold" in of["failing"].reason
    assert of["near"].status == of["decision_tree"].status == "ok"
    assert of["near"].cv_mean is not None
    assert of["near"].cv_mean > 0.6
    with pytest.raises(ModelRefusedError):
        load_model(of["near"].model_path)
    again = refit(path, split, schema, config, of["near"], tmp_path / "refit")
    assert again.rows_fitted == 240
    model = load_model(again.model_path, own)
    assert np.isfinite(model.predict_proba(X)).all()


OVERSURE = f"{ESTIMATORS}\n\ndef oversure():\n    return Nearest(pace=60.0)\n"


def test_arguments_of_one_s_own_are_tuned_where_the_file_says_and_refitted_so(
    tmp_path: Path,
) -> None:
    X = frame(rows=240)
    path, split, schema = snapshot(tmp_path / "data", X, target(X, "binary"), "binary")
    own = own_code(
        tmp_path, OVERSURE, estimators={"near": "mine:oversure", "as_it_is": "mine:Nearest"}
    )
    schema = schema.running(own)
    config = training(
        "near", "as_it_is", cv=4, tuning={"trials": 9, "share": 0.9},
        spaces={"near": {"pace": {"low": 0.01, "high": 60.0, "log": True}}},
    )  # fmt: skip

    near, plain = fit_candidates(path, split, schema, config, "log_loss", tmp_path / "fits")[1:]

    assert next(t.params["pace"] for t in near.trials) == 60.0
    assert len(near.trials) == 9
    assert near.cv_mean is not None
    assert near.trials[0].score is not None
    assert near.cv_mean < near.trials[0].score
    assert near.tuned["pace"] == load_model(near.model_path, own)[-1].pace < 60
    assert plain.trials == ()
    again = refit(path, split, schema, config, near, tmp_path / "refit")
    assert load_model(again.model_path, own)[-1].pace == near.tuned["pace"]


def test_a_space_of_an_argument_that_there_is_not_is_refused(tmp_path: Path) -> None:
    own = own_code(tmp_path, ESTIMATORS, estimators={"near": "mine:Nearest"})

    try_estimator(own, "near", "binary", ["pace"])
    with pytest.raises(ConfigError, match=r"spaces\.near\.pase.*no argument 'pase'") as caught:
        try_estimator(own, "near", "binary", ["pase"])
    assert caught.value.remedy == "Did you mean 'pace'?"


NOISY = (
    ESTIMATORS
    + """

class Noisy(Slope):
    def __init__(self, seed=1):
        self.seed = seed

    def predict(self, X):
        return super().predict(X) + 900 * np.random.default_rng(self.seed).normal(size=len(X))


def other():
    return Noisy(seed=2)
"""
)


def test_an_ensemble_of_one_s_own_is_made_refitted_and_loaded_by_name(tmp_path: Path) -> None:
    X = frame(rows=240)
    y = target(X, "regression")
    path, split, schema = snapshot(tmp_path / "data", X, y, "regression")
    own = own_code(tmp_path, NOISY, estimators={"one": "mine:Noisy", "two": "mine:other"})
    schema, config = schema.running(own), training("one", "two", cv=2, ensemble=True)

    results = fit_candidates(path, split, schema, config, "rmse", tmp_path / "fits")

    ensemble = results[-1]
    assert ensemble.status == "ok", ensemble.reason
    assert set(made_of(ensemble)) == {"one", "two"}
    assert made_of(results[1]) == ("one",)
    again = refit(path, split, schema, config, ensemble, tmp_path / "refit")
    for result in (ensemble, again):
        assert len(load_model(result.model_path, own)[-1].members) == 2
        with pytest.raises(ModelRefusedError, match=r"mine\.Noisy"):
            load_model(result.model_path)
