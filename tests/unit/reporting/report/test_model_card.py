from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.base.training_records import (
    Assessment,
    Basis,
    CandidateResult,
    ContractResult,
    ModelVersion,
    Prepared,
)
from tasks.evaluation.findings import Diagnosis, FitVerdict, Suspicion
from tasks.reporting.report.model_card import Card, card_html, card_markdown, make_card
from tests.unit.evaluation.reports import report_data
from tests.unit.reporting.report.test_report import HOSTILE


def _card(name: str = "churn", purpose: str = "Calls those who may leave.", **found: Any) -> Card:
    data = report_data(name, drawn=False)
    prepared = Prepared(
        roles=data.schema,
        split=data.split,
        metric="roc_auc",
        key="k",
        folder="x",
        refit=False,
    )
    start = datetime(2024, 1, 1, tzinfo=UTC)
    snapshot = data.snapshot.model_copy(update={"start": start, "end": start})
    contract = data.contract or ContractResult(
        passed=True, contract_digest="c", data_digest="d", rows=1, rules=()
    )
    return make_card(
        purpose,
        f"parquet: {name}",
        ("The calendar: 0 3 * * 1 (UTC).",),
        Basis(snapshot=snapshot, contract=contract, prepared=prepared),
        [
            CandidateResult(candidate=name, status="ok", cv_folds=5),
            CandidateResult(candidate="mlp", status="failed"),
            CandidateResult(candidate="baseline", status="ok"),
        ],
        Assessment(evaluations=(data.challenger,), leaderboard=data.leaderboard, challenger=name),
        data.verdict,
        ModelVersion(name="churn", version="3", run_id="r", tags=found.pop("tags", {})),
        Diagnosis(**found),
    )


def test_a_card_says_what_it_stands_on_how_good_it_is_and_what_limits_it() -> None:
    fit = FitVerdict(
        candidate="churn", fit="overfits", train=1.0, holdout=0.7, sentence="churn overfits."
    )
    doubt = Suspicion(about="duplicates", level="warning", sentence="Copies on both sides.")
    card = _card(fits=(fit,), suspicions=(doubt,), slices_sentence="Weak where a > 3.")
    text = card_markdown(card)
    for said in (
        "# churn version 3",
        "## Purpose",
        "Calls those who may leave.",
        "2024-01-01 00:00 UTC",
        "ab" * 32,
        "ROC AUC",
        "Weak where a \\> 3.",
        "churn overfits.",
        "Copies on both sides.",
        "## How it was selected",
        "of 1 candidate in validation (5 parts)",
        "The calendar: 0 3",
    ):
        assert said in text, said
    assert re.search(r"\| ROC AUC \| 0\.\d+ \| 0\.\d+ to 0\.\d+ \|", text)


def test_without_a_purpose_the_card_says_where_to_write_it() -> None:
    assert "\\`description\\`" in card_markdown(_card(purpose=""))


def test_the_summary_is_short_and_tells_of_a_refit() -> None:
    card = _card(purpose="x" * 3000)
    assert len(card.summary) <= 1200
    assert "Fitted once more" in _card(tags={"keepfit.refitted": "true"}).summary
    assert "Fitted once more" not in _card().summary


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name: str) -> None:
    card = _card(name, purpose=name)
    html = card_html(card)
    assert "<script" not in html
    assert "<img" not in html
    assert "<iframe" not in html
    text = card_markdown(card)
    assert "<script" not in text.replace("\\<", "")
    # Every row of a table has the cells of its header.
    for block in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(cells) == 1
