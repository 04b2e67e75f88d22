"""`keepfit doctor`: every check once, what it found and what fixes it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deploy.doctor import checks
from deploy.doctor.loop_probe import run_loop
from tasks.base.errors import KeepfitError
from tasks.base.pipeline_file import DEFAULT_FILE, Pipeline, load_pipeline
from tasks.base.runtime.environment import turn_telemetry_off
from tasks.base.servers.stack_file import running_stack
from tasks.base.text.redaction import redact
from tasks.base.training_records import Record

if TYPE_CHECKING:
    from deploy.doctor.loop_probe import LoopResult

_PORTS = (4200, 5000, 4280)


class Check(checks.Found):
    """One check, by name, with the seconds that it took."""

    name: str
    seconds: float


class Report(Record):
    """All checks, and the legs of the loop where it was requested."""

    checks: tuple[Check, ...]
    loop: dict[str, Any] | None = None

    @property
    def healthy(self) -> bool:
        """Whether nothing failed; a warning is not a failure."""
        return all(check.status != "failed" for check in self.checks)

    def answer(self) -> dict[str, Any]:
        """Return the result for `--json`."""
        return {"healthy": self.healthy, **self.model_dump(mode="json")}


def examine(files: Sequence[Path], *, loop: bool = False, alerts: bool = False) -> Report:
    """Check the installation, the stores and the running stack; failures are stated, not raised."""
    # Without `files` `./keepfit.yaml` if there. `loop` also injects drift into the running stack
    # under a scratch pipeline; it and `alerts` send a test message to the channels.
    turn_telemetry_off()
    done = [_made("python", checks.python_version), _made("libraries", checks.library_versions)]
    done.append(_made("telemetry", checks.telemetry))
    pipelines = []
    for file in files or ((Path(DEFAULT_FILE),) if Path(DEFAULT_FILE).exists() else ()):
        try:
            pipelines.append(load_pipeline(file))
        except KeepfitError as error:
            done.append(_made(f"file {file}", partial(checks.explained, error)))
    secrets = tuple(secret for p in pipelines for secret in p.secrets)
    for pipeline in {p.state: p for p in pipelines}.values():
        done += [_made(name, check) for name, check in _of_state(pipeline)]
    for pipeline in pipelines:
        done += [_made(name, check) for name, check in _of_pipeline(pipeline, alerts or loop)]
    result = None
    if loop:
        check, result = _loop(pipelines)
        done.append(check)
    shown = (_without(check, secrets) for check in done)
    legs = result.model_dump(mode="json") if result is not None else None
    return Report(checks=tuple(shown), loop=legs)


def _of_state(pipeline: Pipeline) -> Iterator[tuple[str, Callable[[], checks.Found]]]:
    state = pipeline.state
    stack = running_stack(state)
    yield "permissions", partial(checks.permissions, state)
    yield "disk", partial(checks.disk, state)
    yield "MLflow's store", partial(checks.mlflow_store, pipeline)
    yield "Prefect's database", partial(checks.prefect_database, state)
    servers = [] if stack is None else [f"{stack.prefect_api}/health"]
    yield "clock", partial(checks.clock, state, servers)
    if stack is None:
        yield "ports", partial(checks.ports, _PORTS)
        yield "stack", lambda: checks.ok("not running; `keepfit up` starts it")
        return
    for what, address in (
        ("Prefect", f"{stack.prefect_api}/health"),
        ("MLflow", f"{stack.mlflow}/health"),
        ("keepfit's page", f"{stack.page}/health"),
    ):
        yield f"stack: {what}", partial(checks.answering, address, what)


def _of_pipeline(
    pipeline: Pipeline, send: bool
) -> Iterator[tuple[str, Callable[[], checks.Found]]]:
    name = pipeline.config.name
    yield f"{name}: file", partial(checks.pipeline_file, pipeline)
    yield f"{name}: ledger", partial(checks.ledger, pipeline)
    yield f"{name}: champion", partial(checks.champion, pipeline)
    yield f"{name}: alerts", partial(checks.alert_channels, pipeline, send=send)
    stack = running_stack(pipeline.state)
    if stack is not None and str(pipeline.path.resolve()) in stack.pipelines:
        yield f"{name}: deployments", partial(checks.deployments, pipeline, stack)


def _loop(pipelines: Sequence[Pipeline]) -> tuple[Check, LoopResult | None]:
    results: list[LoopResult] = []

    def check() -> checks.Found:
        states = list(dict.fromkeys(p.state for p in pipelines if running_stack(p.state)))
        if not states:
            return checks.failed("no stack runs here", "Start it: keepfit up FILE")
        results.append(run_loop(states[0]))
        return results[0].verdict()

    return _made("loop", check), results[0] if results else None


def _made(name: str, check: Callable[[], checks.Found]) -> Check:
    began = time.monotonic()
    try:
        found = check()
    except Exception as error:  # noqa: BLE001 - a check that can't be made is a finding
        found = checks.explained(error)
    return Check(name=name, seconds=round(time.monotonic() - began, 3), **found.model_dump())


def _without(check: Check, secrets: Sequence[str]) -> Check:
    hidden = {key: redact(getattr(check, key), secrets) for key in ("found", "remedy")}
    return check.model_copy(update=hidden)


def table(report: Report) -> str:
    """Return `report` for a terminal, without a final line break."""
    marks = {"ok": "ok", "warning": "odd", "failed": "FAILED"}
    rows = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for check in report.checks:
        text = check.found + (f"\n{check.remedy}" if check.remedy else "")
        rows.add_row(marks[check.status], Text(check.name), Text(text), f"{check.seconds:.1f} s")
    legs = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("leg", "seconds", "what"):
        legs.add_column(title)
    for leg in (report.loop or {}).get("legs", ()):
        legs.add_row(Text(leg["name"]), f"{leg['seconds']:.1f}", Text(leg["what"]))
    sink = io.StringIO()
    console = Console(file=sink, width=100, highlight=False)
    console.print(rows)
    if report.loop is not None:
        console.print(legs)
    return "\n".join(line.rstrip() for line in sink.getvalue().rstrip().splitlines())
