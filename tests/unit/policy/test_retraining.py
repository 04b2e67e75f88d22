from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.base.monitoring_records import Gain, PolicyDecision, Window, WindowFlag
from tasks.base.settings.monitoring import PolicyConfig
from tasks.policy.retraining import decide

NOW = datetime(2026, 3, 1, 10, tzinfo=UTC)
WEEK = timedelta(days=7)


def flags(letters: str, newest_end: datetime = NOW) -> list[WindowFlag]:
    """Return weekly windows: d drifted, w worse, b both, x too few rows but drifted, . nothing."""
    count = len(letters)
    return [
        WindowFlag(
            window=Window(
                start=newest_end - (count - i) * WEEK, end=newest_end - (count - i - 1) * WEEK
            ),
            drifted=letter in "dbx",
            worse=letter in "wb",
            enough=letter != "x",
        )
        for i, letter in enumerate(letters)
    ]


def decided(windows: Sequence[WindowFlag] | str = "ddd", **changes: Any) -> PolicyDecision:
    config = PolicyConfig(**changes.pop("config", {}))
    given: dict[str, Any] = {
        "cause": "alarm",
        "now": NOW,
        "windows": flags(windows) if isinstance(windows, str) else windows,
        "last_training": None,
        "new_rows": None,
        "handled": False,
        **changes,
    }
    return decide(config, **given)


@pytest.mark.parametrize(
    ("letters", "trains", "withheld"),
    [
        ("", False, "not asked"),
        ("...", False, "not asked"),
        ("..d", False, "persistence"),
        ("d..", False, "persistence"),
        ("d.d", True, ""),
        ("d.w", True, ""),
        ("dd", True, ""),
        ("..b", False, "persistence"),
        ("dd..", False, "persistence"),
        ("ddd...", False, "not asked"),
        ("d..d", False, "persistence"),
        ("xxx", False, "not asked"),
        ("dx.", False, "persistence"),
        ("dxd", True, ""),
        ("dxxd", False, "persistence"),
    ],
)
def test_so_many_of_the_last_windows_must_call_for_it(
    letters: str, trains: bool, withheld: str
) -> None:
    decision = decided(letters)
    assert (decision.retrain, decision.withheld) == (trains, withheld)


def gained(letters: str, judged: int, value: float, low: float, high: float) -> list[WindowFlag]:
    """Return windows with the gain of the `judged` oldest, which the refreshed model knew."""
    made = flags(letters)
    known = [w.window for w in made[:judged] if w.window]
    gain = Gain(
        version="1", metric="roc_auc", gain=value, low=low, high=high, matters=0.008, rows=5402,
        windows=tuple(known), boundary=known[-1].end,
    )  # fmt: skip
    return [w.model_copy(update={"gain": gain}) if n < judged else w for n, w in enumerate(made)]


def test_a_gain_trains_at_once_and_says_so_first() -> None:
    decision = decided(gained("...", 2, 0.04, 0.03, 0.05))
    assert (decision.retrain, decision.by, decision.weighed) == (True, ("gain",), "pays")
    assert "retraining would bring 0.040 (0.030 to 0.050) ROC AUC" in decision.sentence
    both = decided(gained("dd.", 3, 0.04, 0.03, 0.05))
    assert both.by == ("gain", "drift")


def costed(gain: dict[str, Any], training: float, letters: str = "...") -> PolicyDecision:
    """Decide where a row's unit of loss costs 0.5 and 1,000 rows come until the next look."""
    windows = [
        w.model_copy(update={"gain": w.gain and w.gain.model_copy(update=gain)})
        for w in gained(letters, 3, 0.04, 0.03, 0.05)
    ]
    return decided(windows, config={"cost": {"training": training, "unit_loss": 0.5}})


@pytest.mark.parametrize(
    ("gain", "training", "weighed", "worth"),
    [
        ({}, 15.0, "pays", "saves 19.5 on 1,000 rows until the next look; a training costs 15"),
        ({}, 24_000.0, "none", "which saves at most 25.0 on 1,000 rows"),
        ({"gain": 0.0, "low": -0.01, "high": 0.02, "expected": 0.06}, 20.0, "ages", "saves 30.0"),
        ({"low": -0.04, "high": 0.05, "mean": 0.05, "evidence": 9.0}, 20.0, "steady", "saves 25.0"),
    ],
)
def test_with_a_cost_the_reason_is_what_the_gain_that_decides_saves(
    gain: dict[str, float], training: float, weighed: str, worth: str
) -> None:
    decision = costed({"rows_expected": 1_000, **gain}, training)
    assert (decision.retrain, decision.weighed) == (weighed != "none", weighed)
    assert worth in decision.sentence
    assert f"a training costs {training:,.0f}" in decision.sentence


def test_drift_beside_a_gain_that_is_not_worth_its_cost_is_answered_in_money() -> None:
    decision = costed({"rows_expected": 1_000}, 500.0, "ddd")
    assert (decision.retrain, decision.withheld) == (False, "no gain")
    assert "would have helped too little" in decision.sentence
    assert "saves at most 25.0" in decision.sentence


def test_a_gain_waits_for_the_cooldown() -> None:
    decision = decided(gained("...", 3, 0.04, 0.03, 0.05), last_training=NOW - timedelta(days=2))
    assert (decision.withheld, decision.by, decision.weighed) == ("cooldown", ("gain",), "pays")


@pytest.mark.parametrize("letters", ["ddd", "www", "bb."])
def test_windows_that_a_refreshed_model_learned_from_without_gain_train_nothing(
    letters: str,
) -> None:
    decision = decided(gained(letters, 3, -0.002, -0.01, 0.006))
    assert (decision.retrain, decision.withheld, decision.weighed) == (False, "no gain", "none")
    assert "retraining would not have helped" in decision.sentence


def test_drift_of_windows_that_it_did_not_know_trains_whatever_older_ones_say() -> None:
    assert decided(gained("...dd", 3, -0.002, -0.01, 0.006)).retrain
    one = decided(gained("ddd.d", 3, -0.002, -0.01, 0.006))
    assert (one.retrain, one.withheld) == (False, "no gain")


def test_drift_decides_where_the_gain_is_open() -> None:
    decision = decided(gained("dd.", 3, 0.005, -0.002, 0.012))
    assert (decision.retrain, decision.by, decision.weighed) == (True, ("drift",), "unclear")
    assert not decided(gained("...", 3, 0.005, -0.002, 0.012)).retrain


def test_a_gain_is_read_only_where_it_is_named() -> None:
    before = {"retrain_on": ("schedule", "drift", "performance")}
    assert decided(gained("ddd", 3, -0.002, -0.01, 0.006), config=before).retrain
    quiet = decided(gained("...", 3, 0.04, 0.03, 0.05), config=before)
    assert (quiet.retrain, quiet.gain) == (False, None)


def test_a_gain_of_windows_that_the_last_training_saw_is_answered() -> None:
    windows = gained("...", 2, 0.04, 0.03, 0.05)
    assert not decided(windows, answered_until=NOW - WEEK).retrain
    seen = [w.model_copy(update={"gain": w.gain and w.gain.model_copy(update={"newest": NOW})})
            for w in windows]  # fmt: skip
    assert decided(seen, answered_until=NOW - WEEK).retrain
    some_rows_are_newer = NOW - WEEK - timedelta(days=1)
    assert decided(windows, answered_until=some_rows_are_newer).retrain


def test_what_is_shown_and_not_named_is_no_contradiction() -> None:
    decision = decided("ddd", config={"retrain_on": ("performance",)})
    assert decision.withheld == "not asked"
    assert "drift is shown only" in decision.sentence
    assert "nothing in" not in decision.sentence


def test_a_training_says_what_moved() -> None:
    assert decided("d.d").sentence == "Trains: harmful drift in 2 of the last 3 windows."
    said = decided("dw.").sentence
    assert said == "Trains: harmful drift in 1 and worse performance in 1 of the last 3 windows."
    assert decided("d.d").reasons == ("harmful drift in 2 of the last 3 windows",)
    one = decided("b", config={"persistence": "1 of 1"})
    assert one.sentence == "Trains: harmful drift and worse performance in the last window."


@pytest.mark.parametrize(
    ("triggers", "letters", "withheld"),
    [
        (("drift",), "www", "not asked"),
        (("performance",), "ddd", "not asked"),
        (("performance",), "www", ""),
        (("performance",), "dbw", ""),
        (("drift",), "dbw", ""),
        (("schedule",), "bbb", "not asked"),
        ((), "bbb", "not asked"),
    ],
)
def test_only_the_triggers_that_are_named_count(
    triggers: tuple[str, ...], letters: str, withheld: str
) -> None:
    decision = decided(letters, config={"retrain_on": triggers})
    assert (decision.withheld, decision.retrain) == (withheld, not withheld)


def test_the_cooldown_ends_to_the_minute_and_says_when() -> None:
    last = NOW - timedelta(days=4)
    waiting = decided("ddd", last_training=last)
    assert waiting.withheld == "cooldown"
    assert waiting.sentence == "Waits: cooldown until 2026-03-04 10:00 UTC."
    assert waiting.reasons == ("harmful drift in 3 of the last 3 windows",)
    at_its_end = decided("ddd", last_training=NOW - WEEK, config={"persistence": "1 of 3"})
    assert at_its_end.retrain


def test_windows_that_the_last_training_saw_call_for_no_second_one() -> None:
    # Two weeks drifted and were answered; the week since then is clean.
    windows = flags("dd.")
    seen = NOW - WEEK - timedelta(minutes=5)
    decision = decided(windows, answered_until=seen)
    assert decision.withheld == "persistence"
    assert "covers the windows before; 0 since then, 2 of 3 required" in decision.sentence
    assert decided(windows).retrain
    assert decided(flags("ddd"), answered_until=NOW - 2 * WEEK).retrain
    assert decided(flags("ddd"), answered_until=seen).withheld == "persistence"


def test_rows_that_are_replayed_years_later_still_call_for_a_training() -> None:
    old = flags("dd", datetime(2013, 3, 1, tzinfo=UTC))
    decision = decided(
        old,
        last_training=NOW,
        config={"cooldown": "0d"},
        answered_until=datetime(2013, 2, 1, tzinfo=UTC),
    )
    assert decision.retrain


def test_without_windows_in_time_every_flag_counts() -> None:
    windows = [WindowFlag(window=None, drifted=True)] * 2
    assert decided(windows, answered_until=NOW).retrain


@pytest.mark.parametrize(
    ("changes", "withheld"),
    [
        ({"handled": True}, "duplicate"),
        ({"new_rows": 99}, "rows"),
        ({"new_rows": 100}, ""),
        ({"new_rows": None}, ""),
    ],
)
@pytest.mark.parametrize("cause", ["alarm", "schedule"])
def test_what_withholds_an_alarm_and_the_calendar(
    cause: str, changes: dict[str, Any], withheld: str
) -> None:
    decision = decided(cause=cause, config={"min_new_rows": 100}, **changes)
    assert (decision.withheld, decision.retrain) == (withheld, not withheld)


def test_the_calendar_is_not_held_back_by_the_cooldown() -> None:
    decision = decided("...", cause="schedule", last_training=NOW)
    assert decision.retrain
    assert decision.sentence == "Trains: the calendar."


def test_the_calendar_trains_only_where_the_policy_names_it() -> None:
    decision = decided(cause="schedule", config={"retrain_on": ("drift",)})
    assert decision.withheld == "not asked"


def test_by_hand_nothing_withholds() -> None:
    everything = {"handled": True, "new_rows": 0, "last_training": NOW}
    config = {"min_new_rows": 10, "retrain_on": ()}
    assert decided("...", cause="manual", config=config, **everything).retrain


def test_a_probe_never_trains() -> None:
    assert decided(cause="probe").withheld == "probe"


def test_a_naive_time_is_taken_as_utc_and_zones_do_not_matter() -> None:
    naive = decided("ddd", last_training=datetime(2026, 2, 25, 10))
    east = NOW.astimezone(timezone(timedelta(hours=9)))
    assert naive == decided("ddd", now=east, last_training=datetime(2026, 2, 25, 10, tzinfo=UTC))


moments = st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1), timezones=st.just(UTC))
letters = st.text("dwbx.", max_size=6)
configs = st.fixed_dictionaries(
    {
        "persistence": st.sampled_from(["1 of 1", "2 of 3", "3 of 3", "1 of 5"]),
        "cooldown": st.sampled_from(["0d", "1h", "7d", "30d"]),
        "min_new_rows": st.sampled_from([0, 100]),
        "retrain_on": st.sampled_from([("drift",), ("performance",), ("drift", "performance")]),
    }
)
asked = st.fixed_dictionaries(
    {
        "cause": st.sampled_from(["manual", "schedule", "alarm", "probe"]),
        "last_training": st.none() | moments,
        "new_rows": st.none() | st.integers(0, 200),
        "handled": st.booleans(),
        "answered_until": st.none() | moments,
    }
)


@given(letters=letters, config=configs, given_=asked)
def test_it_either_trains_with_a_reason_or_says_what_withholds(
    letters: str, config: dict[str, Any], given_: dict[str, Any]
) -> None:
    first = decided(letters, config=config, **given_)
    assert first == decided(letters, config=config, **given_)
    assert first.retrain == (first.withheld == "")
    assert first.sentence.endswith(".")
    assert bool(first.reasons) >= first.retrain


@given(letters=letters, config=configs, given_=asked, place=st.integers(0, 5))
def test_more_evidence_never_takes_a_training_back(
    letters: str, config: dict[str, Any], given_: dict[str, Any], place: int
) -> None:
    if decided(letters, config=config, **given_).retrain and place < len(letters):
        more = letters[:place] + "b" + letters[place + 1 :]
        assert decided(more, config=config, **given_).retrain


@given(letters=letters, config=configs, given_=asked, later=st.integers(0, 400))
def test_more_rows_and_more_time_never_take_a_training_back(
    letters: str, config: dict[str, Any], given_: dict[str, Any], later: int
) -> None:
    windows = flags(letters)
    believable = given_["last_training"] is None or given_["last_training"] <= NOW
    if believable and decided(windows, config=config, **given_).retrain:
        then = given_ | {"now": NOW + timedelta(hours=later), "new_rows": 10_000}
        assert decided(windows, config=config, **then).retrain


@given(ahead=st.integers(0, 100_000), config=configs)
def test_a_clock_that_was_set_back_never_blocks_for_ever(
    ahead: int, config: dict[str, Any]
) -> None:
    policy = PolicyConfig(**config)
    last = NOW + timedelta(hours=ahead)
    later = NOW + 2 * policy.cooldown
    windows = flags("bbbbbb", later + 10 * WEEK)
    first = decided(windows, config=config, last_training=last)
    assert first.withheld in ("", "cooldown")
    then = decided(windows, config=config, now=later, last_training=last)
    assert first.retrain or then.retrain


def test_worse_windows_count_however_late_their_labels_come() -> None:
    start = datetime(2026, 1, 5, tzinfo=UTC)
    weeks = [
        Window(start=start + timedelta(days=7 * n), end=start + timedelta(days=7 * n + 7))
        for n in range(8)
    ]
    flags = [WindowFlag(window=w, worse=n < 3, settled=n < 3) for n, w in enumerate(weeks)]
    asked: dict[str, Any] = {
        "cause": "alarm", "now": datetime(2026, 6, 1, tzinfo=UTC), "windows": flags,
        "last_training": None, "new_rows": None, "handled": False,
    }  # fmt: skip

    late = decide(PolicyConfig(persistence="2 of 3"), **asked)
    answered = decide(PolicyConfig(persistence="2 of 3"), **asked, answered_until=weeks[2].end)

    assert late.retrain
    assert not answered.retrain
