"""What answers an alarm: a refit first, a search where a refit did not help."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tasks.base.monitoring_records import CauseKind, Decision, Window, WindowFlag
from tasks.base.settings.monitoring import PolicyConfig
from tasks.policy.training_kind import LastTraining, choose_kind

SEEN = datetime(2026, 3, 9, tzinfo=UTC)
PROMOTED = LastTraining("refit", promoted=True, seen_until=SEEN)
SEARCHED = LastTraining("search", promoted=False, seen_until=SEEN)


def flag(days: int, *, worse: bool = True, enough: bool = True) -> WindowFlag:
    """Return a window of a week that starts so many days after the last training's newest row."""
    start = SEEN + timedelta(days=days)
    window = Window(start=start, end=start + timedelta(days=7))
    return WindowFlag(window=window, worse=worse, enough=enough)


def kind(cause: CauseKind = "alarm", *, refit: bool = False, **given: object) -> str:
    asked: dict[str, object] = {"last": None, "windows": (), **given}
    policy = asked.pop("policy", PolicyConfig())
    return choose_kind(policy, cause, refit=refit, **asked).kind  # type: ignore[arg-type]


def test_an_alarm_is_answered_by_a_refit() -> None:
    assert kind() == "refit"
    assert kind(last=SEARCHED, windows=(flag(0),)) == "refit"


@pytest.mark.parametrize("cause", ["schedule", "manual"])
def test_the_calendar_and_a_person_search(cause: CauseKind) -> None:
    assert kind(cause) == "search"
    assert kind(cause, refit=True) == "refit"


def test_a_refit_of_the_calendar_says_so() -> None:
    chosen = choose_kind(PolicyConfig(), "schedule", refit=True, last=None, windows=())
    assert chosen.reason == "the refit calendar"


def test_the_file_may_ask_for_a_search() -> None:
    assert kind(policy=PolicyConfig(answer="search")) == "search"


def test_a_refused_refit_is_followed_by_a_search() -> None:
    assert kind(last=LastTraining("refit", promoted=False)) == "search"


def test_a_gain_of_the_same_recipe_is_answered_by_a_refit_again() -> None:
    assert kind(last=LastTraining("refit", promoted=False), by=("gain",)) == "refit"
    assert kind(last=PROMOTED, windows=(flag(0),), by=("gain",)) == "search"


def test_a_refit_after_which_a_window_is_worse_is_followed_by_a_search() -> None:
    assert kind(last=PROMOTED, windows=(flag(0),)) == "search"
    assert kind(last=PROMOTED, windows=(flag(-1),)) == "search"


@pytest.mark.parametrize(
    "window", [flag(0, worse=False), flag(-7), flag(-4), flag(0, enough=False)]
)
def test_what_a_refit_has_seen_or_nobody_can_judge_does_not_ask_for_a_search(
    window: WindowFlag,
) -> None:
    assert kind(last=PROMOTED, windows=(window,)) == "refit"


def test_the_last_training_is_read_from_the_ledger() -> None:
    def trained(**evidence: object) -> Decision:
        return Decision.model_validate(
            {
                "id": "1", "pipeline": "p", "kind": "trained", "at": SEEN, "correlation": "c",
                "sentence": "", "evidence": evidence,
            }
        )  # fmt: skip

    done = {"verdict": {"promoted": True}, "seen_until": SEEN.isoformat()}
    monitored = trained().model_copy(update={"kind": "monitored"})

    assert LastTraining.of((monitored, trained(training="refit", **done))) == PROMOTED
    assert LastTraining.of((trained(**done),)) == LastTraining("search", True, SEEN)
    assert LastTraining.of((trained(),)) == LastTraining("search", promoted=False)
    assert LastTraining.of((monitored,)) is None
