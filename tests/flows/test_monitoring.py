"""The monitoring flow as a person meets it: quiet windows, drift, labels, a broken window."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.base.monitoring_records import Decision, Gain
from tasks.base.pipeline_file import load_pipeline
from tasks.ledger.ledger import ledger_of
from tasks.scoring.batches import champion_of
from tasks.serving.delivery import announce, deliver, record_of, spool_folder
from tasks.serving.served_model import ServedModel
from tasks.serving.spool import Spool
from tests.opened import opened
from tests.program import keepfit

START = datetime(2026, 1, 5)
WEEK = timedelta(days=7)
pytestmark = pytest.mark.slow
_PIPELINE = """\
name: calls
target: answered
source: {kind: parquet, path: data/*.parquet}
time_column: at
id_columns: [call]
split: {holdout: 0.1}
training: {budget: 60s, cv: 2, candidates: [logistic_regression, decision_tree]}
monitoring: {window: 7d}
policy: {persistence: 1 of 1, cooldown: 0s, probation: 1}
"""


def calls(number: int, *, new: bool = False, **columns: Any) -> pd.DataFrame:
    """Return one week of calls: whether one is answered hangs on `wait`, in new weeks on `age`.

    In new weeks `wait` is longer too, which can be seen without labels.
    """
    rng = np.random.default_rng(100 + number)
    rows = 700
    wait, age = rng.normal(5 if new else 3, 1, rows), rng.normal(40, 10, rows)
    chance = 1 / (1 + np.exp(3 * ((age - 40) / 10 if new else wait - 3)))
    minutes = np.sort(rng.integers(0, 7 * 24 * 60, rows))
    table = {
        "call": [f"w{number:02d}-{i:04d}" for i in range(rows)],
        "at": [START + number * WEEK + timedelta(minutes=int(m)) for m in minutes],
        "wait": wait,
        "age": age,
        "line": rng.choice(["north", "south", "west"], rows),
        "answered": rng.random(rows) < chance,
    }
    frame = pd.DataFrame(table | columns)
    # A row at the very end, so that the week is known to be complete.
    frame.loc[rows - 1, "at"] = START + (number + 1) * WEEK - timedelta(minutes=1)
    return frame


def week(folder: Path, number: int, *, new: bool = False, **columns: Any) -> None:
    """Write one week of calls."""
    frame = calls(number, new=new, **columns)
    (folder / "data").mkdir(parents=True, exist_ok=True)
    frame.to_parquet(folder / "data" / f"{number:02d}.parquet")


@dataclass(frozen=True)
class Watched:
    """A pipeline with a champion and weeks that arrive."""

    folder: Path

    def decisions(self, *kinds: Any) -> tuple[Decision, ...]:
        return ledger_of(load_pipeline(self.folder)).decisions("calls", kinds=kinds)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    folder = tmp_path_factory.mktemp("calls")
    for number in range(8):
        week(folder, number)
    (folder / "keepfit.yaml").write_text(_PIPELINE)
    trained = keepfit("run", folder, "--json")
    assert trained.status == 0, trained.err
    return Watched(folder)


def test_an_ordinary_week_is_no_alarm(watched: Watched) -> None:
    week(watched.folder, 8)
    ran = keepfit("monitor", watched.folder, "--json", "--check")

    assert ran.status == 0, ran.err
    answer = ran.answer
    assert answer["window"] == {
        "start": "2026-03-02T00:00:00+00:00",
        "end": "2026-03-09T00:00:00+00:00",
        "rows": 700,
    }
    assert answer["alarm"] is False
    assert {c["column"] for c in answer["columns"]} >= {"wait", "line"}
    assert not any(c["column"] in {"answered", "at", "call"} for c in answer["columns"])
    assert answer["performance"]["labelled"] == 700
    assert answer["performance"]["realised"]["value"] > 0.85
    assert answer["performance"]["estimated"]["value"] > 0.85
    assert Path(answer["report"]).exists()
    assert answer["evidently"] == ""
    assert len(watched.decisions("monitored")) == 1


def test_looked_at_again_nothing_is_recorded_twice(watched: Watched) -> None:
    again = keepfit("monitor", watched.folder, "--json")

    assert again.status == 0, again.err
    assert len(watched.decisions("monitored")) == 1


def test_drift_is_an_alarm_that_asks_for_a_training(watched: Watched) -> None:
    week(watched.folder, 9, new=True)
    ran = keepfit("monitor", watched.folder, "--json", "--check")

    assert ran.status == 4, ran.err
    answer = ran.answer
    assert answer["alarm"] is True
    assert any("wait" in reason for reason in answer["reasons"])
    drifted = {c["column"] for c in answer["columns"] if c["drifted"]}
    assert "wait" in drifted
    assert "line" not in drifted
    assert Path(answer["evidently"]).exists()
    assert answer["decision"]["retrain"] is True
    (alarm,) = watched.decisions("alarmed")
    assert alarm.correlation == answer["correlation"]
    assert alarm.evidence["retrain"] is True


def test_an_earlier_window_can_be_asked_for(watched: Watched) -> None:
    ran = keepfit("monitor", watched.folder, "--window", "2026-03-02..2026-03-09", "--json")

    assert ran.answer["window"]["rows"] == 700
    assert ran.answer["alarm"] is False
    assert "prediction" in {c["role"] for c in ran.answer["columns"]}


def test_predictions_of_rows_that_the_champion_learned_from_are_no_drift(watched: Watched) -> None:
    ran = keepfit("monitor", watched.folder, "--window", "2026-02-23..2026-03-02", "--json")

    assert ran.answer["alarm"] is False
    assert {c["role"] for c in ran.answer["columns"]} == {"feature"}


def test_windows_of_the_past_can_be_filled_in(watched: Watched) -> None:
    span = ("--window", "2026-02-24..2026-03-09", "--every", "4d")
    ran = keepfit("monitor", watched.folder, *span, "--json")

    assert ran.status == 0, ran.err
    starts = [one["start"][:10] for one in ran.answer["windows"]]
    assert starts == ["2026-02-24", "2026-02-28", "2026-03-04"]
    assert len(watched.decisions("alarmed")) == 1


def test_a_window_without_rows_is_not_enough_data(watched: Watched) -> None:
    ran = keepfit("monitor", watched.folder, "--window", "2030-01-01..2030-01-08", "--json")

    assert ran.status == 0, ran.err
    assert ran.answer["window"]["rows"] == 0
    assert ran.answer["enough"] is False
    assert "not enough data" in ran.answer["sentence"].lower()


def test_a_window_that_is_none_is_a_usage_error(watched: Watched) -> None:
    ran = keepfit("monitor", watched.folder, "--window", "2026-03-09..2026-03-02", "--json")

    assert ran.status == 2
    assert "2026-03-09" in ran.answer["error"]["message"]


def test_a_training_then_puts_the_new_champion_on_probation(watched: Watched) -> None:
    for number in (10, 11, 12):
        week(watched.folder, number, new=True)
    trained = keepfit("run", watched.folder, "--json")

    assert trained.status == 0, trained.err
    assert trained.answer["verdict"]["promoted"] is True, trained.answer["verdict"]["sentence"]
    assert trained.answer["model"]["version"] == "2"
    assert [d.kind for d in watched.decisions("trained", "promoted")].count("promoted") == 2


def test_a_champion_that_turns_out_worse_is_rolled_back(watched: Watched) -> None:
    # What the new champion learned of is over: the former one knows these weeks better.
    week(watched.folder, 13)
    ran = keepfit("monitor", watched.folder, "--json")

    assert ran.status == 0, ran.err
    (moved,) = watched.decisions("rolled_back", "confirmed")
    assert moved.kind == "rolled_back", moved.sentence
    assert moved.version == "1"
    assert ran.answer["moved"] == moved.sentence
    # The same pass measures what retraining would bring to the version that came back.
    newest = watched.decisions("monitored")[0]
    gain = newest.read(Gain, "gain")
    assert (newest.version, newest.window) == ("1", moved.window)
    assert gain is not None
    assert gain.version == "1"
    assert gain.gain is not None


def test_the_chain_names_every_link(watched: Watched) -> None:
    ran = keepfit("why", "2", watched.folder, "--json")

    assert ran.status == 0, ran.err
    whats = [step["what"] for step in ran.answer["steps"]]
    assert {"gate", "promoted"} <= set(whats)


def test_rollback_and_promote_by_hand_are_recorded(watched: Watched) -> None:
    before = watched.decisions("promoted", "rolled_back")[0].version
    other = "1" if before == "2" else "2"
    promoted = keepfit("promote", other, watched.folder, "--json")
    back = keepfit("rollback", watched.folder, "--json")

    assert promoted.status == 0, promoted.err
    assert promoted.answer["evidence"] == {"former": before, "by": "hand"}
    assert back.status == 0, back.err
    assert back.answer["kind"] == "rolled_back"
    assert back.answer["version"] == before
    missing = keepfit("promote", "99", watched.folder, "--json")
    assert missing.status == 1
    assert "99" in missing.answer["error"]["message"]


def test_a_broken_window_is_stopped_and_recorded(watched: Watched) -> None:
    week(watched.folder, 14, line=None)
    ran = keepfit("monitor", watched.folder, "--json")

    assert ran.status == 3
    assert "line" in ran.answer["error"]["message"]
    (stop,) = watched.decisions("stopped")
    assert any("line" in rule for rule in stop.evidence["rules"])
    assert str(stop.window) == "2026-04-13..2026-04-20"
    delivery = watched.folder / "data" / "14.parquet"
    scored = keepfit("score", watched.folder, "--input", delivery, "--json")
    assert scored.status == 3


def test_before_any_champion_there_is_nothing_to_monitor(tmp_path: Path) -> None:
    week(tmp_path, 0)
    (tmp_path / "keepfit.yaml").write_text(_PIPELINE)
    ran = keepfit("monitor", tmp_path, "--json")

    assert ran.status == 2
    assert "keepfit run" in ran.answer["error"]["remedy"]


def test_a_column_that_is_new_in_the_windows_is_named_and_no_alarm(watched: Watched) -> None:
    for number in (15, 16):
        week(watched.folder, number, tariff=[f"t{n % 3}" for n in range(700)])
    ran = keepfit("monitor", watched.folder, "--json")

    assert ran.status == 0, ran.err
    assert [one["start"][:10] for one in ran.answer["windows"]][-2:] == ["2026-04-20", "2026-04-27"]
    assert ran.answer["windows"][-1]["drifted"] == []
    assert ran.answer["waiting"] == 0
    (found,) = (c for c in ran.answer["columns"] if c["role"] == "new")
    assert found["column"] == "tariff"
    assert found["notes"] == ["new: the model does not use it"]
    assert not found["drifted"]


def test_a_week_that_was_only_answered_over_http_raises_the_alarm(watched: Watched) -> None:
    pipeline = load_pipeline(watched.folder)
    model = ServedModel.load(opened(pipeline), champion_of(opened(pipeline)))
    announce(pipeline, model)
    rows = calls(17, new=True)
    rows["at"] = rows["at"].astype(str)
    given = model.read_records(rows.drop(columns="answered").to_dict("records"))
    spool = Spool(spool_folder(pipeline))
    spool.write([record_of(model, model.answer(given), "q")])
    spool.close()
    assert deliver(opened(pipeline)).new == 700

    ran = keepfit("monitor", watched.folder, "--json", "--check")

    assert ran.status == 4, ran.err
    assert ran.answer["window"] == {
        "start": "2026-05-04T00:00:00+00:00", "end": "2026-05-11T00:00:00+00:00", "rows": 700,
    }  # fmt: skip
    assert "wait" in {c["column"] for c in ran.answer["columns"] if c["drifted"]}
