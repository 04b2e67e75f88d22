"""How one stack bears many pipelines, each with a champion and some twenty weeks of decisions.

Every pipeline reads the same table of 1,000 rows, scores each hour, monitors each day, trains each
week. All have the model that the first one trained, signed under their own names, and the same
decisions. For each number of pipelines: seconds until the stack is up; what it computes while
nothing is due; how long after it was due a run begins, and how long it takes (the first scores the
table, the others find nothing new); the page and `keepfit status`, in seconds of a core, which a
busy machine does not change much.

    python -m tests.benchmarks.many_pipelines [--counts 1 20 200] [--idle 60] [--runs 5]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from deploy.prefect.api import deployment_named
from tasks.base.known_pipelines import known_pipelines, remember_pipeline
from tasks.base.monitoring_records import Decision
from tasks.base.pipeline_file import Pipeline, load_pipeline
from tasks.dashboard.refresh import page_of, refresh
from tasks.ledger.ledger import ledger_of
from tasks.ledger.storage.tables import decisions, stored_time
from tasks.registry.mlflow import limits
from tasks.registry.mlflow.shared_stores import store_of
from tasks.registry.signing.version_signature import SIGNATURE_TAG, manifest_of, signature_of
from tests.e2e.stacks import Stack, get, running, until
from tests.histories import flights
from tests.program import keepfit
from tests.tables import write_churn, write_pipeline

_PIPELINE = """\
training: {{budget: 60s, cv: 2, candidates: [logistic_regression]}}
schedules: {{scoring: "{minute} * * * *", monitoring: "30 3 * * *", training: "0 3 * * 1"}}
"""
_ROWS = 1_000
_SOON = timedelta(seconds=10)
_COLUMNS = {
    "pipelines": "", "up s": ".1f", "idle, % of a core": ".1f", "lag s": ".2f",
    "most lag s": ".2f", "scoring s": ".1f", "page core s": ".2f", "page MB": ".2f",
    "GET page ms": ".0f", "status core s": ".2f", "memory MB": ".0f",
}  # fmt: skip


@dataclass(frozen=True)
class Stacked:
    """What was measured with a number of pipelines, in the order of the table's columns."""

    values: tuple[float, ...]

    def __str__(self) -> str:
        shown = (format(v, spec) for v, spec in zip(self.values, _COLUMNS.values(), strict=True))
        return "| " + " | ".join(shown) + " |"


def made(folder: Path, count: int) -> list[Pipeline]:
    """Write `count` pipelines, train the first and give each a champion and a history."""
    write_churn(folder / "c.csv", _ROWS)
    # What all are due for must not come while one is measured.
    text = _PIPELINE.format(minute=(datetime.now().minute - 5) % 60)
    files = []
    for place in range(count):
        where = folder if place == 0 else folder / "pipelines" / f"p{place:03}"
        file = write_pipeline(where, folder / "c.csv", text, time=True)
        named = file.read_text(encoding="utf-8").replace("name: churn", f"name: p{place:03}")
        file.write_text(f"{named}state: {folder / '.keepfit'}\n", encoding="utf-8")
        files.append(file)
    pipelines = [load_pipeline(file) for file in files]
    trained = keepfit("run", files[0], "--json", seconds=3600)
    assert trained.answer["verdict"]["promoted"], trained.err
    _copy_champion(pipelines)
    _copy_decisions(pipelines)
    for pipeline in pipelines:
        remember_pipeline(pipeline)
    return pipelines


def _copy_champion(pipelines: list[Pipeline]) -> None:
    """Register the first one's champion, signed anew, under the names of the others."""
    first, *others = pipelines
    store = store_of(first)
    champion = store.pointed(first.config.name)
    assert champion is not None
    manifest, client = manifest_of(champion), store._client()
    source = client.get_model_version(champion.name, champion.version).source
    own = {tag: value for tag, value in champion.tags.items() if tag != SIGNATURE_TAG}
    signed = {tag: own[tag] for tag in manifest.tags}
    for pipeline in others:
        copied = {"name": pipeline.config.name, "version": "1", "tags": signed}
        signature = signature_of(champion.model_copy(update=copied), manifest.files)
        client.create_registered_model(pipeline.config.name)
        client.create_model_version(
            pipeline.config.name, str(source), champion.run_id, await_creation_for=0,
            tags=limits.in_parts({**own, SIGNATURE_TAG: signature}),
        )  # fmt: skip
        client.set_registered_model_alias(pipeline.config.name, "champion", "1")


def _copy_decisions(pipelines: list[Pipeline]) -> None:
    """Let every pipeline have decided what a loop over real flights decided."""
    age = datetime.now(UTC) - flights()[-1].at - timedelta(hours=1)
    made = [_lately(one, age) for one in flights()]
    with ledger_of(pipelines[0]).writing("history") as connection:
        for pipeline in pipelines:
            name = pipeline.config.name
            rows = [
                {"id": f"{name}-{one.id}", "pipeline": name, "kind": one.kind,
                 "at": stored_time(one.at), "correlation": f"{name}-{one.correlation}",
                 "version": one.version, "body": _named(body, one, name)}
                for one, body in made
            ]  # fmt: skip
            connection.execute(decisions.insert(), rows)


def _named(body: str, one: Decision, name: str) -> str:
    own = body.replace('"flights"', f'"{name}"')
    return own.replace(f'"{one.correlation}"', f'"{name}-{one.correlation}"')


def _lately(one: Decision, age: timedelta) -> tuple[Decision, str]:
    """Return a decision that was made so much later, of the first version, and its JSON."""
    window = one.window and one.window.model_copy(
        update={"start": one.window.start + age, "end": one.window.end + age}
    )
    given = {"at": one.at + age, "window": window, "version": one.version and "1"}
    made = one.model_copy(update=given)
    return made, made.model_dump_json()


def _spent(stack: Stack) -> float:
    seconds = 0.0
    for process in [psutil.Process(stack.process.pid), *stack.tree()]:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            seconds += times.user + times.system
    return seconds


def _resident(stack: Stack) -> float:
    total = 0.0
    for process in [psutil.Process(stack.process.pid), *stack.tree()]:
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total / 1e6


def scored(stack: Stack, name: str) -> tuple[float, float]:
    """Return how many seconds after it was due a scoring began, and how many it then took."""
    from prefect.states import Scheduled

    with stack.client() as client:
        due = datetime.now(UTC) + _SOON
        deployment = deployment_named(client, f"scoring/{name}").id
        asked: Any = Scheduled(scheduled_time=due)
        made = client.create_flow_run_from_deployment(deployment, state=asked)
        until(lambda: client.read_flow_run(made.id).state.is_final(), 600, every=0.5)
        run = client.read_flow_run(made.id)
    began, ended = run.start_time, run.end_time
    assert run.state.is_completed(), run.state
    return (began - due).total_seconds(), (ended - began).total_seconds()


def measured(count: int, idle: float, runs: int) -> Stacked:
    """Return what a stack of `count` pipelines costs."""
    with tempfile.TemporaryDirectory(prefix="keepfit-many-") as scratch:
        folder = Path(scratch)
        pipelines = made(folder, count)
        began = time.monotonic()
        with running(folder, [p.path for p in pipelines]) as stack:
            up = time.monotonic() - began
            # What follows a start, scheduling above all, is not idling.
            time.sleep(min(120.0, 20.0 + up))
            before = _spent(stack)
            time.sleep(idle)
            share = 100 * (_spent(stack) - before) / idle
            lags, took = zip(*(scored(stack, "p000") for _ in range(runs)), strict=True)
            memory = _resident(stack)
            page = f"{stack.addresses.page}/dashboard/"
            asked = time.perf_counter()
            get(page, auth=stack.login)
            fetched = 1000 * (time.perf_counter() - asked)
        state = pipelines[0].state
        assert len(known_pipelines(state)) == count
        written = _computed(lambda: refresh(pipelines[0]))
        size = page_of(state).stat().st_size / 1e6
        status = _computed(lambda: keepfit("status", pipelines[0].path))
    return Stacked(
        (
            count,
            up,
            share,
            statistics.median(lags),
            max(lags),
            statistics.median(took),
            written,
            size,
            fetched,
            status,
            memory,
        )
    )


def _computed(action: Callable[[], Any]) -> float:
    """Return the seconds of a core, of child processes too, that the second call takes."""
    action()
    before = os.times()
    action()
    return sum(os.times()[:4]) - sum(before[:4])


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 20, 200])
    parser.add_argument("--idle", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    os.environ.setdefault("KEEPFIT_SIGNING_KEY", "5" * 64)
    print("| " + " | ".join(_COLUMNS) + " |\n|" + "---|" * len(_COLUMNS))
    for count in given.counts:
        print(measured(count, given.idle, given.runs), flush=True)


if __name__ == "__main__":
    main()
