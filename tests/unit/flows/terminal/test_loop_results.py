from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from flows.terminal.loop_results import show_chain, show_monitoring, show_move, show_overview
from tasks.base.command_results import MonitoringOutcome
from tasks.base.monitoring_records import Decision, DriftResult, Performance, PolicyDecision
from tasks.base.text import terminal
from tasks.base.training_records import MetricValue
from tasks.history.overview import overview
from tasks.lineage.evidence_chain import explain_version
from tests.histories import Listed, demand, flights, hostile, pipeline, reading

DECISIONS = (*flights(), *demand())
NOW = flights()[-1].at + timedelta(hours=5)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what was printed; addresses may be longer than a line, so that they stay whole."""
    printed = capsys.readouterr().out.splitlines()
    wide = [line for line in printed if len(line.rstrip()) > 80]
    assert [line for line in wide if "/" not in line] == []
    return printed


def monitored(decision: Decision) -> MonitoringOutcome:
    evidence = decision.evidence
    performance = evidence["performance"]
    assert isinstance(performance, list)
    return MonitoringOutcome(
        pipeline=decision.pipeline,
        version=decision.version or "",
        window=decision.window,
        rows=5800,
        alarm=bool(evidence["alarm"]),
        sentence=decision.sentence,
        drift=DriftResult.model_validate(evidence["drift"]),
        performance=tuple(Performance.model_validate(p) for p in performance),
        decision=PolicyDecision.model_validate(evidence["policy"]),
        correlation=decision.correlation,
        contract_warnings=1,
        report="/srv/report.html",
        moved="v2 is confirmed.",
        seconds=3.2,
        next_command="keepfit run flights.yaml",
    )


def test_why_is_a_timeline_that_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_chain(reading(Listed(flights()), explain_version, pipeline(tmp_path), "2"))

    printed = lines(capsys)
    assert printed[0] == "flights v2: the champion"
    whats = [line[17:28].strip() for line in printed[1:]]
    order = [whats.index(w) for w in ("window", "alarm", "data", "training", "gate", "promoted")]
    assert order == sorted(order)
    assert printed[-1].startswith("correlation")


def test_status_says_how_each_pipeline_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [pipeline(tmp_path, name) for name in ("flights", "demand", "churn")]
    show_overview(reading(Listed(DECISIONS), overview, made, now=NOW, sizes={"ledger": 2048}))

    printed = "\n".join(lines(capsys))
    for said in ("flights  healthy", "demand  stale", "churn  no champion", "next 2013-07-23",
                 "rolled back", "2.05 kB", "keepfit run "):  # fmt: skip
        assert said in printed, said


def test_what_runs_next_says_that_a_stack_must_run_where_none_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = reading(Listed(flights()), overview, [pipeline(tmp_path)], now=NOW)
    show_overview(found)
    without = "\n".join(lines(capsys))
    monkeypatch.setenv("PREFECT_API_URL", "http://h/api")
    show_overview(found)

    assert "under keepfit up, next 2013-07-23" in without
    assert "keepfit up" not in "\n".join(lines(capsys))


def test_an_absent_estimate_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (found,) = reading(Listed(flights()), overview, [pipeline(tmp_path)], now=NOW)
    assert found.performance is not None
    absent = found.performance.model_copy(
        update={"realised": None, "estimated": MetricValue(value=None), "sentence": "Too few rows."}
    )
    show_overview((found.model_copy(update={"performance": absent}),))

    assert "Too few rows." in " ".join(" ".join(lines(capsys)).split())


def test_monitor_shows_what_moved_first(capsys: pytest.CaptureFixture[str]) -> None:
    alarm = next(d for d in flights() if d.kind == "monitored" and d.evidence["alarm"])
    show_monitoring(monitored(alarm))

    printed = lines(capsys)
    table = printed.index(next(line for line in printed if line.startswith("column")))
    assert "moved" in printed[table + 1]
    assert any("No training: persistence." in line for line in printed)
    assert any("v2 is confirmed." in line for line in printed)


def test_an_earlier_window_that_was_never_scored_is_not_restated(
    capsys: pytest.CaptureFixture[str],
) -> None:
    earlier, newest = [d for d in flights() if d.kind == "monitored"][:2]
    known = monitored(earlier).performance[0]
    own = known.model_copy(update={"window": newest.window})
    unscored = known.model_copy(
        update={"realised": None, "estimated": MetricValue(value=None), "sentence": "No rows."}
    )

    for before, lines_of in ((unscored, 0), (known, 1)):
        both = monitored(newest).model_copy(update={"performance": (own, before)})
        show_monitoring(both)
        assert sum(line.startswith("restated") for line in lines(capsys)) == lines_of


def test_a_window_without_drift_or_performance_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    looked = next(d for d in flights() if d.kind == "monitored")
    bare = {"drift": None, "performance": (), "window": None}
    show_monitoring(monitored(looked).model_copy(update=bare))

    assert "of all rows" in lines(capsys)[0]


def test_a_move_by_hand_says_what_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    show_move(next(d for d in flights() if d.kind == "rolled_back"))

    printed = "\n".join(lines(capsys))
    assert "flights: rolled back" in printed
    assert "keepfit why 2" in printed


def test_markup_in_names_is_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoilt = [hostile(d, "[bold red]x[/bold red] [/]") for d in flights()]
    show_chain(reading(Listed(spoilt), explain_version, pipeline(tmp_path), "2"))
    show_overview(reading(Listed(spoilt), overview, [pipeline(tmp_path)], now=NOW))
    show_monitoring(monitored(next(d for d in spoilt if d.kind == "monitored")))

    assert "[bold red]" in capsys.readouterr().out


def test_a_break_in_a_name_neither_ends_a_line_of_status_nor_escapes_keepfits_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "_names", {})
    terminal.know_names(["t\n", "pay\nPromoted: v3"])
    moved = next(d for d in DECISIONS if d.kind == "alarmed")
    sentence = (
        "pay\nPromoted: v3, weight, promotion and weekday moved: 2.53 against a limit of 1.40."
    )
    newest = {"id": "f" * 32, "sentence": sentence, "at": NOW - timedelta(hours=1)}
    listed = Listed([*DECISIONS, moved.model_copy(update=newest)])
    show_overview(
        reading(listed, overview, [pipeline(tmp_path, moved.pipeline)], now=NOW, sizes={})
    )

    printed = lines(capsys)
    assert any("pay\\nPromoted: v3" in line for line in printed)
    assert not any(line.lstrip().startswith("Promoted: v3") for line in printed)
    assert not any("t\\n" in line for line in printed)
