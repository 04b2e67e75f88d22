"""Some twenty weeks of decisions, as a loop over real flights would leave them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch
from uuid import uuid4

from pydantic import JsonValue

from tasks.base.monitoring_records import (
    Cause,
    ColumnFinding,
    Decision,
    DriftResult,
    Performance,
    PolicyDecision,
    Window,
    decision_id,
)
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.training_records import GateEvidence, MetricValue, Verdict
from tasks.history import evidence

T = TypeVar("T")

START = datetime(2013, 3, 4, tzinfo=UTC)
WEEK = timedelta(days=7)
COLUMNS = {
    "flights": (
        ("temp", 0.031), ("dep_hour", 0.112), ("carrier", 0.044), ("dest", 0.061),
        ("visib", 0.022), ("wind_speed", 0.012), ("humid", 0.018), ("precip", 0.027),
        ("distance", 0.009), ("origin", 0.006), ("month_day", 0.001), ("engine", 0.0),
    ),
    "demand": (
        ("price", 4.1), ("weekday", 2.2), ("promotion", 3.0), ("store_id", 1.4),
        ("temperature", 0.8), ("school_holiday", 0.3),
    ),
}  # fmt: skip
_METRIC = {"flights": ("roc_auc", 0.693, 0.011), "demand": ("rmse", 41.2, 1.6)}


class History:
    """Writes decisions of one pipeline week by week."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.name = name
        self.random = random.Random(seed)  # noqa: S311 - the same numbers each time
        self.metric, self.level, self.spread = _METRIC[name]
        self.better = 1 if name == "flights" else -1
        self.decisions: list[Decision] = []
        self.version = "1"
        self.waiting: Performance | None = None
        self.week = -1

    def window(self, week: int) -> Window:
        """Return the rows of a week."""
        return Window(start=START + week * WEEK, end=START + (week + 1) * WEEK)

    def at(self, minutes: float = 0.0) -> datetime:
        """Return a moment after the end of this week."""
        return START + (self.week + 1) * WEEK + timedelta(hours=3, minutes=30 + minutes)

    def say(self, kind: Any, sentence: str, minutes: float, **fields: Any) -> Decision:
        """Record a decision."""
        fields.setdefault("version", self.version)
        correlation = fields.pop("correlation", None) or self.id("correlation")
        made = Decision(
            id=self.id(kind, str(len(self.decisions))),
            pipeline=self.name,
            kind=kind,
            at=self.at(minutes),
            correlation=correlation,
            sentence=sentence,
            config_digest="9e1f0c77" * 8,
            **fields,
        )
        self.decisions.append(made)
        return made

    def id(self, *parts: str) -> str:
        """Return the same id for the same parts of this week."""
        return decision_id(self.name, str(self.week), *parts)

    def value(self, shift: float = 0.0, rows: int = 5800) -> MetricValue:
        """Return a score about the level, `shift` of its spread for the worse."""
        half = self.spread * (6000 / rows) ** 0.5
        middle = self.level - self.better * self.spread * (shift + self.random.gauss(0, 0.35))
        return MetricValue(value=middle, low=middle - half, high=middle + half)

    def reference(self) -> MetricValue:
        """Return the score on the holdout."""
        return MetricValue(
            value=self.level,
            low=self.level - 0.8 * self.spread,
            high=self.level + 0.8 * self.spread,
        )

    def performance(self, shift: float, rows: int, *, mature: bool) -> Performance:
        """Return what is known of this week's predictions."""
        worse = shift > 2.5
        value = self.value(shift, rows)
        return Performance(
            window=self.window(self.week),
            version=self.version,
            metric=self.metric,
            rows=rows,
            labelled=rows if mature else rows // 20,
            mature=mature,
            realised=value if mature else None,
            estimated=None if mature else self.value(0.4 * shift, rows),
            reference=self.reference(),
            worse=worse and mature,
            limit=self.level - 2.0 * self.better * self.spread,
            sentence="Worse than on the holdout." if worse and mature else "As on the holdout.",
        )

    def columns(self, drift: float) -> tuple[ColumnFinding, ...]:
        """Return findings whose first columns move by `drift` times their threshold."""
        found = []
        for place, (column, importance) in enumerate(COLUMNS[self.name]):
            threshold = 0.04 + 0.02 * self.random.random()
            pull = drift if place < 3 else 0.5
            statistic = threshold * max(0.05, self.random.gauss(0.55, 0.18) * (0.4 + pull))
            drifted = statistic > threshold
            found.append(
                ColumnFinding(
                    column=column,
                    kind="numeric" if place % 2 == 0 else "categorical",
                    method="ks" if place % 2 == 0 else "total variation",
                    statistic=statistic,
                    threshold=threshold,
                    p_value=0.0004 if drifted else self.random.random(),
                    drifted=drifted,
                    missing=0.01 * self.random.random(),
                    missing_reference=0.004,
                    unseen=7 if column in ("dest", "store_id") and drift > 1 else 0,
                    importance=importance,
                )
            )
        role: Any = {"role": "prediction"}
        found.append(
            ColumnFinding(
                column="prediction", kind="numeric", method="ks", statistic=0.02,
                threshold=0.06, p_value=0.4, missing=0.0, missing_reference=0.0, **role,
            )
        )  # fmt: skip
        return tuple(found)

    def trained(self, version: str, cause: str, minutes: float, verdict: Verdict) -> Decision:
        """Record a training that ended after `minutes`."""
        challenger = "lightgbm" if int(version) % 2 else "logistic_regression"
        reasons = self.decisions[-1].evidence.get("reasons") if cause == "alarm" else []
        why = Cause(
            kind=cause,  # type: ignore[arg-type]
            correlation=self.id("correlation"),
            reasons=tuple(str(r) for r in reasons) if isinstance(reasons, list) else (),
            window=self.window(self.week) if cause == "alarm" else None,
            at=self.at(1),
        )
        rows = 21_000 + 5_700 * (self.week + 4)
        return self.say(
            "trained",
            f"Version {version}, a {challenger}, was fitted on {rows:,} rows and judged.",
            minutes,
            version=version,
            data_digest=decision_id("data", self.name, version) * 2,
            contract_digest="c0ffee42" * 8,
            prefect_run="0193c1b2-7d40-7b52-9f6e-" + self.id("run")[:12],
            mlflow_run=decision_id("mlflow", self.name, version),
            evidence={
                "challenger": challenger,
                "metric": self.metric,
                "score": self.reference().model_dump(mode="json"),
                "baseline": 0.5 if self.metric == "roc_auc" else 88.0,
                "verdict": verdict.model_dump(mode="json"),
                "rows_train": rows,
                "rows_holdout": rows // 4,
                "seconds": 96.4,
                "trained_until": self.at().isoformat(),
                "cause": why.model_dump(mode="json"),
            },
            links={
                "report": f"pipelines/{self.name}/reports/{self.id('report')[:16]}.html",
                "mlflow": f"http://127.0.0.1:5000/#/experiments/1/runs/{decision_id(version)}",
                "prefect": "http://127.0.0.1:4200/runs/flow-run/" + self.id("run")[:12],
            },
        )

    def verdict(self, gain: float, former: str | None) -> Verdict:
        """Return a verdict on a gain in units of the metric's spread."""
        middle, half = gain * self.spread, 0.9 * self.spread
        promoted = former is None or middle - half > 0
        score = self.level + self.better * middle
        said = "is better than" if promoted else "is not shown to be better than"
        sentence = (
            f"The challenger {said} champion v{former} in {self.metric} "
            f"(gain {middle:.3f}, 95 % interval {middle - half:.3f} to {middle + half:.3f})."
            if former
            else "The challenger is the first champion and beats the trivial baseline."
        )
        return Verdict(
            promoted=promoted,
            rule="superior" if former else "first champion",
            reason="superior" if promoted else "not shown to be better",
            sentence=sentence,
            reasons=(sentence,),
            difference=middle if former else 0.19,
            interval=(middle - half, middle + half) if former else (0.16, 0.21),
            champion_version=former,
            evidence=GateEvidence(
                metric=self.metric, rows=14_812, challenger_score=score,
                champion_score=self.level if former else None, baseline_score=0.5,
                difference=middle if former else None, low=middle - half, high=middle + half,
                baseline_difference=0.19, baseline_low=0.16, baseline_high=0.21,
                detectable=0.8 * self.spread, blocks=28, challenger="lightgbm",
            ),
        )  # fmt: skip

    def judged(self, version: str, cause: str, gain: float, *, first: bool = False) -> None:
        """Record a training, its verdict, and what was told of it."""
        former = None if first else self.version
        verdict = self.verdict(gain, former)
        self.trained(version, cause, 4.2, verdict)
        evidence: dict[str, JsonValue] = {
            "former": former,
            "difference": verdict.difference,
            "interval": list(verdict.interval) if verdict.interval else None,
            "rows": 14_812,
            "confidence": 0.95,
            "by": "gate",
        }
        if verdict.promoted:
            self.version = version
        kind = "promoted" if verdict.promoted else "refused"
        self.told(self.say(kind, verdict.sentence, 4.3, version=version, evidence=evidence), 4.4)

    def told(self, of: Decision, minutes: float, *, heard: bool = True) -> None:
        """Record that a person was told."""
        self.say(
            "alerted" if heard else "unheard",
            "2 of 2 channels took the message." if heard else "0 of 2 channels took the message.",
            minutes,
            evidence={
                "of": of.id,
                "kind": of.kind,
                "channels": 2,
                "failed": 0 if heard else 2,
                "reason": "" if heard else "connection refused",
            },
        )

    def scored(self) -> None:
        """Record the scoring of each day of the week."""
        for ago in range(7):
            rows = 780 + self.random.randrange(120)
            self.say(
                "scored",
                f"{rows:,} rows scored by v{self.version}.",
                -1440 * (6 - ago) - 150,
                evidence={"rows": rows, "new": rows, "known": 0, "output": "", "unseen": {}},
            )

    def monitored(
        self, drift: float = 0.9, shift: float = 0.0, rows: int = 5800, *, withheld: str = ""
    ) -> Decision:
        """Record that this week was looked at, and that last week's labels have come."""
        columns = self.columns(drift)
        score = drift * self.random.uniform(0.55, 0.75) * 1.4
        enough = rows >= 200
        result = DriftResult(
            rows=rows, reference_rows=18_312, enough=enough, alarm=enough and score > 1.4,
            score=score if enough else None, limit=1.4, false_alarms=0.05,
            columns=columns if enough else (), sentence="", seconds=0.4,
        )  # fmt: skip
        told = [p for p in (self.waiting,) if p is not None]
        self.waiting = self.performance(shift, rows, mature=True)
        told.append(self.performance(shift, rows, mature=False))
        reasons = ["drift"] if result.alarm else []
        reasons += ["performance"] if any(p.worse for p in told) else []
        names = [c.column for c in result.drifted][:3]
        sentence = (
            f"{', '.join(names)} moved: {score:.2f} against a limit of 1.40."
            if reasons
            else f"{rows:,} rows, as the reference."
            if enough
            else f"{rows:,} rows are not enough data for a judgement."
        )
        policy = PolicyDecision(
            retrain=bool(reasons) and not withheld,
            reasons=tuple(reasons),
            withheld=withheld,
            sentence=f"No training: {withheld}." if withheld else "",
        )
        return self.say(
            "monitored",
            sentence,
            0,
            window=self.window(self.week),
            evidence={
                "rows": rows,
                "alarm": bool(reasons),
                "enough": enough,
                "reasons": list(reasons),
                "drift": result.model_dump(mode="json"),
                "performance": [p.model_dump(mode="json") for p in told],
                "contract": {"passed": True, "broken": [], "warnings": ["`dest`: 7 unseen"]},
                "policy": policy.model_dump(mode="json"),
                "probation": None,
                "notes": [],
            },
            links={
                "report": f"pipelines/{self.name}/monitoring/{self.id('page')[:16]}.html",
                "evidently": f"pipelines/{self.name}/monitoring/{self.id('ev')[:16]}.html",
                "mlflow": "http://127.0.0.1:5000/#/experiments/2/runs/" + self.id("m"),
            },
        )

    def alarmed(self, of: Decision, *, retrain: bool) -> None:
        """Record that the monitored window called for action."""
        result = DriftResult.model_validate(of.evidence["drift"])
        self.say(
            "alarmed",
            of.sentence,
            0.2,
            window=of.window,
            evidence={
                "reasons": of.evidence["reasons"],
                "columns": [c.model_dump(mode="json") for c in result.drifted[:5]],
                "policy": of.evidence["policy"],
                "retrain": retrain,
            },
        )

    def stopped(self, *rules: str) -> None:
        """Record that this week's rows broke their contract."""
        made = self.say(
            "stopped",
            f"The week of {self.window(self.week)} broke {len(rules)} rules; nothing was scored.",
            0,
            window=self.window(self.week),
            evidence={
                "rules": list(rules),
                "page": f"pipelines/{self.name}/contracts/{self.id('c')[:16]}.html",
                "flow": "monitoring",
            },
        )
        self.told(made, 0.3)

    def quiet(self, weeks: int, **how: Any) -> None:
        """Pass some ordinary weeks."""
        for _ in range(weeks):
            self.week += 1
            self.scored()
            self.monitored(**how)


def flights() -> tuple[Decision, ...]:
    """Return twenty-one weeks of flights: alarms, a stop, a promotion, a rollback; oldest first."""
    loop = History("flights")
    loop.judged("1", "manual", 0.0, first=True)
    loop.quiet(5)
    loop.week += 1
    loop.scored()
    loop.alarmed(loop.monitored(2.4, 1.0, withheld="persistence"), retrain=False)
    loop.week += 1
    loop.scored()
    loop.alarmed(loop.monitored(2.9, 3.2), retrain=True)
    loop.judged("2", "alarm", 2.1)
    loop.quiet(3, drift=1.0)
    loop.say("confirmed", "v2 kept what the gate promised over 3 windows against v1.", 1,
             evidence={"former": "1", "difference": 0.012, "interval": [0.002, 0.021],
                       "windows": 3, "by": "probation"})  # fmt: skip
    loop.week += 1
    loop.stopped("column `carrier` is missing", "`temp`: nulls 100 % above 2 %")
    loop.quiet(1, rows=140)
    loop.week += 1
    loop.scored()
    loop.alarmed(loop.monitored(2.2, 2.8), retrain=True)
    loop.judged("3", "alarm", 0.3)
    loop.week += 1
    loop.scored()
    alarm = loop.monitored(2.3, 2.9, withheld="cooldown")
    loop.alarmed(alarm, retrain=False)
    loop.say("skipped", "Not trained again: the last training was 7 days ago (cooldown).", 0.4,
             evidence={"withheld": "cooldown", "cause": None})  # fmt: skip
    loop.quiet(1, drift=1.1)
    loop.judged("4", "schedule", 1.4)
    loop.week += 1
    loop.scored()
    loop.monitored(1.2, 3.4)
    loop.version = "2"
    rolled = loop.say("rolled_back", "v4 did worse than v2 on the same rows; v2 scores again.", 1,
                      evidence={"former": "4", "difference": -0.014, "interval": [-0.022, -0.006],
                                "windows": 1, "by": "probation"})  # fmt: skip
    loop.told(rolled, 1.2, heard=False)
    loop.week += 1
    loop.say("failed", "The scoring run 0193-77 crashed: the runner died.", -60,
             prefect_run="0193c1b2-77", evidence={"flow": "scoring", "state": "Crashed",
                                                  "message": "the runner died"})  # fmt: skip
    loop.say("reaped", "A scoring run whose process had died was ended and requested again.", -58,
             evidence={"flow": "scoring", "since": loop.at(-60).isoformat(),
                       "again": True})  # fmt: skip
    loop.scored()
    loop.monitored()
    loop.quiet(3, drift=0.8)
    return tuple(loop.decisions)


def demand() -> tuple[Decision, ...]:
    """Return twenty-one weeks of a regression that drifts at the end; oldest first."""
    loop = History("demand", seed=3)
    loop.judged("1", "manual", 0.0, first=True)
    loop.quiet(9)
    loop.judged("2", "schedule", 1.8)
    loop.quiet(8, drift=1.0)
    loop.week += 1
    loop.scored()
    loop.alarmed(loop.monitored(2.4, 1.0, withheld="persistence"), retrain=False)
    loop.week += 1
    loop.scored()
    loop.alarmed(loop.monitored(2.6, 1.6, withheld="cooldown"), retrain=False)
    return tuple(loop.decisions)


def reading(listed: Listed, function: Callable[..., T], *given: Any, **how: Any) -> T:
    """Return what `function` gives where every ledger holds the decisions of `listed`."""
    with (
        patch.object(evidence, "accounts_of", lambda _: listed),
        patch.object(evidence, "each_accounts", lambda all_of: [(listed, tuple(all_of))]),
    ):
        return function(*given, **how)


class Listed:
    """Decisions in memory, asked as the ledger is."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self._all = tuple(decisions)
        self._mark = str(uuid4())

    def change_marks(self) -> Callable[[str], str]:
        """Return marks that no other history has."""
        return lambda _: self._mark

    def answered_at(self, pipeline: str) -> datetime | None:  # noqa: ARG002
        return None

    def decisions(self, pipeline: Any = None, **how: Any) -> tuple[Decision, ...]:
        """Return decisions, newest first."""
        found = sorted(self._matching(pipeline, **how), key=lambda d: d.at, reverse=True)
        return tuple(found[: how.get("most")])

    def _matching(
        self,
        pipeline: str | Sequence[str] | None,
        *,
        kinds: Any = (),
        correlation: str | None = None,
        version: str | None = None,
        since: datetime | None = None,
        most: int | None = None,  # noqa: ARG002
    ) -> Iterator[Decision]:
        names = (pipeline,) if isinstance(pipeline, str) else pipeline
        for one in self._all:
            if (
                (names is None or one.pipeline in names)
                and (not kinds or one.kind in kinds)
                and correlation in (None, one.correlation)
                and version in (None, one.version)
                and (since is None or one.at >= since)
            ):
                yield one


def pipeline(folder: Path, name: str = "flights", more: str = "") -> Pipeline:
    """Return a pipeline whose file and state are in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(
        f"name: {name}\ntarget: arr_late\nsource: {{kind: demo, name: flights}}\n"
        "time_column: time_hour\nmetric: roc_auc\n"
        "monitoring: {window: 7d, label_delay: 2d}\n"
        'schedules: {training: "0 3 1 * *", scoring: "0 1 * * *", monitoring: "30 3 * * 1"}\n'
        + more,
        encoding="utf-8",
    )
    return load_pipeline(path, {})


def hostile(decision: Decision, payload: str) -> Decision:
    """Return `decision` with `payload` in everything that comes from data, people or servers."""
    raw = _with(decision.model_dump(mode="json"), payload, "")
    return Decision.model_validate(raw)


_KEPT = {
    "id",
    "pipeline",
    "kind",
    "at",
    "role",
    "start",
    "end",
    "correlation",
    "metric",
    "version",
    "training",
    "weighed",
}


def _with(value: Any, payload: str, key: str) -> Any:
    if isinstance(value, dict):
        return {k: _with(v, payload, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_with(v, payload, key) for v in value]
    if isinstance(value, str) and key not in _KEPT:
        return payload if key in ("column", "columns", "mlflow", "report") else f"{value}{payload}"
    return value
