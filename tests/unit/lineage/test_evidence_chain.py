from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tasks.base.command_results import TrainingOutcome
from tasks.base.errors import ModelRefusedError, UsageError
from tasks.base.monitoring_records import Decision
from tasks.base.training_records import LeaderboardRow, MetricValue, ModelVersion
from tasks.ledger.ledger import ledger_of
from tasks.ledger.training_outcomes import save_outcome
from tasks.lineage.evidence_chain import Chain, explain_version
from tasks.lineage.evidence_steps import steps_of
from tasks.lineage.records import Known
from tests.histories import History, Listed, flights, pipeline, reading


def explained(folder: Path, version: str | None) -> Chain:
    return reading(Listed(flights()), explain_version, pipeline(folder), version)


def whats(chain: Chain) -> list[str]:
    return [step.what for step in chain.steps]


def test_a_retrained_version_is_explained_from_its_alarm_to_its_alert(tmp_path: Path) -> None:
    chain = explained(tmp_path, "v2")

    expected = ["window", "alarm", "run", "data", "contract", "training", "gate", "promoted"]
    assert whats(chain)[:8] == expected
    assert {"alert", "confirmed", "replaced", "rolled back", "in use"} <= set(whats(chain))
    assert chain.missing == ()
    alarm, gate = chain.steps[1], chain.steps[6]
    columns = alarm.numbers["columns"]
    assert isinstance(columns, list)
    assert isinstance(columns[0], dict)
    assert set(columns[0]) == {"column", "statistic", "threshold", "p_value"}
    assert (gate.numbers["rows"], gate.numbers["confidence"]) == (14_812, 0.95)
    assert gate.numbers["detectable"] is not None
    data = chain.steps[3].numbers["data_digest"]
    assert isinstance(data, str)
    assert len(data) == 64
    assert chain.steps[5].links["mlflow"].startswith("http://127.0.0.1:5000/#/experiments/1/runs/")


def test_the_chain_of_the_champion_is_that_of_the_version_that_scores_now(tmp_path: Path) -> None:
    chain = explained(tmp_path, None)

    assert (chain.version, chain.champion) == ("2", True)
    assert chain == explained(tmp_path, "2")


def test_a_refused_version_says_what_the_gate_could_not_see(tmp_path: Path) -> None:
    chain = explained(tmp_path, "3")

    assert not chain.champion
    assert "refused" in whats(chain)
    assert "promoted" not in whats(chain)
    gate = next(s for s in chain.steps if s.what == "gate")
    assert "smallest that could be seen" in gate.sentence
    refused = next(s for s in chain.steps if s.what == "refused")
    (decided,) = [d for d in flights() if d.kind == "refused" and d.version == "3"]
    assert refused.sentence.startswith("Alias champion stayed")
    assert refused.sentence.endswith(decided.sentence)


def test_a_version_rolled_back_says_so_and_that_the_message_was_not_heard(tmp_path: Path) -> None:
    chain = explained(tmp_path, "4")

    assert whats(chain)[0] == "schedule"
    assert whats(chain)[-2:] == ["rolled back", "alert"]
    assert "0 of 2 channels" in chain.steps[-1].sentence


def test_messages_about_other_things_are_not_in_the_chain(tmp_path: Path) -> None:
    stopped = next(d for d in flights() if d.kind == "stopped")

    assert stopped.version == "2"
    chain = explained(tmp_path, "2")
    assert all(s.at is None or abs(s.at - stopped.at) > timedelta(hours=1) for s in chain.steps)


def test_steps_follow_each_other_in_time(tmp_path: Path) -> None:
    for version in "1234":
        times = [s.at for s in explained(tmp_path, version).steps if s.at is not None]
        assert times == sorted(times)


def test_an_unknown_version_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        explained(tmp_path, "17")

    assert "no version '17'" in caught.value.message
    assert "v4, v3, v2, v1" in caught.value.remedy


def test_before_any_training_it_says_how_to_train(tmp_path: Path) -> None:
    for version in (None, "1"):
        with pytest.raises(UsageError, match="no version yet") as caught:
            explain_version(pipeline(tmp_path), version)
        assert "keepfit run" in caught.value.remedy
    assert not (tmp_path / ".keepfit").exists()


def outcome(version: str = "1") -> TrainingOutcome:
    """Return what a plain `keepfit run` leaves."""
    row = LeaderboardRow(
        candidate="lightgbm", status="ok", cv_mean=0.69, cv_std=0.01, holdout=0.7, fit_seconds=2.0
    )
    baseline = row.model_copy(update={"candidate": "baseline"})
    return TrainingOutcome(
        key="k" * 64, pipeline="flights", task="binary", metric="roc_auc", rows_train=1000,
        rows_holdout=250, leaderboard=(row, baseline), challenger="lightgbm",
        metrics={"roc_auc": MetricValue(value=0.7, low=0.68, high=0.72)},
        verdict=History("flights").verdict(0.0, None),
        model=ModelVersion(name="flights", version=version, run_id="run"),
        champion_version=version, mlflow_run_id="run", mlflow_uri="", prefect_run_id="flow",
        report="r.html", contract_page="c.html", contract_warnings=2, data_digest="d" * 64,
        finished=datetime(2026, 3, 1, tzinfo=UTC), seconds=90.0,
    )  # fmt: skip


def test_a_version_from_before_the_ledger_falls_back_and_says_what_is_not_recorded(
    tmp_path: Path,
) -> None:
    made = pipeline(tmp_path)
    save_outcome(made.work, outcome())

    chain = explain_version(made, None)

    assert whats(chain) == ["run", "data", "contract", "training", "gate", "promoted", "in use"]
    assert chain.missing == ("The cause of its training is not recorded.",)
    assert "Held with 2 warnings" in chain.steps[2].sentence
    assert "best of 1 candidate, ROC AUC 0.700 (0.680 to 0.720)" in chain.steps[3].sentence
    assert "gain over the trivial baseline +0.190" in chain.steps[4].sentence
    assert not (made.state / "ledger.db").exists()
    assert not (made.state / "mlflow").exists()


def test_it_reads_a_real_ledger(tmp_path: Path) -> None:
    made = pipeline(tmp_path)
    ledger = ledger_of(made)
    for decision in flights():
        if decision.kind != "scored":
            ledger.record(decision)

    assert explain_version(made, "2") == explained(tmp_path, "2")


def test_the_answer_is_json_of_every_step(tmp_path: Path) -> None:
    import json

    answer = json.loads(json.dumps(explained(tmp_path, "2").answer()))

    assert answer["version"] == "2"
    assert {"at", "what", "sentence", "numbers", "links"} == set(answer["steps"][0])


def test_evidence_of_another_shape_is_left_out_and_never_fails(tmp_path: Path) -> None:
    odd = [
        Decision(
            id=f"x{k}", pipeline="flights", kind=d.kind, at=d.at, correlation=d.correlation,
            sentence="", version=d.version, evidence=dict.fromkeys(d.evidence, shape),
        )
        for shape in (None, 7, "x", [], [1], {"a": float("nan")})
        for k, d in enumerate(flights())
    ]  # fmt: skip

    chain = reading(Listed(odd), explain_version, pipeline(tmp_path), "2")

    assert "The gate's numbers are not recorded." in chain.missing


def test_a_number_that_was_given_twice_is_explained_by_its_newest_training(tmp_path: Path) -> None:
    once = next(d for d in flights() if d.kind == "trained" and d.version == "2")
    again = once.model_copy(
        update={
            "id": "again", "at": flights()[-1].at + timedelta(days=1), "correlation": "anew",
            "mlflow_run": "f" * 32,
        }
    )  # fmt: skip
    accounts = Listed((*flights(), again))
    chain = reading(accounts, explain_version, pipeline(tmp_path, "flights"), "2")

    assert chain.correlation == "anew"
    assert "promoted" not in whats(chain)


@pytest.mark.parametrize(
    ("tag", "text"), [("keepfit.score", "0.7x"), ("keepfit.promoted_at", "yesterday")]
)
def test_a_tag_that_cannot_be_read_is_refused_with_its_name(
    tmp_path: Path, tag: str, text: str
) -> None:
    tags = {"keepfit.metric": "roc_auc", "keepfit.candidate": "lightgbm", tag: text}
    version = ModelVersion(name="flights", version="1", run_id="run", tags=tags)
    known = Known(pipeline=pipeline(tmp_path), version="1", decisions=(), registered=version)

    with pytest.raises(ModelRefusedError, match=tag):
        steps_of(known, champion=None)
