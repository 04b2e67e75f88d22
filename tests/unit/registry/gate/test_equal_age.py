"""A challenger and a champion that knows newer rows are compared as of one day."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tasks.base.config import PipelineConfig
from tasks.base.errors import InfrastructureError
from tasks.base.training_records import (
    FAMILY_TAG,
    SCHEMA_TAG,
    TRAINED_UNTIL_TAG,
    Basis,
    CandidateResult,
    ContractResult,
    ModelVersion,
    Prepared,
    Recipe,
    Schema,
    Split,
    TrainingMode,
    Verdict,
)
from tasks.data.snapshots import write_snapshot
from tasks.metrics.paired_bootstrap import Predictions
from tasks.registry.gate import equal_age, holdout_verdict
from tasks.registry.gate.equal_age import ends_before, fit_twin
from tasks.registry.gate.holdout_verdict import RULE_TAG, judge

ROWS = 1_000
START = datetime(2026, 1, 1, tzinfo=UTC)
SCHEMA = Schema(
    target="y", task="regression", features={"x": "numeric"}, time_column="moment"
)  # fmt: skip
CONFIG = PipelineConfig.model_validate(
    {
        "name": "drift", "target": "y", "source": {"kind": "csv", "path": "rows.csv"},
        "time_column": "moment", "gate": {"replicates": 200},
        "training": {"candidates": ["decision_tree"], "threads": 1, "cv": 2},
    }
)  # fmt: skip


def basis_of(folder: Path, *, refit: bool = True, mode: TrainingMode | None = None) -> Basis:
    """Return a training on an hourly table whose newest 400 rows are held out."""
    moments = pd.date_range(START.replace(tzinfo=None), periods=ROWS, freq="h")
    x = np.random.default_rng(0).normal(size=ROWS)
    table = pa.table({"moment": moments.astype("datetime64[us]"), "x": x, "y": 3 * x})
    snapshot = write_snapshot(
        table, {"moment": "datetime", "x": "numeric", "y": "numeric"}, folder,
        time_column="moment", assumptions=(),
    )  # fmt: skip
    np.save(folder / "train.npy", np.arange(600))
    np.save(folder / "holdout.npy", np.arange(600, ROWS))
    split = Split(
        train_path=str(folder / "train.npy"), holdout_path=str(folder / "holdout.npy"),
        rule="time", holdout=0.4, n_train=600, n_holdout=400,
        boundary=START + timedelta(hours=600),
    )  # fmt: skip
    return Basis(
        snapshot=snapshot,
        contract=ContractResult(passed=True, contract_digest="", data_digest="", rows=0, rules=()),
        prepared=Prepared(
            roles=SCHEMA, split=split, metric="mae", key="", folder=str(folder),
            refit=refit, mode=mode or TrainingMode(),
        ),
    )  # fmt: skip


def champion(until: int) -> ModelVersion:
    """Return a champion that was fitted on the first so many hours."""
    tags = {
        SCHEMA_TAG: SCHEMA.model_dump_json(), RULE_TAG: "time", FAMILY_TAG: "decision_tree",
        TRAINED_UNTIL_TAG: f"{(START + timedelta(hours=until)).isoformat()} included",
    }  # fmt: skip
    return ModelVersion(name="drift", version="3", run_id="r", tags=tags)


def predicting(folder: Path, basis: Basis, name: str, error: float) -> CandidateResult:
    """Return a candidate whose predictions of the holdout are off by about `error`."""
    y = 3 * np.random.default_rng(0).normal(size=ROWS)[600:]
    off = np.random.default_rng(len(name)).normal(scale=error, size=len(y))
    path = folder / f"{name}.npz"
    np.savez(path, predicted=y + off)
    return CandidateResult(
        candidate=name, status="ok", predictions_path=str(path), predict_seconds=0.1
    )


class Registry:
    """Holds a champion, and nothing else."""

    def __init__(self, version: ModelVersion) -> None:
        self.version = version

    def champion(self, name: str) -> ModelVersion:  # noqa: ARG002 - as the store's
        return self.version


@pytest.fixture
def verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Verdict]:
    """Return a function that judges a challenger of error 1, a twin of 2, a champion of 0.5."""

    def judged(
        until: int,
        *,
        refit: bool = True,
        why: str = "",
        config: PipelineConfig = CONFIG,
        tags: Mapping[str, str | None] | None = None,
    ) -> Verdict:
        basis = basis_of(tmp_path, refit=refit)
        known = predicting(tmp_path, basis, "registered", 0.5)
        twin = predicting(tmp_path, basis, "twin", 2.0)

        def registered(*given: Any) -> tuple[Predictions, str]:
            with np.load(known.predictions_path) as kept:
                return Predictions(kept["predicted"][given[3]]), ""

        monkeypatch.setattr(holdout_verdict, "champion_predictions", registered)
        fitted = (None, why) if why else (twin, "")
        monkeypatch.setattr(holdout_verdict, "fit_twin", lambda *_: fitted)
        results = [
            predicting(tmp_path, basis, name, error)
            for name, error in (("challenger", 1.0), ("baseline", 3.0))
        ]
        known_tags = {**champion(until).tags, **(tags or {})}
        stated = {name: text for name, text in known_tags.items() if text is not None}
        store: Any = Registry(champion(until).model_copy(update={"tags": stated}))
        return judge(store, config, basis, results, "challenger")

    return judged


def test_a_champion_that_knows_newer_rows_is_judged_as_of_the_challengers_day(
    verdict: Callable[..., Verdict],
) -> None:
    found = verdict(until=700)

    assert found.promoted
    assert found.evidence is not None
    assert found.evidence.equal_age
    assert found.evidence.rows == 299
    assert "Both were fitted on rows before 2026-01-26 00:00 UTC" in found.sentence


def test_a_champion_that_is_older_is_judged_as_it_is(verdict: Callable[..., Verdict]) -> None:
    found = verdict(until=500)

    assert not found.promoted
    assert found.evidence is not None
    assert not found.evidence.equal_age


def test_a_challenger_that_would_stay_older_is_judged_against_what_scores(
    verdict: Callable[..., Verdict],
) -> None:
    assert not verdict(until=700, refit=False).promoted


def test_a_champion_without_a_recipe_is_judged_as_it_is_and_the_reason_told(
    verdict: Callable[..., Verdict],
) -> None:
    found = verdict(until=700, why="It kept no recipe.")

    assert not found.promoted
    assert found.reasons[-1] == "It kept no recipe."


@pytest.mark.parametrize(("until", "before"), [(599, False), (600, False), (601, True)])
def test_who_ends_first_is_read_from_the_tags(tmp_path: Path, until: int, before: bool) -> None:
    assert ends_before(basis_of(tmp_path), champion(until)) is before


def test_the_twin_is_the_champions_recipe_on_the_challengers_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    basis, store = basis_of(tmp_path), Registry(champion(700))
    recipe = Recipe(family="decision_tree")
    monkeypatch.setattr(equal_age, "recipe_of_version", lambda *_: recipe)

    twin, _ = fit_twin(store, CONFIG, champion(700), basis)  # type: ignore[arg-type]

    assert twin is not None
    assert (twin.candidate, twin.rows_fitted) == ("decision_tree", 600)


def test_a_twin_that_cannot_be_fitted_has_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    basis, store = basis_of(tmp_path), Registry(champion(700))
    gone = Schema(target="y", task="regression", features={"gone": "numeric"})
    wide = champion(700).model_copy(update={"tags": {SCHEMA_TAG: gone.model_dump_json()}})
    monkeypatch.setattr(equal_age, "recipe_of_version", lambda *_: Recipe(family="mlp"))
    assert "today's columns" in fit_twin(store, CONFIG, wide, basis)[1]  # type: ignore[arg-type]

    def failing(*_: Any, **__: Any) -> None:
        raise InfrastructureError("mlp could not be fitted.")

    monkeypatch.setattr(equal_age, "fit_recipe", failing)
    twin, why = fit_twin(store, CONFIG, champion(700), basis)  # type: ignore[arg-type]
    assert twin is None
    assert "mlp could not be fitted" in why


def test_a_champion_of_an_excluded_column_is_replaced_without_newer_rows(
    verdict: Callable[..., Verdict],
) -> None:
    config = CONFIG.model_copy(update={"exclude": tuple(SCHEMA.features)})
    found = verdict(until=ROWS, config=config)

    assert found.promoted
    assert found.rule == "withdrawn champion"
    assert found.champion_version == "3"
    assert found.evidence is not None
    assert (found.evidence.rows, found.evidence.difference) == (400, None)


@pytest.mark.parametrize("text", [None, "", "other", "nan", "9999-99-99", "{}"])
@pytest.mark.parametrize("tag", [RULE_TAG, TRAINED_UNTIL_TAG])
def test_a_champion_whose_training_rows_are_not_known_is_kept_with_the_reason(
    verdict: Callable[..., Verdict], tag: str, text: str | None
) -> None:
    found = verdict(until=500, tags={tag: text})

    assert not found.promoted
    assert found.champion_version == "3"
    assert found.evidence is None or not found.evidence.rows
    assert any("champion" in reason.lower() for reason in found.reasons)


@pytest.mark.parametrize("text", [None, "", "other", "{}"])
def test_a_champion_whose_columns_are_not_known_is_kept_with_the_reason(
    tmp_path: Path, text: str | None
) -> None:
    basis = basis_of(tmp_path)
    tags = {**champion(500).tags, SCHEMA_TAG: text}
    stated = {name: given for name, given in tags.items() if given is not None}
    broken = champion(500).model_copy(update={"tags": stated})
    results = [predicting(tmp_path, basis, name, 1.0) for name in ("challenger", "baseline")]
    store: Any = Registry(broken)

    found = judge(store, CONFIG, basis, results, "challenger")

    assert not found.promoted
    assert any("cannot be compared" in reason for reason in found.reasons)
