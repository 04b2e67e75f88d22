"""The whole story on real flights: weeks arrive, a model goes stale, and looks after itself.

One stack runs throughout: scoring, monitoring and training are deployments on its server, the
alarm is an event that its automation answers, people are told on a real receiver.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tasks.base.monitoring_records import Decision
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.ledger.ledger import ledger_of
from tests.e2e.stacks import Stack, get, running, until
from tests.e2e.weeks import Arrivals, write_pipeline
from tests.prefect_api import migrated
from tests.program import keepfit
from tests.receivers import HttpReceiver, http_receiver

pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(2400)]
_DAY = Arrivals.DAY
ORDINARY = 1
RESUMED = datetime(2013, 5, 20, tzinfo=UTC)
LAST_WEEK = datetime(2013, 7, 1, tzinfo=UTC)


@dataclass
class Story:
    """What the test talks to, and the timeline it prints."""

    stack: Stack
    arrivals: Arrivals
    receiver: HttpReceiver
    pipeline: Pipeline
    began: float

    def say(self, what: str) -> None:
        sys.stderr.write(f"{time.monotonic() - self.began:6.1f} s  {what}\n")

    def decisions(self, *kinds: Any, **wanted: Any) -> tuple[Decision, ...]:
        return ledger_of(self.pipeline).decisions("flights", kinds=kinds, **wanted)

    def ask(self, flow: str, **parameters: Any) -> UUID:
        with self.stack.client() as client:
            deployment = client.read_deployment_by_name(f"{flow}/flights")
            run = client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
        return UUID(str(run.id))

    def ended(self, run: UUID) -> str:
        """Wait for a run; return the name of its last state."""

        def final() -> str:
            with self.stack.client() as client:
                state = client.read_flow_run(run).state
            return str(state.name) if state is not None and state.is_final() else ""

        return str(until(final))

    def do(self, flow: str, **parameters: Any) -> str:
        state = self.ended(self.ask(flow, **parameters))
        self.say(f"{flow}: {state}")
        return state

    def by_calendar(self, flow: str) -> str:
        """Run a flow as its schedule would."""
        cause = {"kind": "schedule", "correlation": f"{flow}-{time.monotonic():.3f}"}
        return self.do(flow, cause={**cause, "at": datetime.now(UTC).isoformat()})

    def told(self) -> list[str]:
        """Return the titles of all messages so far."""
        return [str(request.json.get("title", "")) for request in self.receiver.received]


@contextmanager
def told(folder: Path) -> Iterator[Story]:
    began = time.monotonic()
    with http_receiver() as receiver, pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEEPFIT_ALERT_URL", receiver.apprise())
        file = write_pipeline(folder)
        migrated(folder / ".keepfit" / "prefect")
        arrivals = Arrivals(folder)
        arrivals.history()
        first = keepfit("run", file, "--json")
        assert first.status == 0, first.err
        assert first.answer["verdict"]["promoted"] is True
        with running(folder) as stack:
            yield Story(stack, arrivals, receiver, load_pipeline(file), began)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with told(tmp_path_factory.mktemp("flights")) as story:
        story.say("trained on January and February, the stack is up")
        yield story


def test_weeks_arrive_until_one_calls_for_a_training(story: Story) -> None:
    passes = 0
    while not story.decisions("alarmed"):
        passes += 1
        if len(story.decisions("monitored")) == ORDINARY:
            # Nobody looks for a while, and the weeks pile up: one pass takes them all.
            story.arrivals.backlog(RESUMED)
        start, _ = story.arrivals.week()
        assert start <= LAST_WEEK, "no week up to July was an alarm"
        assert story.by_calendar("scoring") == "Completed"
        assert story.by_calendar("monitoring") == "Completed"
        newest = story.decisions("monitored", most=1)[0]
        story.say(f"week {start:%m-%d}: {newest.sentence[:100]}")

    alarm = story.decisions("alarmed")[0]
    quiet = [d for d in story.decisions("monitored") if not d.evidence["alarm"]]
    assert len(quiet) >= ORDINARY + 1, "ordinary weeks are no alarms"
    assert alarm.evidence["retrain"] is True
    scored = story.decisions("scored")
    assert len(scored) == passes
    predicted = ledger_of(story.pipeline).coverage("flights", None)
    assert predicted.rows == sum(int(d.evidence["new"]) for d in scored)  # type: ignore[call-overload]


def test_late_labels_tell_how_good_the_champion_was(story: Story) -> None:
    matured = {
        p["window"]["start"]: p
        for decision in story.decisions("monitored")
        for p in decision.evidence["performance"]  # type: ignore[union-attr]
        if p["mature"]  # type: ignore[index,call-overload]
    }

    assert len(matured) >= ORDINARY
    assert all(0.5 < p["realised"]["value"] < 0.9 for p in matured.values())


def test_the_alarm_trains_promotes_and_tells(story: Story) -> None:
    alarm = story.decisions("alarmed")[0]
    trained = until(lambda: story.decisions("trained", correlation=alarm.correlation))[0]
    decided = ("promoted", "refused")
    verdict = until(lambda: story.decisions(*decided, correlation=alarm.correlation))[0]
    with story.stack.client() as client:
        run = client.read_flow_run(UUID(trained.prefect_run))
    began, moved = run.start_time, verdict.at
    assert began is not None
    story.say(
        f"alarm to training start {(began - alarm.at).total_seconds():.1f} s, "
        f"to the verdict {(moved - alarm.at).total_seconds():.1f} s: {verdict.sentence[:160]}"
    )

    assert run.parameters["cause"]["kind"] == "alarm"
    assert verdict.kind == "promoted", verdict.sentence
    assert verdict.version == "2"
    titles = until(lambda: [t for t in story.told() if "version 2" in t])
    story.say(f"told: {titles}")
    assert len([t for t in story.told() if "drift" in t or "retraining would" in t]) == 1
    why = keepfit("why", "2", story.pipeline.path, "--json")
    assert why.status == 0, why.err
    assert why.answer["correlation"] == alarm.correlation
    assert {"alarm", "gate", "promoted"} <= {step["what"] for step in why.answer["steps"]}


def test_the_same_alarm_again_trains_nothing(story: Story) -> None:
    before = len(story.decisions("trained"))
    alarm = story.decisions("alarmed")[0]
    trained = story.decisions("trained", correlation=alarm.correlation)[0]
    assert story.do("training", cause=trained.evidence["cause"]) == "Skipped"

    assert len(story.decisions("trained")) == before
    assert story.decisions("skipped")[0].evidence["withheld"] == "duplicate"


def test_a_broken_week_is_stopped_and_told_and_the_loop_goes_on(story: Story) -> None:
    start = story.arrivals.next_start
    story.arrivals.broken_week()
    scored = len(story.decisions("scored"))
    assert story.by_calendar("scoring") == "Failed"
    assert (
        story.do("monitoring", window=f"{start:%Y-%m-%d}..{start + 7 * _DAY:%Y-%m-%d}") == "Failed"
    )

    stops = story.decisions("stopped")
    assert {d.evidence["flow"] for d in stops} == {"scoring", "monitoring"}
    rules = " ".join(map(str, stops[0].evidence["rules"]))
    assert "wind_speed" in rules
    assert "distance" in rules
    assert len(story.decisions("scored")) == scored
    assert until(lambda: [t for t in story.told() if "contract" in t.lower()])
    story.say(f"stopped: {stops[0].sentence[:100]}")
    # The person mends the file; nothing else has to be done.
    story.arrivals.week()
    assert story.by_calendar("scoring") == "Completed"


def test_the_page_tells_the_story(story: Story) -> None:
    address = f"{story.stack.addresses.page}/dashboard/"

    def told() -> bool:
        page = get(address, auth=story.stack.login).text.lower()
        return all(word in page for word in ("flights", "promoted", "drift", "contract"))

    until(told)
