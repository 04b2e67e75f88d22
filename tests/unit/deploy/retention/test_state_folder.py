from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from deploy.retention import state_folder
from deploy.retention.state_folder import _removable, collect, open_runs, shorten_logs
from tasks.base.command_results import TrainingOutcome
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.runtime.running_flows import mark_running, unmark
from tasks.base.training_records import ModelVersion, Snapshot, Verdict
from tasks.history.state_sizes import sizes
from tasks.ledger.ledger import ledger_of
from tasks.ledger.training_outcomes import save_outcome
from tasks.training.training_identity import fit_key
from tests.opened import opened
from tests.tables import FAST, write_churn, write_pipeline

NOW = datetime.now(UTC)
OLD = (NOW - timedelta(days=30)).timestamp()


@pytest.fixture
def plan(tmp_path: Path) -> Pipeline:
    data = write_churn(tmp_path / "c.csv", 20)
    return load_pipeline(write_pipeline(tmp_path, data, f"{FAST}retention: 7d\n"))


def outcome(plan: Pipeline, number: int, *, days: int, version: str) -> TrainingOutcome:
    """Keep a training of `days` ago, with all the files that it leaves."""
    key, digest = f"{number:064x}"[::-1], f"{number:064d}"[::-1]
    verdict = Verdict(promoted=False, rule="superior", reason="", sentence="")
    made = TrainingOutcome(
        key=key, pipeline="churn", task="binary", metric="roc_auc", rows_train=1, rows_holdout=1,
        leaderboard=(), challenger="svm", metrics={}, verdict=verdict,
        model=ModelVersion(name="churn", version=version, run_id="r"), champion_version=None,
        mlflow_run_id="r", mlflow_uri="", data_digest=digest,
        contract_page=str(plan.work / "contracts" / f"contract-{number}.html"),
        finished=NOW - timedelta(days=days),
    )  # fmt: skip
    save_outcome(plan.work, made)
    fits = fit_key(plan, Snapshot(path="", digest=digest, rows=0, kinds={}))[:32]
    for name in (
        f"reports/{key[:16]}.html", f"figures/{key[:16]}/roc.png", f"data/{digest[:32]}.arrow",
        f"fits/{fits}/candidates/svm/model.skops", f"contracts/contract-{number}.html",
    ):  # fmt: skip
        write(plan.work / name)
    return made


def write(path: Path, content: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def make_old(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (OLD, OLD))


def files(plan: Pipeline) -> set[str]:
    rooms = (
        "trainings",
        "reports",
        "figures",
        "data",
        "fits",
        "contracts",
        "monitoring",
        "scoring",
    )
    return {
        p.relative_to(plan.work).as_posix()
        for room in rooms
        for p in (plan.work / room).rglob("*")
        if p.is_file()
    }


@pytest.mark.slow
def test_old_trainings_go_with_their_files_but_for_the_last_five(plan: Pipeline) -> None:
    for number in range(1, 8):
        outcome(plan, number, days=20 + number, version=str(number))
    make_old(plan.work)
    before = files(plan)

    done = collect(opened(plan), NOW)

    left = files(plan)
    assert len(before) == 42
    assert len(left) == 30
    assert done.items == 12
    assert not any("contract-7" in name or "contract-6" in name for name in left)


def test_what_a_kept_version_refers_to_stays_however_old(plan: Pipeline) -> None:
    outcomes = [outcome(plan, n, days=20 + n, version=str(n)) for n in range(1, 9)]
    make_old(plan.work)
    kept = [o for o in outcomes if o.model and o.model.version not in ("6",)]

    going = {p.relative_to(plan.work).as_posix() for p in _removable(plan, kept, NOW.timestamp())}

    assert "contracts/contract-6.html" in going
    assert len(going) == 6, "all that one training left, and nothing of the others"


def test_new_files_stay_and_old_pages_and_scored_snapshots_go(plan: Pipeline) -> None:
    new = write(plan.work / "monitoring" / "2026-11-01" / "drift.html")
    old = [
        write(plan.work / "monitoring" / "2026-01-01" / "drift.html"),
        write(plan.work / "scoring" / "abc.arrow"),
        write(plan.work / "data" / "read-abc.json"),
        write(plan.work / "quarantine" / "abc.parquet"),
    ]
    output = write(plan.work / "predictions" / "january.parquet")
    for path in (*old, old[0].parent, output):
        os.utime(path, (OLD, OLD))

    collect(opened(plan), NOW)

    assert new.exists()
    assert not any(path.exists() for path in old)
    assert output.exists(), "predictions are a person's"


def test_nothing_goes_while_a_run_is_open_or_a_training_holds_the_pipeline(plan: Pipeline) -> None:
    old = write(plan.work / "scoring" / "abc.arrow")
    os.utime(old, (OLD, OLD))
    run = str(uuid4())
    mark_running(plan.state, run)

    assert open_runs(plan.state) == (run,)
    assert collect(opened(plan), NOW).postponed == "a run is open"
    unmark(plan.state, run)
    with ledger_of(plan).flight("churn"):
        assert collect(opened(plan), NOW).postponed == "a training runs"

    assert old.exists()
    assert collect(opened(plan), NOW).items == 1


def test_sizes_tell_what_takes_the_room(plan: Pipeline) -> None:
    write(plan.work / "reports" / "a.html", "x" * 1000)
    write(plan.state / "mlflow" / "artifacts" / "model.skops", "x" * 500)

    found = sizes(plan.state)

    assert found["reports"] == 1000
    assert found["artifacts"] == 500
    assert found["ledger"] == found["prefect"] == 0


def test_a_long_log_keeps_its_end_while_it_is_written(tmp_path: Path) -> None:
    log = write(tmp_path / "logs" / "runner.log", "".join(f"line {i}\n" for i in range(1000)))
    with log.open("a") as writer:
        shorten_logs(tmp_path, most=1000)
        writer.write("after\n")

    lines = log.read_text().splitlines()

    assert lines[0].startswith("line 9")
    assert lines[-2:] == ["line 999", "after"]
    assert log.stat().st_size < 600


def test_a_file_or_a_ledger_that_cannot_be_read_keeps_no_other_from_its_retention(
    plan: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.yaml").write_text("name: [")
    damaged = tmp_path / "other" / "keepfit.yaml"
    damaged.parent.mkdir()
    damaged.write_text(plan.path.read_text() + "state: s\nledger: {url: 'sqlite:///l.db'}\n")
    write(damaged.parent / "l.db", "no database" * 1000)
    past = write(plan.work / "reports" / "past.html")
    make_old(plan.work)
    log = write(plan.state / "logs" / "worker.log", "line\n" * 10)
    monkeypatch.setattr(state_folder.shorten_logs, "__defaults__", (20,))

    state_folder._main(str(tmp_path / "broken.yaml"), str(damaged), str(plan.path))

    assert not past.exists()
    assert log.stat().st_size < 20
