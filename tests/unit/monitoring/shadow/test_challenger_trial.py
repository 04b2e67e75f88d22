from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.base.monitoring_records import Decision
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.settings.evaluation import GateConfig
from tasks.base.training_records import SCHEMA_TAG, ModelVersion, Schema, Verdict
from tasks.ledger.ledger import Ledger, ledger_of
from tasks.metrics.scorer import score
from tasks.monitoring.probation.verdict import paired
from tasks.monitoring.shadow.challenger_trial import Trial, judge_trial, try_challenger
from tests.opened import opened
from tests.unit.monitoring.windows_made import BINARY, START, VALUES, WEEK, binary, values

REFUSED = Verdict(
    promoted=False, rule="superior", reason="not shown to be better", sentence="Kept."
)
ROLES = BINARY.model_copy(update={"id_columns": ("key",)})
FILE = """\
name: mine
target: y
source: {kind: parquet, path: x.parquet}
time_column: t
id_columns: [key]
monitoring: {window: 7d}
policy: {probation: 2}
scoring: {shadow: challenger}
"""


def blurred(frame: pd.DataFrame, noise: float, seed: int = 1) -> pd.DataFrame:
    """Return what a model says that sees the same through so much noise."""
    odds = np.log(frame["probability_yes"] / frame["probability_no"])
    p = 1 / (1 + np.exp(-(odds + noise * np.random.default_rng(seed).standard_normal(len(frame)))))
    said = np.where(p > 0.5, "yes", "no").astype(object)
    return frame.assign(probability_yes=p, probability_no=1 - p, prediction=said)


def weeks(count: int, rows: int = 800) -> list[pd.DataFrame]:
    """Return labelled windows, one after the other."""
    frames = [binary(rows, n) for n in range(count)]
    return [
        f.assign(time=f["time"] + n * WEEK, key=[f"{n}-{k}" for k in f["key"]])
        for n, f in enumerate(frames)
    ]


def pipeline(folder: Path, text: str = FILE) -> Pipeline:
    (folder / "keepfit.yaml").write_text(text, encoding="utf-8")
    return load_pipeline(folder / "keepfit.yaml", {})


def judged(
    folder: Path, pairs: Sequence[pd.DataFrame], roles: Schema = ROLES, metric: str = "roc_auc",
    **changes: Any,
) -> Trial:  # fmt: skip
    config = pipeline(folder).config
    config = config.model_copy(update={"gate": GateConfig(replicates=400, **changes)})
    return judge_trial(
        pairs, config=config, roles=roles, metric=metric, refused=REFUSED, champion="1"
    )


def test_a_version_that_answers_better_passes_the_gate_at_a_quarter_of_its_level(
    tmp_path: Path,
) -> None:
    good = weeks(2)

    trial = judged(tmp_path, [paired(one, blurred(one, 1.5)) for one in good])

    assert trial.verdict is not None
    assert trial.verdict.promoted
    assert trial.verdict.confidence == pytest.approx(0.9875)
    assert trial.verdict.evidence is not None
    assert trial.verdict.evidence.rows == 1600


def test_one_that_answers_alike_does_not(tmp_path: Path) -> None:
    pairs = [paired(blurred(one, 0.3, 5), blurred(one, 0.3, 6)) for one in weeks(2)]

    trial = judged(tmp_path, pairs)

    assert trial.verdict is not None
    assert not trial.verdict.promoted


def test_it_is_judged_once_on_the_first_windows_with_enough_labels(tmp_path: Path) -> None:
    good = weeks(3)
    better = [paired(one, blurred(one, 1.5)) for one in good]
    worse = paired(blurred(good[2], 3.0), good[2])

    assert judged(tmp_path, better[:1]) == Trial(windows=1, needed=2)
    assert judged(tmp_path, [better[0], better[1].head(40)]) == Trial(windows=1, needed=2)
    assert judged(tmp_path, [*better[:2], worse]) == judged(tmp_path, better[:2])


def test_numbers_are_judged_by_their_error(tmp_path: Path) -> None:
    frames = [values(800, n) for n in range(2)]
    frames = [f.assign(key=[f"{n}-{k}" for k in range(len(f))]) for n, f in enumerate(frames)]
    noise = np.random.default_rng(0)
    pairs = [
        paired(f, f.assign(prediction=f["prediction"] + noise.standard_normal(len(f))))
        for f in frames
    ]

    trial = judged(tmp_path, pairs, roles=VALUES, metric="mae")

    assert trial.verdict is not None
    assert trial.verdict.promoted


@pytest.mark.parametrize("metric", ["mae", "median_ae", "mape"])
def test_the_constant_of_an_absolute_error_is_the_median(tmp_path: Path, metric: str) -> None:
    frame = values(800).assign(key=[str(k) for k in range(800)])
    frame.loc[:99, "label"] *= 1_000  # a long tail pulls the mean, and not the median
    pair = paired(frame, frame)

    trial = judged(tmp_path, [pair, pair.assign(key="b" + pair["key"])], VALUES, metric)

    assert trial.verdict is not None
    assert trial.verdict.evidence is not None
    ours = pair["label"].to_numpy(float)
    expected = score(metric, ours, np.full(800, np.median(ours)), None, (), None)
    assert trial.verdict.evidence.baseline_score == pytest.approx(expected)


class Registry:
    """Versions of one model, whose alias is moved once."""

    def __init__(self, *versions: ModelVersion) -> None:
        self._versions = versions
        self.moved: list[tuple[str, str | None]] = []

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        assert name == "mine"
        return self._versions

    def set_champion(self, name: str, version: str, previous: str | None) -> None:
        assert name == "mine"
        self.moved.append((version, previous))


def version(number: str) -> ModelVersion:
    tags = {
        SCHEMA_TAG: ROLES.model_dump_json(),
        "keepfit.metric": "roc_auc",
        "keepfit.trained_until": START.isoformat(),
    }
    return ModelVersion(name="mine", version=number, run_id=f"run{number}", tags=tags)


def served(ledger: Ledger, one: ModelVersion, frames: Sequence[pd.DataFrame]) -> None:
    for n, frame in enumerate(frames):
        said = frame.drop(columns=["label", "version"]).rename(columns={"time": "t"})
        ledger.write_predictions(
            "mine", said, ROLES, version=one.version, run_id=one.run_id, batch=f"served-{n}",
            role="champion" if one.version == "1" else "shadow", rows=said,
        )  # fmt: skip


def trained(**changes: Any) -> Decision:
    verdict = REFUSED.model_copy(update=changes)
    return Decision(
        id="t2", pipeline="mine", kind="trained", at=START, correlation="c2", sentence="Trained.",
        version="2", evidence={"verdict": verdict.model_dump(mode="json"), "training": "search"},
    )  # fmt: skip


NOW = datetime(2026, 4, 20, tzinfo=UTC)


@pytest.mark.parametrize(("noise", "kind"), [(1.5, "promoted"), (0.0, "refused")])
def test_the_verdict_is_recorded_and_the_level_is_spent(
    tmp_path: Path, noise: float, kind: str
) -> None:
    plan = pipeline(tmp_path)
    ledger, champion, challenger = ledger_of(plan), version("1"), version("2")
    store: Any = Registry(challenger, champion)
    good = weeks(3)
    served(ledger, champion, [blurred(one, noise) for one in good])
    served(ledger, challenger, good)
    ledger.record(trained())

    def tried(now: datetime = NOW) -> Decision | None:
        return try_challenger(opened(plan, ledger=ledger, store=store), champion, "c9", now)

    assert tried() is None  # no label is known yet
    labels = pd.concat(good)[["key", "label"]].rename(columns={"label": "y"})
    ledger.write_labels("mine", labels, ROLES)
    assert tried(START + WEEK + timedelta(days=1)) is None  # one window of two

    decision = tried()

    assert decision is not None
    assert (decision.kind, decision.version) == (kind, "2")
    assert decision.evidence["by"] == "shadow"
    assert decision.evidence["rows"] == 1600
    assert decision.correlation == ("c9" if kind == "promoted" else "c2")
    assert store.moved == ([("2", "1")] if kind == "promoted" else [])
    assert tried() is None


@pytest.mark.parametrize("rule", ["slices", "incomplete comparison"])
def test_one_that_was_refused_for_another_reason_is_not_tried(tmp_path: Path, rule: str) -> None:
    plan = pipeline(tmp_path)
    ledger, store = ledger_of(plan), Registry(version("2"), version("1"))
    good = weeks(3)
    served(ledger, version("1"), [blurred(one, 1.5) for one in good])
    served(ledger, version("2"), good)
    labels = pd.concat(good)[["key", "label"]].rename(columns={"label": "y"})
    ledger.write_labels("mine", labels, ROLES)
    ledger.record(trained(rule=rule))

    assert try_challenger(opened(plan, ledger=ledger, store=store), version("1"), "c9", NOW) is None  # type: ignore[arg-type]
    assert store.moved == []


def test_a_verdict_of_another_shape_is_no_trial(tmp_path: Path) -> None:
    plan = pipeline(tmp_path)
    ledger, store = ledger_of(plan), Registry(version("2"), version("1"))
    odd = trained().model_copy(update={"evidence": {"verdict": {"promoted": "perhaps"}}})
    ledger.record(odd)

    assert try_challenger(opened(plan, ledger=ledger, store=store), version("1"), "c9", NOW) is None  # type: ignore[arg-type]
