"""A replay decides as production would have, on what was known then."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.backtest.comparison import Comparison
from tasks.backtest.moves.probation import promotion, trial_of
from tasks.backtest.moves.promotion import first_champion, measured_gain
from tasks.backtest.observation import Champion
from tasks.backtest.policies import policies_of
from tasks.base.settings.monitoring import PolicyConfig, SchedulesConfig
from tests.unit.backtest.replays import (
    START,
    WEEK,
    config_of,
    decisions,
    history_of,
    labels_changed,
    played,
    replay_of,
    table,
    without,
)


@settings(max_examples=3, deadline=None)
@given(
    until=st.integers(1, 6),
    delay=st.sampled_from([timedelta(0), timedelta(days=3), timedelta(days=10)]),
    seed=st.integers(0, 3),
)
def test_no_decision_depends_on_a_row_or_a_label_known_only_later(
    until: int, delay: timedelta, seed: int
) -> None:
    frame, config = table(10, 40, seed=seed, change=5), config_of()
    history = history_of(frame, delay=delay)
    now = history.windows[until - 1].end
    rows_changed = without(frame, now, seed=seed)
    both_changed = labels_changed(rows_changed, now - delay, seed=seed + 1)
    with tempfile.TemporaryDirectory() as folder:
        told = played(replay_of(history, config, Path(folder, "a")), until=until)
        other = history_of(both_changed, delay=delay)
        again = played(replay_of(other, config, Path(folder, "b")), until=until)

    assert [decisions(state) for state in told] == [decisions(state) for state in again]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """Return all policies over twelve weeks, of which the last six are another world."""
    replay = replay_of(history_of(table()), config_of(), tmp_path_factory.mktemp("replay"))
    return Comparison(replay, played(replay))


def test_training_every_window_beats_never_training_where_the_world_changed(
    compared: Comparison,
) -> None:
    results = {r.policy: r for r in compared.results()}

    assert results["every_window"].loss < results["never"].loss
    assert results["every_window"].captured == 1.0
    assert results["never"].captured == 0.0
    assert (results["never"].trainings, results["never"].refits) == (0, 0)
    assert results["every_window"].trainings == len(results["never"].windows) - 1


def test_no_policy_without_a_gate_beats_hindsight(compared: Comparison) -> None:
    results = {r.policy: r for r in compared.results()}

    assert results["hindsight"].loss <= min(
        r.loss for r in results.values() if r.policy != "hindsight"
    ) * (1 + 1e-9)


def test_measured_gain_refits_soon_after_the_change_and_its_alarm_paid(
    compared: Comparison,
) -> None:
    gain = next(r for r in compared.results() if r.policy == "gain")

    assert gain.captured is not None
    assert gain.captured > 0.3
    assert gain.refits >= 1
    assert gain.alarms_paid >= 1


def test_no_fit_is_made_twice_for_several_policies(compared: Comparison) -> None:
    spans = [(fit.first, fit.last) for fit in compared.replay.fits.made]

    assert len(spans) == len(set(spans))
    assert len(spans) < sum(r.fitted for r in compared.results())


def test_fits_made_ahead_side_by_side_decide_the_same_and_leave_rows_to_score(
    tmp_path: Path,
) -> None:
    history = history_of(table(8))
    one_by_one = played(replay_of(history, config_of(), tmp_path / "a"))
    ahead = played(replay_of(history, config_of(), tmp_path / "b", side_by_side=4))

    assert [decisions(s) for s in ahead] == [decisions(s) for s in one_by_one]
    made = [json.loads(path.read_text()) for path in tmp_path.glob("b/fits/*/fit.json")]
    assert max(fit["last"] for fit in made) < history.rows


def test_labels_that_come_late_are_learned_late(tmp_path: Path) -> None:
    history = history_of(table(), delay=2 * WEEK)
    states = played(replay_of(history, config_of(), tmp_path))

    every = next(s for s in states if s.policy.name == "every_window")
    for window, champion in enumerate(every.served):
        newest = history.moment(champion.model.last - 1)
        assert newest + 2 * WEEK < history.windows[window].start


def test_where_labels_come_late_a_new_champion_is_measured_on_windows_of_the_former(
    tmp_path: Path,
) -> None:
    history, config = history_of(table(), delay=2 * WEEK), config_of()
    fits = replay_of(history, config, tmp_path).fits
    model = fits.of(*history.trained(history.windows[4].end, 3 * WEEK))
    champion = Champion(model=model, since=5)

    found = measured_gain(history, config, fits, champion, 5, 3 * WEEK, ())

    assert found is not None
    assert found.gain is not None
    assert found.windows == (history.windows[3],)


def test_refits_replaced_before_their_labels_came_go_back_to_whom_they_replaced(
    tmp_path: Path,
) -> None:
    # The world is another one in the fifth week only; with labels two weeks late refits learn it.
    frame = table(9, 200, change=3)
    back = (frame["t"] >= (START + 5 * WEEK).timestamp() * 1e6).to_numpy()
    frame.loc[back, "y"] += 6 * frame.loc[back, "a"]
    history, config = history_of(frame, delay=2 * WEEK), config_of()
    replay = replay_of(history, config, tmp_path)
    first = first_champion(history, config, replay.fits)
    bad = [
        Champion(model=replay.fits.of(history.place(START + 3 * WEEK), history.place(t)), since=n)
        for n, t in ((3, START + 4 * WEEK), (4, START + 5 * WEEK))
    ]
    moves = (promotion(bad[1], bad[0], refit=True), promotion(bad[0], first, refit=True))
    given = history, config, replay.monitor
    served = (first, first, first, bad[0], bad[1])

    assert trial_of(*given, served, moves) is None
    ended = trial_of(*given, (*served, bad[1]), moves)

    assert ended is not None
    assert ended.move.kind == "rolled_back"
    assert ended.champion.model == first.model
    assert ended.champion.since == 5


def test_what_retraining_would_bring_is_measured_of_a_version_as_soon_as_it_comes_back(
    tmp_path: Path,
) -> None:
    # The world changes in the sixth week; what was learned of the fifth is worse still.
    frame = table(9, 200, change=5)
    fifth = (frame["t"] / 1e6 - START.timestamp()) // WEEK.total_seconds() == 4
    frame.loc[fifth, "y"] += 6 * frame.loc[fifth, "a"]
    history, config = history_of(frame), config_of()
    replay = replay_of(history, config, tmp_path)
    state = next(s for s in played(replay, until=0) if s.policy.own)
    first, rows = state.champion, (START + 4 * WEEK, START + 5 * WEEK)
    bad = Champion(model=replay.fits.of(*map(history.place, rows)), since=2)
    state = dataclasses.replace(
        state, champion=bad, served=(first, first), moves=(promotion(bad, first, refit=True),)
    )

    after = replay._after(state, 2)

    assert after.moves[-2].kind == "rolled_back"
    (gain,) = after.gains
    assert gain.version == first.version
    assert gain.windows[-1] == history.windows[2]
    assert after.flags[-1].gain == gain


def test_the_files_calendar_of_refits_is_replayed(tmp_path: Path) -> None:
    schedules = SchedulesConfig(refit="0 3 * * 1")
    config = config_of().model_copy(
        update={"schedules": schedules, "policy": PolicyConfig(retrain_on=("schedule",))}
    )
    states = played(replay_of(history_of(table()), config, tmp_path))

    (own,) = [s for s in states if s.policy.own]
    trained = [e for e in own.events if e.action]
    assert {e.action for e in trained} == {"refit"}
    assert {e.reason for e in trained} == {"the refit calendar"}


def test_a_replay_that_was_stopped_goes_on_with_the_fits_that_it_has(tmp_path: Path) -> None:
    history = history_of(table(8))
    whole = played(replay_of(history, config_of(), tmp_path))
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}

    again = played(replay_of(history, config_of(), tmp_path))

    assert [decisions(s) for s in again] == [decisions(s) for s in whole]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")} == kept


@pytest.mark.parametrize("what", ["fit", "drift-*", "performance-*"])
def test_what_a_replay_kept_is_not_taken_for_another(tmp_path: Path, what: str) -> None:
    history = history_of(table(8))
    whole = played(replay_of(history, config_of(), tmp_path))
    one, other = sorted(tmp_path.rglob(f"{what}.json"))[:2]
    if what == "fit":
        shutil.copytree(one.parent, other.parent, dirs_exist_ok=True)
    else:
        for suffix in ("", ".sha256"):
            shutil.copy(f"{one}{suffix}", f"{other}{suffix}")

    again = played(replay_of(history, config_of(), tmp_path))

    assert [decisions(s) for s in again] == [decisions(s) for s in whole]
    assert other.read_bytes() != one.read_bytes()


def test_rows_at_the_time_of_the_newest_that_a_training_saw_are_not_new(tmp_path: Path) -> None:
    frame, first, week = table(8), int(START.timestamp() * 1e6), int(WEEK.total_seconds() * 1e6)
    # Every row of a week has one time, as those of a weekly delivery.
    frame["t"] = (frame["t"] - first) // week * week + first
    replay = replay_of(history_of(frame), config_of(), tmp_path)
    state = played(replay, until=0)[0]
    rule = PolicyConfig(min_new_rows=1_000)
    waiting = dataclasses.replace(state, policy=state.policy.model_copy(update={"rule": rule}))

    answer = replay._asked(waiting, 0, "schedule", handled=False)

    start, end = replay.history.bounds(0)
    assert f"{end - start} new rows" in answer.sentence


def test_a_window_without_a_loss_has_none_and_can_be_written_as_json(tmp_path: Path) -> None:
    frame, fixed = table(8), ("never", "every_window")
    frame.loc[frame.index[-60:], "y"] = float("nan")
    replay = replay_of(history_of(frame), config_of(), tmp_path)
    policies = tuple(p for p in policies_of(config_of(), 5, 3 * WEEK) if p.name in fixed)

    found = Comparison(replay, played(replay, policies)).results()

    assert all(result.windows[-1].loss is None for result in found)
    json.dumps([result.model_dump(mode="json") for result in found], allow_nan=False)


@pytest.mark.parametrize(("timezone", "falls"), [("UTC", True), ("America/New_York", False)])
def test_the_calendar_falls_in_the_file_s_time_zone(
    tmp_path: Path, timezone: str, falls: bool
) -> None:
    schedules = SchedulesConfig(training="0 0 2 * *", timezone=timezone)
    config = config_of().model_copy(update={"schedules": schedules})
    replay = replay_of(history_of(table(6)), config, tmp_path)

    assert replay.history.windows[0].end == datetime(2026, 2, 2, tzinfo=UTC)
    assert replay._falls("0 0 2 * *", 0) is falls
