from __future__ import annotations

from datetime import timedelta

from tasks.base.monitoring_records import Decision
from tasks.dashboard.charts import NARROW, WIDE, said, story
from tasks.history.series import marks, moving_columns, points
from tests.histories import START, WEEK, demand, flights


def test_windows_stand_in_the_order_of_their_time_stops_among_them() -> None:
    found = points(reversed(flights()))

    assert [p.starts for p in found] == sorted(p.starts for p in found)
    assert len(found) == 20
    assert [k for k, p in enumerate(found) if p.stopped] == [10]


def test_what_was_said_of_a_window_last_counts() -> None:
    found = points(flights())

    first = found[0].performance
    assert first is not None
    assert first.mature
    assert first.realised is not None
    last = found[-1].performance
    assert last is not None
    assert not last.mature


def test_a_window_looked_at_again_is_one_window() -> None:
    decisions = flights()
    looked = next(d for d in decisions if d.kind == "monitored")
    again = looked.model_copy(
        update={"id": "again", "at": looked.at + timedelta(days=400), "evidence": {"rows": 7}}
    )

    found = points([*decisions, again])

    assert len(found) == 20
    assert (found[0].decision, found[0].rows) == ("again", 7)


def stop(of: Decision, flow: str, days: int) -> Decision:
    """Return a stop of `flow` after `of`, about the same window."""
    at = of.at + timedelta(days=days)
    evidence = {"flow": flow, "rules": ["age is absent"]}
    return of.model_copy(
        update={"id": f"{flow}{days}", "kind": "stopped", "at": at, "evidence": evidence}
    )


def test_a_training_that_was_stopped_is_about_no_window() -> None:
    decisions = flights()
    looked = next(d for d in decisions if d.kind == "monitored")

    found = points([*decisions, stop(looked, "training", 1)])

    assert len(found) == 20
    assert not found[0].stopped


def test_a_window_that_was_judged_and_then_stopped_is_shown_as_both() -> None:
    decisions = flights()
    looked = next(d for d in decisions if d.kind == "monitored")

    found = points([*decisions, stop(looked, "monitoring", 1), stop(looked, "monitoring", 2)])

    assert [p.stopped for p in found[:3]] == [False, True, False]
    assert len(found) == 21


def test_a_stop_is_over_once_the_window_is_judged() -> None:
    decisions = flights()
    looked = next(d for d in decisions if d.kind == "monitored")
    earlier = stop(looked, "monitoring", -1)

    assert len(points([*decisions, earlier])) == 20


def test_versions_change_where_the_alias_moved() -> None:
    decisions = flights()

    found = marks(points(decisions), decisions)

    assert [(m.place, m.version, m.back) for m in found] == [
        (0, "1", False),
        (7, "2", False),
        (15, "4", False),
        (16, "2", True),
    ]


def test_the_columns_that_drifted_most_come_first() -> None:
    assert set(moving_columns(points(flights()), 3)) == {"temp", "dep_hour", "carrier"}
    assert moving_columns((), 3) == ()


def test_a_picture_draws_each_window_and_says_its_numbers() -> None:
    decisions = flights()
    found = points(decisions)
    changed = marks(found, decisions)

    wide = story(found, changed, WIDE, lambda p: f"{p.version}.html")

    assert wide.count("<title>") == 20
    assert wide.count('href="2.html"') == 12
    assert wide.count('class="stopped"') == 1
    assert wide.count('class="unjudged"') == 1
    assert wide.count('class="bar above"') == sum(
        bool(p.drift and p.drift.alarm and p.ratio) for p in found
    )
    assert "stopped: its rows broke the contract" in said(found[10])
    assert "drift: not enough data" in said(found[11])


def test_a_picture_of_more_windows_than_it_holds_shows_the_newest() -> None:
    decisions = demand()
    found = points(decisions)
    many = tuple(p.model_copy(update={"at": START + k * WEEK}) for k, p in enumerate(found * 10))

    drawn = story(many, marks(many, decisions), NARROW, lambda _: None)

    assert drawn.count("<title>") == NARROW.windows


def test_pictures_of_nothing_of_one_window_and_of_windows_without_numbers_are_drawn() -> None:
    found = points(flights())
    bare = found[0].model_copy(update={"drift": None, "performance": None, "window": None})

    for shown in ((), found[:1], (bare,), (bare, *found[10:12])):
        for layout in (WIDE, NARROW):
            assert story(shown, (), layout, lambda _: None).startswith("<svg")
