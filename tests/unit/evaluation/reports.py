"""A whole report with names of the caller's choice."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

import numpy as np

from tasks.base.settings.evaluation import GateConfig
from tasks.base.training_records import (
    ContractResult,
    LeaderboardRow,
    MetricValue,
    Picture,
    RuleResult,
    Schema,
    Snapshot,
    Split,
    Trial,
)
from tasks.evaluation.explanation.partial_dependence import Dependence
from tasks.evaluation.explanation.permutation_importance import ColumnImportance, Importance
from tasks.evaluation.findings import (
    ByColumn,
    Confusion,
    CurvePoint,
    Diagnosis,
    FitVerdict,
    GroupDifference,
    GroupRow,
    LearningCurve,
    SliceScore,
    Suspicion,
    WeakSlice,
    WorstRow,
)
from tasks.metrics.paired_bootstrap import Predictions, paired_evidence
from tasks.metrics.scorer import evaluate
from tasks.registry.gate.gate import decide
from tasks.reporting.figures.diagnostic_figures import (
    draw_contributions,
    draw_curve,
    draw_dependence,
    draw_fits,
    draw_groups,
    draw_slices,
)
from tasks.reporting.figures.training_figures import (
    diagnose,
    draw_importance,
    draw_leaderboard,
    draw_learning,
)
from tasks.reporting.report.report_data import Change, FigureText, Link, ReportData
from tests.unit.evaluation.problems import binary


def report_data(name: str = "x", *, drawn: bool = True, **changes: Any) -> ReportData:
    """Return a report on a binary task in which `name` stands wherever a name can.

    Parameters
    ----------
    drawn
        Whether it has figures, which cost most of it.
    """
    return replace(_report_data(name, drawn), **changes)


@cache
def _report_data(name: str, drawn: bool) -> ReportData:
    y, predicted, probability, _ = binary(300)
    classes = tuple(sorted((name, "~other")))
    labels = {"no": classes[0], "yes": classes[1]}
    y = np.array([labels[v] for v in y], dtype=object)
    predicted = np.array([labels[v] for v in predicted], dtype=object)
    schema = Schema(
        target=name,
        task="binary",
        features={"a": "numeric", f"{name} ": "categorical"},
        classes=classes,
        positive=name,
        dropped={f"{name}  ": f"constant: {name}"},
    )
    challenger = evaluate(name, y, predicted, probability, schema, replicates=50)
    trivial = Predictions(np.full(300, classes[0], dtype=object), np.full((300, 2), 0.5))
    baseline = evaluate("baseline", y, trivial.predicted, trivial.probability, schema, replicates=0)
    ours = Predictions(predicted, probability)
    gate = GateConfig(replicates=200)
    evidence = paired_evidence(
        "roc_auc", y, ours, trivial, trivial, schema, blocks=None, gate=gate, seed=0, name=name
    )
    board = tuple(
        LeaderboardRow(
            candidate=candidate, status=status, cv_mean=cv, cv_std=0.01, holdout=cv, reason=reason
        )
        for candidate, status, cv, reason in (
            (name, "ok", 0.8, ""),
            ("baseline", "ok", 0.5, ""),
            ("svm", "failed", None, f"ValueError: {name}"),
        )
    )
    drawings = (
        []
        if not drawn
        else [
            draw_leaderboard(board, "roc_auc", name),
            *diagnose(y, Predictions(predicted, probability), schema, challenger),
            draw_importance(Importance("roc_auc", 300, (ColumnImportance(name, 0.1, 0.05, 0.2),))),
            *draw_learning("lightgbm", {f"validation_{name}": [1.0, 0.5, 0.4]}),
        ]
    )
    rule = RuleResult(
        column=name,
        rule="categories",
        severity="warning",
        passed=False,
        expected=f"one of {name}",
        observed=name,
        failed_rows=3,
        failed_share=0.01,
        sample=(name,),
    )
    return ReportData(
        pipeline="flights",
        keepfit_version="0.1.0",
        created=datetime(2026, 3, 1, 14, 5, tzinfo=UTC),
        source=f"parquet files {name}",
        snapshot=Snapshot(
            path="a.arrow",
            digest="ab" * 32,
            rows=1000,
            kinds={"a": "numeric", name: "categorical", f"{name} ": "text", f"{name}  ": "text"},
        ),
        schema=schema,
        split=Split(
            train_path="a.npy",
            holdout_path="b.npy",
            rule="hash",
            holdout=0.3,
            n_train=700,
            n_holdout=300,
        ),
        metric="roc_auc",
        leaderboard=board,
        challenger=challenger,
        verdict=decide(evidence, gate, champion_version="3", new_evidence=True),
        contract=ContractResult(
            passed=True, contract_digest="c", data_digest="d", rows=1000, rules=(rule,)
        ),
        assumptions=(f"`{name}` is categorical.", name),
        baseline=baseline,
        champion_version="3",
        registered="flights v4",
        figures=tuple(
            FigureText(d.name, d.title, d.caption, d.svg) for d in drawings if d is not None
        ),
        changes={name: (Change(name, name, None),)},
        settings={"seed": name},
        seconds={"load": 0.2, name: 75.0},
        links=(Link("run", "http://127.0.0.1:5000/#/1"), Link(name, f"javascript:{name}")),
        next_command="keepfit score",
        diagnosis=_diagnosis(name) if drawn else Diagnosis(),
        compared=f"The new model looks at {name}, which the champion did not.",
    )


def _diagnosis(name: str) -> Diagnosis:
    """Return a diagnosis in which every part is there, with `name` wherever a name can stand."""
    value = MetricValue(value=0.5, low=0.4, high=0.6)
    fit = FitVerdict(
        candidate=name, fit="overfits", train=0.9, holdout=0.7, sentence=name, advice=name
    )
    weak = WeakSlice(
        where=name, rows=30, share=0.1, loss=2.0, rest=1.0, score=0.6, p_value=0.01, surprise=True
    )
    trial = Trial(number=1, state="complete", score=0.8, scores=(0.8,), params={name: name})
    points = tuple(CurvePoint(rows=r, train=0.9, valid=0.7 + r / 1e4) for r in (100, 500, 700))
    curve = LearningCurve(
        candidate=name, metric="roc_auc", points=points, gain=0.1, low=0.0, high=0.2, sentence=name
    )
    groups = tuple(
        GroupRow(value=v, rows=50, rates={"selected": value}, differences={"selected": value})
        for v in (name, "other")
    )
    compared = GroupDifference(column=name, groups=groups, sentence=name)
    drawings = (
        draw_fits((fit,), "roc_auc", name, 0.5),
        draw_curve(curve),
        draw_slices((weak,), name),
        draw_groups(compared),
        draw_dependence(
            (Dependence(name, np.array([0.0, 1.0]), np.array([0.1, 0.4]), (name, "b")),), name
        ),
        draw_contributions({name: 1.0}, name),
    )
    return Diagnosis(
        made=(f"{name} is predicted from a probability of 0.2 on",),
        trials={name: (trial, trial.model_copy(update={"state": "pruned"}))},
        steps=(name,),
        fits=(fit,),
        learning=curve,
        suspicions=(Suspicion(about="leak", level="warning", sentence=name),),
        errors=(name,),
        confusions=(Confusion(true=name, predicted=name, rows=3, share=0.1),) * 3,
        worst=(WorstRow(row=name, true=name, predicted=name, stated=0.9, loss=3.0),),
        slices=(weak,),
        slices_sentence=name,
        by=(
            ByColumn(
                column=name,
                metric="roc_auc",
                levels=(SliceScore(value=name, rows=9, score=value),),
                sentence=name,
            ),
        ),
        groups=(compared,),
        pictures=tuple(
            Picture(name=d.name, title=d.title, caption=d.caption, svg=d.svg, file="")
            for d in drawings
            if d is not None
        ),
    )
