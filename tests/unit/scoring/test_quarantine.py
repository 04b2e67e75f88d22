"""Rows that broke their contract: kept, told where, and not looked at twice by the calendar."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.base.errors import ContractError
from tasks.base.monitoring_records import Cause, CauseKind
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.source_notes import FileAside
from tasks.base.training_records import ContractResult, ModelVersion, RuleResult, Schema, Snapshot
from tasks.data.snapshots import places_of, read_frame, take_rows, write_snapshot
from tasks.ledger.ledger import ledger_of
from tasks.monitoring.alerts.messages import message_of
from tasks.monitoring.incidents.contract_stops import record_set_aside, record_stale_files
from tasks.scoring import quarantine
from tasks.scoring.quarantine import admit_rows
from tasks.scoring.quarantine_listing import mark_scored, waiting
from tests.opened import opened

ROLES = Schema(
    target="y", task="binary", features={"x": "numeric"}, time_column="when", id_columns=("id",)
)
BROKEN = RuleResult(
    column="x", rule="categories", severity="error", passed=False, expected="1 to 9",
    observed="off", failed_rows=2,
)  # fmt: skip
LIMIT = 100.0


@pytest.fixture
def champion() -> ModelVersion:
    return ModelVersion(
        name="mine", version="1", run_id="run",
        tags={"keepfit.schema": ROLES.model_dump_json()},
    )  # fmt: skip


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    """A pipeline whose contract allows no x above 100."""

    def check(pipeline: Pipeline, snapshot: Snapshot, **more: object) -> ContractResult:
        del more
        x = read_frame(snapshot.path)["x"].to_numpy()
        faulty = np.flatnonzero(x > LIMIT)
        whole = len(faulty) > len(x) / 2
        faulty = np.arange(len(x)) if whole else faulty
        np.save(tmp_path / "faults.npy", faulty.astype(np.int64))
        return ContractResult(
            passed=not len(faulty), contract_digest="c", data_digest=snapshot.digest,
            rows=snapshot.rows, rules=(BROKEN,) if len(faulty) else (), whole=whole,
            aside=len(faulty), faults=str(tmp_path / "faults.npy") if len(faulty) else "",
        )  # fmt: skip

    monkeypatch.setattr(quarantine, "check_pipeline", check)
    return load(tmp_path)


def load(folder: Path, contract: str = "c.yaml") -> Pipeline:
    (folder / "c.yaml").write_text("contract: mine\ncolumns: {x: {kind: numeric}}\n")
    (folder / "keepfit.yaml").write_text(
        "name: mine\ntarget: y\nsource: {kind: parquet, path: x.parquet}\n"
        f"time_column: when\nid_columns: [id]\ncontract: {contract}\n"
    )
    return load_pipeline(folder / "keepfit.yaml", {})


def delivery(
    pipeline: Pipeline, x: list[float], first: int = 0, **more: list[float | None]
) -> Snapshot:
    count = len(x)
    table = pa.table(
        {
            "id": [f"r{first + i}" for i in range(count)],
            "x": x,
            "when": pd.date_range("2026-01-01", periods=first + count, freq="h")[first:],
            **{name: pa.array(values, pa.float64()) for name, values in more.items()},
        }
    )
    kinds = {"id": "identifier", "x": "numeric", "when": "datetime"} | dict.fromkeys(
        more, "numeric"
    )
    return write_snapshot(
        table,
        kinds,
        pipeline.work / "scoring",
        time_column="when",
        assumptions=(),  # type: ignore[arg-type]
    )


def because(kind: CauseKind) -> Cause:
    return Cause(kind=kind, correlation="c1", at=datetime(2026, 1, 2, tzinfo=UTC))


def test_rows_at_fault_are_kept_and_the_rest_goes_on(
    pipeline: Pipeline, champion: ModelVersion
) -> None:
    snapshot = delivery(pipeline, [1.0, 500.0, 3.0, 700.0, 5.0])

    admitted = admit_rows(opened(pipeline), snapshot, champion, because("manual"), "new")

    assert read_frame(admitted.snapshot.path)["x"].tolist() == [1.0, 3.0, 5.0]
    aside = admitted.aside
    assert aside is not None
    assert (aside.rows, aside.of, aside.whole, aside.names) == (2, 5, False, ("x.categories",))
    kept = pq.read_table(aside.file)
    assert kept["id"].to_pylist() == ["r1", "r3"]
    assert kept.schema.field("when").type == pa.timestamp("us")
    assert aside.file in aside.accept_command
    assert "x.categories" in aside.accept_command
    assert aside.score_command == f"keepfit score {pipeline.path} --input {aside.file}"


@pytest.mark.parametrize("rule", ["present", "kind", "unique", "future", "nulls", "scale"])
def test_what_accepting_would_not_mend_offers_no_command(
    pipeline: Pipeline, champion: ModelVersion, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    found = quarantine.check_pipeline
    broken = replace(BROKEN, rule=rule)
    monkeypatch.setattr(
        quarantine, "check_pipeline",
        lambda *given, **more: found(*given, **more).model_copy(update={"rules": (broken,)}),
    )  # fmt: skip
    rows = delivery(pipeline, [1.0, 500.0, 3.0])

    aside = admit_rows(opened(pipeline), rows, champion, because("manual"), "new").aside

    assert aside is not None
    assert aside.accept_command == ""
    assert aside.score_command


def test_rows_that_go_on_keep_their_place_in_what_was_read(
    pipeline: Pipeline, champion: ModelVersion
) -> None:
    snapshot = delivery(pipeline, [1.0, 500.0, 3.0, 700.0, 5.0])

    admitted = admit_rows(opened(pipeline), snapshot, champion, because("manual"), "new").snapshot

    assert places_of(snapshot).tolist() == [0, 1, 2, 3, 4]
    assert places_of(admitted).tolist() == [0, 2, 4]
    folder = pipeline.work / "scoring"
    fewer = take_rows(admitted, np.array([1, 2]), folder, time_column="when")
    assert places_of(fewer).tolist() == [2, 4]


def test_a_delivery_at_fault_is_set_aside_whole_and_nothing_is_scored(
    pipeline: Pipeline, champion: ModelVersion
) -> None:
    snapshot = delivery(pipeline, [1.0, 500.0, 700.0])

    with pytest.raises(ContractError) as caught:
        admit_rows(opened(pipeline), snapshot, champion, because("manual"), "new")

    aside = caught.value.aside
    assert aside is not None
    assert (aside.rows, aside.whole) == (3, True)
    assert pq.read_table(aside.file).num_rows == 3
    assert aside.file in caught.value.remedy


def test_on_error_stop_sets_nothing_aside(pipeline: Pipeline, champion: ModelVersion) -> None:
    strict = load(pipeline.base, "{path: c.yaml, on_error: stop}")
    snapshot = delivery(strict, [1.0, 500.0, 3.0])

    with pytest.raises(ContractError) as caught:
        admit_rows(opened(strict), snapshot, champion, because("schedule"), "new")

    assert caught.value.aside is None
    assert waiting(strict) == ()


def test_a_training_leaves_out_the_rows_that_wait_whatever_label_they_have_got_since(
    pipeline: Pipeline, champion: ModelVersion
) -> None:
    snapshot = delivery(pipeline, [1.0, 500.0, 3.0, 4.0])
    assert quarantine.without_waiting(pipeline, snapshot) is None
    admit_rows(opened(pipeline), snapshot, champion, because("schedule"), "new")
    frame = read_frame(snapshot.path).assign(y=[True, False, True, False])
    kinds = {**snapshot.kinds, "y": "boolean"}
    labelled = write_snapshot(
        pa.Table.from_pandas(frame), kinds, pipeline.work / "data", time_column="when",
        assumptions=(),
    )  # fmt: skip

    rest = quarantine.without_waiting(pipeline, labelled)

    assert rest is not None
    assert read_frame(rest.path)["x"].tolist() == [1.0, 3.0, 4.0]
    assert Path(rest.path).parent == pipeline.work / "data"
    assert "1 row that scoring set aside" in rest.assumptions[-1]
    mark_scored(pipeline, waiting(pipeline)[0].aside.file)
    assert quarantine.without_waiting(pipeline, labelled) is None


def test_the_calendar_leaves_rows_where_they_were_set_aside(
    pipeline: Pipeline, champion: ModelVersion
) -> None:
    admit_rows(
        opened(pipeline),
        delivery(pipeline, [1.0, 500.0, 3.0]),
        champion,
        because("schedule"),
        "new",
    )
    later = delivery(pipeline, [1.0, 500.0, 3.0, 4.0, 5.0])

    again = admit_rows(opened(pipeline), later, champion, because("schedule"), "new")

    assert again.aside is None
    assert read_frame(again.snapshot.path)["x"].tolist() == [1.0, 3.0, 4.0, 5.0]
    by_hand = admit_rows(opened(pipeline), later, champion, because("manual"), "new")
    assert by_hand.aside is not None
    assert by_hand.aside.rows == 1


def test_a_late_label_or_a_column_of_other_files_makes_no_other_row_of_one_set_aside(
    pipeline: Pipeline, champion: ModelVersion
) -> None:
    before = delivery(pipeline, [1.0, 500.0, 3.0], y=[None, None, None])
    admit_rows(opened(pipeline), before, champion, because("schedule"), "new")
    after = delivery(pipeline, [1.0, 500.0, 3.0, 4.0], y=[1, 0, 1, 0], new=[None, None, None, 7])

    again = admit_rows(opened(pipeline), after, champion, because("schedule"), "new")

    assert again.aside is None
    assert read_frame(again.snapshot.path)["x"].tolist() == [1.0, 3.0, 4.0]


def test_rows_mended_at_their_source_or_by_the_contract_are_judged_again(
    pipeline: Pipeline, champion: ModelVersion
) -> None:
    snapshot = delivery(pipeline, [1.0, 500.0, 3.0])
    admit_rows(opened(pipeline), snapshot, champion, because("schedule"), "new")

    mended = admit_rows(
        opened(pipeline), delivery(pipeline, [1.0, 50.0, 3.0]), champion, because("schedule"), "new"
    )
    (pipeline.base / "c.yaml").write_text("contract: mine\ncolumns: {x: {kind: text}}\n")
    changed = admit_rows(opened(pipeline), snapshot, champion, because("schedule"), "new")

    assert mended.snapshot.rows == 3
    assert changed.aside is not None
    assert changed.aside.rows == 1


def test_the_calendar_judges_new_rows_without_those_scored_before(
    pipeline: Pipeline, champion: ModelVersion
) -> None:
    old = [1.0] * 100
    snapshot = delivery(pipeline, old)
    frame = read_frame(snapshot.path)
    predictions = pd.DataFrame({"prediction": ["a"] * 100, "model_version": ["1"] * 100}).assign(
        id=frame["id"], when=frame["when"]
    )
    ledger_of(pipeline).write_predictions(
        "mine", predictions, ROLES.model_copy(update={"classes": ("a", "b")}), version="1",
        run_id="run", batch=snapshot.digest, rows=frame,
    )  # fmt: skip

    with pytest.raises(ContractError) as caught:
        admit_rows(
            opened(pipeline),
            delivery(pipeline, [*old, 500.0, 700.0]),
            champion,
            because("schedule"),
            "new",
        )

    aside = caught.value.aside
    assert aside is not None
    assert (aside.rows, aside.of) == (2, 2)


def test_rows_that_are_alike_are_kept_beside_others_that_are(
    pipeline: Pipeline, champion: ModelVersion
) -> None:
    kept = []
    for x in (500.0, 700.0):
        snapshot = delivery(pipeline, [1.0, 1.0, 1.0, x])
        twice = take_rows(
            snapshot, np.array([0, 1, 2, 3, 3]), pipeline.work / "scoring", time_column="when"
        )
        aside = admit_rows(opened(pipeline), twice, champion, because("manual"), "new").aside
        assert aside is not None
        kept.append(aside.file)

    assert [pd.read_parquet(file)["x"].tolist() for file in kept] == [[500.0] * 2, [700.0] * 2]


def test_a_file_that_was_scored_waits_no_longer(pipeline: Pipeline, champion: ModelVersion) -> None:
    snapshot = delivery(pipeline, [1.0, 500.0, 3.0])
    aside = admit_rows(opened(pipeline), snapshot, champion, because("manual"), "new").aside
    assert aside is not None
    assert [kept.aside.rows for kept in waiting(pipeline)] == [1]

    mark_scored(pipeline, aside.file)

    assert waiting(pipeline) == ()
    record = Path(aside.file).with_suffix(".json")
    for damaged in ("", "{}"):
        kept = record.read_text()
        record.write_text(damaged)
        mark_scored(pipeline, aside.file)
        record.write_text(kept)
    assert json.loads(Path(aside.file).with_suffix(".json").read_text())["scored"]


def test_people_are_told_once_how_many_why_where_and_what_to_do(
    pipeline: Pipeline, champion: ModelVersion
) -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    told = []
    for first in (0, 10):
        snapshot = delivery(pipeline, [1.0, 500.0, 3.0], first)
        aside = admit_rows(opened(pipeline), snapshot, champion, because("schedule"), "new").aside
        assert aside is not None
        told.append(record_set_aside(opened(pipeline), aside, because("schedule"), "", now))

    (decision, is_new), (_, again) = told
    message = message_of(decision, file=str(pipeline.path))
    assert (is_new, again) == (True, False)
    assert message is not None
    assert "1 of 3 rows set aside" in message.title
    for part in (
        "x: categories",
        str(decision.evidence["file"]),
        "contract accept",
        "keepfit score",
    ):
        assert part in message.text
    assert len(ledger_of(pipeline).decisions("mine", kinds=("quarantined",))) == 2


def test_a_file_that_is_no_longer_written_is_told_once_and_one_that_arrives_is_not(
    pipeline: Pipeline,
) -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    files = [
        FileAside(file="a.csv", reason="incomplete", stale=True),
        FileAside(file="b.csv", reason="incomplete"),
    ]

    (decision,) = record_stale_files(opened(pipeline), files, because("schedule"), "", now)
    again = record_stale_files(opened(pipeline), files, because("schedule"), "", now)

    assert again == ()
    message = message_of(decision, file=str(pipeline.path))
    assert message is not None
    assert "a.csv is incomplete" in message.text
    assert "b.csv" not in message.text
