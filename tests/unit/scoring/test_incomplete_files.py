"""Files that lack a column among complete ones: none of their rows is scored as if it were null."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from tasks.base.errors import ContractError
from tasks.base.monitoring_records import Cause
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.training_records import ContractResult, ModelVersion, Schema, Snapshot
from tasks.data.snapshots import read_frame
from tasks.ledger.ledger import ledger_of
from tasks.scoring import quarantine
from tasks.scoring.quarantine import admit_rows, admit_window
from tasks.scoring.quarantine_listing import waiting
from tasks.training.row_windows import scoring_snapshot
from tests.opened import opened

SELDOM = "{max: 1.0, usual: 0.01, empty_from: 1}"
ROLES = Schema(
    target="y",
    task="binary",
    features={"lead_time": "numeric"},
    time_column="when",
    id_columns=("id",),
)
CHAMPION = ModelVersion(
    name="mine", version="1", run_id="run", tags={"keepfit.schema": ROLES.model_dump_json()}
)
CAUSE = Cause(kind="schedule", correlation="c1", at=datetime(2026, 1, 9, tzinfo=UTC))


@pytest.fixture(params=["csv", "parquet"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The format of the files; the contract's own rules hold of everything."""

    def held(pipeline: Pipeline, snapshot: Snapshot, **more: object) -> ContractResult:
        del pipeline, more
        return ContractResult(
            passed=True, contract_digest="c", data_digest=snapshot.digest, rows=snapshot.rows,
            rules=(),
        )  # fmt: skip

    monkeypatch.setattr(quarantine, "check_pipeline", held)
    return str(request.param)


def folder(home: Path, kind: str, *, nulls: str = SELDOM, odd: str = "leadtime") -> Pipeline:
    """Write six days of five rows; in the fifth the column `lead_time` has another name."""
    (home / "rows").mkdir()
    for day in range(6):
        frame = pd.DataFrame(
            {
                "id": [f"r{day}{i}" for i in range(5)],
                "when": pd.date_range(f"2026-01-0{day + 1}", periods=5, freq="h"),
                odd if day == 4 else "lead_time": [float(i) for i in range(4)] + [None],
            }
        )
        file = home / "rows" / f"{day}.{kind}"
        frame.to_csv(file, index=False) if kind == "csv" else frame.to_parquet(file)
    (home / "c.yaml").write_text(
        "contract: mine\ncolumns:\n  id: {kind: identifier}\n  when: {kind: datetime}\n"
        f"  lead_time: {{kind: numeric, nulls: {nulls}}}\n"
    )
    (home / "keepfit.yaml").write_text(
        f"name: mine\ntarget: y\nsource: {{kind: {kind}, path: rows}}\ntime_column: when\n"
        "id_columns: [id]\ncontract: c.yaml\n"
    )
    return load_pipeline(home / "keepfit.yaml", {})


def ids(snapshot: Snapshot) -> list[str]:
    return sorted(set(read_frame(snapshot.path)["id"].str[:2]))


def test_rows_of_a_file_without_the_column_are_set_aside_and_no_others(
    tmp_path: Path, kind: str
) -> None:
    pipeline = folder(tmp_path, kind)

    admitted = admit_rows(opened(pipeline), scoring_snapshot(pipeline), CHAMPION, CAUSE, "new")

    assert ids(admitted.snapshot) == ["r0", "r1", "r2", "r3", "r5"]
    assert admitted.snapshot.rows == 25  # a null of a complete file is a null
    aside = admitted.aside
    assert aside is not None
    assert (aside.rows, aside.of, aside.whole, aside.names) == (
        5,
        30,
        False,
        ("lead_time.present",),
    )
    assert f"4.{kind}" in aside.rules[0].observed
    assert "'leadtime'" in aside.rules[0].observed
    assert aside.accept_command == ""


def test_a_window_is_judged_without_them(tmp_path: Path, kind: str) -> None:
    pipeline = folder(tmp_path, kind)
    whole = admit_window(pipeline, scoring_snapshot(pipeline), CHAMPION)
    assert ids(whole.snapshot) == ["r0", "r1", "r2", "r3", "r5"]

    alone = scoring_snapshot(pipeline, datetime(2026, 1, 5), datetime(2026, 1, 6))
    with pytest.raises(ContractError, match="leadtime"):
        admit_window(pipeline, alone, CHAMPION)


def test_old_files_without_the_column_do_not_touch_new_rows(tmp_path: Path, kind: str) -> None:
    pipeline = folder(tmp_path, kind)
    later = scoring_snapshot(pipeline, datetime(2026, 1, 6), datetime(2026, 1, 7))
    admitted = admit_rows(opened(pipeline), later, CHAMPION, CAUSE, "new")
    assert (admitted.aside, admitted.snapshot.rows) == (None, 5)


@pytest.mark.parametrize("nulls", ["{max: 1.0}", "{max: 1.0, usual: 0.3, empty_from: 6}"])
def test_what_may_be_empty_may_be_absent(tmp_path: Path, kind: str, nulls: str) -> None:
    pipeline = folder(tmp_path, kind, nulls=nulls)
    admitted = admit_rows(opened(pipeline), scoring_snapshot(pipeline), CHAMPION, CAUSE, "new")
    assert (admitted.aside, admitted.snapshot.rows) == (None, 30)


def test_on_error_stop_scores_nothing(tmp_path: Path, kind: str) -> None:
    pipeline = folder(tmp_path, kind)
    file = tmp_path / "keepfit.yaml"
    file.write_text(
        file.read_text().replace("contract: c.yaml", "contract: {path: c.yaml, on_error: stop}")
    )
    pipeline = load_pipeline(file, {})
    with pytest.raises(ContractError, match="lead_time"):
        admit_rows(opened(pipeline), scoring_snapshot(pipeline), CHAMPION, CAUSE, "new")


def test_rows_mended_at_their_source_and_scored_wait_no_longer(tmp_path: Path, kind: str) -> None:
    pipeline = folder(tmp_path, kind)
    aside = admit_rows(opened(pipeline), scoring_snapshot(pipeline), CHAMPION, CAUSE, "new").aside
    assert aside is not None
    assert aside.score_command == f"keepfit score {pipeline.path.parent}"
    assert [kept.aside.rows for kept in waiting(pipeline)] == [5]

    frame = pd.read_parquet(aside.file)[["id", "when"]]
    predictions = frame.assign(prediction="a", model_version="1")
    ledger_of(pipeline).write_predictions(
        "mine", predictions, ROLES.model_copy(update={"classes": ("a", "b")}), version="1",
        run_id="run", batch="batch", rows=frame,
    )  # fmt: skip
    admit_rows(opened(pipeline), scoring_snapshot(pipeline), CHAMPION, CAUSE, "new")

    assert waiting(pipeline) == ()
