from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tasks.base.monitoring_records import Decision, Window
from tasks.monitoring.windows.window_grid import Backlog, backlog_of, looked_at, watched_since

START = datetime(2026, 1, 5, tzinfo=UTC)
WEEK = timedelta(days=7)


def week(number: int) -> Window:
    return Window(start=START + number * WEEK, end=START + (number + 1) * WEEK)


def weeks(windows: Sequence[Window]) -> list[int]:
    return [(w.start - START) // WEEK for w in windows]


def pass_over(
    newest: int,
    seen: Sequence[int] = (),
    *,
    since: datetime | None = START,
    most: int = 12,
    recent: int = 3,
    empty: Sequence[int] = (),
) -> Backlog:
    return backlog_of(
        week(newest),
        {week(n) for n in seen},
        since,
        most=most,
        recent=recent,
        occupied=lambda windows: [n not in empty for n in weeks(windows)],
    )


def looked(window: Window, kind: str = "monitored", **evidence: object) -> Decision:
    return Decision.model_validate(
        {"id": f"{window} {kind}", "pipeline": "p", "kind": kind, "at": window.end,
         "correlation": "c", "sentence": "", "window": window, "evidence": evidence}
    )  # fmt: skip


def test_every_window_that_has_come_since_is_looked_at_the_newest_last() -> None:
    assert weeks(pass_over(4, [0]).windows) == [1, 2, 3, 4]


def test_the_newest_window_is_looked_at_again_where_nothing_has_come() -> None:
    assert weeks(pass_over(4, range(5)).windows) == [4]


def test_a_window_that_an_earlier_pass_left_out_is_taken_up() -> None:
    assert weeks(pass_over(4, [0, 1, 3, 4]).windows) == [2, 4]


def test_windows_that_the_training_saw_are_not_due() -> None:
    assert weeks(pass_over(4, since=START + 3 * WEEK).windows) == [3, 4]
    assert weeks(pass_over(4, since=START + 9 * WEEK).windows) == [4]


def test_a_long_backlog_keeps_the_newest_windows_together_and_takes_the_oldest_of_the_rest() -> (
    None
):
    found = pass_over(30, most=6, recent=3)

    assert weeks(found.windows) == [0, 1, 2, 28, 29, 30]
    assert found.waiting == 25


def test_a_pass_of_one_window_looks_at_the_newest() -> None:
    found = pass_over(9, most=1)

    assert (weeks(found.windows), found.waiting) == ([9], 9)


def test_windows_without_rows_are_passed_over_and_counted() -> None:
    found = pass_over(8, empty=[2, 3, 4])

    assert weeks(found.windows) == [0, 1, 5, 6, 7, 8]
    assert found.empty == 3


def test_without_a_time_of_training_the_windows_after_the_last_one_are_due() -> None:
    assert weeks(pass_over(5, [1, 2], since=None).windows) == [3, 4, 5]
    assert weeks(pass_over(5, since=None).windows) == [5]


def test_a_day_within_a_week_that_was_looked_at_is_not_due() -> None:
    days = Window(start=START + 2 * WEEK, end=START + 2 * WEEK + timedelta(days=1))
    found = backlog_of(
        days, {week(1)}, START + WEEK, most=12, recent=3, occupied=lambda w: [True] * len(w)
    )

    assert found.windows == (days,)


@given(
    arrivals=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    most=st.integers(2, 7),
    recent=st.integers(1, 5),
    kills=st.lists(st.integers(1, 7), max_size=12),
)
def test_passes_that_are_killed_anywhere_leave_no_window_out_and_take_none_twice(
    arrivals: list[int], most: int, recent: int, kills: list[int]
) -> None:
    newest, seen, endings = 0, [], [*kills, *([most] * 200)]
    for arrived, cut in zip([*arrivals, *([0] * 200)], endings, strict=False):
        newest += arrived
        found = weeks(pass_over(newest, seen, most=most, recent=recent).windows)
        assert found == sorted(set(found))
        assert len(found) <= most
        assert found[-1] == newest
        assert not set(found[:-1]) & set(seen)
        seen += [n for n in found[:cut] if n not in seen]

    assert sorted(seen) == list(range(newest + 1))


def test_a_stop_of_the_window_counts_as_a_look_and_a_stop_of_a_training_does_not() -> None:
    decisions = [
        looked(week(1)),
        looked(week(2), "stopped", flow="monitoring"),
        looked(week(3), "stopped", flow="training"),
    ]

    assert looked_at(decisions, "") == {week(1), week(2)}


def test_a_window_that_broke_a_contract_is_due_again_under_another_one() -> None:
    stop = looked(week(2), "stopped", flow="monitoring")
    stop = stop.model_copy(update={"contract_digest": "old"})

    assert looked_at([stop], "old") == {week(2)}
    assert looked_at([stop], "new") == set()


def test_windows_whose_records_have_been_removed_are_not_due_again() -> None:
    remembered = [looked(week(9)), looked(week(8)), looked(week(2), asked=True)]

    assert watched_since(remembered, START) == week(8).start
    assert watched_since(remembered[2:], START) == START
    assert watched_since([], None) is None


def test_weeks_within_a_month_that_was_looked_at_are_not_due_though_one_was_looked_at_alone() -> (
    None
):
    month = Window(start=week(0).start, end=week(3).end)
    seen = {month, week(1), week(5)}
    found = backlog_of(
        week(6), seen, START, most=9, recent=3, occupied=lambda windows: [True] * len(windows)
    )

    assert weeks(found.windows) == [4, 6]
