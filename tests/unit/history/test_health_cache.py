from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.base.runtime.files import write_whole
from tasks.history import health_cache
from tasks.history import overview as overviews
from tasks.history.overview import PipelineHealth, overview
from tasks.ledger.ledger import ledger_of
from tasks.registry.alias.journal import Intent, close_journal, journal_file
from tests.histories import flights, pipeline

DECISIONS = tuple(d for d in flights() if d.kind != "scored")
NOW = DECISIONS[-2].at + timedelta(minutes=5)


@pytest.fixture
def made(tmp_path: Path) -> Pipeline:
    """Return a pipeline whose health was read once."""
    found = pipeline(tmp_path)
    for decision in DECISIONS[:-1]:
        assert ledger_of(found).record(decision)
    overview([found], now=NOW)
    return found


def _read(
    made: Pipeline, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> tuple[PipelineHealth, int]:
    """Return a health and how often it was made anew."""
    calls = []
    with monkeypatch.context() as patch:
        make = overviews._health_of
        patch.setattr(overviews, "_health_of", lambda *given: calls.append(1) or make(*given))
        (found,) = overview([made], now=NOW + timedelta(minutes=minutes))
    return found, len(calls)


def test_what_nothing_changed_is_read_as_it_would_be_made(
    made: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, times = _read(made, monkeypatch, minutes=10)
    (made.state / "dashboard" / ".health.json").write_text('{"flights": {"inputs": 3}}')
    anew, again = _read(made, monkeypatch, minutes=10)

    assert (times, again) == (0, 1)
    assert kept == anew
    assert kept.age_days is not None


def _restore(made: Pipeline) -> Pipeline:
    """Replace the newest decision by one of the same run, as after a restored backup."""
    former = DECISIONS[-2]
    with ledger_of(made).writing("test") as connection:
        connection.exec_driver_sql(f"DELETE FROM keepfit_decisions WHERE id = '{former.id}'")
    later = {"at": former.at + timedelta(minutes=1)}
    ledger_of(made).record(former.model_copy(update=later))
    return made


def _decide(made: Pipeline) -> Pipeline:
    ledger_of(made).record(DECISIONS[-1])
    return made


def _edit(made: Pipeline) -> Pipeline:
    return pipeline(made.base, more="policy: {probation: 0}\n")


def _move_by_hand(made: Pipeline) -> Pipeline:
    intent = Intent(name="flights", version="9", previous="2", written=NOW, by_hand=True)
    journal = journal_file(made.state / "promotions", "flights")
    write_whole(journal, intent.model_dump_json())
    close_journal(journal, intent)
    return made


def _train(made: Pipeline) -> Pipeline:
    write_whole(made.work / "trainings" / "a.json", "{}")
    return made


def _set_aside(made: Pipeline) -> Pipeline:
    write_whole(made.work / "quarantine" / "a.json", "{}")
    return made


@pytest.mark.parametrize("change", [_decide, _restore, _edit, _move_by_hand, _train, _set_aside])
def test_it_is_made_anew_when_anything_that_it_rests_on_changed(
    change: Callable[[Pipeline], Pipeline], made: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _read(change(made), monkeypatch, minutes=10)[1] == 1


def test_a_link_to_nothing_hides_no_other_file(
    made: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made.work / "quarantine").mkdir(parents=True)
    (made.work / "quarantine" / "gone").symlink_to("nowhere")
    _read(made, monkeypatch, minutes=10)

    assert _read(_set_aside(made), monkeypatch, minutes=10)[1] == 1


def test_reading_one_pipeline_keeps_what_is_known_of_others(
    made: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    other = replace(pipeline(tmp_path / "other"), state=made.state)
    overview([replace(other, config=other.config.model_copy(update={"name": "other"}))], now=NOW)

    assert _read(made, monkeypatch, minutes=10)[1] == 0
    assert set(health_cache.read_kept(made.state)) == {"flights", "other"}
    _read(made, monkeypatch, minutes=3 * 24 * 60)
    assert set(health_cache.read_kept(made.state)) == {"flights"}


@pytest.mark.parametrize("content", ["[]", "null", "\xff", "[" * 100_000, '{"flights": []}'])
def test_a_damaged_file_is_replaced(
    content: str, made: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    (made.state / "dashboard" / ".health.json").write_text(content, "latin-1")

    assert [_read(made, monkeypatch, minutes=10)[1] for _ in range(2)] == [1, 0]


def test_another_keepfit_makes_it_anew(made: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_cache, "keepfit_version", lambda: "0+another")

    assert _read(made, monkeypatch, minutes=10)[1] == 1


@pytest.mark.parametrize("minutes", [-1, 24 * 60])
def test_it_holds_from_when_it_was_made_until_a_schedule_is_due(
    minutes: int, made: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _read(made, monkeypatch, minutes)[1] == 1


def test_without_a_schedule_it_holds_until_two_windows_are_missed(tmp_path: Path) -> None:
    bare = pipeline(tmp_path)
    lines = bare.path.read_text(encoding="utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("schedules"))
    bare.path.write_text(text, encoding="utf-8")
    bare = load_pipeline(bare.path, {})
    looked = [d for d in DECISIONS if d.kind == "monitored"][3]
    for decision in DECISIONS[: DECISIONS.index(looked) + 1]:
        ledger_of(bare).record(decision)
    missed = looked.at + timedelta(days=14)
    (before,) = overview([bare], now=missed - timedelta(minutes=10))

    assert before.health != "stale"
    (after,) = overview([bare], now=missed + timedelta(minutes=10))
    assert after.health == "stale"
